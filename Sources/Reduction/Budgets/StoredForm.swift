public import EspalierBasics
internal import EspalierCheckpoints
public import EspalierLinearMaps
public import EspalierNumerics

/// What a matrix `[rows, columns]` is stored as, for what it costs. `Docs/reduced.md` has the layouts.
public enum StoredForm: Sendable, Hashable {
  /// Every number, zeros in place.
  case dense
  /// A bitmap of positions and that many numbers; with a pattern their count is the pattern's.
  case sparse(SparsePattern, numbers: Int)
  /// `[rows, rank]` and `[rank, columns]`.
  case lowRank(Int)
  /// `[rows, chosenColumns]`, `[chosenColumns, chosenRows]` and `[chosenRows, columns]`.
  case cur(chosenColumns: Int, chosenRows: Int)
  /// Places of what is whole, and the numbers of these and of the factors.
  case split(places: Int, numbers: Int)
  /// Codes and scales, so many bytes.
  case quantized(bytes: Int)

  /// What a result takes, its zeros stored by their pattern or, without one, in place. A zero is what is zero in all its
  /// bits, as in ``SparseMatrix``.
  public init(_ form: ReducedMatrix.Form, zeros pattern: SparsePattern?) {
    switch form {
    case .dense(let matrix):
      self = pattern.map { .sparse($0, numbers: matrix.elements.count { $0.bitPattern != 0 }) } ?? .dense
    case .factors(let left, _): self = .lowRank(left.columns)
    case .cur(let columns, _, let rows, _, _): self = .cur(chosenColumns: columns.columns, chosenRows: rows.rows)
    case .split(let split): self = .split(places: split.places.count, numbers: split.numbers)
    case .quantized(let matrix): self = .quantized(bytes: matrix.packedByteCount)
    }
  }

  /// Bytes of the tensors in a file, without the file's header and without the padding that they have in memory:
  ///
  ///     dense     width m n
  ///     sparse    8 m ceil(n / 64) + width numbers, and 8 (m + 1) for row offsets unless there is a pattern
  ///     lowRank   width r (m + n)
  ///     cur       width (c m + c r + r n)
  ///     split     width numbers + 4 places
  ///
  /// - Throws: `matrix.shape` for sizes that are negative or beyond any memory, a pattern that does not divide the columns,
  ///   more numbers than there are; `matrix.format` for an element type that a sparse matrix does not have.
  public func bytes(rows: Int, columns: Int, elementType: ElementType) throws(Problem) -> Int {
    guard let count = [rows, columns].checkedProduct else {
      throw Problem(.matrixShape, "a matrix of \(rows) x \(columns)")
    }
    let width = elementType.byteWidth
    switch self {
    case .dense: return width * count
    case .sparse(let pattern, let numbers):
      let layout = try SparseLayout(
        rows: rows, columns: columns, elementType: elementType, pattern: pattern,
        valueCount: pattern == .unstructured ? numbers : nil)
      return layout.bitmapBytes + (pattern == .unstructured ? layout.offsetBytes : 0) + layout.valueBytes
    case .lowRank(let rank):
      guard (0...max(rows, columns)).contains(rank) else {
        throw Problem(.matrixShape, "rank \(rank) for a matrix of \(rows) x \(columns)")
      }
      return width * rank * (rows + columns)
    case .cur(let c, let r):
      guard (0...columns).contains(c), (0...rows).contains(r) else {
        throw Problem(.matrixShape, "\(c) columns and \(r) rows of a matrix of \(rows) x \(columns)")
      }
      return width * (c * rows + c * r + r * columns)
    case .split(let places, let numbers):
      guard (0...max(rows, columns)).contains(places), (0...2 * count).contains(numbers) else {
        throw Problem(.matrixShape, "\(places) places and \(numbers) numbers of a matrix of \(rows) x \(columns)")
      }
      return width * numbers + ElementType.i32.byteWidth * places
    case .quantized(let bytes): return bytes
    }
  }
}
