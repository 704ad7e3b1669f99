import EspalierBasics
import Testing

@testable import EspalierArchitectures

/// What descriptions say beyond names and shapes.
@Suite struct MeaningTests {
  /// Axes of one instance couple parameters, so they must agree in everything, wherever they occur.
  @Test(arguments: Fixture.names) func coupledAxesAgree(_ name: String) throws {
    let model = try Fixture(name).described()
    var seen: [String: Axis] = [:]
    for axis in model.parameters.flatMap({ $0.dimensions.flatMap(\.axes) }) {
      #expect(seen.updateValue(axis, forKey: axis.instance) ?? axis == axis, "\(axis.instance)")
    }
  }

  /// Maps of one site multiply the same activations: their input dimensions are equal, axis for axis.
  @Test(arguments: Fixture.names) func mapsOfOneSiteHaveOneInput(_ name: String) throws {
    let model = try Fixture(name).described()
    var inputs: [String: [Axis]] = [:]
    for parameter in model.parameters {
      guard let site = parameter.inputSite else { continue }
      #expect(!parameter.role.isBias && parameter.dimensions.count >= 2, "\(parameter.name)")
      let input = parameter.canonicalInput?.axes ?? []
      #expect(inputs[site] ?? input == input, "\(site): \(parameter.name)")
      inputs[site] = input
    }
    #expect(!inputs.isEmpty)
  }

  /// A bias is as long as the output of its map.
  @Test(arguments: Fixture.names) func biasesFitTheirMaps(_ name: String) throws {
    let model = try Fixture(name).described()
    for bias in model.parameters where bias.role.isBias && bias.name.hasSuffix(".bias") {
      let weight = model.parameter(named: bias.name.dropLast(4) + "weight")
      guard let weight, weight.role.part == bias.role.part else { continue }
      let output = weight.recipe.isTransposed ? weight.dimensions.last : weight.dimensions.first
      #expect(bias.dimensions == [output].compactMap(\.self), "\(bias.name)")
    }
  }

  @Test(arguments: Fixture.names) func layersAreNumberedAndRenamed(_ name: String) throws {
    let model = try Fixture(name).described()
    for parameter in model.parameters {
      let tower = try #require(model.tower(named: parameter.tower))
      guard let layer = parameter.layer else {
        #expect(!parameter.template.contains("{layer}"))
        continue
      }
      #expect(layer < tower.layerCount)
      let other = (layer + 1) % tower.layerCount
      let renamed = parameter.name(inLayer: other)
      let isConditional = tower.layerKinds.isEmpty == false || name.hasPrefix("resnet")
      #expect(isConditional || model.parameter(named: renamed)?.layer == other, "\(renamed)")
      #expect(parameter.name(inLayer: layer) == parameter.name)
      for alias in parameter.aliases { #expect(parameter.name(inLayer: layer, spelling: alias) == alias) }
    }
  }

  @Test func vocabularyDimensions() throws {
    let llama = try Fixture("llama_gqa_untied").described()
    #expect(
      llama.parameters.filter { $0.vocabularyDimension == 0 }.map(\.name) == [
        "model.embed_tokens.weight", "lm_head.weight",
      ])
    let bert = try Fixture("bert_mlm").described()
    #expect(
      bert.parameters.filter { $0.vocabularyDimension != nil }.map(\.name) == [
        "bert.embeddings.word_embeddings.weight", "cls.predictions.bias", "cls.predictions.decoder.weight",
        "cls.predictions.decoder.bias",
      ])
    let llava = try Fixture("llava").described()
    #expect(llava.parameters.filter { $0.vocabularyDimension == 0 }.count == 2)
    #expect(try Fixture("resnet_base").described().parameters.allSatisfy { $0.vocabularyDimension == nil })
  }

  @Test func otherSpellingsAreFound() throws {
    let bert = try Fixture("bert_mlm").described()
    let norm = bert.parameter(named: "encoder.layer.1.output.LayerNorm.gamma")
    #expect(norm?.name == "bert.encoder.layer.1.output.LayerNorm.weight")
    #expect(
      norm?.name(inLayer: 0, spelling: "encoder.layer.1.output.LayerNorm.gamma")
        == "encoder.layer.0.output.LayerNorm.gamma")
    let gemma = try Fixture("gemma3_vision").described()
    for name in [
      "language_model.model.layers.2.mlp.up_proj.weight", "model.language_model.layers.2.mlp.up_proj.weight",
    ] {
      #expect(gemma.parameter(named: name)?.layer == 2)
      #expect(gemma.parameter(named: name)?.tower == "text")
    }
    #expect(gemma.parameter(named: "vision_tower.vision_model.post_layernorm.bias")?.tower == "vision")
    #expect(gemma.parameter(named: "model.layers.2.mlp.up_proj.weight") == nil)
  }

  @Test func recipes() throws {
    #expect(try recipe("gpt2", "transformer.h.0.attn.c_attn.weight") == StoredForm(isTransposed: true))
    #expect(try recipe("gemma", "model.norm.weight") == StoredForm(value: .plusOne))
    #expect(try recipe("mamba", "backbone.layers.1.mixer.A_log") == StoredForm(value: .negativeExponential))
    #expect(try recipe("llama_gqa_untied", "model.norm.weight") == .direct)
  }

  private func recipe(_ fixture: String, _ name: String) throws -> StoredForm? {
    try Fixture(fixture).described().parameter(named: name)?.recipe
  }

  @Test func layerKindsFollowTheConfig() throws {
    #expect(try kinds("gemma2") == ["sliding", "full", "sliding"])
    #expect(try kinds("gemma3_text") == ["sliding", "sliding", "full", "sliding"])
    #expect(try kinds("qwen3_moe") == ["sparse", "dense", "sparse"])
    #expect(try kinds("qwen2_moe_step") == ["dense", "sparse", "dense"])
    #expect(try kinds("deepseek_v3") == ["dense", "sparse", "sparse"])
    #expect(try kinds("gpt_oss") == ["sliding", "full", "sliding"])
  }

  private func kinds(_ fixture: String) throws -> [String] {
    try #require(try Fixture(fixture).described().towers.first).layerKinds
  }

  /// A file may stack the experts of a layer instead of storing each.
  @Test func stackedExpertsReplaceSingleOnes() throws {
    let fixture = try Fixture("mixtral")
    let model = try fixture.described()
    var names = fixture.shapes.keys.filter { !$0.contains("layers.1.block_sparse_moe") }
    names += ["gate.weight", "experts.gate_up_proj", "experts.down_proj"].map { "model.layers.1.mlp." + $0 }
    let fit = model.fit(names: names.sorted())
    #expect(fit.unknown.isEmpty && fit.missing.isEmpty)
    #expect(model.parameter(named: "model.layers.1.mlp.experts.gate_up_proj")?.shape == [4, 112, 48])
    names.removeLast()
    #expect(model.fit(names: names).missing.count == 4)
  }

  @Test func positionsInATower() throws {
    let llama = try Fixture("llama_gqa_untied").described()
    #expect(llama.parameter(named: "model.embed_tokens.weight")?.position == .beforeLayers)
    #expect(llama.parameter(named: "model.layers.1.mlp.up_proj.weight")?.position == .inLayer(1))
    #expect(llama.parameter(named: "model.norm.weight")?.position == .afterLayers)
    #expect(llama.parameter(named: "lm_head.weight")?.position == .afterLayers)
  }

  /// In ResNet the stem and the first stage share channels exactly where no shortcut lies between them.
  @Test func channelsOfResNet() throws {
    let basic = try Fixture("resnet_basic_cls").described()
    #expect(try output(basic, "resnet.embedder.embedder.convolution.weight") == "channels[0]")
    #expect(try output(basic, "resnet.encoder.stages.0.layers.1.layer.1.convolution.weight") == "channels[0]")
    let bottleneck = try Fixture("resnet_bottleneck_cls").described()
    #expect(try output(bottleneck, "resnet.embedder.embedder.convolution.weight") == "channels[-1]")
    #expect(try output(bottleneck, "resnet.encoder.stages.1.layers.0.layer.2.convolution.weight") == "channels[1]")
  }

  private func output(_ model: ModelDescription, _ name: String) throws -> String? {
    let parameter = try #require(model.parameter(named: name))
    return parameter.dimensions[0].axes.first?.instance
  }
}

extension ParameterDescription {
  /// The dimension a map contracts with its input: the second to last of what is stored transposed, the second of a
  /// convolution, the last otherwise.
  fileprivate var canonicalInput: Dimension? {
    if recipe.isTransposed { return dimensions[dimensions.count - 2] }
    if [.convolution, .patchEmbedding].contains(role.part) {
      // A depthwise convolution reads the channels it writes.
      return dimensions[1] == .literal(1) ? dimensions[0] : dimensions[1]
    }
    return dimensions.last
  }
}
