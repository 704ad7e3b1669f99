internal import CKernels
public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// Removes one weight of a row at a time, the one whose loss the others can best make up for, and updates them exactly.
///
/// ```
/// p = argmin w[p]² / H⁻¹[p, p],   w -= w[p] / H⁻¹[p, p] H⁻¹[:, p],   H⁻¹ -= H⁻¹[:, p] H⁻¹[p, :] / H⁻¹[p, p]
/// ```
///
/// After each step w is the least-squares optimum on the weights that are left, for the damped moment of
/// ``InverseFactor``; the choice of each is greedy. The inverse is shared by all rows and never rewritten: eliminating
/// p is one more column of its pivoted Cholesky factor, k n flops at step k instead of n². Float64 throughout, one
/// rounding at the end. Source: algorithm 1; section 4 for patterns and the choice across rows.
///
/// Cost for n inputs of which k go: about k² n flops a row, twice that plus n³ with scope layer; 8 k n bytes a thread.
public struct OptimalBrainCompression: OptimalBrainSteps {
  public static let card = MethodCard(
    name: "obc", summary: "Exact optimal-brain-surgeon steps, one weight of a row at a time.", source: "frantar2022obc",
    parameters: [
      ParameterCard(
        "scope", .choice(["row", "layer"]), default: .word("row"),
        "whether each output loses the same share, or the steps of least loss of all outputs are taken"),
      ParameterCard(
        "damp", .number(0...1), default: .number(0.01), "what is added to the moment's diagonal, by its mean"),
    ],
    notes: """
      With scope layer a step counts by the largest loss of its row so far, so that a row's steps stay in their order; \
      the source takes the rows' next steps by their own loss, which comes to the same choice.
      """)
  public static let needs = StatisticsNeed.moment

  private let spansLayer: Bool
  public let damp: Double

  public init(_ parameters: ReductionParameters) throws(Problem) {
    spansLayer = parameters.word("scope") == "layer"
    damp = parameters.number("damp") ?? 0.01
  }

  public func reduce(
    _ weight: Matrix<Float>, _ inverse: Matrix<Double>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let n = weight.columns
    var group = (drop: 0, of: 0)
    if case .pattern(let keep, let of) = budget { group = (of - keep, of) }
    let steps: [Int]
    switch budget {
    case .sparsity(let share) where spansLayer:
      steps = try Self.steps(share, weight, inverse, parallel)
    case .sparsity(let share): steps = [Int](repeating: Int(Double(n) * share), count: weight.rows)
    default: steps = [Int](repeating: group.drop * (n / max(1, group.of)), count: weight.rows)
    }
    let rows = try Self.rows(weight.rows, parallel) { (i) throws(Problem) in
      let row = weight.elements[i * n..<(i + 1) * n].map(Double.init)
      let result = try Self.prune(row, inverse: inverse, steps: steps[i], drop: group.drop, of: group.of)
      return result.weights.map { Float($0) }
    }
    let pruned = try Matrix(rows: weight.rows, columns: n, elements: Array(rows.joined()))
    return try Pruning.result(pruned, of: weight, statistics, parallel)
  }

  /// What the steps did to a row.
  public struct Trace: Sendable {
    public var weights: [Double]
    /// The columns that went, in turn.
    public var order: [Int]
    /// What each added to half the squared error, `w[p]² / (2 H⁻¹[p, p])`.
    public var losses: [Double]
  }

  /// Takes `steps` steps on one row.
  ///
  /// - Parameters:
  ///   - inverse: H⁻¹ `[n, n]`.
  ///   - drop: with `of` > 0, the most that may go of every `of` consecutive weights.
  /// - Throws: `matrix.shape`, `reduction` for more steps than there are weights to remove or an inverse that is not
  ///   positive definite.
  public static func prune(
    _ row: [Double], inverse: Matrix<Double>, steps: Int, drop: Int = 0, of: Int = 0
  ) throws(Problem) -> Trace {
    try Self.steps(steps, on: row, inverse: inverse, drop: drop, of: of, levels: nil)
  }

  /// Levels scale k that the weights of a row are rounded to, k from `low` to `high`, by column.
  struct Levels {
    var scale: [Double]
    var low: [Double]
    var high: [Double]
    /// Steps that remove before those that round.
    var removed: Int
  }

  /// The same; with levels the steps after the first `removed` round instead.
  static func steps(
    _ steps: Int, on row: [Double], inverse: Matrix<Double>, drop: Int, of: Int, levels: Levels?
  ) throws(Problem) -> Trace {
    let n = row.count
    guard inverse.rows == n, inverse.columns == n else {
      throw Problem(.matrixShape, "an inverse of \(inverse.rows) x \(inverse.columns) for a row of \(n) weights")
    }
    guard (0...n).contains(steps), drop >= 0, of >= 0 else {
      throw Problem(.reduction, "\(steps) of \(n) weights cannot be removed")
    }
    var weights = row
    let factor = Room<Double>(steps * n)
    var diagonal = [Double](repeating: 0, count: n)
    var state = [Int32](repeating: 0, count: n + n / max(1, of) + 1)
    var order = [Int32](repeating: 0, count: steps)
    var losses = [Double](repeating: 0, count: steps)
    let (scale, low, high) = (levels?.scale ?? [], levels?.low ?? [], levels?.high ?? [])
    let done = scale.withUnsafeBufferPointer { scale in
      low.withUnsafeBufferPointer { low in
        high.withUnsafeBufferPointer { high in
          let job = es_surgeon(
            n: Int64(n), steps: Int64(steps), drop: Int64(drop), of: Int64(of), removed: Int64(levels?.removed ?? -1),
            scale: scale.baseAddress, low: low.baseAddress, high: high.baseAddress)
          return es_prune_surgeon(
            job, &weights, inverse.elements, factor.values, &diagonal, &state, &order, &losses)
        }
      }
    }
    guard done == steps else {
      throw Problem(
        .reduction, "only \(done) of \(steps) weights of a row of \(n) could be removed",
        remedy: "Raise the damping: the second moment is near singular.")
    }
    return Trace(weights: weights, order: order.map(Int.init), losses: losses)
  }

  /// How many weights each row loses when the steps of least loss are taken, `Int(size * share)` in all.
  private static func steps(
    _ share: Double, _ weight: Matrix<Float>, _ inverse: Matrix<Double>, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> [Int] {
    let n = weight.columns
    let envelopes = try rows(weight.rows, parallel) { (i) throws(Problem) in
      let row = weight.elements[i * n..<(i + 1) * n].map(Double.init)
      var losses = try prune(row, inverse: inverse, steps: n).losses
      for step in losses.indices.dropFirst() { losses[step] = max(losses[step], losses[step - 1]) }
      return losses
    }
    let all = Array(envelopes.joined())
    var marks = [UInt8](repeating: 0, count: all.count)
    all.withUnsafeBufferPointer { values in
      marks.withUnsafeMutableBufferPointer { marks in
        guard let base = marks.baseAddress else { return }
        OrderStatistic.markLeast(Int(Double(all.count) * share), of: values, base)
      }
    }
    return (0..<weight.rows).map { i in marks[i * n..<(i + 1) * n].reduce(0) { $0 + Int($1) } }
  }

  private static func rows<T: Sendable>(
    _ count: Int, _ parallel: MatrixProduct.ParallelLoop, _ body: @escaping (Int) throws(Problem) -> [T]
  ) throws(Problem) -> [[T]] {
    var results = [[T]](repeating: [], count: count)
    try results.withUnsafeMutableBufferPointer { (places) throws(Problem) in
      // Every index writes its own place.
      try parallel(count) { (index) throws(Problem) in places[index] = try body(index) }
    }
    return results
  }
}
