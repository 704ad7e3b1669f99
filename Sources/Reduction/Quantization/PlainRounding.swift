public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// Rounds each weight to the nearest level of its grid (``IntegerGrid``); the others do not make up for it.
///
/// ```
/// w' = scale (clamp(round(w / scale) + zero) - zero),   |w - w'| <= scale / 2 for grid minmax
/// ```
///
/// With a budget of zeros the least magnitudes of the matrix, or of each group, go first. Cost: some operations a weight.
public struct PlainRounding: ReductionMethod {
  public static let card = MethodCard(
    name: "rtn", summary: "Rounds each weight to the nearest level.", source: "frantar2023gptq",
    parameters: Quantization.parameters(),
    notes:
      "A symmetric grid has a half step between its extremes and its outer levels, as compressed-tensors define it.")
  public static let needs = StatisticsNeed.nothing
  public var needs: StatisticsNeed { grid.search == .squares ? .columns : .nothing }

  let grid: IntegerGrid

  public init(_ parameters: ReductionParameters) throws(Problem) { grid = try Quantization.grid(parameters) }

  public func workingBytes(_ shapes: [(outputs: Int, inputs: Int)], threads: Int) -> Int {
    Quantization.workingBytes(shapes, grid, copies: 4)
  }

  public func reduce(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    try Quantization.checkZeros(budget, for: weight, Self.card.name)
    try Pruning.check(weight)
    let pruned: Matrix<Float>
    switch budget {
    case .sparsity(0): pruned = weight
    case .sparsity(let share): pruned = try Self.pruned(weight, .perLayer(share), parallel)
    case .pattern(let keep, let of): pruned = try Self.pruned(weight, .groups(keep: keep, of: of), parallel)
    case .rank, .parameters: throw Pruning.budgetProblem(Self.card.name)
    }
    let matrix = try grid.rounded(pruned, importance: Quantization.importance(statistics), parallel: parallel)
    return try Quantization.result(matrix, of: weight, statistics, parallel)
  }

  private static func pruned(
    _ weight: Matrix<Float>, _ pattern: PruningPattern, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> Matrix<Float> {
    let magnitudes = try Matrix(
      rows: weight.rows, columns: weight.columns, elements: weight.elements.map { Double($0.magnitude) })
    return try pattern.mask(of: magnitudes, parallel: parallel).applied(to: weight, parallel: parallel)
  }
}
