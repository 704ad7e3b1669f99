internal import CKernels
public import EspalierBasics
public import EspalierNumerics

extension PackedMatrix {
  /// Shape and parts of a packed matrix, and where they lie in its memory.
  public struct Layout: Sendable, Hashable {
    /// What codes are.
    public enum Grid: Sendable, Hashable {
      /// Integers from 0 on, side by side, the lowest bits first; a row fills whole words of 32 bits.
      case integer(bits: Int)
      /// The bits of ``ElementType/f8e4m3`` or ``ElementType/f8e5m2``, row after row.
      case float(ElementType)
    }

    public let rows: Int
    public let columns: Int
    public let grid: Grid
    /// Rows that share a scale.
    public let tileRows: Int
    /// Columns that share a scale; the last group may have fewer. Without meaning for columns that have an order.
    public let groupSize: Int
    public let groupCount: Int
    /// Whether scales have a zero point each; otherwise all are 2^(bits - 1).
    public let hasZeros: Bool
    /// Whether it is said of each column in which group it is.
    public let ordersColumns: Bool
    /// Bytes from one row of codes to the next.
    public let rowBytes: Int

    /// - Throws: `matrix.quantized` for sizes that are not positive, do not fit each other or do not fit an address.
    public init(
      rows: Int, columns: Int, grid: Grid, tileRows: Int = 1, groupSize: Int, groupCount: Int, hasZeros: Bool,
      ordersColumns: Bool = false
    ) throws(Problem) {
      let bits: Int
      switch grid {
      case .integer(let count): bits = count
      case .float(let type): bits = type == .f8e4m3 || type == .f8e5m2 ? 8 : 0
      }
      guard rows > 0, columns > 0, (1...8).contains(bits), tileRows > 0, groupSize > 0, groupCount > 0,
        ordersColumns || groupCount == (columns - 1) / groupSize + 1, !(hasZeros && grid != .integer(bits: bits)),
        // So that no arithmetic on sizes overflows.
        rows.multipliedReportingOverflow(by: max(columns, groupCount)).partialValue < Int.max >> 8,
        !rows.multipliedReportingOverflow(by: max(columns, groupCount)).overflow, columns < Int(Int32.max),
        groupCount < Int(Int32.max)
      else {
        throw Problem(
          .quantizedMatrix,
          "a packed matrix of \(rows) x \(columns) with \(groupCount) groups of \(groupSize) columns in codes of \(bits) "
            + "bits")
      }
      self.rows = rows
      self.columns = columns
      self.grid = grid
      self.tileRows = tileRows
      self.groupSize = groupSize
      self.groupCount = groupCount
      self.hasZeros = hasZeros
      self.ordersColumns = ordersColumns
      rowBytes = grid == .integer(bits: bits) ? (columns * bits + 31) / 32 * 4 : columns
    }

    /// Scales, zero points too: for each `tileRows` rows one a group.
    public var scaleCount: Int { ((rows - 1) / tileRows + 1) * groupCount }
    public var scaleBytes: Int { scaleCount * MemoryLayout<Float>.stride }

    /// Where rows of codes begin.
    public var codesStart: Int { 0 }
    /// Where scales begin, float32, row after row.
    public var scalesStart: Int { Self.rounded(rows * rowBytes + Int(ES_PACKED_SLACK)) }
    /// Where zero points begin: signed bytes, less 2^(bits - 1).
    public var zerosStart: Int { scalesStart + Self.rounded(scaleBytes) }
    /// Where the group of each column begins, 32-bit integers.
    public var columnGroupsStart: Int { zerosStart + (hasZeros ? Self.rounded(scaleCount) : 0) }
    /// Where the place of each column's code in its row begins, 32-bit integers, found when a matrix is made.
    var placesStart: Int { columnGroupsStart + columnBytes }
    private var columnBytes: Int { ordersColumns ? Self.rounded(columns * MemoryLayout<Int32>.stride) : 0 }

    /// Bytes of all parts, a multiple of 64.
    public var byteCount: Int { placesStart + columnBytes }

    private static func rounded(_ bytes: Int) -> Int { (bytes + 63) / 64 * 64 }

    /// The columns of the first group, then those of the next, each in order.
    ///
    /// - Throws: `matrix.quantized` for a group that does not exist.
    func order(of groups: UnsafePointer<Int32>) throws(Problem) -> [Int32] {
      var starts = [Int](repeating: 0, count: groupCount + 1)
      for column in 0..<columns {
        guard (0..<groupCount).contains(Int(groups[column])) else {
          throw Problem(.quantizedMatrix, "column \(column) is in group \(groups[column]) of \(groupCount)")
        }
        starts[Int(groups[column]) + 1] += 1
      }
      for group in 0..<groupCount { starts[group + 1] += starts[group] }
      var order = [Int32](repeating: 0, count: columns)
      for column in 0..<columns {
        let group = Int(groups[column])
        order[starts[group]] = Int32(column)
        starts[group] += 1
      }
      return order
    }
  }
}
