public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// The sparsest weights, by their sum of magnitudes, whose outputs on the calibration data stay within a tolerance; the
/// tolerance is the largest that leaves the wanted number of zeros or fewer.
///
/// W `[outputs, inputs]`. Of the calibration inputs only the second moment is needed: what follows the layer is not
/// known here, so all outputs count (``NetTrimProgram`` takes samples and a rectifier). The tolerance is halved in
/// `bisections` programs; what is still missing goes by Wanda's score. Source: `aghasi2020nettrim`.
public struct NetTrim: SharedInputs {
  public static let card = MethodCard(
    name: "net_trim", summary: "Least sum of magnitudes within a tolerance of the outputs, by ADMM.",
    source: "aghasi2020nettrim",
    parameters: [
      ParameterCard("residual", .number(1e-9...0.1), default: .number(1e-4), "where a program counts as solved"),
      ParameterCard("iterations", .integer(1...1_000_000), default: .number(2000), "the most that a program may take"),
      ParameterCard(
        "bisections", .integer(1...40), default: .number(8), "programs, each halving the range of tolerances"),
    ],
    notes: """
      The source sets the tolerance; here it is searched, so that the sparsity is what was asked for. It pays where the \
      inputs leave freedom, that is where they are fewer or of lower rank than the weights of a row: random weights on \
      inputs of full rank keep more zeros at equal error when they are cut by magnitude.
      """)
  public static let needs = StatisticsNeed.moment

  private let residual: Double
  private let iterations: Int
  private let bisections: Int

  public init(_ parameters: ReductionParameters) throws(Problem) {
    residual = parameters.number("residual") ?? 1e-4
    iterations = Int(parameters.number("iterations") ?? 2000)
    bisections = Int(parameters.number("bisections") ?? 8)
  }

  public func check(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget
  ) throws(Problem) {
    try PruningPattern.check(share: share(budget))
    try Pruning.check(weight)
    _ = try Pruning.moment(statistics, for: weight, method: Self.card.name)
  }

  /// R with Rᵀ R the moment, whatever its rank: `diag(sqrt λ) V`.
  public func prepare(
    _ statistics: SiteStatistics?, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> Matrix<Double> {
    var (values, vectors) = try LinearAlgebra.symmetricEigen(Pruning.moment(statistics, method: Self.card.name).moment)
    for i in values.indices {
      let scale = max(0, values[i]).squareRoot()
      for j in 0..<vectors.columns { vectors[i, j] *= scale }
    }
    return vectors
  }

  public func reduce(
    _ weight: Matrix<Float>, _ root: Matrix<Double>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let share = try share(budget)
    let (moment, _) = try Pruning.moment(statistics, method: Self.card.name)
    let wanted = Int(Double(weight.elements.count) * share)
    let program = try NetTrimProgram(
      weight: Matrix(rows: weight.rows, columns: weight.columns, elements: weight.elements.map(Double.init)),
      inputs: root, rectified: false, parallel: parallel)
    var best = weight
    var (low, high) = (0.0, 1.0)
    var start: NetTrimProgram.Solution?
    var unsolved = 0
    for _ in 0..<bisections {
      let tolerance = (low + high) / 2
      let solution = try program.solve(
        tolerance: tolerance, residual: residual, iterations: iterations, from: start, parallel: parallel)
      if !solution.converged { unsolved += 1 }
      start = solution
      if solution.zeros <= wanted {
        low = tolerance
        best.elements = solution.weight.elements.map { Float($0) }
      } else {
        high = tolerance
      }
    }
    let scores = try Wanda.scores(best, squareSums: (0..<moment.rows).map { max(0, moment[$0, $0]) })
    let mask = try PruningPattern.perLayer(share).mask(of: Self.keepingZerosFirst(scores, best), parallel: parallel)
    var result = try Pruning.result(mask.applied(to: best, parallel: parallel), of: weight, statistics, parallel)
    if unsolved > 0 {
      result.certificate.assumptions.append("\(unsolved) of \(bisections) programs stopped above the residual")
    }
    return result
  }

  /// Weights that are zero already score below those of inputs that were always zero.
  private static func keepingZerosFirst(
    _ scores: Matrix<Double>, _ weight: Matrix<Float>
  ) -> Matrix<Double> {
    var scores = scores
    for index in scores.elements.indices where weight.elements[index] == 0 { scores.elements[index] = -1 }
    return scores
  }

  private func share(_ budget: MatrixBudget) throws(Problem) -> Double {
    if case .sparsity(let share) = budget { return share }
    throw Problem(.reduction, "\(Self.card.name) takes a sparsity, no pattern and no rank")
  }
}
