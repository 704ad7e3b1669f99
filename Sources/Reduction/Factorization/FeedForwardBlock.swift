public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// The weights of a feed-forward sub-layer: `y = down f(gate x, up x)`, where f acts on each neuron alone.
public struct FeedForwardBlock: Sendable {
  /// `[neurons, inputs]`; nil in a block without a gate.
  public var gate: Matrix<Float>?
  /// `[neurons, inputs]`.
  public var up: Matrix<Float>
  /// `[outputs, neurons]`.
  public var down: Matrix<Float>

  /// - Throws: `matrix.shape` if the parts do not share their neurons and inputs.
  public init(gate: Matrix<Float>?, up: Matrix<Float>, down: Matrix<Float>) throws(Problem) {
    guard down.columns == up.rows, gate.map({ $0.rows == up.rows && $0.columns == up.columns }) ?? true else {
      let first = gate.map { "gate \($0.rows) x \($0.columns), " } ?? ""
      throw Problem(
        .matrixShape, "\(first)up \(up.rows) x \(up.columns) and down \(down.rows) x \(down.columns) make no block")
    }
    self.gate = gate
    self.up = up
    self.down = down
  }

  public var neurons: Int { up.rows }

  /// The block of these neurons alone, in this order; each must be one of its neurons.
  public func selecting(_ neurons: [Int]) -> FeedForwardBlock {
    var result = self
    result.gate = gate?.selecting(rows: neurons)
    result.up = up.selecting(rows: neurons)
    result.down = down.selecting(columns: neurons)
    return result
  }

  /// The block with all weights of the other neurons zero.
  public func masked(keeping neurons: [Int]) -> FeedForwardBlock {
    var keeps = [Bool](repeating: false, count: self.neurons)
    for neuron in neurons { keeps[neuron] = true }
    var result = self
    for i in keeps.indices where !keeps[i] {
      for j in 0..<up.columns {
        result.up[i, j] = 0
        result.gate?[i, j] = 0
      }
      for o in 0..<down.rows { result.down[o, i] = 0 }
    }
    return result
  }

  func check(inputs: SiteStatistics?, neurons statistics: SiteStatistics?, method: String) throws(Problem) {
    try inputs?.check(inputs: up.columns, method: method)
    try statistics?.check(inputs: neurons, method: method)
  }
}

/// LoRAP's treatment of the feed-forward block (Li et al. 2024): channels are scored without gradients, and the least
/// important of those that would go stay. That of attention is ``ActivationWeightedSVD`` with ``RankAllocation``.
public enum Lorap {
  /// The score of each neuron: the Euclidean norm of all its weights, each times the norm of its input.
  ///
  ///     score_i² = sum over j of (|gate_ij| ‖x_j‖)² + (|up_ij| ‖x_j‖)²  +  sum over o of (|down_oi| ‖h_i‖)²
  ///
  /// with ‖x_j‖ and ‖h_i‖ the root mean squares of the block's inputs and of what enters `down`. The source scores with
  /// magnitude times input norm; that the parts of a neuron are added by squares is our choice.
  ///
  /// - Throws: `matrix.shape`, `reduction` for statistics that do not fit or saw nothing; `linear-algebra.non-finite`.
  public static func channelScores(
    _ block: FeedForwardBlock, inputs: SiteStatistics, neurons: SiteStatistics
  ) throws(Problem) -> [Double] {
    try block.check(inputs: inputs, neurons: neurons, method: "lorap")
    let (x, h) = (inputs.rootMeanSquares, neurons.rootMeanSquares)
    let scores = (0..<block.neurons).map { i in
      var sum = 0.0
      for matrix in [block.gate, block.up].compactMap({ $0 }) {
        for j in 0..<matrix.columns {
          let score = Double(matrix[i, j]) * x[j]
          sum += score * score
        }
      }
      for o in 0..<block.down.rows {
        let score = Double(block.down[o, i]) * h[i]
        sum += score * score
      }
      return sum.squareRoot()
    }
    if let bad = scores.firstIndex(where: { !$0.isFinite }) {
      throw Problem(.nonFiniteMatrix, "lorap: the score of neuron \(bad) is \(scores[bad])")
    }
    return scores
  }

  /// The neurons that stay, ascending: `keep` of them, of which `Int(share * count)` are the least important of all, the
  /// others the most important.
  ///
  /// - Parameter leastImportant: the share of all neurons; the source keeps 0.01, 0 keeps none of them.
  /// - Throws: `reduction` if `keep` is not 0 ... count or the share not 0 ... 1.
  public static func channels(
    _ scores: [Double], keep: Int, leastImportant share: Double = 0.01
  ) throws(Problem) -> [Int] {
    guard (0...scores.count).contains(keep), (0...1).contains(share) else {
      throw Problem(
        .reduction, "lorap: \(keep) of \(scores.count) neurons with a share of \(share) of the least important")
    }
    let order = Ranking.descending(scores)
    let least = min(keep, Int(share * Double(scores.count)))
    return (order.prefix(keep - least) + order.suffix(least)).sorted()
  }
}
