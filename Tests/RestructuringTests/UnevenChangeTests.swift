import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierNumerics
import EspalierRestructuring
import NetworkTestSupport
import TestSupport
import Testing

/// Changes that differ from layer to layer, and blocks that leave.
@Suite struct UnevenChangeTests {
  private static let llama = Golden("llama_gqa_untied")

  @Test func layersMayKeepAsManyAsTheyNeed() throws {
    let model = try GoldenModel(Self.llama)
    let groups = UnitGroup.groups(along: "inner", of: model.description, in: model.checkpoint)
    #expect(groups.count > 1)
    var (change, gone) = (StructuralChange(), [String: Set<Int>]())
    for (index, group) in groups.enumerated() {
      let kept = Array(0..<(group.count - 3 * index - 1))
      change.choices[group.axis.instance] = AxisChoice(kept)
      gone[group.axis.instance] = Set(kept.count..<group.count)
    }
    let changed = try model.changed(change)
    #expect(changed.config?["espalier"] != nil)
    try withTemporaryFolder { folder in
      let reference = try model.outputs(of: try model.zeroed(gone, in: folder))
      let found = try model.outputs(of: changed)
      for (expected, output) in zip(reference, found) {
        #expect(distance(expected, output) <= 1e-5, "\(expected.name)")
      }
    }
    // What is uneven can be changed again, until it is even.
    let again = UnitGroup.groups(along: "inner", of: changed.description, in: changed)
    #expect(again.map(\.count) == groups.indices.map { groups[$0].count - 3 * $0 - 1 })
    var even = StructuralChange()
    for group in again { even.choices[group.axis.instance] = AxisChoice(Array(0..<8)) }
    let second = try RestructuredCheckpoint(changed, of: model.family, change: even)
    #expect(second.config?["espalier"] == nil)
    #expect(second.config?["intermediate_size"]?.integer == 8)
  }

  /// Heads leave every layer alike, channels one layer alone.
  @Test func evenAndUnevenChangesGoTogether() throws {
    let model = try GoldenModel(Self.llama)
    var (change, gone) = (StructuralChange(), [String: Set<Int>]())
    for axis in model.description.axes where axis.name == "keyValueHeads" || axis.instance == "text/1/inner" {
      change.choices[axis.instance] = AxisChoice(Array(0..<axis.size - 1))
      gone[axis.instance] = [axis.size - 1]
    }
    let changed = try model.changed(change)
    #expect(changed.config?["espalier"] != nil)
    try withTemporaryFolder { folder in
      let reference = try model.outputs(of: try model.zeroed(gone, in: folder))
      for (expected, output) in zip(reference, try model.outputs(of: changed)) {
        #expect(distance(expected, output) <= 1e-5, "\(expected.name)")
      }
    }
  }

  @Test(arguments: ["attention", "mlp"])
  func aBlockThatLeavesIsOneThatAddsNothing(block: String) throws {
    let model = try GoldenModel(Self.llama)
    let tower = model.description.towers[0].name
    let changed = try model.changed(StructuralChange(missing: [tower: [1: [block]]]))
    #expect(changed.parameters.count < model.checkpoint.parameters.count)
    let output = block == "attention" ? "model.layers.1.self_attn.o_proj" : "model.layers.1.mlp.down_proj"
    let silent = OverlaidCheckpoint(
      model.checkpoint,
      replacing: model.checkpoint.parameters.filter { $0.name.hasPrefix(output) }.map { parameter in
        var parameter = parameter
        parameter.recipe = .combined([], constant: 0, shape: parameter.shape)
        return parameter
      })
    for (expected, found) in zip(try model.outputs(of: silent), try model.outputs(of: changed)) {
      #expect(distance(expected, found) <= 1e-5, "\(expected.name)")
    }
  }

  @Test func whatCannotBeChangedIsRefused() throws {
    let model = try GoldenModel(Self.llama)
    let tower = model.description.towers[0].name
    let count = model.description.towers[0].layerCount
    func message(_ change: StructuralChange) -> String { problem { try model.changed(change) }?.message ?? "" }
    #expect(message(.init(choices: ["text/0/nothing": AxisChoice([0])])).contains("no axis"))
    #expect(message(.init(choices: ["text/0/inner": AxisChoice([])])).contains("would be left"))
    #expect(message(.init(choices: ["text/0/inner": AxisChoice([100_000])])).contains("is wanted"))
    #expect(message(.init(choices: ["text/0/queryKeyWidth": AxisChoice([1, 0])])).contains("cannot be smaller"))
    #expect(message(.init(layers: [tower: []])).contains("no layer"))
    #expect(message(.init(layers: [tower: [count]])).contains("is wanted"))
    #expect(message(.init(layers: ["vision": [0]])).contains("no tower"))
    #expect(message(.init(missing: [tower: [0: ["nose"]]])).contains("no block `nose`"))
    #expect(message(.init(missing: [tower: [count: ["mlp"]]])).contains("leave layer"))
  }

  @Test func selectionsAreReadByHand() throws {
    try withTemporaryFolder { folder in
      let values = (0..<24).map(Float.init)
      try TestTensor.write([TestTensor("t", [2, 3, 4], values)], to: "\(folder)/t.safetensors")
      let stored = try SafetensorsCheckpoint(at: "\(folder)/t.safetensors").parameters[0]
      func read(_ recipe: StorageRecipe, _ shape: [Int]) throws -> [Float] {
        try Parameter(name: "t", shape: shape, elementType: .f32, recipe: recipe).values(files: FilePool())
      }
      let columns = try EntrySelection(of: [2, 3, 4], entries: [nil, [2, 0], [3, 1]])
      #expect(try read(.selected(stored.recipe, columns), [2, 2, 2]) == [11, 9, 3, 1, 23, 21, 15, 13])
      let rows = try EntrySelection(of: [2, 3, 4], entries: [[1], [1, 2], nil])
      #expect(try read(.selected(stored.recipe, rows), [1, 2, 4]) == [16, 17, 18, 19, 20, 21, 22, 23])
      let sum = StorageRecipe.combined(
        [WeightedRecipe(weight: 2, recipe: stored.recipe), WeightedRecipe(weight: -1, recipe: stored.recipe)],
        constant: 0.5, shape: [2, 3, 4])
      #expect(try read(sum, [2, 3, 4]) == values.map { $0 + 0.5 })
      #expect(problem { try EntrySelection(of: [2], entries: [[2]]) } != nil)
      #expect(problem { try EntrySelection(of: [2], entries: []) } != nil)
    }
  }
}
