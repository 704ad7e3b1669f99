internal import CKernels
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierLinearMaps
public import EspalierNumerics

/// Rounds one weight of a row at a time, the one whose error the others can best make up for, and updates them exactly.
///
/// ```
/// p = argmin (w[p] - q[p])² / H⁻¹[p, p],   w -= (w[p] - q[p]) / H⁻¹[p, p] H⁻¹[:, p]
/// ```
///
/// q is the nearest level of an ``IntegerGrid`` fitted to the weight beforehand; weights that updates have driven beyond
/// their grid go first. With a budget of zeros weights of each row are first removed as by ``OptimalBrainCompression``
/// and those that are left rounded by the same steps, so that rounding makes up for the zeros too. Source: sections 4 and
/// 5 (OBQ).
///
/// Cost: n³ flops a row for n inputs, 8 n² bytes a thread: for matrices of some hundred inputs.
public struct GreedyRounding: OptimalBrainSteps {
  public static let card = MethodCard(
    name: "obq", summary: "Exact optimal-brain-surgeon steps that round, or remove and round.",
    source: "frantar2022obc",
    parameters: Quantization.parameters() + [
      ParameterCard(
        "damp", .number(0...1), default: .number(0.01), "what is added to the moment's diagonal, by its mean")
    ])
  public static let needs = StatisticsNeed.moment

  private let grid: IntegerGrid
  public let damp: Double

  public init(_ parameters: ReductionParameters) throws(Problem) {
    grid = try Quantization.grid(parameters)
    damp = parameters.number("damp") ?? 0.01
  }

  public func reduce(
    _ weight: Matrix<Float>, _ inverse: Matrix<Double>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let n = weight.columns
    let codes = grid.codes(rows: weight.rows, columns: n)
    try grid.fitAll(weight, codes, importance: Quantization.importance(statistics), parallel)
    var (drop, of, removed) = (0, 0, 0)
    switch budget {
    case .pattern(let keep, let group): (drop, of, removed) = (group - keep, group, (group - keep) * (n / group))
    case .sparsity(let share): removed = Int(Double(n) * share)
    case .rank, .parameters: break
    }
    let top = Double(grid.fit.top)
    try parallel(weight.rows) { (row) throws(Problem) in
      let place = (0..<n).map { row * codes.groups + Int(codes.groupOf[$0]) }
      let low = place.map { -Double(codes.zeros?[$0] ?? UInt8(grid.zero)) }
      let levels = OptimalBrainCompression.Levels(
        scale: place.map { codes.scales[$0] }, low: low, high: low.map { $0 + top }, removed: removed)
      let rounded = try OptimalBrainCompression.steps(
        n, on: weight.elements[row * n..<(row + 1) * n].map(Double.init), inverse: inverse, drop: drop, of: of,
        levels: levels
      ).weights
      for j in 0..<n {
        codes.codes[row * n + j] = UInt8(max(0, min(top, (rounded[j] / levels.scale[j]).rounded() - low[j])))
      }
    }
    return try Quantization.result(grid.matrix(codes), of: weight, statistics, parallel)
  }
}
