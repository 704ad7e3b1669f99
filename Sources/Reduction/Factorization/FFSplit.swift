public import EspalierBasics
public import EspalierNumerics

/// FFSplit (Liu et al. 2024) against a budget: a block's heavy neurons stay, the others become factors, and the share pays
/// for both (``FeedForwardSplit``).
///
/// Of n neurons the `h = Int(heavy n)` that weigh most stay. A matrix of n rows or columns keeps a share s of its numbers
/// when that of the other neurons keeps
///
///     s' = (s n - h) / (n - h)
///
/// of its own. The places of the neurons, 4 bytes each, are not counted.
public struct FFSplit: BlockMethod {
  public static let card = MethodCard(
    name: "ffsplit",
    summary: "Heavy neurons of the feed-forward sub-layer stay, the others become factors, block by block.",
    source: "liu2024ffsplit",
    parameters: [
      ParameterCard(
        "heavy", .number(0...1), default: .number(0.25), "Share of the neurons that stays whole; less than the budget."),
      ParameterCard(
        "score", .choice(["activation", "contribution"]), default: .word("activation"),
        "What a neuron weighs: the norm of what it puts out, or that times the norm of its column of down."),
      ParameterCard(
        "light", .choice(methods.map { $0.card.name }), default: .word(WhitenedSVD.card.name),
        "The method that makes factors of the others."),
    ],
    notes:
      "A method for whole models: it takes a block's feed-forward matrices together, and a share of their numbers as its "
      + "budget, which pays for both parts. Attention and all else stays as it is. A matrix is stored as its heavy rows "
      + "(of down: columns) and the factors of the others; with `--store dense` it is written out.")
  public static let inputs =
    "a block's feed-forward matrices and what `light` needs to know of their inputs; makes factors"
  public static let reducesOthers = false

  private static let methods: [any ReductionMethod.Type] = [
    PlainSVD.self, ActivationScaledSVD.self, ActivationWeightedSVD.self, WhitenedSVD.self,
  ]

  public let needs: StatisticsNeed
  private let share: Double
  private let heavy: Double
  private let score: FeedForwardSplit.Score
  private let method: any ReductionMethod

  public init(_ parameters: ReductionParameters, share: Double) throws(Problem) {
    let heavy = parameters.number("heavy") ?? 0.25
    guard heavy < share || heavy == 0 else {
      throw Problem(
        .reduction, "ffsplit: a share of \(heavy) of the neurons alone takes the whole budget of \(share)",
        remedy: "Give a smaller `heavy`, or a larger share.")
    }
    (self.share, self.heavy) = (share, heavy)
    score = parameters.word("score") == "contribution" ? .contribution : .activation
    let name = parameters.word("light") ?? WhitenedSVD.card.name
    let type = Self.methods.first { $0.card.name == name } ?? WhitenedSVD.self
    method = try type.init(ReductionParameters([:], for: type.card))
    needs = max(.columns, type.needs)
  }

  public func reduce(
    _ matrices: [BlockMatrix], parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> [BlockMatrix.Outcome] {
    guard let (block, inputs, neurons) = try FeedForwardBlock.find(in: matrices, method: "ffsplit") else { return [] }
    let name = matrices[0].name
    let all = block.neurons
    let whole = Int(heavy * Double(all))
    let rest = (share * Double(all) - Double(whole)) / Double(all - whole)
    // Gate and up are alike, and down may be of another width.
    for matrix in [block.up, block.down] {
      let width = matrix.rows * matrix.columns / all
      guard rest * Double(all - whole) * Double(width) >= Double(all - whole + width) else {
        throw Problem(
          .reduction, "ffsplit: \(whole) heavy neurons of \(all) leave no rank for the others",
          remedy: "Give a smaller `heavy`, or a larger share.", tensor: name)
      }
    }
    do throws(Problem) {
      let split = try FeedForwardSplit(
        block, inputs: inputs, neurons: neurons, heavy: whole, score: score, method: method, to: .parameters(rest),
        parallel: parallel)
      var outcomes: [BlockMatrix.Outcome] = []
      for matrix in matrices {
        guard let form = try split.form(of: matrix.part, parallel: parallel) else {
          throw Problem(.reduction, "ffsplit reduces feed-forward matrices alone", tensor: matrix.name)
        }
        outcomes.append(
          .init(
            form: form, budget: .parameters(share),
            text: "heavy \(whole) of \(all), others \(method(of: split, matrix.part))"))
      }
      return outcomes
    } catch { throw error.at(tensor: name) }
  }

  private func method(of split: FeedForwardSplit, _ part: BlockMatrix.Part) -> String {
    split.rank(of: part).map { "rank \($0)" } ?? "none"
  }
}
