public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// Singular values of the weight with its columns scaled by how large the inputs are (Yuan et al. 2023).
///
///     W diag(a) = U diag(s) Vᵀ,   a_j = (mean |x_j|)^alpha,   W' = U_r U_rᵀ W
///
/// which is `(W diag(a))_r diag(a)⁻¹`, formed without dividing by inputs that are always zero.
public struct ActivationScaledSVD: ReductionMethod {
  public static let card = MethodCard(
    name: "asvd", summary: "Two factors by the singular values of the weight scaled by the size of its inputs.",
    source: "yuan2023asvd",
    parameters: [
      ParameterCard(
        "alpha", .number(0...2), default: .number(0.5), "Power of the mean magnitude of an input; 0 is plain.")
    ],
    notes: "The scaling of the source; its search for ranks is that of the budget.")
  public static let needs = StatisticsNeed.columns

  private let alpha: Double

  public init(_ parameters: ReductionParameters) throws(Problem) { alpha = parameters.number("alpha") ?? 0.5 }

  public func reduce(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let rank = try budget.rank(outputs: weight.rows, inputs: weight.columns, method: Self.card.name)
    let statistics = try Self.required(statistics, inputs: weight.columns)
    let wide = Matrix<Double>(weight)
    let scales = statistics.absoluteMeans.map { Elementary.power($0, alpha) }
    let subspace = try OutputSubspace(
      of: wide, weighted: wide.scaling(columns: scales), rank: rank, parallel: parallel)
    return try Factors.reduced(
      subspace.factors(of: wide, parallel: parallel), of: weight, statistics, floor: nil, parallel: parallel)
  }
}
