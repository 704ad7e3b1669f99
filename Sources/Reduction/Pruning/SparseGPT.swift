public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// Removes weights from left to right, block of columns by block, and lets those to their right make up for them.
///
/// ```
/// score[i, j] = W[i, j]² / U[j, j]²
/// e[i, j] = W[i, j] / U[j, j] if pruned, else 0            (``ColumnSweep``)
/// ```
///
/// W `[outputs, inputs]`. In a block of columns the weights of least score go as they stand when the block begins, over
/// all rows together; with keep of n, the least of a group as they stand when the sweep reaches it. Weights of inputs
/// that were always zero go. Source: algorithm 1.
///
/// Cost: n³ / 3 + outputs n² flops for n inputs; 4 outputs n + 4 n² bytes, and 8 n² while the moment is factored.
public struct SparseGPT: SharedInputs {
  public static let card = MethodCard(
    name: "sparsegpt", summary: "Removes weights column by column and updates the rest by the inputs' second moment.",
    source: "frantar2023sparsegpt",
    parameters: [
      ParameterCard(
        "block_size", .integer(1...65536), default: .number(128), "columns whose weights are chosen at once"),
      ParameterCard(
        "damp", .number(0...1), default: .number(0.01), "what is added to the moment's diagonal, by its mean"),
    ],
    notes: """
      As in the authors' code a block loses every score up to that of rank Int(size * sparsity), one more than the share \
      itself, and inputs that were always zero lose their weights beyond it.
      """)
  public static let needs = StatisticsNeed.moment

  private let blockSize: Int
  private let damp: Double

  public init(_ parameters: ReductionParameters) throws(Problem) {
    blockSize = Int(parameters.number("block_size") ?? 128)
    damp = parameters.number("damp") ?? 0.01
  }

  public func check(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget
  ) throws(Problem) {
    try check(budget, for: weight)
    _ = try Pruning.moment(statistics, for: weight, method: Self.card.name)
    try Pruning.check(weight)
  }

  public func prepare(
    _ statistics: SiteStatistics?, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ColumnFactor {
    let (moment, count) = try Pruning.moment(statistics, method: Self.card.name)
    return try ColumnFactor(moment: moment, count: count, damp: damp, blockSize: blockSize, parallel: parallel)
  }

  /// Of each matrix what is swept, the changes and what is left, in float32.
  public func workingBytes(_ shapes: [(outputs: Int, inputs: Int)], threads: Int) -> Int {
    24 * shapes.reduce(0) { $0 + $1.outputs * $1.inputs }
      + ColumnFactor.workingBytes(shapes, blockSize: blockSize, byActivity: false)
  }

  public func reduce(
    _ weight: Matrix<Float>, _ factor: ColumnFactor, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let pruned = try ColumnSweep(factor: factor, budget: budget).run(weight, parallel: parallel)
    return try Pruning.result(pruned, of: weight, statistics, parallel)
  }

  private func check(_ budget: MatrixBudget, for weight: Matrix<Float>) throws(Problem) {
    switch budget {
    case .sparsity(let share): try PruningPattern.check(share: share)
    case .pattern(let keep, let of):
      try PruningPattern.groups(keep: keep, of: of).check(rows: weight.rows, columns: weight.columns)
      guard blockSize % of == 0 else {
        throw Problem(.reduction, "\(Self.card.name): block_size \(blockSize) is no multiple of the pattern's \(of)")
      }
    case .rank, .parameters: throw Pruning.budgetProblem(Self.card.name)
    }
  }
}
