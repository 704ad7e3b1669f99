import CKernels
import EspalierNumerics
import TestSupport
import Testing

@Suite struct TokenKernelTests {
  private func scored(_ logits: [Float], _ target: Int) -> es_token_score? {
    var score = es_token_score()
    return es_score_token(logits, Int64(logits.count), Int32(target), &score) ? score : nil
  }

  private func compared(_ a: [Float], _ b: [Float], _ target: Int) -> es_token_divergence? {
    var divergence = es_token_divergence()
    return es_compare_token(a, b, Int64(a.count), Int32(target), &divergence) ? divergence : nil
  }

  /// The same in plain float64, term by term as defined.
  private func reference(_ a: [Float], _ b: [Float]) -> (kl: Double, js: Double) {
    let (p, q) = (logProbabilities(a), logProbabilities(b))
    var (kl, js) = (0.0, 0.0)
    for (p, q) in zip(p, q) {
      let (ep, eq) = (Elementary.exp(p), Elementary.exp(q))
      let middle = Elementary.log((ep + eq) / 2)
      // q - p adds up to 0; with it the terms are of second order, and small divergences are not lost here either.
      kl += ep * (p - q) + (eq - ep)
      js += ep > 0 || eq > 0 ? (ep * (p - middle) + eq * (q - middle)) / 2 : 0
    }
    return (kl, js)
  }

  @Test(arguments: [1, 2, 15, 16, 17, 100, 1000, 4099])
  func agreesWithPlainArithmetic(_ count: Int) throws {
    var random = SeededGenerator(seed: UInt64(count))
    for (spread, change) in [(1, 0.1), (8, 1), (0.01, 5), (30, 30), (5, 1e-3)] as [(Float, Float)] {
      let a = random.floats(count).map { spread * $0 }
      let b = zip(a, random.floats(count)).map { $0 + change * $1 }
      let target = count / 2
      let score = try #require(scored(a, target))
      let divergence = try #require(compared(a, b, target))
      let (kl, js) = reference(a, b)
      let (p, q) = (logProbabilities(a)[target], logProbabilities(b)[target])
      #expect(abs(score.log_probability - p) < 1e-13 && divergence.reference_log_probability == score.log_probability)
      #expect(abs(divergence.candidate_log_probability - q) < 1e-13)
      #expect(abs(divergence.kl - kl) < 1e-13 * max(1, kl), "KL of \(count), \(spread), \(change)")
      #expect(abs(divergence.js - js) < 1e-14, "JS of \(count), \(spread), \(change)")
      #expect(abs(divergence.probability_change - (Elementary.exp(q) - Elementary.exp(p))) < 1e-14)
      #expect(Int(score.top) == a.firstIndex(of: a.max()!) && score.top == divergence.reference_top)
      #expect(Int(divergence.candidate_top) == b.firstIndex(of: b.max()!))
    }
  }

  @Test func aDistributionDoesNotDivergeFromItself() throws {
    var random = SeededGenerator(seed: 5)
    for count in [1, 3, 16, 777, 50_000] {
      let a = random.floats(count).map { 12 * $0 }
      let divergence = try #require(compared(a, a, 0))
      #expect(divergence.kl == 0 && divergence.js == 0 && divergence.probability_change == 0)
    }
  }

  /// Small divergences are not lost in rounding: of logits moved by d, KL is near the variance of d over 2.
  @Test func smallDivergencesAreKept() throws {
    var random = SeededGenerator(seed: 6)
    let a = random.floats(3000)
    let b = a.enumerated().map { $1 + Float(0x1p-17) * ($0 % 2 == 0 ? 1 : -1) }
    let divergence = try #require(compared(a, b, 0))
    let (kl, js) = reference(a, b)
    #expect(divergence.kl > 1e-11 && abs(divergence.kl - kl) < 1e-5 * kl)
    #expect(abs(divergence.js - js) < 1e-4 * js && abs(divergence.js / divergence.kl - 0.25) < 1e-3)
  }

  @Test func disjointDistributionsAreLn2Apart() throws {
    let divergence = try #require(compared([600, 0, 0], [0, 0, 600], 1))
    #expect(divergence.js <= Elementary.ln2 && divergence.js > Elementary.ln2 - 1e-15)
    #expect(abs(divergence.kl - 600) < 1e-12)
  }

  @Test func extremeLogitsAreFinite() throws {
    for logits in [[3e38, -3e38], [-3e38, -3e38, -3e38], [1e30], [-1e38, 0, .leastNonzeroMagnitude]] as [[Float]] {
      let score = try #require(scored(logits, 0))
      #expect(score.log_probability.isFinite && Int(score.top) == logits.firstIndex(of: logits.max()!))
      let divergence = try #require(compared(logits, logits, 0))
      #expect(divergence.kl == 0 && divergence.js == 0)
    }
  }

  @Test func equalLogitsShareTheProbability() throws {
    for count in [2, 17, 1024] {
      let score = try #require(scored([Float](repeating: -2.5, count: count), 1))
      #expect(abs(score.log_probability + Elementary.log(Double(count))) < 1e-15 && score.top == 0)
    }
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func nonFiniteLogitsAreRefused(_ bad: Float) {
    for position in [0, 15, 16, 20] {
      var logits = [Float](repeating: 1, count: 21)
      logits[position] = bad
      let good = [Float](repeating: 1, count: 21)
      #expect(scored(logits, 0) == nil && compared(logits, good, 0) == nil && compared(good, logits, 0) == nil)
    }
  }
}
