internal import CKernels
internal import EspalierBasics
internal import EspalierLinearMaps
internal import EspalierNumerics

/// Grids and codes of a matrix while they are chosen. Rows are written by different threads.
final class GridCodes: @unchecked Sendable {
  let rows: Int
  let columns: Int
  /// Grids of a row.
  let groups: Int
  /// `[rows, groups]`; those of float32 are rounded at the end.
  let scales: UnsafeMutablePointer<Double>
  let zeros: UnsafeMutablePointer<UInt8>?
  let offsets: UnsafeMutablePointer<Double>?
  /// `[rows, columns]`, in the order in which columns are swept.
  let codes: UnsafeMutablePointer<UInt8>
  /// The group of each column as swept.
  let groupOf: UnsafeMutablePointer<Int32>

  init(rows: Int, columns: Int, groups: Int, hasZeros: Bool, hasOffsets: Bool = false, groupOf: [Int32]) {
    (self.rows, self.columns, self.groups) = (rows, columns, groups)
    scales = .allocate(capacity: rows * groups)
    scales.initialize(repeating: 0, count: rows * groups)
    zeros = hasZeros ? .allocate(capacity: rows * groups) : nil
    zeros?.initialize(repeating: 0, count: rows * groups)
    offsets = hasOffsets ? .allocate(capacity: rows * groups) : nil
    offsets?.initialize(repeating: 0, count: rows * groups)
    codes = .allocate(capacity: rows * columns)
    codes.initialize(repeating: 0, count: rows * columns)
    self.groupOf = .allocate(capacity: columns)
    self.groupOf.initialize(from: groupOf, count: columns)
  }

  deinit {
    scales.deallocate()
    zeros?.deallocate()
    offsets?.deallocate()
    codes.deallocate()
    groupOf.deallocate()
  }

  /// - Parameters:
  ///   - zero: of all codes where grids have none of their own.
  ///   - fitLength: columns of a group whose grid is fitted when the sweep reaches it; 0: grids are there.
  ///   - importance: by column as swept, kept by the caller.
  func native(
    _ fit: es_grid_fit, zero: Int, fitLength: Int, importance: UnsafePointer<Double>? = nil
  ) -> es_rounding {
    es_rounding(
      scales: scales, offsets: UnsafePointer(offsets), zeros: zeros, zero: Int32(zero), top: fit.top, codes: codes,
      groups: Int64(groups), columns: Int64(columns), group_of: UnsafePointer(groupOf), fit_length: Int64(fitLength),
      fit: fit, importance: importance)
  }

  /// The codes with columns in their own order.
  ///
  /// - Parameter order: the column at each place of the sweep; nil: as they are.
  func ordered(_ order: [Int32]?) -> [UInt8] {
    guard let order else { return Array(UnsafeBufferPointer(start: codes, count: rows * columns)) }
    return [UInt8](unsafeUninitializedCapacity: rows * columns) { target, count in
      count = rows * columns
      guard let target = target.baseAddress else { return }
      for row in 0..<rows {
        es_order_bytes_back(codes + row * columns, order, Int64(columns), target + row * columns)
      }
    }
  }
}
