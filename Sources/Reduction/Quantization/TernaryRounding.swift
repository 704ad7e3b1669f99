internal import CKernels
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierLinearMaps
public import EspalierNumerics

/// Weights, or differences of weights, as -1, 0 or 1 times a scale.
///
/// ```
/// w' = scale sign(w) where |w| > t, else 0,   scale = mean |w| where |w| > t
/// twn         t = 0.7 mean |w|
/// optimal     the t of the least sum of (w - w')²: of the k largest magnitudes with sum S, the k of the largest S² / k
/// ```
///
/// Source: equations 6 and 4; what is optimal is found by sorting. The scale is rounded to its type.
public struct TernaryRounding: ReductionMethod {
  public static let card = MethodCard(
    name: "ternary", summary: "-1, 0 or 1 times a scale.", source: "li2016ternary",
    parameters: [
      ParameterCard(
        "rule", .choice(["optimal", "twn"]), default: .word("optimal"),
        "the threshold below which a weight becomes zero: that of least error, or 0.7 of the mean magnitude"),
      ParameterCard(
        "scales", .choice(["group", "row", "matrix"]), default: .word("row"), "what shares a scale"),
      ParameterCard("group_size", .integer(1...65536), default: .number(128), "columns of a group"),
      Quantization.scaleType,
    ])
  public static let needs = StatisticsNeed.nothing

  private let isOptimal: Bool
  private let sharing: String
  private let groupSize: Int
  private let scaleType: ElementType

  public init(_ parameters: ReductionParameters) throws(Problem) {
    isOptimal = parameters.word("rule") != "twn"
    sharing = parameters.word("scales") ?? "row"
    groupSize = Int(parameters.number("group_size") ?? 128)
    scaleType = Quantization.scaleType(parameters)
  }

  public func reduce(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    try Quantization.requireNoZeros(budget, Self.card.name)
    try Pruning.check(weight)
    return try Quantization.result(quantized(weight, parallel), of: weight, statistics, parallel)
  }

  /// - Parameter weight: `[rows, columns]`, finite.
  func quantized(
    _ weight: Matrix<Float>, _ parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> QuantizedMatrix {
    let (rows, columns) = (weight.rows, weight.columns)
    let width = sharing == "group" ? min(groupSize, max(1, columns)) : max(1, columns)
    let across = (columns + width - 1) / width
    let isWhole = sharing == "matrix"
    var codes = [UInt8](repeating: 1, count: rows * columns)
    var scales = [Float](repeating: 0, count: isWhole ? min(1, rows * columns) : rows * across)
    try weight.elements.withUnsafeBufferPointer { (elements) throws(Problem) in
      try codes.withUnsafeMutableBufferPointer { (codes) throws(Problem) in
        try scales.withUnsafeMutableBufferPointer { (scales) throws(Problem) in
          guard let source = elements.baseAddress, let codes = codes.baseAddress, let scales = scales.baseAddress
          else { return }
          guard !isWhole else {
            scales[0] = round(UnsafeBufferPointer(start: source, count: rows * columns), codes)
            return
          }
          // Every index writes the places of its row.
          try parallel(rows) { (row) throws(Problem) in
            for group in 0..<across {
              let place = row * columns + group * width
              let part = UnsafeBufferPointer(start: source + place, count: min(width, columns - group * width))
              scales[row * across + group] = round(part, codes + place)
            }
          }
        }
      }
    }
    try Quantization.check(scales, scaleType)
    return try QuantizedMatrix(
      rows: rows, columns: columns, grid: .ternary, codes: codes, scales: scales,
      tileRows: isWhole ? max(1, rows) : 1, tileColumns: width, scaleType: scaleType)
  }

  /// Writes the codes of weights that share a scale; the scale.
  private func round(_ values: UnsafeBufferPointer<Float>, _ codes: UnsafeMutablePointer<UInt8>) -> Float {
    let n = Int64(values.count)
    var sum = 0.0
    let threshold: Float
    if isOptimal {
      var (total, best) = (0.0, 0.0)
      var least: Float = .infinity
      for (index, magnitude) in values.map(\.magnitude).sorted(by: >).enumerated() {
        total += Double(magnitude)
        let gain = total * total / Double(index + 1)
        if gain > best { (best, least) = (gain, magnitude) }
      }
      threshold = least.isFinite ? least.nextDown : 0
    } else {
      _ = es_ternary_sum(values.baseAddress, n, 0, &sum)
      threshold = Float(0.7 * sum / Double(max(1, n)))
    }
    let count = es_ternary_sum(values.baseAddress, n, threshold, &sum)
    es_ternary_codes(values.baseAddress, n, threshold, codes)
    guard count > 0 else { return Float(1).scale(in: scaleType) }
    return Float(sum / Double(count)).scale(in: scaleType)
  }
}
