internal import CKernels
public import EspalierBasics
public import EspalierNumerics

extension Problem.Code {
  /// A number that is to be encoded as part of a block is NaN or infinite.
  public static let blockNumber = Problem.Code("blocks.not-finite")
  /// The numbers of a block are so large that the half that scales them is infinite.
  public static let blockScale = Problem.Code("blocks.scale")
  /// What is given as the importance of columns is not one number from 0 to 10^15 for each.
  public static let blockImportance = Problem.Code("blocks.importance")
}

/// Rows of floats as blocks of a quantized type.
///
/// Scales, and minima where a type has them, are searched for the least error; what an error in a column counts is its
/// *importance*, the mean square of the activations that meet it. The bytes are the same on every processor; a row's
/// depend on that row and the importance alone.
///
/// The search that is meant to equal llama.cpp's:
/// ```
/// Q8_0          d = max |x| / 127
/// Q4_0, Q5_0    d = -(x of the largest |x|) / 8, / 16; with importance the d of the least error among 19 near it
/// Q4_1, Q5_1    d, m from the extremes; with importance by least squares from 37 scales
/// Q2_K Q4_K Q5_K  per sub-block d, m by least squares from 16 to 37 scales; then their codes; then the numbers' codes
/// Q3_K Q6_K     per sub-block d as in Q4_0 with importance (Q3_K without: coordinate descent); then as above
/// IQ4_NL IQ4_XS per 32 numbers the d of the least error among 16, for levels that are not evenly spaced
/// MXFP4         d = the power of two at which the largest number is between 4 and 8
/// ```
/// Without importance, errors count by the magnitude of the number (Q2_K, Q4_K, Q5_K; of the latter two plus the root
/// mean square of the sub-block) or its square (Q3_K, Q6_K, IQ4). Importance is multiplied by `sqrt(s + x²)`, s a mean
/// square of the row or block (not for Q6_K). Q8_0 and MXFP4 do without importance.
///
/// Source: formats and searches of llama.cpp (`ggml-quants.c`).
public struct BlockEncoder: Sendable, Hashable {
  /// How scales are found.
  public enum Search: String, Sendable, Hashable, Codable, CaseIterable {
    /// As llama.cpp's quantizer does when it is compiled without fused multiply-add: its bytes, for every type.
    case reference
    /// For the least square error of what is decoded, which counts by importance alone (without: everywhere alike).
    /// After the search with these weights the scale of a block is fitted once more to the codes, and the sub-blocks'
    /// codes of scales and minima try their neighbours, by turns, as long as scales are as they are decoded. Slower.
    case refined
  }

  public let type: BlockType
  public let search: Search

  /// - Throws: `matrix.format` for ``BlockType/q8_K``, which is for activations.
  public init(_ type: BlockType, search: Search = .reference) throws(Problem) {
    guard type.quantizer(search) != nil else {
      throw Problem(.matrixFormat, "no weights are stored as \(type.rawValue.uppercased())")
    }
    self.type = type
    self.search = search
  }

  /// Encodes rows, one after the other without gaps. Nothing is allocated; takes 80 KB of stack.
  ///
  /// A block whose importance is zero throughout has nothing to lose: the reference's search makes mostly all of it 0 (the
  /// refined one counts such columns a millionth of the mean). An importance of zero in every column says nothing, and is
  /// as none.
  ///
  /// - Parameters:
  ///   - rows: `[rows, columns]`, not transposed; columns are a multiple of the type's ``BlockType/blockLength``.
  ///   - importance: nil, or for each column a number from 0 to 10^15.
  ///   - destination: exactly ``BlockType/byteCount(of:)`` bytes for each row, at any alignment. After an error its
  ///     bytes mean nothing.
  /// - Throws: `matrix.shape` for other columns or bytes, `blocks.importance`, `blocks.not-finite` with the place of the
  ///   first NaN or infinity, `blocks.scale` for numbers beyond the type's range: 65,504 times its largest codes (of the
  ///   number and, in super-blocks, of the scale).
  public func encode(
    _ rows: MatrixView<Float>, importance: UnsafeBufferPointer<Float>? = nil,
    into destination: UnsafeMutableRawBufferPointer
  ) throws(Problem) {
    guard let quantizer = type.quantizer(search) else { return }
    try encode(rows, importance: importance, into: destination, by: quantizer)
  }

  func encode(
    _ rows: MatrixView<Float>, importance: UnsafeBufferPointer<Float>?,
    into destination: UnsafeMutableRawBufferPointer, by quantizer: BlockType.Quantizer
  ) throws(Problem) {
    let name = type.rawValue.uppercased()
    guard rows.columns % type.blockLength == 0 else {
      throw Problem(
        .matrixShape, "\(rows.columns) columns are not whole blocks of \(type.blockLength), as \(name) has them",
        remedy: "choose a type whose blocks divide the rows; of 32 are those of Q8_0, Q5_1, Q5_0, Q4_1, Q4_0, IQ4_NL")
    }
    let rowBytes = type.byteCount(of: rows.columns)
    guard !rows.isTransposed, destination.count == rows.rows * rowBytes else {
      throw Problem(
        .matrixShape,
        "\(destination.count) bytes for \(rows.rows) rows of \(rows.columns) numbers in \(name), which are "
          + "\(rows.rows * rowBytes)")
    }
    let importance = try checked(importance, columns: rows.columns)
    guard let numbers = rows.elements, let bytes = destination.baseAddress, rows.columns > 0 else { return }

    // A few rows at a time, which are in the cache when they are encoded.
    let height = max(Self.lanes, Self.checkedNumbers / rows.columns / Self.lanes * Self.lanes)
    for first in stride(from: 0, to: rows.rows, by: height) {
      let count = min(height, rows.rows - first)
      for row in first..<first + count {
        let column = es_quantize_first_beyond(numbers + row * rows.stride, Int64(rows.columns), type.largestNumber)
        guard column < 0 else { throw beyond(numbers[row * rows.stride + Int(column)], row: row, column: Int(column)) }
      }
      let overflow = quantizer(
        numbers + first * rows.stride, Int64(rows.stride), Int64(count), Int64(rows.columns), importance,
        bytes + first * rowBytes)
      guard overflow < 0 else {
        let (row, block) = Int(overflow).quotientAndRemainder(dividingBy: rows.columns / type.blockLength)
        let start = block * type.blockLength
        throw Problem(
          .blockScale,
          "row \(first + row), columns \(start) to \(start + type.blockLength - 1): numbers too large for a scale of \(name)",
          remedy: Self.remedyForLargeNumbers)
      }
    }
  }

  private func beyond(_ value: Float, row: Int, column: Int) -> Problem {
    guard value.isFinite else {
      return Problem(
        .blockNumber, "\(value) in row \(row), column \(column), which no block can hold",
        remedy: "The model is damaged; the tensor can be kept in BF16 or F32.")
    }
    return Problem(
      .blockScale, "\(value) in row \(row), column \(column): too large for \(type.rawValue.uppercased())",
      remedy: Self.remedyForLargeNumbers)
  }

  /// What the kernel gets: null for an importance that says nothing.
  private func checked(
    _ importance: UnsafeBufferPointer<Float>?, columns: Int
  ) throws(Problem) -> UnsafePointer<Float>? {
    guard let importance else { return nil }
    guard importance.count == columns else {
      throw Problem(.blockImportance, "the importance of \(importance.count) columns for \(columns)")
    }
    for (column, value) in importance.enumerated() where !(value >= 0 && value <= Self.largestImportance) {
      throw Problem(.blockImportance, "an importance of \(value) in column \(column)")
    }
    return importance.contains { $0 > 0 } ? importance.baseAddress : nil
  }

  private static let remedyForLargeNumbers = "keep the tensor in BF16 or F32"
  /// Up to here no sum overflows.
  private static let largestImportance: Float = 1e15

  /// Rows that fill the kernel's lanes whatever their width.
  private static let lanes = 16
  private static let checkedNumbers = 1 << 15
}

extension BlockType {
  /// Past it no scale has a place for a number, and squares of squares would overflow.
  fileprivate var largestNumber: Float { self == .mxfp4 ? .greatestFiniteMagnitude : 0x1p30 }
}
