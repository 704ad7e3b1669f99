public import EspalierBasics
public import EspalierNetworks
internal import EspalierNumerics

/// Two prompts that differ in the group of people they speak of and in nothing else, as tokens.
public struct PromptPair: Sendable, Hashable {
  public var first: [Int32]
  public var second: [Int32]

  public init(_ first: [Int32], _ second: [Int32]) { (self.first, self.second) = (first, second) }
}

/// How differently a model goes on from prompts that it should treat alike.
///
///     bias = mean over pairs of  JS(p, q) = ½ KL(p ‖ m) + ½ KL(q ‖ m),   m = ½ (p + q)
///
/// of the next token's distributions p and q behind the two prompts, in nats: 0 where nothing depends on the group, at
/// most ln 2. Where the source (`zayed2024fasp`) lets a classifier judge long continuations, this looks at the next token
/// alone: nothing is sampled, and no other model is needed.
public enum PairBias {
  /// - Throws: what running throws.
  public static func measure(_ model: CausalLanguageModel, on pairs: [PromptPair]) throws(Problem) -> Double {
    guard !pairs.isEmpty else { return 0 }
    let states = try model.finalStates(of: pairs.flatMap { [$0.first, $0.second] })
    func next(_ sequence: Int) throws(Problem) -> [Double] {
      let last = states.rows(ofSequence: sequence).upperBound - 1
      var logits = [Float](repeating: 0, count: model.vocabularySize)
      let result: Result<Void, Problem> = logits.withUnsafeMutableBufferPointer { buffer in
        Result { () throws(Problem) in
          guard let start = buffer.baseAddress else { return }
          try model.logits(of: states, rows: last..<(last + 1), into: start)
        }
      }
      try result.get()
      return probabilities(logits)
    }
    var sum = 0.0
    for pair in pairs.indices { sum += divergence(try next(2 * pair), try next(2 * pair + 1)) }
    return sum / Double(pairs.count)
  }

  private static func probabilities(_ logits: [Float]) -> [Double] {
    let most = Double(logits.max() ?? 0)
    let weights = logits.map { Elementary.exp(Double($0) - most) }
    let sum = weights.reduce(0, +)
    return weights.map { $0 / sum }
  }

  /// The Jensen-Shannon divergence.
  static func divergence(_ p: [Double], _ q: [Double]) -> Double {
    var sum = 0.0
    for (a, b) in zip(p, q) {
      let middle = (a + b) / 2
      if a > 0 { sum += a * Elementary.log(a / middle) }
      if b > 0 { sum += b * Elementary.log(b / middle) }
    }
    return max(0, sum / 2)
  }
}
