import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import NetworkTestSupport
import TestSupport
import Testing

@testable import EspalierRestructuring

/// What methods say before a weight is read: what they need, and whether they can do it at all.
@Suite struct NeedsTests {
  private struct Case {
    let method: String
    let settings: [String: ParameterValue]
    let need: StructuralNeed
    var needsBase = false
  }

  private static let cases = [
    Case(method: "drop-layers", settings: ["metric": .word("last")], need: .nothing),
    Case(method: "drop-layers", settings: ["metric": .word("magnitude-l2")], need: .nothing),
    Case(method: "drop-layers", settings: ["metric": .word("influence")], need: .text),
    Case(method: "drop-layers", settings: [:], need: .text),
    Case(method: "width", settings: ["score": .word("magnitude")], need: .nothing),
    Case(method: "width", settings: [:], need: .statistics),
    Case(method: "width", settings: ["score": .word("divergence")], need: .text),
    Case(method: "greedy-output", settings: [:], need: .statistics),
    Case(method: "greedy-output", settings: ["reconstruct": .number(2)], need: .text),
    Case(method: "width", settings: ["allocate": .word("measured")], need: .text),
    Case(method: "experts", settings: ["score": .word("expert-norm")], need: .nothing),
    Case(method: "experts", settings: ["score": .word("expert-norm"), "merge": .word("use")], need: .statistics),
    Case(method: "experts", settings: ["score": .word("divergence")], need: .text),
    Case(method: "experts", settings: ["score": .word("router-change")], need: .nothing, needsBase: true),
  ]

  private func method(_ name: String, _ settings: [String: ParameterValue] = [:]) throws -> any StructuralMethod {
    let type = try StructuralMethods.method(named: name)
    return try type.init(try StructuralParameters(settings, for: type.card))
  }

  @Test func needsFollowParameters() throws {
    for expected in Self.cases {
      let found = try method(expected.method, expected.settings)
      #expect(found.needs == expected.need, "\(expected)")
      #expect(found.needsBase == expected.needsBase, "\(expected)")
    }
  }

  /// The cards say what standard parameters need.
  @Test func cardsSayIt() throws {
    let card = StructuralReference.text(LayerDropping.self)
    #expect(card.contains("inputs: a model and text to run it on"), "\(card)")
  }

  @Test(
    arguments: [
      ("experts", "a llama has no experts"), ("mamba-shedder", "a llama has no state spaces"),
      ("width", "1 numbers cannot be reached by `inner` alone"),
      ("greedy-output", "1 numbers cannot be reached by `inner` alone"),
      ("drop-layers", "1 numbers cannot be reached: one layer alone leaves"),
      ("fairness", "1 numbers cannot be reached by `keyValueHeads` alone"),
      ("drop-blocks", "1 numbers cannot be reached by blocks alone: "),
      ("multipruner", "1 numbers cannot be reached: "),
      ("laco", "1 numbers cannot be reached: "), ("search", "no subnet of 1 numbers would be found: "),
    ])
  func whatCannotBeDoneIsToldFromHeaders(name: String, message: String) throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    let subject = try TokenSubject(model.checkpoint, of: model.family)
    let method = try method(name)
    #expect(problem { try method.check(subject, to: 1) }?.message.hasPrefix(message) == true)
  }

  /// What passes the check is carried out.
  @Test func theLeastThatPassesIsReached() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    let subject = try TokenSubject(model.checkpoint, of: model.family)
    let (width, whole) = (try method("width"), try parameterCount(model.checkpoint, of: model.family))
    let least = try #require(
      (1..<whole).first { wanted in problem { try width.check(subject, to: wanted) } == nil })
    let result = try width.restructure(subject, to: least)
    #expect(try parameterCount(result.checkpoint, of: model.family) == least)
  }

  private struct Reach: CustomTestStringConvertible {
    let golden: String
    let method: String
    var settings: [String: ParameterValue] = [:]
    var testDescription: String { "\(method) of \(golden)" }
  }

  /// The least size that headers let pass is reached, to the number, and one number less is refused.
  @Test(
    arguments: [
      Reach(golden: "llama_gqa_untied", method: "drop-blocks"),
      Reach(golden: "llama_gqa_untied", method: "multipruner", settings: ["blocks": .number(0)]),
      Reach(golden: "mamba", method: "multipruner", settings: ["blocks": .number(0)]),
      Reach(golden: "mamba", method: "mamba-shedder", settings: ["target": .word("state")]),
      Reach(golden: "mamba", method: "mamba-shedder", settings: ["target": .word("channels")]),
      Reach(golden: "mamba2", method: "mamba-shedder", settings: ["target": .word("heads")]),
    ])
  private func whatHeadersLetPassIsReached(_ reach: Reach) throws {
    let model = try GoldenModel(Golden(reach.golden))
    let subject = try TokenSubject(model.checkpoint, of: model.family)
    let method = try method(reach.method, reach.settings)
    var (refused, passed) = (0, try parameterCount(model.checkpoint, of: model.family))
    while passed - refused > 1 {
      let middle = (refused + passed) / 2
      if problem({ try method.check(subject, to: middle) }) == nil { passed = middle } else { refused = middle }
    }
    let message = problem { try method.check(subject, to: refused) }?.message
    #expect(message?.hasPrefix("\(refused) numbers cannot be reached") == true)
    #expect(message?.contains("\(passed)") == true, "\(message ?? "")")
    let result = try method.restructure(subject, to: passed)
    #expect(try parameterCount(result.checkpoint, of: model.family) == passed)
  }

  @Test func experts() throws {
    let model = try GoldenModel(Golden("mixtral"))
    let subject = try TokenSubject(model.checkpoint, of: model.family)
    let method = try method("experts")
    let message = problem { try method.check(subject, to: 1) }?.message
    #expect(message?.hasPrefix("1 numbers cannot be reached by experts alone: ") == true)
    #expect(problem { try method.check(subject, to: parameterCount(model.checkpoint, of: model.family) - 1) } == nil)
  }

  /// Experts' scores are no choice for channels.
  @Test func scoresOfExpertsAreNotOfferedForChannels() throws {
    for name in ["width", "search", "multipruner"] {
      let type = try StructuralMethods.method(named: name)
      let found = problem { try StructuralParameters(["score": .word("expert-use")], for: type.card) }
      #expect(found?.message.contains("must be one of magnitude") == true, "\(name)")
    }
  }

  /// Twice the tokens take more by the rows, a first reconstruction alone takes none of them.
  @Test func bytesFollowTokensAndWidths() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    let subject = try TokenSubject(model.checkpoint, of: model.family)
    let (whole, first) = (try method("greedy-output", ["reconstruct": .number(2)]), try method("greedy-output"))
    func bytes(_ method: any StructuralMethod, _ lengths: [Int]) throws -> Int {
      try method.bytes(for: subject, subject.network, lengths: lengths)
    }
    let inner = UnitGroup.groups(along: "inner", of: model.description, in: model.checkpoint)[0]
    let width = subject.network.carriedBytesPerToken
    let difference = try bytes(whole, [16, 16]) - bytes(whole, [16])
    #expect(difference == 16 * (32 * inner.count + 2 * width))
    #expect(try bytes(first, [16, 16]) == bytes(first, [16]))
    #expect(try bytes(first, [16]) > 8 * inner.count * inner.count)
    #expect(try bytes(method("width"), [16]) == 0)
  }
}
