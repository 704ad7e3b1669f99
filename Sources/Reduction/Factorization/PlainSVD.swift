public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// The matrix of given rank nearest to a weight (Eckart, Young 1936): its leading singular triplets.
///
///     W = U diag(s) Vᵀ,   W' = U_r diag(s_1 ... s_r) V_rᵀ,   ‖W - W'‖_F = sqrt(s_(r+1)² + ...)
///
/// Statistics are only measured against. Without them the certificate's floor is that optimum.
public struct PlainSVD: ReductionMethod {
  public static let card = MethodCard(
    name: "svd", summary: "Two factors by the leading singular values of the weight.", source: "eckart1936")
  public static let needs = StatisticsNeed.nothing

  public init(_ parameters: ReductionParameters) throws(Problem) {}

  public func reduce(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let rank = try budget.rank(outputs: weight.rows, inputs: weight.columns, method: Self.card.name)
    let wide = Matrix<Double>(weight)
    let subspace = try OutputSubspace(of: wide, weighted: wide, rank: rank, parallel: parallel)
    return try Factors.reduced(
      subspace.factors(of: wide, parallel: parallel), of: weight, statistics,
      floor: statistics == nil ? subspace.floor : nil, parallel: parallel)
  }
}
