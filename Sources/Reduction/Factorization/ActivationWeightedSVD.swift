public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// Singular values of the weight with its columns weighed by the Euclidean norms of the inputs: LoRAP's treatment of
/// attention (Li et al. 2024), with ranks by ``RankAllocation``.
///
///     W diag(d) = U diag(s) Vᵀ,   d_j = sqrt(mean x_j²),   W' = U_r U_rᵀ W
///
/// The optimum for uncorrelated inputs: where the statistics have no full moment, the certificate's floor.
public struct ActivationWeightedSVD: ReductionMethod {
  public static let card = MethodCard(
    name: "awsvd", summary: "Two factors by the singular values of the weight times the norms of its inputs.",
    source: "li2024lorap", notes: "What LoRAP does to a matrix of attention; its channel scores are functions of Lorap."
  )
  public static let needs = StatisticsNeed.columns

  public init(_ parameters: ReductionParameters) throws(Problem) {}

  public func reduce(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let rank = try budget.rank(outputs: weight.rows, inputs: weight.columns, method: Self.card.name)
    let statistics = try Self.required(statistics, inputs: weight.columns)
    let wide = Matrix<Double>(weight)
    let subspace = try OutputSubspace(
      of: wide, weighted: wide.scaling(columns: statistics.rootMeanSquares), rank: rank, parallel: parallel)
    var floor: Double? = subspace.floor
    if case .full? = statistics.moment { floor = nil }
    return try Factors.reduced(
      subspace.factors(of: wide, parallel: parallel), of: weight, statistics, floor: floor, parallel: parallel)
  }
}
