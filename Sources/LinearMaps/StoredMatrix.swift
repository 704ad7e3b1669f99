internal import CKernels
public import EspalierBasics
public import EspalierNumerics

extension Problem.Code {
  /// A form of storage that cannot be a weight.
  public static let matrixFormat = Problem.Code("matrix.format")
}

/// A weight matrix as it lies in memory: rows of coded numbers, applied without ever being widened as a whole.
///
///     y[t, o] = sum over i of x[t, i] W[o, i]        W [outputWidth, inputWidth], row o at byte o * rowStride
///
/// In ``NumericMode/exact`` every row is widened to float32 (exactly, but for `f64`, which is rounded) while the product
/// packs it; sums are those of ``MatrixProduct``, with its order and its error bound. A row of y depends on its row of x
/// alone, to the bit: not on the rows around it, nor on threads, tiles or the processor, and so a matrix gives the same
/// bits as its widened copy. NaN and infinity propagate as in the sum written out.
///
/// In ``NumericMode/fast``, beside the exact sum,
///
///  * up to 8 rows of x meet blocks (`q4_0 q4_1 q5_0 q5_1 q8_0 iq4_nl iq4_xs mxfp4 q2_K ... q6_K`) in integers: x is rounded to 16 bits
///    in blocks B of 32 that share a scale, and
///
///        |error| <= sum over B of (max over B of |x|) / 32639 * sum over B of |W[o, i]|, plus float32 rounding;
///
///    the same bits on every processor. A NaN or an infinity in a row of x makes its row of y NaN; one in W stays not
///    finite. W is read once, at the speed of memory;
///  * up to 8 rows meet other formats exactly;
///  * more rows meet any format in bfloat16 where the processor multiplies pairs of them (AVX512-BF16): x and W are rounded,
///    and |error| <= 2^-7 sum of |x[t, i] W[o, i]|, plus float32 rounding; elsewhere exactly. A row's bits then do not
///    depend on the rows around it either, but on there being more than 8.
///
/// Rows may lie at any byte alignment. Memory: the coded bytes; while it is applied, x once more in
/// the coded form and 740 KiB a thread.
public struct StoredMatrix: LinearMap, WidenedRows {
  public let format: WeightFormat
  public let outputWidth: Int
  public let inputWidth: Int
  /// Bytes from the beginning of one row to that of the next.
  public let rowStride: Int

  /// Row 0. Nobody writes here while the matrix lives, so it may be read by many threads.
  nonisolated(unsafe) private let address: UnsafeRawPointer
  /// What keeps the memory: a buffer, a mapping.
  private let owner: any AnyObject & Sendable
  private let widening: StoredRows.Widening

  /// A matrix over memory that `owner` keeps.
  ///
  /// - Parameters:
  ///   - bytes: rows one after the other; nobody may write there from now on.
  ///   - owner: kept as long as the matrix, and with it the memory.
  ///   - rows: the output width, at least 0.
  ///   - columns: the input width, at least 0; for blocks a multiple of their length.
  ///   - rowStride: bytes from row to row; nil means no gaps.
  /// - Throws: `matrix.format` for integers and booleans, which are no weights; `matrix.shape` if rows are not whole
  ///   blocks, overlap, or reach beyond the bytes.
  public init(
    _ bytes: UnsafeRawBufferPointer, owner: any AnyObject & Sendable, format: WeightFormat, rows: Int, columns: Int,
    rowStride: Int? = nil
  ) throws(Problem) {
    guard let widening = format.widening else {
      throw Problem(.matrixFormat, "\(format.name) is not a type of weights")
    }
    guard rows >= 0, (0...Self.widestRow).contains(columns), columns % format.blockLength == 0 else {
      throw Problem(
        .matrixShape,
        "a matrix of \(rows) x \(columns) in \(format.name), whose rows are blocks of \(format.blockLength)"
      )
    }
    let rowBytes = format.byteCount(of: columns)
    let stride = rowStride ?? rowBytes
    let (offset, overflow) = max(0, rows - 1).multipliedReportingOverflow(by: stride)
    guard stride >= rowBytes, !overflow, rows == 0 || (offset <= bytes.count && rowBytes <= bytes.count - offset) else {
      throw Problem(
        .matrixShape,
        "\(bytes.count) bytes do not hold a matrix of \(rows) x \(columns) in \(format.name) with \(stride) bytes from "
          + "row to row")
    }
    self.format = format
    self.outputWidth = rows
    self.inputWidth = columns
    self.rowStride = stride
    self.address = bytes.baseAddress ?? UnsafeRawPointer(bitPattern: 64)!
    self.owner = owner
    self.widening = widening
  }

  /// A matrix in a buffer, from byte `offset` on.
  ///
  /// - Throws: as the other initializer; `matrix.shape` if the offset lies outside the buffer.
  public init(
    _ buffer: AlignedBuffer, offset: Int = 0, format: WeightFormat, rows: Int, columns: Int, rowStride: Int? = nil
  ) throws(Problem) {
    guard (0...buffer.byteCount).contains(offset) else {
      throw Problem(.matrixShape, "byte \(offset) is not in a buffer of \(buffer.byteCount) bytes")
    }
    try self.init(
      UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer.bytes)[offset...]), owner: buffer, format: format,
      rows: rows, columns: columns, rowStride: rowStride)
  }

  /// Some of its rows and columns, in the same memory.
  ///
  /// - Throws: `matrix.shape` for what is not there, and columns that begin or end within a block.
  func part(rows: Range<Int>, columns: Range<Int>) throws(Problem) -> StoredMatrix {
    guard rows.lowerBound >= 0, rows.upperBound <= outputWidth, columns.lowerBound >= 0,
      columns.upperBound <= inputWidth, columns.lowerBound % format.blockLength == 0
    else {
      throw Problem(
        .matrixShape,
        "rows \(rows) and columns \(columns) of a matrix of \(outputWidth) x \(inputWidth) in \(format.name)")
    }
    // Without rows there is no memory to be in.
    let count = rows.isEmpty ? 0 : (rows.count - 1) * rowStride + format.byteCount(of: columns.count)
    let start = rows.isEmpty ? address : self.address(ofRow: rows.lowerBound) + format.byteCount(of: columns.lowerBound)
    return try StoredMatrix(
      UnsafeRawBufferPointer(start: start, count: count), owner: owner, format: format, rows: rows.count,
      columns: columns.count, rowStride: rowStride)
  }

  /// So that no arithmetic on rows overflows.
  private static let widestRow = Int.max >> 8

  public var byteCount: Int { outputWidth * format.byteCount(of: inputWidth) }

  /// The rows as a product takes them; whole floats can be read in place.
  var storedRows: StoredRows {
    let width = MemoryLayout<Float>.stride
    if format == .elements(.f32), rowStride % width == 0, Int(bitPattern: address) % width == 0 {
      return StoredRows(
        address, rows: outputWidth, columns: inputWidth, stride: rowStride / width, widening: es_product_pack_rows_f32)
    }
    return codedRows
  }

  var codedRows: StoredRows {
    StoredRows(address, rows: outputWidth, columns: inputWidth, stride: rowStride, widening: widening)
  }

  func address(ofRow row: Int) -> UnsafeRawPointer { address + row * rowStride }

  func streamed(_ x: MatrixView<Float>, into y: MutableMatrixView<Float>) -> (any TiledProduct)? {
    StreamedProduct(x, self, into: y)
  }

  var hasIntegerProduct: Bool {
    if case .blocks(let type) = format { type.dot != nil } else { false }
  }

  func integerProduct(
    _ x: MatrixView<Float>, _ activations: CodedActivations, into y: MutableMatrixView<Float>
  ) -> (any TiledProduct)? {
    IntegerProduct(activations, self, into: y)
  }
}
