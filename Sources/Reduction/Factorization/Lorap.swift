public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// LoRAP (Li et al. 2024): a block's feed-forward channels are scored without gradients, and those that go become zeros;
/// its other matrices become factors by ``ActivationWeightedSVD``, with ranks of ``RankAllocation``.
///
/// One share is kept in both parts: `Int(share * neurons)` channels, and of the other matrices ranks that together take at
/// most that share of their numbers.
public struct Lorap: BlockMethod {
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
  public static let inputs = "a block's matrices and sums by column of what enters them; makes factors and zeros"
  public static let reducesOthers = true
  public let needs = StatisticsNeed.columns

  private let share: Double
  /// Of all channels, the least important ones that stay.
  private let leastImportant: Double
  /// Whether ranks go where they keep most, or every matrix keeps the same share.
  private let allocatesRanks: Bool

  public init(_ parameters: ReductionParameters, share: Double) throws(Problem) {
    self.share = share
    leastImportant = parameters.number("least_important") ?? 0.01
    allocatesRanks = parameters.word("ranks") != "uniform"
  }

  public func reduce(
    _ matrices: [BlockMatrix], parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> [BlockMatrix.Outcome] {
    let others = matrices.filter { $0.part == .other }
    let budgets = try budgets(others, parallel)
    let method = try ActivationWeightedSVD(ReductionParameters([:], for: ActivationWeightedSVD.card))
    let channels = try channels(matrices)
    var outcomes: [BlockMatrix.Outcome] = []
    var place = 0
    for matrix in matrices {
      if let channels, let masked = channels.masked[matrix.part] {
        outcomes.append(.init(form: .dense(masked), budget: .parameters(share), text: channels.text))
        continue
      }
      do throws(Problem) {
        let reduced = try method.reduce(
          matrix.weight, matrix.statistics, to: budgets[place], parallel: parallel)
        outcomes.append(.init(form: reduced.form, budget: budgets[place]))
      } catch { throw error.at(tensor: matrix.name) }
      place += 1
    }
    return outcomes
  }

  private func budgets(
    _ matrices: [BlockMatrix], _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> [MatrixBudget] {
    guard allocatesRanks, let first = matrices.first else { return matrices.map { _ in .parameters(share) } }
    var spectra: [RankAllocation.Spectrum] = []
    for matrix in matrices {
      let weight = matrix.weight
      do throws(Problem) {
        var spectrum = try RankAllocation.Spectrum(of: weight, matrix.statistics, weighing: .norms, parallel: parallel)
        // Beyond this rank the factors have more numbers than the matrix.
        let most = max(1, weight.rows * weight.columns / (weight.rows + weight.columns))
        spectrum.values = Array(spectrum.values.prefix(most))
        spectra.append(spectrum)
      } catch { throw error.at(tensor: matrix.name) }
    }
    let numbers = matrices.reduce(0) { $0 + $1.weight.rows * $1.weight.columns }
    do throws(Problem) {
      return try RankAllocation.ranks(spectra, numbers: Int(share * Double(numbers))).map { .rank($0) }
    } catch { throw error.at(tensor: first.name) }
  }

  private func channels(_ matrices: [BlockMatrix]) throws(Problem) -> (masked: FeedForwardBlock, text: String)? {
    guard let (block, inputs, neurons) = try FeedForwardBlock.find(in: matrices, method: "lorap") else { return nil }
    guard share * Double(block.neurons) >= 1 else {
      throw Problem(.reduction, "lorap: a share of \(share) leaves none of \(block.neurons) channels")
    }
    let kept = try Self.channels(
      Self.channelScores(block, inputs: inputs, neurons: neurons), keep: Int(share * Double(block.neurons)),
      leastImportant: leastImportant)
    return (block.masked(keeping: kept), "channels \(kept.count) of \(block.neurons)")
  }

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
