internal import CKernels
public import EspalierBasics
public import EspalierLinearMaps
public import EspalierNumerics

/// Evenly spaced levels around zero, and how they are fitted to weights.
///
/// ```
/// symmetric     scale = 2 max |w| / (2^bits - 1),        zero = 2^(bits - 1)
/// otherwise     scale = (max w - min w) / (2^bits - 1),  zero = round(-min w / scale),  of the weights and 0
/// code = clamp(round(w / scale) + zero, 0, 2^bits - 1),  w' = scale (code - zero)
/// ```
///
/// Rounding is to nearest, ties to even, in float64; a scale that is stored as f16 or bf16 is rounded before codes are chosen
/// by it. Weights that are all zero have the span from -1 to 1. As in GPTQ, AWQ and compressed-tensors
/// (`frantar2023gptq`).
public struct IntegerGrid: Sendable, Hashable {
  /// What shares a scale.
  public enum Sharing: Sendable, Hashable {
    case matrix
    case row
    /// So many consecutive columns of a row; the last of a row may be fewer.
    case columns(Int)
  }

  /// How the span is chosen.
  public enum Search: String, Sendable, Hashable, CaseIterable {
    /// From the least weight to the greatest.
    case minmax
    /// That span, or of it shrunk by 1, 2 ... 79 hundredths the one of least sum of |w - w'|^2.4.
    case mse
    /// The same for the sum of (w - w')², each counting by the importance of its column.
    case squares
  }

  public let bits: Int
  public let isSymmetric: Bool
  public let sharing: Sharing
  public let search: Search
  /// The type in which scales are stored: f32, f16 or bf16.
  public let scaleType: ElementType

  /// - Throws: `reduction` for bits outside 2 to 8, groups of no columns, another type of scales, a search over a whole
  ///   matrix.
  public init(
    bits: Int, symmetric: Bool = true, sharing: Sharing = .row, search: Search = .minmax, scaleType: ElementType = .f32
  ) throws(Problem) {
    guard (2...8).contains(bits) else { throw Problem(.reduction, "codes of \(bits) bits; they are from 2 to 8") }
    if case .columns(let count) = sharing, count < 1 { throw Problem(.reduction, "groups of \(count) columns") }
    guard [.f32, .f16, .bf16].contains(scaleType) else {
      throw Problem(.reduction, "scales are not stored as \(scaleType.safetensorsName)")
    }
    guard sharing != .matrix || search == .minmax else {
      throw Problem(.reduction, "one scale for a whole matrix is not searched for", remedy: "Choose grid minmax.")
    }
    (self.bits, isSymmetric, self.sharing, self.search, self.scaleType) = (bits, symmetric, sharing, search, scaleType)
  }

  // MARK: - Sizes

  /// Columns that share a scale.
  func groupLength(of columns: Int) -> Int {
    if case .columns(let count) = sharing { min(count, max(1, columns)) } else { max(1, columns) }
  }

  func groupCount(of columns: Int) -> Int {
    let length = groupLength(of: columns)
    return max(1, (columns + length - 1) / length)
  }

  var zero: Int { 1 << (bits - 1) }

  var fit: es_grid_fit {
    let search: es_grid_search =
      switch self.search {
      case .minmax: es_grid_extremes
      case .mse: es_grid_power
      case .squares: es_grid_squares
      }
    let significand: Int32 =
      switch scaleType {
      case .f16: 11
      case .bf16: 8
      default: 24
      }
    return es_grid_fit(
      top: Int32(1 << bits - 1), symmetric: isSymmetric, significand: significand, search: search, steps: 80)
  }

  func codes(rows: Int, columns: Int) -> GridCodes {
    let length = groupLength(of: columns)
    return GridCodes(
      rows: rows, columns: columns, groups: groupCount(of: columns), hasZeros: !isSymmetric,
      groupOf: (0..<columns).map { Int32($0 / length) })
  }

  // MARK: - Rounding

  /// Rounds each weight to the nearest level.
  ///
  /// - Parameters:
  ///   - weight: `[rows, columns]`, finite.
  ///   - importance: of columns, for ``Search/squares``; nil: all alike.
  /// - Throws: `matrix.shape` for another number of importances; `reduction` for scales beyond their type.
  public func rounded(
    _ weight: Matrix<Float>, importance: [Double]? = nil,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> QuantizedMatrix {
    let (rows, columns) = (weight.rows, weight.columns)
    try checkImportance(importance, columns)
    let codes = codes(rows: rows, columns: columns)
    if sharing == .matrix { fitMatrix(weight, codes) }
    let length = sharing == .matrix ? 0 : groupLength(of: columns)
    let together = Int(ES_PRUNE_SWEEP_ROWS)
    try weight.elements.withUnsafeBufferPointer { (elements) throws(Problem) in
      guard let source = elements.baseAddress else { return }
      try importance.withPointer { (importance) throws(Problem) in
        try parallel((rows + together - 1) / together) { (index) throws(Problem) in
          let first = index * together
          let count = min(together, rows - first)
          let room = Room<Double>(40 * columns)
          es_prune_difference(source + first * columns, nil, Int64(count * columns), room.values)
          var native = codes.native(fit, zero: zero, fitLength: length, importance: importance)
          es_prune_sweep(
            room.values, es_sweep_place(rows: Int64(count), row: Int64(first), column: 0), Int64(columns), nil, -1, 0,
            0,
            &native, room.values + 8 * columns)
        }
      }
    }
    return try matrix(codes)
  }

  /// Fits the grids of all groups, as the weights stand.
  func fitAll(
    _ weight: Matrix<Float>, _ codes: GridCodes, importance: [Double]?, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    guard sharing != .matrix else { return fitMatrix(weight, codes) }
    let columns = weight.columns
    let together = Int(ES_PRUNE_SWEEP_ROWS)
    try weight.elements.withUnsafeBufferPointer { (elements) throws(Problem) in
      guard let source = elements.baseAddress else { return }
      try parallel((weight.rows + together - 1) / together) { (index) throws(Problem) in
        let first = index * together
        let rows = first..<min(weight.rows, first + together)
        let room = Room<Double>(rows.count * columns)
        es_prune_difference(source + first * columns, nil, Int64(rows.count * columns), room.values)
        fit(
          ColumnSweep.Block(rows: rows, columns: 0..<columns, values: room.values), codes, importance: importance)
      }
    }
  }

  /// Fits the grids of the groups of some rows and columns, which are whole groups, as they stand.
  func fit(_ block: ColumnSweep.Block, _ codes: GridCodes, importance: [Double]?) {
    let length = groupLength(of: codes.columns)
    let width = block.columns.count
    let together = Int(ES_PRUNE_SWEEP_ROWS)
    let room = Room<Double>(together * length)
    for start in stride(from: block.columns.lowerBound, to: block.columns.upperBound, by: length) {
      let count = min(length, block.columns.upperBound - start)
      let importance = importance.map { Array($0[start..<start + count]) }
      for first in stride(from: block.rows.lowerBound, to: block.rows.upperBound, by: together) {
        let place = first * codes.groups + start / length
        es_grid_fit_rows(
          block.values + (first - block.rows.lowerBound) * width + start - block.columns.lowerBound, Int64(width),
          Int64(min(together, block.rows.upperBound - first)), Int64(count), fit, importance, codes.scales + place,
          codes.zeros.map { $0 + place }, Int64(codes.groups), room.values)
      }
    }
  }

  /// One grid for all rows.
  private func fitMatrix(_ weight: Matrix<Float>, _ codes: GridCodes) {
    var (low, high): (Float, Float) = (0, 0)
    es_grid_extremes_of(weight.elements, Int64(weight.elements.count), &low, &high)
    let room = Room<Double>(16)
    var (scale, zero): (Double, UInt8) = (0, 0)
    es_grid_fit_rows([Double(low), Double(high)], 2, 1, 2, fit, nil, &scale, &zero, 1, room.values)
    codes.scales.update(repeating: scale, count: codes.rows)
    codes.zeros?.update(repeating: zero, count: codes.rows)
  }

  func checkImportance(_ importance: [Double]?, _ columns: Int) throws(Problem) {
    guard let importance, importance.count != columns else { return }
    throw Problem(.matrixShape, "the importance of \(importance.count) columns for \(columns)")
  }

  /// What was chosen, as a value.
  ///
  /// - Parameters:
  ///   - order: the column at each place of the sweep.
  ///   - groupOfColumn: where groups are not those of consecutive columns.
  func matrix(
    _ chosen: GridCodes, order: [Int32]? = nil, groupOfColumn: [Int32]? = nil
  ) throws(Problem) -> QuantizedMatrix {
    let count = sharing == .matrix ? min(1, chosen.rows) : chosen.rows * chosen.groups
    let scales = UnsafeBufferPointer(start: chosen.scales, count: count).map { Float($0) }
    try Quantization.check(scales, scaleType)
    return try QuantizedMatrix(
      rows: chosen.rows, columns: chosen.columns, grid: .integer(bits: bits, symmetric: isSymmetric),
      codes: chosen.ordered(order), scales: chosen.columns == 0 ? [] : scales,
      zeros: chosen.zeros.map { chosen.columns == 0 ? [] : Array(UnsafeBufferPointer(start: $0, count: count)) },
      tileRows: sharing == .matrix ? max(1, chosen.rows) : 1, tileColumns: groupLength(of: chosen.columns),
      groupOfColumn: groupOfColumn, scaleType: scaleType)
  }
}

extension Optional where Wrapped == [Double] {
  /// Lends the elements, or nil.
  func withPointer<Result>(_ body: (UnsafePointer<Double>?) throws(Problem) -> Result) throws(Problem) -> Result {
    guard let self else { return try body(nil) }
    return try self.withUnsafeBufferPointer { (buffer) throws(Problem) in try body(buffer.baseAddress) }
  }
}
