internal import CKernels
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierNumerics

/// What methods of quantization share.
///
/// Their budgets say what becomes zero besides: a sparsity of 0 for nothing.
enum Quantization {
  /// The parameters of an ``IntegerGrid``.
  static func parameters(bits: Int = 4, scales: String = "group") -> [ParameterCard] {
    [
      ParameterCard("bits", .integer(2...8), default: .number(Double(bits)), "bits of a code"),
      ParameterCard("symmetric", .flag, default: .flag(true), "whether zero is the middle of every grid"),
      ParameterCard(
        "scales", .choice(["group", "row", "matrix"]), default: .word(scales),
        "what shares a scale: columns of a row, a whole row, or the matrix"),
      ParameterCard("group_size", .integer(1...65536), default: .number(128), "columns of a group"),
      ParameterCard(
        "grid", .choice(IntegerGrid.Search.allCases.map(\.rawValue)), default: .word("minmax"),
        "the span of a grid: that of its weights, or shrunk for the least error to the power 2.4 (mse), or for the least "
          + "square error weighted by the inputs' (squares)"),
      scaleType,
    ]
  }

  static let scaleType = ParameterCard(
    "scale_type", .choice(["f32", "f16", "bf16"]), default: .word("f16"),
    "the type that scales are stored in, and rounded to before codes are chosen")

  static let blockParameters = [
    ParameterCard("block_size", .integer(1...65536), default: .number(128), "columns that are swept at once"),
    ParameterCard(
      "damp", .number(0...1), default: .number(0.01), "what is added to the moment's diagonal, by its mean"),
  ]

  static func scaleType(_ parameters: ReductionParameters) -> ElementType {
    ElementType(rawValue: parameters.word("scale_type") ?? "f16") ?? .f16
  }

  static func grid(_ parameters: ReductionParameters) throws(Problem) -> IntegerGrid {
    let sharing: IntegerGrid.Sharing =
      switch parameters.word("scales") {
      case "row": .row
      case "matrix": .matrix
      default: .columns(Int(parameters.number("group_size") ?? 128))
      }
    return try IntegerGrid(
      bits: Int(parameters.number("bits") ?? 4), symmetric: parameters.flag("symmetric") ?? true, sharing: sharing,
      search: parameters.word("grid").flatMap(IntegerGrid.Search.init) ?? .minmax, scaleType: scaleType(parameters))
  }

  /// What rounding takes: of each number codes in two forms and what they stand for, twice while errors are measured; of
  /// each group scales in two forms and zero points.
  ///
  /// - Parameter copies: of the matrices in float32 that the method works on beside.
  static func workingBytes(
    _ shapes: [(outputs: Int, inputs: Int)], _ grid: IntegerGrid, copies: Int
  ) -> Int {
    shapes.reduce(0) { sum, shape in
      sum + (16 + 4 * copies) * shape.outputs * shape.inputs + 24 * shape.outputs * grid.groupCount(of: shape.inputs)
    }
  }

  /// The mean squares of inputs, where they are known.
  static func importance(_ statistics: SiteStatistics?) -> [Double]? {
    statistics.flatMap { statistics in
      statistics.count > 0 ? statistics.squareSums.map { $0 / Double(statistics.count) } : nil
    }
  }

  /// - Throws: `reduction` for a budget that asks for zeros.
  static func requireNoZeros(_ budget: MatrixBudget, _ method: String) throws(Problem) {
    if case .sparsity(0) = budget { return }
    throw Problem(
      .reduction, "\(method) only rounds: \(budget) is no budget for it",
      remedy: "Leave the budget out, or take gptq, obq or rtn, which make zeros too.")
  }

  /// - Throws: `reduction` for budgets of other kinds, and zeros that the shape does not allow.
  static func checkZeros(_ budget: MatrixBudget, for weight: Matrix<Float>, _ method: String) throws(Problem) {
    switch budget {
    case .sparsity(let share): try PruningPattern.check(share: share)
    case .pattern(let keep, let of):
      try PruningPattern.groups(keep: keep, of: of).check(rows: weight.rows, columns: weight.columns)
    case .rank, .parameters: throw Pruning.budgetProblem(method)
    }
  }

  /// - Throws: `reduction` for a scale that its type does not have.
  static func check(_ scales: [Float], _ type: ElementType) throws(Problem) {
    let largest: Float = type == .f16 ? 65504 : .greatestFiniteMagnitude
    guard let scale = scales.first(where: { !($0 <= largest) }) else { return }
    throw Problem(
      .reduction, "a scale of \(scale) is beyond \(type.safetensorsName)",
      remedy: "Give scales a wider type (scale_type=bf16), or leave the matrix as it is (--keep).")
  }

  /// The result of a method, with its error.
  static func result(
    _ matrix: QuantizedMatrix, of weight: Matrix<Float>, _ statistics: SiteStatistics?,
    _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let changed = try matrix.materialized()
    let start = Machine.monotonicSeconds
    let certificate = try OutputError.certificate(
      of: changed, original: weight, statistics: statistics, parallel: parallel)
    let seconds = Machine.monotonicSeconds - start
    let stored = es_prune_count_kept(changed.elements, Int64(changed.elements.count))
    var result = ReducedMatrix(.quantized(matrix), certificate: certificate, storedNumbers: Int(stored))
    result.measuringSeconds = seconds
    return result
  }
}

extension Float {
  /// The nearest number of a type of scales, and at least its smallest normal one (of halves, its smallest).
  func scale(in type: ElementType) -> Float {
    let rounded = Matrix<Float>.nearest(self, in: type)
    return Swift.max(rounded, type == .f16 ? 0x1p-24 : .leastNormalMagnitude)
  }
}

extension Matrix<Float> {
  fileprivate static func nearest(_ value: Float, in type: ElementType) -> Float {
    var bytes: (UInt64) = 0
    var result: Float = 0
    withUnsafeMutableBytes(of: &bytes) { bytes in
      guard let place = bytes.baseAddress else { return }
      withUnsafePointer(to: value) { type.encode($0, into: place, count: 1) }
      type.decode(place, into: &result, count: 1)
    }
    return result
  }
}
