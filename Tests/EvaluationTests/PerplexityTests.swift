import EspalierBasics
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierEvaluation

@Suite struct PerplexityTests {
  private func evaluated(_ model: TableModel, name: String = "model") -> EvaluatedModel {
    EvaluatedModel(
      name: name, model: model,
      codec: ByteCodec(vocabulary: model.vocabularySize, beginToken: 1, prefixToken: 0))
  }

  /// Of a model that knows nothing each of 8 tokens has 1/8: perplexity 8, 3 bits a token of one byte.
  @Test func knowingNothingIsTheSizeOfTheVocabulary() throws {
    let nothing = TableModel(table: [[Float]](repeating: [Float](repeating: 0.5, count: 8), count: 8))
    try withOptions { options in
      let result = try Perplexity.measure(
        evaluated(nothing), on: text("abcdefghijklmnop"), cut: TextProtocol(.windows(length: 4)), options: options)
      #expect(abs(result.perplexity.value - 8) < 1e-13)
      #expect(abs(result.bitsPerByte.value - 3) < 1e-14)
      #expect(result.windows.map(\.tokens) == [3, 3, 3, 3])
      #expect(result.perplexity.interval?.lower == result.perplexity.value)
    }
  }

  /// Three tokens; after token t the logits are row t. Text 0 1 2 0 | 2 1 0 2 in windows of 4: targets 1 2 0, 1 0 2.
  @Test func agreesWithHandWork() throws {
    let table: [[Float]] = [[0, 1, 2], [2, 0, 1], [0, 0, 0]]
    let model = EvaluatedModel(name: "model", model: TableModel(table: table), codec: ByteCodec(vocabulary: 3))
    // "0" is byte 48 = 0 mod 3.
    let set = text("01202102")
    let p = table.map(logProbabilities)
    let first = [p[0][1], p[1][2], p[2][0]]
    let second = [p[2][1], p[1][0], p[0][2]]
    try withOptions { options in
      let result = try Perplexity.measure(model, on: set, cut: TextProtocol(.windows(length: 4)), options: options)
      let sums = [first, second].map { -$0.reduce(0, +) }
      for (window, sum) in zip(result.windows, sums) { #expect(abs(window.negativeLogLikelihood - sum) < 1e-13) }
      let mean = (sums[0] + sums[1]) / 6
      #expect(abs(result.negativeLogLikelihood.value - mean) < 1e-14)
      #expect(abs(result.perplexity.value - Elementary.exp(mean)) < 1e-13)
      // Most probable: 2 after 0, 0 after 1, 0 after 2: right are 0 after 2, 0 after 1 and 2 after 0.
      #expect(result.accuracy.value == 0.5)
      let squares = (first + second).reduce(0) { $0 + ($1 + mean) * ($1 + mean) }
      #expect(abs(result.tokenStandardError - Elementary.exp(mean) * (squares / 6 / 5).squareRoot()) < 1e-12)
    }
  }

  /// Rolling scores all bytes of all documents: bits per byte are those of the whole text.
  @Test func rollingBitsPerByteAreThoseOfTheText() throws {
    let model = evaluated(.random(vocabulary: 200, seed: 3))
    let set = text("Bits per byte of a text", "and of another, longer one.")
    try withOptions { options in
      let result = try Perplexity.measure(model, on: set, cut: TextProtocol(.rolling(length: 10)), options: options)
      let nats = result.windows.reduce(0) { $0 + $1.negativeLogLikelihood }
      let bytes = Double(set.documents.reduce(0) { $0 + $1.text.utf8.count })
      #expect(abs(result.bitsPerByte.value - nats / Elementary.ln2 / bytes) < 1e-12)
      #expect(result.windows.reduce(0) { $0 + $1.tokens } == Int(bytes))
    }
  }

  @Test(arguments: [
    TextProtocol(.windows(length: 16)), TextProtocol(.sliding(length: 16, stride: 5)),
    TextProtocol(.llamaCpp(context: 16)), TextProtocol(.rolling(length: 16)),
  ])
  func groupsTilesAndThreadsChangeNoBit(_ cut: TextProtocol) throws {
    let model = evaluated(.random(vocabulary: 211, seed: 11))
    let set = text(String(repeating: "A result is what it is, ", count: 12), "however it was come by; here or there.")
    let expected = try withOptions { try Perplexity.measure(model, on: set, cut: cut, options: $0) }
    for (threads, group, bytes) in [(1, 1, 1), (2, 33, 211 * 4 * 3), (3, 64, 211 * 4 * 7), (2, 1000, 211 * 4)] {
      let result = try withOptions(threads: threads, groupTokens: group, logitBytes: bytes) {
        try Perplexity.measure(model, on: set, cut: cut, options: $0)
      }
      #expect(result.windows == expected.windows && result.figures == expected.figures)
    }
  }

  @Test func manyDocumentsAreTheUnitsOfIntervals() throws {
    let model = evaluated(.random(vocabulary: 200, seed: 5))
    let texts = (0..<10).map { TextSet.Document(name: "\($0)", text: String(repeating: "text \($0) ", count: 3 + $0)) }
    try withOptions { options in
      let many = try Perplexity.measure(
        model, on: TextSet(name: "ten", documents: texts), cut: TextProtocol(.windows(length: 8)), options: options)
      #expect(many.header.sampling.units == .documents && many.unitTokens.count == 10)
      #expect(many.documents.map(\.name) == (0..<10).map { "\($0)" })
      let few = try Perplexity.measure(
        model, on: TextSet(name: "nine", documents: Array(texts.dropLast())), cut: TextProtocol(.windows(length: 8)),
        options: options)
      #expect(few.header.sampling.units == .windows && few.unitTokens.count == few.windows.count)
    }
  }

  @Test func documentsTooShortAreCounted() throws {
    let model = evaluated(.random(vocabulary: 200, seed: 5))
    try withOptions { options in
      let result = try Perplexity.measure(
        model, on: text("long enough for two", "short"), cut: TextProtocol(.windows(length: 8)), options: options)
      #expect(result.header.counts.contains(Count("documents too short to score", 1)))
      #expect(result.documents.count == 1)
      // Bits per byte are of what was scored.
      #expect(abs(result.bitsPerByte.value - result.negativeLogLikelihood.value / Elementary.ln2) < 1e-12)
    }
  }

  // MARK: - Damage

  private func refusal(_ model: TableModel, _ set: TextSet, _ cut: TextProtocol.Cut) -> Problem? {
    withOptions { options in
      problem { _ = try Perplexity.measure(evaluated(model), on: set, cut: TextProtocol(cut), options: options) }
    }
  }

  @Test func textsTooShortAreRefusedWithTheirLength() throws {
    let problem = try #require(
      refusal(.random(vocabulary: 200, seed: 1), text("short", "tiny"), .windows(length: 8)))
    #expect(problem.code == .evaluationData && problem.message.contains("the longest has 5 tokens"))
  }

  @Test func windowsBeyondTheContextAreRefused() throws {
    var model = TableModel.random(vocabulary: 200, seed: 1)
    model.contextLength = 7
    let problem = try #require(refusal(model, text("long enough"), .windows(length: 8)))
    #expect(problem.code == .evaluationData && problem.remedy == "Choose windows of at most 7 tokens.")
  }

  @Test func nonFiniteLogitsNameTheModelAndThePlace() throws {
    var model = TableModel.random(vocabulary: 200, seed: 1)
    model.table[Int(UInt8(ascii: "n"))][3] = .nan
    let problem = try #require(refusal(model, text("logits go wrong in this text"), .windows(length: 8)))
    #expect(problem.code == .evaluationLogits && problem.context.file == "model")
    #expect(problem.message == "the model gives logits that are NaN or infinite after token 6 of sequence 2")
  }

  @Test func tokensBeyondTheVocabularyAreRefused() throws {
    let model = EvaluatedModel(name: "m", model: TableModel.random(vocabulary: 50, seed: 1), codec: ByteCodec())
    withOptions { options in
      let problem = problem {
        _ = try Perplexity.measure(model, on: text("letters"), cut: TextProtocol(.windows(length: 4)), options: options)
      }
      #expect(problem?.code == .evaluationData && problem?.context.file == "m")
    }
  }
}
