import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierRestructuring
import NetworkTestSupport
import TestSupport
import Testing

/// Heads that leave by a bias between paired prompts.
@Suite struct FairnessTests {
  /// Prompts that differ in their first token.
  private static let pairs: [PromptPair] = (0..<4).map { (row: Int32) -> PromptPair in
    let rest: [Int32] = [11 + row, 40, 7 * row + 3, 25]
    return PromptPair([5] + rest, [90] + rest)
  }

  private func subject(_ checkpoint: any Checkpoint, _ model: GoldenModel) throws -> TokenSubject {
    let subject = try TokenSubject(checkpoint, of: model.family)
    subject.pairs = Self.pairs
    return subject
  }

  private func perHead(_ model: GoldenModel, _ checkpoint: any Checkpoint) throws -> Int {
    let without = try RestructuredCheckpoint(
      checkpoint, of: model.family, change: StructuralChange(choices: ["text/0/keyValueHeads": AxisChoice([0])]))
    return try parameterCount(checkpoint, of: model.family) - parameterCount(without, of: model.family)
  }

  @Test func theBiasIsTheDivergenceOfTheNextToken() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    let subject = try subject(model.checkpoint, model)
    let plain = try subject.bias(of: model.checkpoint, named: "")
    let found = try PairBias.measure(
      try CausalLanguageModel(try Network(model.checkpoint, workers: Golden.workers)), on: Self.pairs)
    #expect(plain > 1e-6 && abs(found - plain) <= 1e-6 * max(1, plain), "\(found), \(plain)")
    let alike = [PromptPair([3, 4, 5], [3, 4, 5])]
    let none = try PairBias.measure(
      try CausalLanguageModel(try Network(model.checkpoint, workers: Golden.workers)), on: alike)
    #expect(none == 0)
  }

  /// Of all heads one looks back at the token in which the prompts differ: without it they are the same.
  @Test func theHeadThatCarriesTheBiasLeaves() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    try withTemporaryFolder { folder in
      let planted = try model.zeroed(["text/0/keyValueHeads": [0], "text/1/keyValueHeads": [0, 1]], in: folder)
      let subject = try subject(planted, model)
      let goal = try parameterCount(planted, of: model.family) - perHead(model, planted)
      let result = try restructured(subject, by: "fairness", ["spare": .number(0)], to: goal)
      #expect(result.steps.first?.text == "text/0/keyValueHeads: 1 leaves")
      let bias = try #require(result.steps.first { $0.text == "bias of the pairs" })
      #expect(bias.figures[0].name == "before" && bias.figures[0].value > 1e-6)
      #expect(abs(bias.figures[1].value) <= 1e-9)
    }
  }

  /// Every head left out by itself, here too: those that perplexity misses most stay, of the others the most biased leave.
  @Test func qualitySparesAndBiasChooses() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    let deep = try model.repeated([0, 1, 0, 1])
    let subject = try subject(deep, model)
    var heads: [(text: String, bias: Double, perplexity: Double)] = []
    for layer in 0..<4 {
      for unit in 0..<2 {
        let instance = "text/\(layer)/keyValueHeads"
        let candidate = try RestructuredCheckpoint(
          deep, of: model.family, change: StructuralChange(choices: [instance: AxisChoice([1 - unit])]))
        heads.append(
          (
            "\(instance): \(unit) leaves", try subject.bias(of: candidate, named: ""),
            try subject.perplexity(of: candidate, named: "")
          ))
      }
    }
    let open = heads.sorted { $0.perplexity > $1.perplexity }.dropFirst(4).sorted { $0.bias < $1.bias }
    var expected: [String] = []
    for head in open where expected.count < 2 && !expected.contains(where: { $0.prefix(20) == head.text.prefix(20) }) {
      expected.append(head.text)
    }
    let goal = try parameterCount(deep, of: model.family) - 2 * perHead(model, deep)
    let result = try restructured(subject, by: "fairness", ["spare": .number(0.5)], to: goal)
    #expect(result.steps.map(\.text).prefix(2) == expected[...], "\(result.steps.map(\.text))")
    let last = try #require(result.steps.first { $0.text == "bias of the pairs" })
    let after = try subject.bias(of: result.checkpoint, named: "")
    #expect(last.figures[1].value == after)
    #expect(
      problem { try restructured(subject, by: "fairness", ["spare": .number(1)], to: goal) }?.message
        .contains("cannot be reached by heads that are not spared") == true)
  }
}
