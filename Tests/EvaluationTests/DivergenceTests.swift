import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierEvaluation

@Suite struct DivergenceTests {
  private func evaluated(_ model: TableModel, _ name: String) -> EvaluatedModel {
    EvaluatedModel(name: name, model: model, codec: ByteCodec(vocabulary: model.vocabularySize))
  }

  private let reference = TableModel.random(vocabulary: 211, seed: 21)
  private let set = text(
    String(repeating: "Two models read one text; ", count: 9), "and differ in what they expect of it.")
  private let cut = TextProtocol(.windows(length: 16))

  private func measure(
    _ candidate: TableModel, threads: Int = 1, groupTokens: Int = 8192, logitBytes: Int = 1 << 20
  ) throws -> (divergence: Divergence, perplexity: PerplexityChange) {
    try withOptions(threads: threads, groupTokens: groupTokens, logitBytes: logitBytes) { options in
      try Divergence.measure(
        evaluated(candidate, "candidate"), against: evaluated(reference, "reference"), on: set, cut: cut,
        options: options)
    }
  }

  @Test func aModelDoesNotDivergeFromItself() throws {
    let result = try measure(reference)
    let divergence = result.divergence
    for estimate in [divergence.kl, divergence.js, divergence.probabilityChange, divergence.probabilityChangeRMS] {
      #expect(estimate.value == 0 && estimate.interval?.lower == 0 && estimate.interval?.upper == 0)
    }
    #expect(divergence.klSpread.maximum == 0 && divergence.jsSpread.maximum == 0 && divergence.macroKL?.value == 0)
    #expect(divergence.sameTop.value == 1)
    #expect(result.perplexity.ratio.value == 1 && result.perplexity.rise.value == 0)
    #expect(divergence.sentences == ["Both models say exactly the same of every token."])
  }

  /// Every figure once more in plain float64, over the windows' tokens.
  @Test func agreesWithPlainArithmetic() throws {
    let candidate = reference.moved(by: 0.7, seed: 4)
    let (divergence, perplexity) = try measure(candidate)
    var (kls, jss, changes, documents): ([Double], [Double], [Double], [[Double]]) = ([], [], [], [])
    var (same, nats) = (0, 0.0)
    for document in set.documents {
      let tokens = document.text.utf8.map { Int($0) % 211 }
      var ofDocument: [Double] = []
      for start in stride(from: 0, through: tokens.count - 16, by: 16) {
        var prefix: Float = 0
        for position in start..<start + 15 {
          let (token, next) = (tokens[position], tokens[position + 1])
          prefix = prefix * 0.5 + Float(token)
          func row(_ model: TableModel) -> [Float] {
            model.table[token].enumerated().map { $1 + model.memory * prefix * Float($0 % 3) }
          }
          let (a, b) = (row(reference), row(candidate))
          let (p, q) = (logProbabilities(a), logProbabilities(b))
          var (kl, js) = (0.0, 0.0)
          for (p, q) in zip(p, q) {
            let (ep, eq) = (Elementary.exp(p), Elementary.exp(q))
            let middle = Elementary.log((ep + eq) / 2)
            kl += ep * (p - q)
            js += (ep * (p - middle) + eq * (q - middle)) / 2
          }
          ofDocument.append(kl)
          kls.append(kl)
          jss.append(js)
          changes.append(Elementary.exp(q[next]) - Elementary.exp(p[next]))
          nats -= q[next]
          if a.firstIndex(of: a.max()!) == b.firstIndex(of: b.max()!) { same += 1 }
        }
      }
      documents.append(ofDocument)
    }
    func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }
    #expect(abs(divergence.kl.value - mean(kls)) < 1e-12 && divergence.kl.value > 0.05)
    #expect(abs(divergence.js.value - mean(jss)) < 1e-13)
    #expect(abs(divergence.probabilityChange.value - mean(changes)) < 1e-14)
    #expect(abs(divergence.probabilityChangeRMS.value - mean(changes.map { $0 * $0 }).squareRoot()) < 1e-14)
    #expect(divergence.sameTop.value == Double(same) / Double(kls.count))
    #expect(abs((divergence.macroKL?.value ?? 0) - mean(documents.map(mean))) < 1e-12)
    let sorted = kls.sorted()
    #expect(sorted.count == 240, "the percentiles below are between these")
    #expect(abs(divergence.klSpread.median - (sorted[119] + sorted[120]) / 2) < 1e-12)
    #expect(abs(divergence.klSpread.p95 - (sorted[227] + 0.05 * (sorted[228] - sorted[227]))) < 1e-12)
    #expect(abs(divergence.klSpread.maximum - sorted[239]) < 1e-12)
    #expect(abs(perplexity.candidate.negativeLogLikelihood.value - nats / 240) < 1e-12)
    for estimate in [divergence.kl, divergence.js, divergence.sameTop, divergence.probabilityChange] {
      let interval = try #require(estimate.interval)
      #expect(interval.lower < estimate.value && estimate.value < interval.upper)
    }
  }

  @Test func groupsTilesAndThreadsChangeNoBit() throws {
    let candidate = reference.moved(by: 0.2, seed: 8)
    let expected = try measure(candidate)
    for (threads, group, bytes) in [(1, 1, 1), (2, 40, 211 * 8 * 5), (3, 100, 211 * 8 * 16)] {
      let result = try measure(candidate, threads: threads, groupTokens: group, logitBytes: bytes)
      #expect(result.divergence.windows == expected.divergence.windows)
      #expect(result.divergence.figures == expected.divergence.figures)
      #expect(result.perplexity.figures == expected.perplexity.figures)
    }
  }

  /// The perplexities measured side by side are those measured one by one.
  @Test func sidesAgreeWithEachModelAlone() throws {
    let candidate = reference.moved(by: 0.2, seed: 8)
    let pair = try measure(candidate).perplexity
    for (model, side) in [(candidate, pair.candidate), (reference, pair.reference)] {
      let alone = try withOptions {
        try Perplexity.measure(evaluated(model, "alone"), on: set, cut: cut, options: $0)
      }
      #expect(alone.windows == side.windows && alone.figures == side.figures)
    }
    let apart = try withOptions { options in
      try PerplexityChange(
        candidate: Perplexity.measure(evaluated(candidate, "candidate"), on: set, cut: cut, options: options),
        reference: Perplexity.measure(evaluated(reference, "reference"), on: set, cut: cut, options: options))
    }
    #expect(apart.figures == pair.figures)
  }

  @Test func differentVocabulariesAndEncodingsAreRefused() throws {
    let other = TableModel.random(vocabulary: 210, seed: 1)
    func code(_ candidate: EvaluatedModel) -> Problem.Code? {
      withOptions { options in
        problem {
          _ = try Divergence.measure(
            candidate, against: evaluated(reference, "reference"), on: set, cut: cut, options: options)
        }?.code
      }
    }
    #expect(code(evaluated(other, "other")) == .evaluationPair)
    #expect(
      code(EvaluatedModel(name: "other", model: reference, codec: ByteCodec(vocabulary: 100))) == .evaluationPair)
  }

  @Test func perplexitiesOfDifferentProtocolsAreNotCompared() throws {
    try withOptions { options in
      let model = evaluated(reference, "reference")
      let a = try Perplexity.measure(model, on: set, cut: cut, options: options)
      let b = try Perplexity.measure(
        model, on: set, cut: TextProtocol(.sliding(length: 16, stride: 15)), options: options)
      #expect(throws: Problem.self) { try PerplexityChange(candidate: a, reference: b) }
    }
  }
}
