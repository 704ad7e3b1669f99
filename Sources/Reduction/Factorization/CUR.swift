public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// Some columns and rows of the weight, joined by a small matrix (Sorensen, Embree 2016; for language models Park, Moon
/// 2025).
///
///     W ≈ C U R,   C = W[:, columns],   R = W[rows, :],   U = C⁺ W R⁺
///
/// U is the best for ‖W - C U R‖_F, or, with `link: outputs`, for ‖(W - C U R) S‖_F with `S Sᵀ` the second moment of the
/// inputs: `U = C⁺ W S (R S)⁺`. The columns and rows stand out in the leading r singular vectors: by empirical
/// interpolation, or by leverage (the largest squared lengths, of equal ones the first).
public struct CUR: SharedInputs {
  public static let card = MethodCard(
    name: "cur", summary: "Columns and rows of the weight itself with a small matrix between them.",
    source: "sorensen2016deim",
    parameters: [
      ParameterCard(
        "selection", .choice(["deim", "leverage"]), default: .word("deim"),
        "How columns and rows are chosen from singular vectors: by empirical interpolation or by leverage scores."),
      ParameterCard(
        "importance", .choice(["weight", "activation"]), default: .word("weight"),
        "Whose singular vectors: the weight's, or those of its magnitudes times the norms of the inputs (needs statistics)."
      ),
      ParameterCard(
        "link", .choice(["weight", "outputs"]), default: .word("weight"),
        "What the matrix between is fitted to: the weight, or its outputs (needs the second moment)."),
    ],
    notes: """
      A share of parameters counts all three parts: the largest r with r (outputs + inputs + r) within it. Importance \
      `activation` is that of CURing. Singular vectors of large matrices come from a random projection, the same in every \
      run; the certificate then has no floor.
      """)
  public static let needs = StatisticsNeed.nothing

  public var needs: StatisticsNeed { fitsOutputs ? .moment : weighsActivations ? .columns : .nothing }

  private let selection: Selection
  private let weighsActivations: Bool
  private let fitsOutputs: Bool

  public init(_ parameters: ReductionParameters) throws(Problem) {
    selection = parameters.word("selection") == "leverage" ? .leverage : .interpolation
    weighsActivations = parameters.word("importance") == "activation"
    fitsOutputs = parameters.word("link") == "outputs"
  }

  public func check(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget
  ) throws(Problem) {
    _ = try Self.rank(budget, outputs: weight.rows, inputs: weight.columns)
    if weighsActivations || fitsOutputs { _ = try Self.required(statistics, inputs: weight.columns) }
  }

  /// S `[inputs, any number]` with `S Sᵀ` the second moment, if the link is fitted to the outputs.
  public func prepare(
    _ statistics: SiteStatistics?, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> Matrix<Double>? {
    fitsOutputs ? try Self.required(statistics).momentFactor(method: Self.card.name) : nil
  }

  public func reduce(
    _ weight: Matrix<Float>, _ factor: Matrix<Double>?, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let rank = try Self.rank(budget, outputs: weight.rows, inputs: weight.columns)
    let wide = Matrix<Double>(weight)
    var scores = wide
    if weighsActivations {
      let norms = try Self.required(statistics).rootMeanSquares
      for i in scores.elements.indices { scores.elements[i] = abs(scores.elements[i]) }
      scores = scores.scaling(columns: norms)
    }
    let leading = try LeadingVectors(of: scores, rank: rank, parallel: parallel)
    let columns = try selection.points(of: leading.right, parallel: parallel)
    let rows = try selection.points(of: leading.left, parallel: parallel)
    let (c, r) = (wide.selecting(columns: columns), wide.selecting(rows: rows))

    var (target, inner) = (wide, r)
    if let factor {
      target = try MatrixProduct.product(wide, factor, parallel: parallel)
      inner = try MatrixProduct.product(r, factor, parallel: parallel)
    }
    let link = Matrix<Float>(try CURLink.fitted(c, target, inner, parallel: parallel))

    let form = (Matrix<Float>(c), link, Matrix<Float>(r))
    let start = Machine.monotonicSeconds
    let changed = try Factors.product([form.0, form.1, form.2], parallel: parallel)
    var certificate = try OutputError.certificate(
      of: changed, original: weight, statistics: statistics, parallel: parallel)
    if statistics == nil, !weighsActivations, let values = leading.values {
      certificate.floor = Factors.floor(values, rank: rank)
    }
    var result = ReducedMatrix(
      .cur(columns: form.0, link: form.1, rows: form.2, columnIndices: columns, rowIndices: rows),
      certificate: certificate, storedNumbers: rank * (weight.rows + weight.columns + rank))
    result.measuringSeconds = Machine.monotonicSeconds - start
    return result
  }

  /// - Throws: `reduction` for a budget of zeros, and one that does not pay for one rank.
  static func rank(_ budget: MatrixBudget, outputs: Int, inputs: Int) throws(Problem) -> Int {
    let (m, n) = (Double(outputs), Double(inputs))
    guard case .parameters(let share) = budget, share > 0, share <= 1, min(m, n) > 0 else {
      return try budget.rank(outputs: outputs, inputs: inputs, method: card.name)
    }
    // r² + (m + n) r = share m n
    let half = (m + n) / 2
    let rank = min(Int((half * half + share * m * n).squareRoot() - half), outputs, inputs)
    guard rank >= 1 else {
      throw Problem(
        .reduction, "\(card.name): \(share) of a matrix of \(outputs) x \(inputs) does not pay for one rank")
    }
    return rank
  }

  /// How rows of a basis are chosen, as many as it has columns.
  enum Selection: Sendable {
    case interpolation, leverage

    func points(of basis: Matrix<Double>, parallel: MatrixProduct.ParallelLoop) throws(Problem) -> [Int] {
      switch self {
      case .interpolation: return try LinearAlgebra.empiricalInterpolation(basis, parallel: parallel)
      case .leverage: return Ranking.largest(basis.columns, of: LinearAlgebra.leverageScores(basis))
      }
    }
  }
}
