import CKernels
public import EspalierBasics

/// Ranks of the magnitudes of rows, with the scratch memory for one row at a time (one for each thread).
public struct RowRanks {
  private let scratch: AlignedBuffer

  /// The longest row.
  public let capacity: Int

  /// - Parameter capacity: the longest row; 16 bytes are taken for each of its elements.
  /// - Throws: `memory.allocation`.
  public init(capacity: Int) throws(Problem) {
    self.capacity = capacity
    scratch = try AlignedBuffer(count: capacity, of: SIMD2<UInt64>.self)
  }

  /// `ranks[i]` = how many elements of the row come before `values[i]` by magnitude, the smallest first, equal ones by
  /// index.
  ///
  /// - Precondition: `count <= capacity`.
  public func rank(_ values: UnsafePointer<Float>, count: Int, into ranks: UnsafeMutablePointer<UInt32>) {
    precondition(count <= capacity)
    guard let words = scratch.values(of: UInt64.self).baseAddress else { return }
    es_row_ranks(values, Int64(count), ranks, words)
  }
}
