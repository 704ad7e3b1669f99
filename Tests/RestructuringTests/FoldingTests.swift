import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import NetworkTestSupport
import TestSupport
import Testing

@testable import EspalierRestructuring

/// Layers and experts that become sums.
@Suite struct FoldingTests {
  @Test func aFoldedLayerIsTheSumOfItsParts() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    let tower = model.description.towers[0].name
    var change = StructuralChange(layers: [tower: [1]])
    change.foldedLayers[tower] = [1: [PartShare(0, weight: 2), PartShare(1, weight: -0.5)]]
    let folded = try model.changed(change)
    let name = "self_attn.q_proj.weight"
    let (a, b) = (
      try model.checkpoint.values("model.layers.0.\(name)"), try model.checkpoint.values("model.layers.1.\(name)")
    )
    let expected = zip(a, b).map { 2 * $0 - 0.5 * $1 }
    let found = try folded.values("model.layers.0.\(name)")
    #expect(zip(expected, found).allSatisfy { abs($0 - $1) <= 1e-6 })
    // Norms stay those of the layer that others fold into.
    let norm = "input_layernorm.weight"
    #expect(try folded.values("model.layers.0.\(norm)") == model.checkpoint.values("model.layers.1.\(norm)"))
    #expect(try folded.values("lm_head.weight") == model.checkpoint.values("lm_head.weight"))
  }

  /// Three layers into one, by hand: θ0 + (θ1 - θ0) + (θ2 - θ0); and what came of it with a fourth.
  @Test func differencesAddUp() {
    let four = CollapsedLayers(kinds: [[], [], [], []])
    let tower = four.folded(2, into: 0)
    #expect(tower.count == 2)
    #expect(tower.name(0, 1) == "0" && tower.name(1, 1) == "3")
    let all = tower.folded(1, into: 0)
    // One layer that follows takes the place: A + (θ3 - A).
    #expect(all.count == 1)
  }

  /// Only layers of one kind are one sum.
  @Test func kindsOfLayers() {
    let layers = CollapsedLayers(kinds: [["a"], ["a"], ["b"], ["a"]])
    #expect(layers.kinds(0...1).count == 1 && layers.kinds(0...2).count == 2)
    #expect(layers.folded(1, into: 0).kinds(0...1).count == 2)
  }

  /// Experts that are alike can be merged in any proportion, whatever is chosen.
  @Test(arguments: ["mixtral", "qwen3_moe"])
  func likeExpertsMergeExactly(name: String) throws {
    let model = try GoldenModel(Golden(name))
    let byName = model.checkpoint.parametersByName()
    // Every expert has the weights of expert 0.
    let alike = try model.checkpoint.replacing { parameter in
      guard let described = model.description.parameter(named: parameter.name), let expert = described.expert else {
        return nil
      }
      let first = parameter.name.replacing("experts.\(expert).", with: "experts.0.")
      return byName[ExactString(first)]?.recipe
    }
    var change = StructuralChange()
    for group in UnitGroup.groups(along: "experts", of: model.description, in: alike) {
      change.choices[group.axis.instance] = AxisChoice([1, 2])
      change.foldedExperts[group.axis.instance] = [
        1: [PartShare(0, weight: 0.25), PartShare(1, weight: 0.75)],
        2: [PartShare(2, weight: 0.5), PartShare(3, weight: 0.5)],
      ]
    }
    #expect(!change.choices.isEmpty)
    let merged = try RestructuredCheckpoint(alike, of: model.family, change: change)
    for (expected, found) in zip(try model.outputs(of: alike), try model.outputs(of: merged)) {
      #expect(distance(expected, found) <= 1e-5, "\(expected.name)")
    }
  }

  /// Stacked experts fold as those do that are stored one by one.
  @Test func stacksFoldLikeSingleExperts() throws {
    let model = try GoldenModel(Golden("mixtral"))
    try withTemporaryFolder { folder in
      let stacked = try stack(model, in: folder)
      var change = StructuralChange()
      for layer in 0..<2 {
        change.choices["text/\(layer)/experts"] = AxisChoice([3, 0])
        change.foldedExperts["text/\(layer)/experts"] = [
          0: [PartShare(0, weight: 0.5), PartShare(1, weight: 0.25), PartShare(2, weight: 0.25)]
        ]
      }
      let one = try RestructuredCheckpoint(stacked, of: model.family, change: change)
      let other = try model.changed(change)
      for (expected, found) in zip(try model.outputs(of: other), try model.outputs(of: one)) {
        #expect(distance(expected, found) <= 1e-6, "\(expected.name)")
      }
    }
  }

  private func stack(_ model: GoldenModel, in folder: String) throws -> SafetensorsCheckpoint {
    var tensors: [TestTensor] = []
    for parameter in model.checkpoint.parameters where !parameter.name.contains("block_sparse_moe") {
      tensors.append(TestTensor(parameter.name, parameter.shape, try model.checkpoint.values(parameter.name)))
    }
    for layer in 0..<2 {
      let place = "model.layers.\(layer)"
      func values(_ expert: Int, _ part: String) throws -> [Float] {
        try model.checkpoint.values("\(place).block_sparse_moe.experts.\(expert).\(part).weight")
      }
      tensors.append(
        TestTensor(
          "\(place).mlp.gate.weight", [4, 48],
          try model.checkpoint.values("\(place).block_sparse_moe.gate.weight")))
      tensors.append(
        TestTensor(
          "\(place).mlp.experts.gate_up_proj", [4, 112, 48],
          try (0..<4).flatMap { try values($0, "w1") + values($0, "w3") }))
      tensors.append(
        TestTensor(
          "\(place).mlp.experts.down_proj", [4, 48, 56], try (0..<4).flatMap { try values($0, "w2") }))
    }
    try TestTensor.write(tensors, to: "\(folder)/model.safetensors")
    try FileSystem.write(try #require(model.checkpoint.config).bytes(), to: "\(folder)/config.json")
    return try SafetensorsCheckpoint(at: folder)
  }

  @Test func sumsOfWhatIsNotThereAreRefused() throws {
    let model = try GoldenModel(Golden("mixtral"))
    var change = StructuralChange()
    change.foldedExperts["text/0/experts"] = [0: [PartShare(4, weight: 1)]]
    #expect(problem { try model.changed(change) }?.message == "`text/0/experts` has 4 parts, part 4 folds into another")
    change.foldedExperts["text/0/experts"] = [0: []]
    #expect(problem { try model.changed(change) }?.message == "nothing folds into 0 of `text/0/experts`")
    change.foldedExperts = [:]
    change.foldedLayers["text"] = [2: [PartShare(0, weight: 1)]]
    #expect(problem { try model.changed(change) }?.message == "`text` has 2 parts, part 2 folds into another")
  }
}
