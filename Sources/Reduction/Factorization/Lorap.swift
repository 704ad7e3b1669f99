public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierNumerics

/// LoRAP's treatment of the feed-forward block (Li et al. 2024): channels are scored without gradients, and the least
/// important of those that would go stay. That of attention is ``ActivationWeightedSVD`` with ``RankAllocation``.
public enum Lorap {
  public static let card = MethodCard(
    name: "lorap",
    summary: "Attention as factors by the norms of its inputs, feed-forward channels as zeros, block by block.",
    source: "li2024lorap",
    parameters: [
      ParameterCard(
        "least_important", .number(0...1), default: .number(0.01),
        "Share of all channels, the least important ones, that stay."),
      ParameterCard(
        "ranks", .choice(["allocated", "uniform"]), default: .word("allocated"),
        "Ranks of a block's matrices: where they keep most, or the same share of each."),
    ],
    notes:
      "A method for whole models: it takes a block's matrices together, and a share of their numbers as its budget. "
      + "Ranks come from the spectra instead of a fixed ratio. Channels are zeros in place: they are not taken out.")

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
