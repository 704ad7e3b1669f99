import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierRestructuring
import NetworkTestSupport
import TestSupport
import Testing

/// Blocks, channels, heads and states that leave one after the other.
@Suite struct BlockMethodsTests {
  private func deep(_ name: String = "llama_gqa_untied", silent: [String]) throws -> (GoldenModel, TokenSubject) {
    let model = try GoldenModel(Golden(name))
    let checkpoint = try model.repeated([0, 1, 0, 1]).silencing(silent)
    return (model, try TokenSubject(checkpoint, of: model.family))
  }

  @Test(arguments: [false, true])
  func idleBlocksLeaveFirst(lazy: Bool) throws {
    let (model, subject) = try deep(silent: ["layers.1.self_attn.o_proj", "layers.2.mlp.down_proj"])
    let whole = try parameterCount(subject.checkpoint, of: model.family)
    let attention = try parameterCount(
      try RestructuredCheckpoint(
        subject.checkpoint, of: model.family, change: StructuralChange(missing: ["text": [1: ["attention"]]])),
      of: model.family)
    let goal = attention - 1
    let result = try restructured(subject, by: "drop-blocks", ["lazy": .flag(lazy)], to: goal)
    #expect(
      Set(result.steps.map(\.text)) == ["attention of layer 1 leaves", "mlp of layer 2 leaves"], "\(whole), \(goal)")
    #expect(try subject.divergence(of: result.checkpoint, named: "") <= 1e-6)
    #expect(result.checkpoint.config?["num_hidden_layers"]?.integer == 4)
  }

  @Test func aLayerWithoutBlocksLeaves() throws {
    let (model, subject) = try deep(silent: ["layers.1.self_attn.o_proj", "layers.1.mlp.down_proj"])
    let without = try parameterCount(
      try RestructuredCheckpoint(
        subject.checkpoint, of: model.family, change: StructuralChange(layers: ["text": [0, 2, 3]])),
      of: model.family)
    let result = try restructured(subject, by: "drop-blocks", to: without)
    #expect(result.checkpoint.config?["num_hidden_layers"]?.integer == 3)
    #expect(result.checkpoint.config?["espalier"] == nil)
    #expect(try subject.divergence(of: result.checkpoint, named: "") <= 1e-6)
    #expect(
      problem { try restructured(subject, by: "drop-blocks", to: 1) }?.message.contains("by blocks alone") == true)
  }

  /// Measuring only what would be next chooses the same on this model, with fewer runs.
  @Test func lazyMeasuresLess() throws {
    let (model, plain) = try deep(silent: [])
    let lazy = try TokenSubject(plain.checkpoint, of: model.family)
    let goal = try parameterCount(plain.checkpoint, of: model.family) * 8 / 10
    let a = try restructured(plain, by: "drop-blocks", ["lazy": .flag(false)], to: goal)
    let b = try restructured(lazy, by: "drop-blocks", ["lazy": .flag(true)], to: goal)
    #expect(a.steps.count > 1 && a.steps[0].text == b.steps[0].text)
    #expect(lazy.measured <= plain.measured)
  }

  @Test(arguments: [false, true])
  func threeTurnsReachTheGoal(lazy: Bool) throws {
    let (model, subject) = try deep(silent: [])
    let whole = try parameterCount(subject.checkpoint, of: model.family)
    let goal = whole * 7 / 10
    let result = try restructured(subject, by: "multipruner", ["lazy": .flag(lazy)], to: goal)
    let count = try parameterCount(result.checkpoint, of: model.family)
    #expect(count <= goal)
    #expect(result.steps.contains { $0.text.contains("leaves") })
    #expect(result.steps.contains { $0.text.contains("inner: ") })
    // What a step says of the divergence is that of the model after it.
    let last = try #require(result.steps.last?.figures.first?.value)
    #expect(abs(try subject.divergence(of: result.checkpoint, named: "") - last) <= 1e-9)
  }

  @Test func headsLeaveAlone() throws {
    let (model, subject) = try deep(silent: [])
    let whole = try parameterCount(subject.checkpoint, of: model.family)
    let result = try restructured(
      subject, by: "multipruner", ["blocks": .number(0), "channels": .number(0)], to: whole - 1)
    #expect(result.steps.count == 1 && result.steps[0].text.contains("keyValueHeads"))
    #expect(
      problem { try restructured(subject, by: "multipruner", ["blocks": .number(0.9)], to: whole - 1) }?.message
        .contains("more than all") == true)
  }

  @Test(arguments: [
    ("mamba", "blocks"), ("mamba", "state"), ("mamba", "channels"), ("mamba2", "heads"), ("mamba2", "state"),
  ])
  func statesSpacesShrink(name: String, target: String) throws {
    let (model, subject) = try deep(name, silent: [])
    let whole = try parameterCount(subject.checkpoint, of: model.family)
    let result = try restructured(
      subject, by: "mamba-shedder", ["target": .word(target), "groups": .number(4)], to: whole - 1)
    #expect(try parameterCount(result.checkpoint, of: model.family) < whole)
    let last = try #require(result.steps.last?.figures.first?.value)
    #expect(abs(try subject.divergence(of: result.checkpoint, named: "") - last) <= 1e-9)
  }

  @Test func anIdleMixerLeavesFirst() throws {
    let (model, subject) = try deep("mamba", silent: ["layers.2.mixer.out_proj"])
    let whole = try parameterCount(subject.checkpoint, of: model.family)
    let result = try restructured(subject, by: "mamba-shedder", to: whole - 1)
    #expect(result.steps.map(\.text) == ["layer 2 leaves"])
    #expect(try subject.divergence(of: result.checkpoint, named: "") <= 1e-6)
    #expect(result.checkpoint.config?["num_hidden_layers"]?.integer == 3)
  }

  @Test func onlyStateSpacesAreShed() throws {
    let (_, subject) = try deep(silent: [])
    #expect(
      problem { try restructured(subject, by: "mamba-shedder", to: 1) }?.message == "a llama has no state spaces")
  }
}
