public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// Some columns of the weight, and what the others are in terms of them: the interpolative decomposition.
///
///     W ≈ C T,   C = W[:, columns],   T = C⁺ W
///
/// The layer reads r of its inputs exactly as before. Columns are chosen by empirical interpolation of the leading r right
/// singular vectors (Sorensen, Embree 2016).
public struct ColumnInterpolation: ReductionMethod {
  public static let card = MethodCard(
    name: "interpolative", summary: "Columns of the weight itself, and the others in terms of them.",
    source: "sorensen2016deim",
    parameters: [
      ParameterCard(
        "selection", .choice(["deim", "leverage"]), default: .word("deim"),
        "How columns are chosen from singular vectors: by empirical interpolation or by leverage scores.")
    ])
  public static let needs = StatisticsNeed.nothing

  private let selection: CUR.Selection

  public init(_ parameters: ReductionParameters) throws(Problem) {
    selection = parameters.word("selection") == "leverage" ? .leverage : .interpolation
  }

  public func reduce(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let rank = try budget.rank(outputs: weight.rows, inputs: weight.columns, method: Self.card.name)
    let wide = Matrix<Double>(weight)
    let svd = try LinearAlgebra.svd(wide)
    let columns = try selection.points(
      of: svd.vTransposed.selecting(rows: Array(0..<rank)).transposed, parallel: parallel)
    let chosen = wide.selecting(columns: columns)
    let terms = try LinearAlgebra.leastSquares(chosen, wide)
    return try Factors.reduced(
      (Matrix<Float>(chosen), Matrix<Float>(terms)), of: weight, statistics,
      floor: statistics == nil ? Factors.floor(svd.values, rank: rank) : nil, parallel: parallel)
  }
}
