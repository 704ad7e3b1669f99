import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierNumerics
import NetworkTestSupport
import TestSupport
import Testing

@testable import EspalierRestructuring

/// Layers that leave by every metric, and layers that collapse.
@Suite struct LayerMethodsTests {
  /// Four layers, of which the third adds nothing to the stream.
  private func idle() throws -> (model: GoldenModel, subject: TokenSubject) {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    let deep = try model.repeated([0, 1, 0, 1])
    let silent = try deep.silencing(["layers.2.self_attn.o_proj", "layers.2.mlp.down_proj"])
    return (model, try TokenSubject(silent, of: model.family))
  }

  private func layers(_ result: Restructured) -> Int? { result.checkpoint.config?["num_hidden_layers"]?.integer }

  @Test(
    arguments: ["magnitude-l1", "magnitude-l2", "influence", "angular", "perplexity", "divergence"],
    ["one-by-one", "once", "together"])
  func anIdleLayerLeavesFirst(metric: String, order: String) throws {
    let (model, subject) = try idle()
    // Perplexity may fall without a layer that does something, of a model that was never trained.
    guard metric != "perplexity" else { return try perplexityIsThatWithoutTheLayer(order) }
    let whole = try parameterCount(subject.checkpoint, of: model.family)
    let result = try restructured(
      subject, by: "drop-layers", ["metric": .word(metric), "order": .word(order)], to: whole - 1)
    #expect(result.steps.map(\.text) == ["layer 2 leaves"])
    #expect(layers(result) == 3)
    #expect(try subject.divergence(of: result.checkpoint, named: "") <= 1e-6)
  }

  private func perplexityIsThatWithoutTheLayer(_ order: String) throws {
    let (model, subject) = try idle()
    let tower = model.description.towers[0].name
    var perplexities: [Double] = []
    for layer in 0..<4 {
      let kept = (0..<4).filter { $0 != layer }
      let left = try RestructuredCheckpoint(
        subject.checkpoint, of: model.family, change: StructuralChange(layers: [tower: kept]))
      perplexities.append(try subject.perplexity(of: left, named: ""))
    }
    let whole = try parameterCount(subject.checkpoint, of: model.family)
    let result = try restructured(
      subject, by: "drop-layers", ["metric": .word("perplexity"), "order": .word(order)], to: whole - 1)
    let best = try #require(perplexities.indices.min { perplexities[$0] < perplexities[$1] })
    #expect(result.steps[0].text == "layer \(best) leaves")
    #expect(abs(result.steps[0].figures[0].value - perplexities[best]) <= 1e-9 * perplexities[best])
  }

  @Test func fixedOrders() throws {
    let (model, subject) = try idle()
    let whole = try parameterCount(subject.checkpoint, of: model.family)
    let one = try parameterCount(try subject.changed(StructuralChange(layers: ["text": [0]])), of: model.family)
    func left(_ settings: [String: ParameterValue]) throws -> [String] {
      try restructured(subject, by: "drop-layers", settings, to: (whole + one) / 2).steps.map(\.text)
    }
    #expect(try left(["metric": .word("reverse")]) == ["layer 3 leaves", "layer 2 leaves"])
    #expect(try left(["metric": .word("last")]) == ["layer 2 leaves", "layer 1 leaves"])
    #expect(try left(["metric": .word("last"), "order": .word("together")]) == ["layers 1 to 2 leave"])
    let random = try left(["metric": .word("random"), "seed": .number(7)])
    #expect(random == (try left(["metric": .word("random"), "seed": .number(7)])))
    #expect(random.count == 2)
    let error = problem { try restructured(subject, by: "drop-layers", ["metric": .word("last")], to: one - 1) }
    #expect(error?.message == "\(one - 1) numbers cannot be reached: one layer alone leaves \(one)")
  }

  @Test func anglesAreThoseOfTheStream() throws {
    let (_, subject) = try idle()
    let angles = try StreamAngles(subject.network, on: subject.sequences)
    #expect(angles.layerCount == 4)
    #expect(angles.angle(from: 2, over: 1) <= 1e-3)
    var sum = 0.0
    for sequence in subject.sequences {
      let outputs = try subject.network.forward(NetworkInputs(tokens: [sequence]), hiddenStates: true)
      func last(_ name: String) -> [Double] {
        let output = outputs.first { $0.name == name }
        return (output?.values.suffix(output?.shape.last ?? 0) ?? []).map(Double.init)
      }
      func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
      let (a, b) = (last("layer.0"), last("layer.3"))
      sum += Elementary.acos(dot(a, b) / (dot(a, a) * dot(b, b)).squareRoot()) / Double.pi
    }
    #expect(abs(angles.angle(from: 1, over: 3) - sum / 3) <= 1e-5)
  }

  @Test func layersCollapseToTheGoal() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    let subject = try TokenSubject(try model.repeated([0, 1, 0, 1, 0, 1]), of: model.family)
    let whole = try parameterCount(subject.checkpoint, of: model.family)
    let one = try parameterCount(try subject.changed(StructuralChange(layers: ["text": [0]])), of: model.family)
    let layer = (whole - one) / 5
    for goal in [1, 2, 4] {
      let result = try restructured(
        subject, by: "laco", ["threshold": .number(0.9), "lowest": .number(0)], to: whole - goal * layer)
      #expect(layers(result) == 6 - goal)
      #expect(result.steps.allSatisfy { $0.figures[0].value > $0.figures[1].value })
      #expect(try subject.divergence(of: result.checkpoint, named: "").isFinite)
    }
    #expect(
      problem { try restructured(subject, by: "laco", ["lowest": .number(0)], to: one - 1) }?.message
        == "\(one - 1) numbers cannot be reached: \(one) can")
  }

  @Test func statesAreSimilarToThemselves() throws {
    let (_, subject) = try idle()
    let states = try CausalLanguageModel(subject.network).finalStates(of: subject.sequences)
    #expect(abs(LayerCollapse.similarity(states, states) - 1) <= 1e-12)
  }
}
