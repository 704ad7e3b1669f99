internal import EspalierNumerics

/// Tokens that may come next, with what is known of their probabilities; samplers narrow it.
public struct TokenCandidates: Sendable {
  public struct Candidate: Sendable {
    public var token: Int32
    public var logit: Float
  }

  /// Those still possible: by falling logit, equal ones by token, once a sampler has sorted them; else by token.
  public var all: [Candidate]
  private var isSorted = false

  /// - Parameter logits: one a vocabulary entry. What is not a number cannot come.
  public init(logits: [Float]) {
    all = logits.enumerated().map { Candidate(token: Int32($0), logit: $1.isNaN ? -.infinity : $1) }
  }

  /// The most probable, the first of equal ones.
  public var best: Int32? {
    all.max { ($0.logit, -$0.token) < ($1.logit, -$1.token) }?.token
  }

  /// Puts the most probable first.
  public mutating func sort() {
    guard !isSorted else { return }
    all.sort { ($0.logit, -$0.token) > ($1.logit, -$1.token) }
    isSorted = true
  }

  /// Keeps the first `count`, one at least.
  public mutating func keep(first count: Int) {
    all.removeLast(all.count - min(all.count, max(1, count)))
  }

  /// Normalized probabilities in the order of ``all``, in float64.
  public var probabilities: [Double] {
    guard let peak = all.map(\.logit).max(), peak.isFinite else {
      return all.map { _ in all.isEmpty ? 0 : 1 / Double(all.count) }
    }
    let weights = all.map { FloatingPoint64.exp(Double($0.logit - peak)) }
    let sum = weights.reduce(0, +)
    return weights.map { $0 / sum }
  }
}

/// Changes the candidates before one is drawn.
public protocol LogitWarper: Sendable {
  /// - Parameter context: the tokens so far, prompt included.
  func warp(_ candidates: inout TokenCandidates, context: [Int32])
}
