public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// Removes the weights of least magnitude.
///
/// ```
/// score[i, j] = |W[i, j]|
/// ```
///
/// W `[outputs, inputs]`. The weights that stay are those of W to the bit. Equal magnitudes go by index, lowest first.
/// Cost: a few passes over the matrix.
public struct MagnitudePruning: ReductionMethod {
  public static let card = MethodCard(
    name: "magnitude", summary: "Removes the weights of least magnitude; needs no data.", source: "han2015learning",
    parameters: PruningPattern.parameters(scope: "layer", spansModels: true),
    notes: "The source trains again afterwards; here nothing is trained. Tiles are scored by their sum of squares. "
      + "Scope model is of single weights and a sparsity, and for `prune`; one matrix alone is its own model.")
  public static let needs = StatisticsNeed.nothing

  private let parameters: ReductionParameters

  public init(_ parameters: ReductionParameters) throws(Problem) { self.parameters = parameters }

  public func reduce(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let pattern = try PruningPattern(budget, parameters, method: Self.card.name)
    try Pruning.check(weight)
    let mask = try pattern.mask(ofMagnitudes: weight, norms: nil, parallel: parallel)
    return try Pruning.result(mask.applied(to: weight, parallel: parallel), of: weight, statistics, parallel)
  }
}
