import EspalierBasics
import Testing

@testable import EspalierArchitectures

/// What a config says of single layers.
@Suite struct LayerEntryTests {
  private let llama: JSON = [
    "model_type": "llama", "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "vocab_size": 130,
    "num_attention_heads": 6, "num_key_value_heads": 2, "rms_norm_eps": .literal("1e-05"),
  ]

  private func uneven(_ layers: JSON...) -> JSON {
    var config = llama
    config["espalier"] = ["layers": ["text": .array(layers)]]
    return config
  }

  private func complaint(_ config: JSON) -> String? {
    do {
      _ = try family("llama").describe(config: config)
      return nil
    } catch { return (error as? Problem)?.message }
  }

  /// By hand: 48 wide, heads of 8. Layer 1 has one key-value head with 2 queries and 20 units, layer 2 no attention.
  @Test func shapes() throws {
    let config = uneven(
      [:], ["intermediate_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1], ["without": ["attention"]])
    let model = try family("llama").describe(config: config)
    func shape(_ name: String) -> [Int]? { model.parameter(named: "model.layers.\(name).weight")?.shape }
    #expect(shape("0.self_attn.q_proj") == [48, 48] && shape("0.self_attn.k_proj") == [16, 48])
    #expect(shape("0.mlp.up_proj") == [80, 48])
    #expect(shape("1.self_attn.q_proj") == [16, 48] && shape("1.self_attn.k_proj") == [8, 48])
    #expect(shape("1.self_attn.o_proj") == [48, 16] && shape("1.mlp.down_proj") == [48, 20])
    #expect(shape("2.self_attn.q_proj") == nil && shape("2.input_layernorm") == nil)
    #expect(shape("2.post_attention_layernorm") == [48] && shape("2.mlp.down_proj") == [48, 80])
    #expect(model.towers[0].missingBlocks == [[], [], ["attention"]])
    // Before the layers, three of them, after them, the head.
    let program = try family("llama").program(config: config)
    #expect(program.sections.map(\.statements.count) == [1, 14, 14, 6, 1, 1])
  }

  /// The width of heads follows from their number in the whole model, not in a layer.
  @Test func defaultsStay() throws {
    let config = uneven([:], ["num_attention_heads": 4], [:])
    let shapes = try family("llama").layerShapes(config: config)[0].layers
    #expect(shapes[1].sizes["queriesPerGroup"] == 2 && shapes[1].sizes["valueWidth"] == 8)
    let statement = try family("llama").program(config: config).sections[2].statements[4]
    #expect(try statement.integer("headWidth") == 8 && statement.config["head_dim"] == 8)
  }

  @Test func everythingWrongIsToldAtOnce() throws {
    let config = uneven(
      ["hidden_size": 12], ["num_attention_heads": 5, "intermediate_size": 0], ["without": ["wings"]])
    #expect(
      complaint(config)
        == "the config's `espalier` does not fit the family llama: layer 0 of the tower text: unknown key `hidden_size`; "
        + "known: num_key_value_heads, num_attention_heads, intermediate_size, without; "
        + "layer 1 of the tower text: `intermediate_size` is 0, and should be a whole number above 0; "
        + "layer 2 of the tower text: unknown block `wings`; known: attention, mlp")
    #expect(
      complaint(uneven([:], ["num_attention_heads": 5], [:]))?.hasSuffix(
        "cannot be computed: 5 / 2 leaves a remainder") == true)
    #expect(complaint(uneven([:], [:]))?.hasSuffix("the tower text has 3 layers and a list of 2") == true)
    var other = llama
    other["espalier"] = ["layers": ["vision": []], "depth": 3]
    #expect(
      complaint(other)?.hasSuffix("unknown key `depth`; unknown tower `vision`; known: text") == true)
    other["espalier"] = []
    #expect(complaint(other)?.hasSuffix("it should be an object") == true)
    #expect(complaint(uneven(3, ["without": "attention"], ["intermediate_size": 1.5])) != nil)
  }

  /// Mamba's `expand` says nothing where the inner width is written, and would be passed over.
  @Test func valuesThatChangeNothing() throws {
    var config = try Fixture("mamba").config
    let layers = try #require(config["num_hidden_layers"]?.integer)
    let own: [JSON] = (0..<layers).map { $0 == 0 ? ["expand": 7] : [:] }
    config["espalier"] = ["layers": ["text": .array(own)]]
    let problem = #expect(throws: Problem.self) { try family("mamba").describe(config: config) }
    #expect(problem?.message.hasSuffix("layer 0 of the tower text: `expand` changes no size") == true)
  }

  // MARK: Writing

  @Test func shapesAreWrittenBack() throws {
    let family = try family("llama")
    var layers = try family.layerShapes(config: llama)[0].layers
    layers[1].sizes["keyValueHeads"] = 1
    layers[2].sizes["inner"] = 20
    layers[2].missing = ["attention"]
    let config = try family.config(llama, with: [.shapes(tower: "text", layers)])
    #expect(
      config
        == uneven(
          [:], ["num_key_value_heads": 1, "num_attention_heads": 3],
          ["intermediate_size": 20, "without": ["attention"]]))
    #expect(try family.layerShapes(config: config)[0].layers == layers)
    // Layers take what is theirs along; what all agree on is said once.
    let moved = try family.config(config, with: [.layers(tower: "text", sources: [2, 0, 0, 1])])
    #expect(moved["num_hidden_layers"] == 4)
    #expect(try family.layerShapes(config: moved)[0].layers == [layers[2], layers[0], layers[0], layers[1]])
    let alike = try family.config(config, with: [.layers(tower: "text", sources: [1, 1])])
    #expect(alike["espalier"] == nil && alike["num_key_value_heads"] == 1 && alike["num_attention_heads"] == 3)
    #expect(alike["head_dim"] == 8)
    // The new size of an axis is that of all layers.
    let narrow = try family.config(config, with: [.size(axis: "inner", 16)])
    #expect(narrow["intermediate_size"] == 16)
    #expect(try family.layerShapes(config: narrow)[0].layers.allSatisfy { $0.sizes["inner"] == 16 })
    #expect(try family.layerShapes(config: narrow)[0].layers[1].sizes["keyValueHeads"] == 1)
    #expect(try family.withoutLayerEntries(config) == llama)
  }

  @Test func shapesThatCannotBeWritten() throws {
    let family = try family("llama")
    let layers = try family.layerShapes(config: llama)[0].layers
    func code(_ change: (inout [LayerShape]) -> Void) -> Problem.Code? {
      var layers = layers
      change(&layers)
      return (#expect(throws: Problem.self) { try family.config(llama, with: [.shapes(tower: "text", layers)]) })?.code
    }
    #expect(code { $0.removeLast() } == .architectureInverse)
    #expect(code { $0[0].sizes["hidden"] = 4 } == .architectureInverse)
    #expect(code { $0[0].sizes["inner"] = 0 } == .architectureInverse)
    #expect(code { $0[0].missing = ["wings"] } == .architectureInverse)
    // One key holds both widths, and the frequencies of all layers.
    #expect(code { $0[0].sizes["valueWidth"] = 4 } == .architectureInverse)
  }

  /// The text model of a multimodal one has its entries in its own part of the config.
  @Test func includedFamilies() throws {
    let config = try Fixture("llava").config
    let family = try family("llava")
    let text = try #require(try family.layerShapes(config: config).first { $0.tower == "text" })
    var layers = text.layers
    layers[0].sizes["text.inner"] = 8
    let written = try family.config(config, with: [.shapes(tower: "text", layers)])
    #expect(written["espalier"] == nil && written["text_config"]?["espalier"] != nil)
    #expect(try family.layerShapes(config: written).first { $0.tower == "text" }?.layers == layers)
    #expect(try family.withoutLayerEntries(written) == config)
  }

  @Test func blocksOfADescription() throws {
    var json = try JSON(parsing: Array((Architecture.builtInSource(named: "llama") ?? "").utf8))
    var tower = try #require(json["towers"]?["text"])
    tower["blocks"] = ["attention": "g"]
    json["towers"] = ["text": tower]
    let problems = #expect(throws: Problems.self) { try Architecture.load(parsing: json, file: "mine.json") }
    #expect(
      problems?.all.map(\.message) == [
        "at towers.text.blocks.attention: no statement of a layer adds `g` to another slot"
      ])
  }
}
