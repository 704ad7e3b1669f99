import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import TestSupport
import Testing

/// Networks of uneven layers compute what the whole network computes when what was taken from it is zero.
@Suite struct UnevenNetworkTests {
  /// Axes whose units are independent, of which one is taken.
  private static let cut = ["inner", "expertInner", "heads", "keyValueHeads", "queriesPerGroup"]

  private static func narrow(_ shape: inout LayerShape, _ axes: [String]) {
    for axis in axes { if let size = shape.sizes[axis], size > 1 { shape.sizes[axis] = size - 1 } }
  }

  private func compare(_ model: UnevenModel) throws {
    try withTemporaryFolder { folder in
      let cut = try model.writeCut(to: "\(folder)/cut")
      let zeroed = try model.writeZeroed(to: "\(folder)/zeroed")
      #expect(model.uneven.fit(names: cut.parameters.map(\.name)).missing.isEmpty)
      let network = try Network(cut, workers: UnevenModel.workers)
      #expect(network.unreadParameters == [])
      let found = try UnevenModel.outputs(cut)
      #expect(distance(found, try UnevenModel.outputs(zeroed)) <= 1e-5)
      #expect(found == (try UnevenModel.outputs(cut, residency: .streamed)))
    }
  }

  @Test(arguments: [
    "llama_gqa_untied", "llama_bias_headdim", "mistral_sliding", "qwen2_untied", "qwen3", "gemma", "gemma2",
    "gemma3_text", "phi3", "gpt2", "gpt_neox_parallel", "gpt_neox_sequential", "bert_base", "distilbert_cls",
    "roberta_cls", "t5_relu_tied", "mixtral", "qwen3_moe",
  ])
  func narrowLayers(name: String) throws {
    let model = try UnevenModel(name) { _, layers in Self.narrow(&layers[0], Self.cut) }
    #expect(model.config["espalier"] != nil)
    try compare(model)
  }

  @Test(arguments: [
    ("llama_gqa_untied", "attention"), ("llama_gqa_untied", "mlp"), ("gemma2", "mlp"), ("olmo2", "attention"),
    ("phi3", "attention"), ("gpt2", "mlp"), ("gpt_neox_parallel", "attention"), ("gpt_neox_sequential", "mlp"),
    ("bert_base", "attention"), ("distilbert_cls", "mlp"), ("t5_relu_tied", "crossAttention"),
    ("t5_gated_untied", "attention"), ("mixtral", "mlp"), ("qwen3_moe", "mlp"), ("mamba", "mixer"),
    ("mamba2", "mixer"),
  ])
  func layersWithoutABlock(name: String, block: String) throws {
    let model = try UnevenModel(name) { tower, layers in
      if block != "crossAttention" || tower == "decoder" { layers[layers.count - 1].missing = [block] }
    }
    #expect(model.uneven.parameters.count < model.even.parameters.count)
    #expect(model.uneven.towers.last?.missingBlocks.last == [block])
    try compare(model)
  }

  /// A layer that has nothing at all passes the stream by.
  @Test func anEmptyLayer() throws {
    let model = try UnevenModel("llama_gqa_untied") { _, layers in layers[0].missing = ["attention", "mlp"] }
    #expect(model.uneven.parameters.allSatisfy { $0.layer != 0 || $0.isOptional })
    try compare(model)
  }

  /// Keys and values are kept in each layer's own widths.
  @Test(arguments: ["llama_gqa_untied", "gpt2", "gemma2"])
  func sessions(name: String) throws {
    let model = try UnevenModel(name) { _, layers in
      Self.narrow(&layers[0], ["heads", "keyValueHeads", "inner"])
      layers[layers.count - 1].missing = ["mlp"]
    }
    try withTemporaryFolder { folder in
      let network = try Network(try model.writeCut(to: "\(folder)/cut"), workers: UnevenModel.workers)
      let causal = try CausalLanguageModel(network)
      let row = UnevenModel.tokens[0]
      let (whole, pieces) = (Session(causal), Session(causal))
      let expected = try whole.read(row)
      var found: [Float] = []
      for token in row { found = try pieces.read([token]) }
      #expect(found == expected)
    }
  }
}
