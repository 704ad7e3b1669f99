public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// The matrix of given rank whose outputs on the calibration data are nearest to those of the weight.
///
///     X Xᵀ = S Sᵀ,   W S = U diag(s) Vᵀ,   W' = U_r U_rᵀ W,   ‖(W - W') X‖_F = sqrt(s_(r+1)² + ...)
///
/// Where S has an inverse, this is `(W S)_r S⁻¹` of Wang et al. 2025; it is formed without it, so that dead inputs, fewer
/// samples than inputs and dependent inputs leave the optimum in reach. On inputs that the data never show, W' is the
/// projection of W, and ranks that the data do not need go to the weight itself.
public struct WhitenedSVD: SharedInputs {
  public static let card = MethodCard(
    name: "whitened-svd", summary: "Two factors with the least error of the outputs on the calibration data.",
    source: "wang2025svdllm",
    notes:
      "Equal to the source where the second moment is regular. With a moment kept in blocks or as a sketch, it is the optimum for that."
  )
  public static let needs = StatisticsNeed.moment

  public init(_ parameters: ReductionParameters) throws(Problem) {}

  public func check(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget
  ) throws(Problem) {
    _ = try budget.rank(outputs: weight.rows, inputs: weight.columns, method: Self.card.name)
    _ = try Self.required(statistics, inputs: weight.columns)
  }

  /// S `[inputs, any number]`.
  public func prepare(
    _ statistics: SiteStatistics?, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> Matrix<Double> {
    try Self.required(statistics).momentFactor(method: Self.card.name)
  }

  public func reduce(
    _ weight: Matrix<Float>, _ factor: Matrix<Double>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let rank = try budget.rank(outputs: weight.rows, inputs: weight.columns, method: Self.card.name)
    let wide = Matrix<Double>(weight)
    let weighted = try MatrixProduct.product(wide, factor, parallel: parallel)
    let subspace = try OutputSubspace(of: wide, weighted: weighted, rank: rank, parallel: parallel)
    var floor: Double?
    if case .full? = statistics?.moment { floor = subspace.floor }
    return try Factors.reduced(
      subspace.factors(of: wide, parallel: parallel), of: weight, statistics, floor: floor, parallel: parallel)
  }
}

extension ReductionMethod {
  /// - Throws: `reduction` without statistics.
  static func required(_ statistics: SiteStatistics?) throws(Problem) -> SiteStatistics {
    if let statistics { return statistics }
    throw Problem(.reduction, "\(card.name) needs statistics of the inputs", remedy: "Calibrate the model first.")
  }

  /// - Throws: `reduction` without statistics or if they saw nothing; `matrix.shape`.
  static func required(_ statistics: SiteStatistics?, inputs: Int) throws(Problem) -> SiteStatistics {
    let statistics = try required(statistics)
    try statistics.check(inputs: inputs, method: card.name)
    return statistics
  }
}
