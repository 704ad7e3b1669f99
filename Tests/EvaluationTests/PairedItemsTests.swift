import EspalierBasics
import EspalierLinearMaps
import EspalierNumerics
import Testing

@testable import EspalierEvaluation

@Suite struct PairedItemsTests {
  private func header(_ name: String, _ rule: String = "rule") -> MetricHeader {
    MetricHeader(
      subject: .model, models: [name], modes: [.exact], data: "sums", protocolText: rule, counts: [],
      sampling: Sampling(units: .items, bootstrap: Bootstrap()))
  }

  /// `both` items right by both, then `a` by the candidate alone, `b` by the reference alone, the rest by neither.
  private func pair(_ both: Int, _ a: Int, _ b: Int, of count: Int) throws -> PairedItems {
    let candidate = (0..<count).map { $0 < both + a }
    let reference = (0..<count).map { $0 < both || (both + a..<both + a + b).contains($0) }
    return try PairedItems(
      measure: "exact match", candidate: candidate, reference: reference, headers: (header("B"), header("A")))
  }

  @Test func countsAgreeWithHandWork() throws {
    let paired = try pair(300, 20, 8, of: 500)
    #expect([paired.bothRight, paired.onlyCandidate, paired.onlyReference, paired.bothWrong] == [300, 20, 8, 172])
    #expect(paired.difference.value == 12.0 / 500)
    // 2 sum_{k <= 8} C(28, k) / 2^28.
    #expect(abs(paired.pValue - 0.03569813817739487) < 1e-15)
    // The normal interval of the mean of 20 ones, 8 minus ones and 472 zeros is 0.024 -+ 1.96 * 0.0105.
    let interval = try #require(paired.difference.interval)
    #expect(abs(interval.lower - 0.0034) < 0.0025 && abs(interval.upper - 0.0446) < 0.0025)
  }

  @Test func theSentenceCanBeRead() throws {
    let paired = try pair(300, 20, 8, of: 500)
    let interval = try #require(paired.difference.interval)
    let ends = [interval.lower, interval.upper].map { FigureStyle.signed(100 * $0, 2) }
    #expect(
      paired.sentence
        == "B answers 12 more of 500 right than A (+2.40 points, 95 % interval \(ends[0]) to \(ends[1])); "
        + "McNemar p = 0.036.")
    #expect(try pair(1, 0, 3, of: 10).sentence.hasPrefix("B answers 3 fewer of 10 right than A (-30.00 points, "))
    #expect(try pair(1, 3, 3, of: 10).sentence.hasPrefix("B and A answer equally many of 10 right (0.00 points, "))
    #expect(try pair(4, 0, 0, of: 10).sentence == "B and A are right on the same 4 of 10.")
  }

  @Test func itemsThatDoNotMatchAreRefused() {
    #expect(throws: Problem.self) {
      try PairedItems(measure: "m", candidate: [true], reference: [], headers: (header("B"), header("A")))
    }
    #expect(throws: Problem.self) {
      try PairedItems(measure: "m", candidate: [true], reference: [true], headers: (header("B"), header("A", "other")))
    }
  }

  @Test func multipleChoiceIsPairedByEachRule() throws {
    let item = { (likelihoods: [Double]) in
      MultipleChoice.Item(
        answer: 1, logLikelihoods: likelihoods, isGreedy: [false, false], characters: [1, 4], bytes: [1, 8])
    }
    let candidate = MultipleChoice([item([-1, -3]), item([-1, -0.5])], header: header("B"))
    let reference = MultipleChoice([item([-1, -5]), item([-1, -9])], header: header("A"))
    let pairs = try PairedItems.pairs(candidate, reference)
    #expect(pairs.map(\.measure) == ["acc", "acc_norm", "acc_bytes"])
    #expect(pairs.map(\.onlyCandidate) == [1, 2, 1] && pairs.map(\.onlyReference) == [0, 0, 0])
    #expect(pairs.map(\.bothRight) == [0, 0, 1])
  }
}
