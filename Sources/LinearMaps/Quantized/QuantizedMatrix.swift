internal import CKernels
public import EspalierBasics
public import EspalierNumerics

extension Problem.Code {
  /// Codes, scales or zeros that do not make a quantized matrix.
  public static let quantizedMatrix = Problem.Code("matrix.quantized")
}

/// A weight matrix as codes of a few bits and scales that tiles of them share, plain enough for any file format to pack.
///
///     W'[o, i] = scale[o / tileRows, g(i)] v(code[o, i])  (/ inputScales[i])        g(i) = i / tileColumns
///
/// with v(q) = q - zero for integers and ternary codes, the value of the byte for floats. The product is rounded once to
/// float32, the quotient once more.
///
///     one scale a matrix     tileRows = rows,  tileColumns = columns
///     one a row              tileRows = 1,     tileColumns = columns
///     groups of n columns    tileRows = 1,     tileColumns = n
///     blocks                 tileRows = 128,   tileColumns = 128
///
/// The last tile of a row or column may be smaller. Memory: a byte an element, four a scale.
public struct QuantizedMatrix: LinearMap, Hashable {
  /// What codes stand for.
  public enum Grid: Sendable, Hashable {
    /// Codes from 0 to 2^bits - 1, bits from 2 to 8. Symmetric: every zero is 2^(bits - 1); signed formats store
    /// code - 2^(bits - 1).
    case integer(bits: Int, symmetric: Bool)
    /// A code is the bits of a number of 8 bits: ``ElementType/f8e4m3`` or ``ElementType/f8e5m2``.
    case float(ElementType)
    /// Codes 0, 1 and 2 for -1, 0 and 1.
    case ternary

    /// Bits that a code takes where codes are packed.
    public var bits: Int {
      switch self {
      case .integer(let bits, _): bits
      case .float: 8
      case .ternary: 2
      }
    }

    /// The zero of all codes; nil where each scale has its own, and for floats.
    public var commonZero: Int? {
      switch self {
      case .integer(let bits, true): 1 << (bits - 1)
      case .integer(_, false), .float: nil
      case .ternary: 1
      }
    }

    /// The largest code.
    public var largestCode: Int {
      switch self {
      case .integer(let bits, _): 1 << bits - 1
      case .float: 255
      case .ternary: 2
      }
    }
  }

  public let rows: Int
  public let columns: Int
  public let grid: Grid
  /// `[rows, columns]`, row after row, columns in the order of the inputs whatever ``groupOfColumn``.
  public var codes: [UInt8]
  /// `[scaleRows, scaleColumns]`, row after row; each is a number of ``scaleType``.
  public var scales: [Float]
  /// The codes of zero, one a scale; nil unless the grid is of integers and not symmetric.
  public var zeros: [UInt8]?
  /// Rows and columns that share a scale.
  public let tileRows: Int
  public let tileColumns: Int
  /// The column of ``scales`` that each column of the matrix uses, `g_idx` of GPTQ; nil: column / tileColumns.
  public let groupOfColumn: [Int32]?
  /// The type that scales are stored in without loss.
  public let scaleType: ElementType
  /// What inputs are divided by before they meet the codes; nil for nothing. A writer may multiply what makes the inputs
  /// by the inverse and drop them.
  public var inputScales: [Float]?

  public var outputWidth: Int { rows }
  public var inputWidth: Int { columns }
  /// Rows and columns of ``scales``.
  public var scaleRows: Int { (rows + tileRows - 1) / tileRows }
  public var scaleColumns: Int { (columns + tileColumns - 1) / tileColumns }

  public var byteCount: Int {
    codes.count + (zeros?.count ?? 0) + 4 * (scales.count + (groupOfColumn?.count ?? 0) + (inputScales?.count ?? 0))
  }

  /// Bytes with codes and zeros packed to their bits and scales in their type: what a file takes, but for its padding.
  public var packedByteCount: Int {
    (grid.bits * codes.count + 7) / 8 + scaleType.byteWidth * scales.count
      + (grid.bits * (zeros?.count ?? 0) + 7) / 8 + 4 * ((groupOfColumn?.count ?? 0) + (inputScales?.count ?? 0))
  }

  /// - Throws: `matrix.quantized` for sizes that do not fit each other, codes or zeros beyond the grid, groups that are not
  ///   there, scales that are not finite, input scales that are not positive.
  public init(
    rows: Int, columns: Int, grid: Grid, codes: [UInt8], scales: [Float], zeros: [UInt8]? = nil, tileRows: Int,
    tileColumns: Int, groupOfColumn: [Int32]? = nil, scaleType: ElementType = .f32, inputScales: [Float]? = nil
  ) throws(Problem) {
    self.rows = rows
    self.columns = columns
    self.grid = grid
    self.codes = codes
    self.scales = scales
    self.zeros = zeros
    self.tileRows = tileRows
    self.tileColumns = tileColumns
    self.groupOfColumn = groupOfColumn
    self.scaleType = scaleType
    self.inputScales = inputScales
    guard let complaint else { return }
    throw Problem(.quantizedMatrix, "a quantized matrix of \(rows) x \(columns): \(complaint)")
  }

  private var complaint: String? {
    switch grid {
    case .integer(let bits, _) where !(2...8).contains(bits): return "codes of \(bits) bits"
    case .float(let type) where type != .f8e4m3 && type != .f8e5m2: return "codes of \(type.safetensorsName)"
    default: break
    }
    guard rows >= 0, columns >= 0, rows.multipliedReportingOverflow(by: columns) == (codes.count, false) else {
      return "\(codes.count) codes"
    }
    guard tileRows > 0, tileColumns > 0 else { return "tiles of \(tileRows) x \(tileColumns)" }
    guard scaleRows.multipliedReportingOverflow(by: scaleColumns) == (scales.count, false) else {
      return "\(scales.count) scales where tiles of \(tileRows) x \(tileColumns) have \(scaleRows) x \(scaleColumns)"
    }
    guard (grid.commonZero == nil && grid != .float(.f8e4m3) && grid != .float(.f8e5m2)) == (zeros != nil),
      zeros.map({ $0.count == scales.count }) ?? true
    else { return "\(zeros?.count ?? 0) zeros for \(scales.count) scales" }
    if let groups = groupOfColumn {
      guard groups.count == columns else { return "\(groups.count) groups of columns" }
      if let group = groups.first(where: { !(0..<scaleColumns).contains(Int($0)) }) {
        return "group \(group) of \(scaleColumns)"
      }
    }
    if let scales = inputScales {
      guard scales.count == columns else { return "\(scales.count) scales of inputs" }
      if let scale = scales.first(where: { !($0 > 0) || !$0.isFinite }) { return "an input's scale of \(scale)" }
    }
    if let scale = scales.first(where: { !$0.isFinite }) { return "a scale of \(scale)" }
    let most = UInt8(grid.largestCode)
    if most < 255 {
      if let code = codes.first(where: { $0 > most }) { return "the code \(code) where \(most) is the largest" }
      if let zero = zeros?.first(where: { $0 > most }) { return "the zero \(zero) where \(most) is the largest" }
    }
    return nil
  }

  public func gather(
    rows indices: some Sequence<Int>, into destination: UnsafeMutablePointer<Float>
  ) throws(Problem) {
    var target = destination
    for index in indices {
      guard (0..<rows).contains(index) else {
        throw Problem(.matrixShape, "row \(index) of a matrix of \(rows) rows")
      }
      widen(row: index, into: target)
      target += columns
    }
  }

  private func widen(row: Int, into target: UnsafeMutablePointer<Float>) {
    let (first, n) = (row / tileRows * scaleColumns, Int64(columns))
    let zero = Int32(grid.commonZero ?? 0)
    codes.withUnsafeBufferPointer { codes in
      scales.withUnsafeBufferPointer { scales in
        guard let codes = codes.baseAddress, let scales = scales.baseAddress else { return }
        let source = codes + row * columns
        if case .float(let type) = grid { type.decode(source, into: target, count: columns) }
        if let groups = groupOfColumn {
          if case .float = grid {
            for column in 0..<columns { target[column] *= scales[first + Int(groups[column])] }
          } else if let zeros {
            zeros.withUnsafeBufferPointer {
              es_codes_decode_grouped(source, n, scales + first, $0.baseAddress.map { $0 + first }, 0, groups, target)
            }
          } else {
            es_codes_decode_grouped(source, n, scales + first, nil, zero, groups, target)
          }
        } else {
          for (group, start) in stride(from: 0, to: columns, by: tileColumns).enumerated() {
            let (count, scale) = (Int64(min(tileColumns, columns - start)), scales[first + group])
            if case .float = grid {
              es_codes_scale(target + start, count, scale)
            } else {
              es_codes_decode(
                source + start, count, scale, zeros.map { Int32($0[first + group]) } ?? zero, target + start)
            }
          }
        }
      }
    }
    if let inputScales { es_codes_divide(target, inputScales, n) }
  }

  /// Some rows at a time are widened and multiplied; fast mode is exact.
  public func apply(
    _ x: MatrixView<Float>, into y: MutableMatrixView<Float>, mode: NumericMode, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    try checkShapes(x, y)
    guard let target = y.elements, rows > 0, y.rows > 0 else { return }
    let height = 96
    try parallel((rows + height - 1) / height) { (index) throws(Problem) in
      let part = index * height..<min(rows, (index + 1) * height)
      let weights = try FloatScratch(rows: part.count, columns: columns)
      try gather(rows: part, into: weights.address)
      // Its columns of y.
      let count = (y.rows - 1) * y.stride + part.count
      try MatrixProduct.multiply(
        x, try weights.view().transposed,
        into: MutableMatrixView(
          UnsafeMutableBufferPointer(start: target + part.lowerBound, count: count), rows: y.rows, columns: part.count,
          stride: y.stride))
    }
  }
}
