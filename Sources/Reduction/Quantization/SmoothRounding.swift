public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierLinearMaps
public import EspalierNumerics

/// Moves the spread of inputs into the weight before both are to be rounded to 8 bits.
///
/// ```
/// W' = Q(W diag(s)) diag(s)⁻¹,   s_j = a_j^alpha / (max over outputs of |w_j|)^(1 - alpha),   a_j = sqrt(mean x_j²)
/// ```
///
/// s is at least 1e-5. The result has it as ``QuantizedMatrix/inputScales``; what is measured is the error of the weight's
/// rounding, inputs being as they are. Source: equation 4.
public struct SmoothRounding: ReductionMethod {
  public static let card = MethodCard(
    name: "smooth", summary: "Int8 of a weight into which the spread of its inputs was moved.",
    source: "xiao2023smoothquant",
    parameters: [
      ParameterCard(
        "alpha", .number(0...1), default: .number(0.5), "how much of the inputs' spread moves; 1 is all, 0 none")
    ] + Quantization.parameters(bits: 8, scales: "row"),
    notes: "The source takes the largest |x_j|; statistics keep sums of squares, so the root mean square stands for it."
  )
  public static let needs = StatisticsNeed.columns

  private let alpha: Double
  private let grid: IntegerGrid

  public init(_ parameters: ReductionParameters) throws(Problem) {
    alpha = parameters.number("alpha") ?? 0.5
    grid = try Quantization.grid(parameters)
  }

  public func reduce(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    try Quantization.requireNoZeros(budget, Self.card.name)
    try Pruning.check(weight)
    let known = try Pruning.statistics(statistics, for: weight, method: Self.card.name)
    var most = [Float](repeating: 0, count: weight.columns)
    weight.elements.withUnsafeBufferPointer { elements in
      most.withUnsafeMutableBufferPointer { most in
        for row in 0..<weight.rows {
          let start = row * weight.columns
          for j in most.indices { most[j] = max(most[j], elements[start + j].magnitude) }
        }
      }
    }
    let scales = zip(known.rootMeanSquares, most).map { size, most in
      let s = Elementary.power(max(size, 1e-5), alpha) / Elementary.power(max(Double(most), 1e-5), 1 - alpha)
      return Float(max(s, 1e-5))
    }
    let importance = Quantization.importance(known)?.enumerated().map { $1 / Double(scales[$0] * scales[$0]) }
    var matrix = try grid.rounded(weight.scaled(columns: scales), importance: importance, parallel: parallel)
    matrix.inputScales = scales
    return try Quantization.result(matrix, of: weight, known, parallel)
  }
}
