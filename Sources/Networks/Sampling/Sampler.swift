internal import EspalierNumerics

/// How the next token is chosen: the most probable, or drawn by chance.
public struct Sampler: Sendable {
  public var warpers: [any LogitWarper]
  /// Nil takes the most probable token.
  public var seed: UInt64?

  /// The most probable token, after the penalty if there is one.
  public static func greedy(repetitionPenalty: Float = 1) -> Sampler {
    Sampler(warpers: repetitionPenalty == 1 ? [] : [RepetitionPenalty(repetitionPenalty)], seed: nil)
  }

  /// Draws by chance: penalty, temperature, then the cuts that are given, in this order.
  ///
  /// - Parameters:
  ///   - temperature: 0 takes the most probable token.
  ///   - seed: the same seed, prompt and model give the same tokens.
  public static func random(
    temperature: Float = 1, topK: Int? = nil, topP: Double? = nil, minP: Double? = nil, repetitionPenalty: Float = 1,
    seed: UInt64 = 0
  ) -> Sampler {
    guard temperature > 0 else { return greedy(repetitionPenalty: repetitionPenalty) }
    var warpers = greedy(repetitionPenalty: repetitionPenalty).warpers
    if temperature != 1 { warpers.append(Temperature(temperature)) }
    if let topK, topK > 0 { warpers.append(TopK(topK)) }
    if let topP, topP < 1 { warpers.append(TopP(topP)) }
    if let minP, minP > 0 { warpers.append(MinP(minP)) }
    return Sampler(warpers: warpers, seed: seed)
  }

  public init(warpers: [any LogitWarper], seed: UInt64?) {
    self.warpers = warpers
    self.seed = seed
  }

  /// The token after `context`.
  ///
  /// - Parameters:
  ///   - logits: one a vocabulary entry, at least one.
  ///   - context: the tokens so far; its length keys the random number, so a draw does not depend on earlier ones.
  public func next(_ logits: [Float], context: [Int32]) -> Int32 {
    var candidates = TokenCandidates(logits: logits)
    for warper in warpers { warper.warp(&candidates, context: context) }
    guard let seed else { return candidates.best ?? 0 }
    candidates.sort()
    var draw: Float = 0
    KeyedRandom(seed: seed, name: "sampling").uniforms(startingAt: context.count, into: &draw, count: 1)
    var sum = 0.0
    for (candidate, probability) in zip(candidates.all, candidates.probabilities) {
      sum += probability
      if Double(draw) < sum { return candidate.token }
    }
    return candidates.all.last?.token ?? 0
  }
}
