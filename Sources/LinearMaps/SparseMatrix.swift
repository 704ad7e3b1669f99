internal import CKernels
public import EspalierBasics
public import EspalierNumerics

extension Problem.Code {
  /// Parts of a sparse matrix that contradict each other.
  public static let matrixSparse = Problem.Code("matrix.sparse")
}

/// A weight of which most numbers are zero: a bitmap of the positions that are stored, and their numbers packed one
/// after the other. At half of the positions in 16 bits, 0.56 of the dense bytes.
///
/// The parts are those of ``SparseLayout``. In ``NumericMode/exact`` it gives the bits of the dense matrix with zeros in
/// place (a zero times an infinity is NaN there too): numbers are put in their places in registers as they stream by, for
/// up to 8 rows of x, or while the product packs them. In ``NumericMode/fast`` up to 8 rows are exact, and more are
/// multiplied as in any ``StoredMatrix``, with the bits of the dense one.
public struct SparseMatrix: LinearMap, WidenedRows {
  public let layout: SparseLayout
  private let parts: SparseParts

  public var outputWidth: Int { layout.rows }
  public var inputWidth: Int { layout.columns }
  public var byteCount: Int { layout.bitmapBytes + layout.valueBytes + layout.offsetBytes }

  /// A matrix whose parts lie in a buffer as `layout` says, from byte `offset` on, a multiple of 64. Nobody writes there
  /// from now on. Where the layout has a pattern, the row offsets follow from it and are written here.
  ///
  /// - Throws: `matrix.shape` if the buffer is too small; `matrix.sparse` if bitmap, offsets and pattern contradict each
  ///   other. Any number is allowed, NaN too.
  public init(_ buffer: AlignedBuffer, offset: Int = 0, layout: SparseLayout) throws(Problem) {
    guard offset >= 0, offset % 64 == 0, layout.byteCount <= buffer.byteCount - offset else {
      throw Problem(
        .matrixShape,
        "a buffer of \(buffer.byteCount) bytes does not hold \(layout.byteCount) bytes of a sparse matrix at byte "
          + "\(offset)")
    }
    let parts = SparseParts(buffer, offset: offset, layout: layout)
    if case .groups(let keep, let of) = layout.pattern {
      for row in 0...layout.rows { parts.offsets[row] = Int64(row * (layout.columns / of) * keep) }
    }
    try parts.check()
    self.layout = layout
    self.parts = parts
  }

  static let fastestKernel =
    MatrixProduct.Kernel.allCases.last { kernel in
      es_product_kernel(rawValue: kernel.rawValue).map(es_sparse_runs) ?? false
    } ?? .portable

  /// Some columns of a row, from a multiple of 64 on.
  func widen(_ row: Int, _ columns: Range<Int>, kernel: MatrixProduct.Kernel, into target: UnsafeMutablePointer<Float>)
  {
    es_sparse_widen_with(
      es_product_kernel(rawValue: kernel.rawValue) ?? .portable, parts.native, row, 1, columns.lowerBound,
      columns.count, target, columns.count)
  }

  var storedRows: StoredRows {
    StoredRows(parts.native, rows: outputWidth, columns: inputWidth, stride: 0, widening: es_sparse_widen)
  }

  var codedRows: StoredRows { storedRows }

  func streamed(_ x: MatrixView<Float>, into y: MutableMatrixView<Float>) -> (any TiledProduct)? {
    SparseProduct(x, self, into: y)
  }

  // MARK: - The parts, as they are stored

  /// Bit p % 8 of byte p / 8 of a row says that column p is stored. Rows are whole words of 64 bits.
  public var bitmap: UnsafeRawBufferPointer { parts.range(layout.bitmapStart, layout.bitmapBytes) }
  /// The stored numbers, row after row.
  public var values: UnsafeRawBufferPointer { parts.range(layout.valuesStart, layout.valueBytes) }
  /// For each row the index of its first value as a 64-bit integer, and at the end the number of values.
  public var offsets: UnsafeRawBufferPointer { parts.range(layout.offsetsStart, layout.offsetBytes) }

  var native: UnsafePointer<es_sparse_rows> { UnsafePointer(parts.native) }
}

/// The memory of a sparse matrix, and what kernels know of it.
final class SparseParts: @unchecked Sendable {
  // Written while the matrix is made, then only read.
  let native: UnsafeMutablePointer<es_sparse_rows>
  let offsets: UnsafeMutablePointer<Int64>
  private let buffer: AlignedBuffer
  private let start: UnsafeMutableRawPointer
  private let layout: SparseLayout

  init(_ buffer: AlignedBuffer, offset: Int, layout: SparseLayout) {
    self.buffer = buffer
    self.layout = layout
    start = buffer.address + offset
    offsets = (start + layout.offsetsStart).assumingMemoryBound(to: Int64.self)
    native = .allocate(capacity: 1)
    native.initialize(
      to: es_sparse_rows(
        bitmap: UnsafePointer((start + layout.bitmapStart).assumingMemoryBound(to: UInt64.self)), words: layout.words,
        values: UnsafeRawPointer(start + layout.valuesStart), offsets: UnsafePointer(offsets), type: layout.nativeType))
  }

  deinit { native.deallocate() }

  func range(_ first: Int, _ count: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: UnsafeRawPointer(start + first), count: count)
  }

  /// - Throws: `matrix.sparse` for the first row whose bitmap does not say what offsets and pattern do.
  func check() throws(Problem) {
    guard offsets[0] == 0, offsets[layout.rows] == layout.valueCount else {
      throw Problem(
        .matrixSparse,
        "the row offsets run from \(offsets[0]) to \(offsets[layout.rows]), and there are \(layout.valueCount) values")
    }
    let (words, columns) = (layout.words, layout.columns)
    for row in 0..<layout.rows {
      guard let bitmap = native.pointee.bitmap.map({ $0 + row * words }) else { return }
      if columns % 64 != 0, bitmap[words - 1] >> UInt64(columns % 64) != 0 {
        throw Problem(.matrixSparse, "the bitmap of row \(row) has columns beyond the last of \(columns)")
      }
      let count = es_sparse_population(bitmap, words)
      let (stored, overflow) = offsets[row + 1].subtractingReportingOverflow(offsets[row])
      if case .groups(let keep, let of) = layout.pattern { try checkGroups(bitmap, row: row, keep: keep, of: of) }
      guard !overflow, stored == count else {
        throw Problem(
          .matrixSparse,
          "row \(row) has \(count) numbers by its bitmap, and \(overflow ? "no such count" : String(stored)) by the row "
            + "offsets")
      }
    }
  }

  private func checkGroups(_ bitmap: UnsafePointer<UInt64>, row: Int, keep: Int, of: Int) throws(Problem) {
    let mask = UInt64.max >> UInt64(64 - of)
    for column in stride(from: 0, to: layout.columns, by: of) {
      let count = (bitmap[column / 64] >> UInt64(column % 64) & mask).nonzeroBitCount
      guard count == keep else {
        throw Problem(
          .matrixSparse,
          "row \(row) has \(count) numbers in columns \(column) to \(column + of - 1), where the pattern has \(keep) of "
            + "\(of)")
      }
    }
  }
}
