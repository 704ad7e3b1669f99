import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import TestSupport
import Testing

@testable import EspalierRestructuring

/// Uneven models made plain by zeros.
@Suite struct PaddingTests {
  private func compare(_ model: UnevenModel) throws -> PaddedCheckpoint {
    try withTemporaryFolder { folder in
      let cut = try model.writeCut(to: "\(folder)/cut")
      let padded = try PaddedCheckpoint(cut)
      let config = try #require(padded.config)
      #expect(config["espalier"] == nil)
      let description = try model.family.describe(config: config)
      #expect(description.fit(names: padded.parameters.map(\.name)).missing.isEmpty)
      for parameter in padded.parameters {
        #expect(parameter.shape == description.parameter(named: parameter.name)?.shape, "\(parameter.name)")
      }
      #expect(distance(try UnevenModel.outputs(padded), try UnevenModel.outputs(cut)) <= 1e-5)
      return padded
    }
  }

  @Test(arguments: [
    "llama_gqa_untied", "llama_bias_headdim", "qwen2_untied", "qwen3", "gemma2", "phi3", "gpt2", "gpt_neox_parallel",
    "bert_base", "t5_gated_untied", "mixtral",
  ])
  func narrowLayers(name: String) throws {
    let model = try UnevenModel(name) { _, layers in
      for axis in ["inner", "expertInner", "heads", "keyValueHeads"] {
        if let size = layers[0].sizes[axis], size > 1 { layers[0].sizes[axis] = size - 1 }
      }
    }
    let padded = try compare(model)
    #expect(!padded.padded.isEmpty && padded.padded.allSatisfy { $0.contains("0") })
  }

  /// Each layer lacks another head count and width: the padded model is as wide as the widest of each.
  @Test func theWidestLayerCounts() throws {
    let model = try UnevenModel("llama_gqa_untied") { _, layers in
      for index in layers.indices { layers[index].sizes["inner"] = 20 + 4 * index }
      layers[0].sizes["keyValueHeads"] = 1
      layers[1].sizes["queriesPerGroup"] = 1
    }
    let padded = try compare(model)
    #expect(padded.config?["intermediate_size"]?.integer == 20 + 4 * (model.even.towers[0].layerCount - 1))
    #expect(padded.config?["num_key_value_heads"] == model.original.config?["num_key_value_heads"])
  }

  @Test(arguments: [
    ("llama_gqa_untied", "attention"), ("llama_gqa_untied", "mlp"), ("gemma2", "attention"), ("olmo2", "attention"),
    ("gpt2", "mlp"), ("bert_base", "mlp"), ("mixtral", "mlp"), ("mamba", "mixer"),
  ])
  func missingBlocks(name: String, block: String) throws {
    let model = try UnevenModel(name) { _, layers in layers[layers.count - 1].missing = [block] }
    let padded = try compare(model)
    #expect(
      padded.padded.count == model.even.fit(names: padded.parameters.map(\.name)).described.count
        - model.uneven.fit(names: padded.parameters.map(\.name)).described.count)
    #expect(padded.config == model.original.config)
  }

  /// GPT-2's heads are the width of the model divided by their number: where no layer has all, the config's number stays.
  @Test func headsThatNoConfigCanSay() throws {
    let model = try UnevenModel("gpt2") { _, layers in
      for index in layers.indices { layers[index].sizes["heads"] = (layers[index].sizes["heads"] ?? 0) - 1 }
      layers[0].sizes["heads"] = 1
    }
    let padded = try compare(model)
    #expect(padded.config?["n_head"] == model.original.config?["n_head"])
  }

  @Test func anEvenModelStaysAsItIs() throws {
    let checkpoint = try SafetensorsCheckpoint(at: "\(UnevenModel.fixtures)/llama_gqa_untied")
    let padded = try PaddedCheckpoint(checkpoint)
    #expect(padded.padded.isEmpty && padded.config == checkpoint.config)
    #expect(padded.parameters.map(\.recipe) == checkpoint.parameters.map(\.recipe))
  }

  // MARK: Refusals

  /// OLMo 2 normalizes the queries of all heads together; more entries, even zeros, change the mean.
  @Test func whatANormRunsOver() throws {
    let model = try UnevenModel("olmo2") { _, layers in layers[0].sizes["keyValueHeads"] = 1 }
    try withTemporaryFolder { folder in
      let cut = try model.writeCut(to: "\(folder)/cut")
      let found = problems { try PaddedCheckpoint(cut) }
      #expect(found.contains { $0.code == .padding && $0.message.contains("a norm has it") })
    }
  }

  /// What scores are computed over sets their scale.
  @Test func widthsOfHeads() throws {
    let model = try UnevenModel("qwen3") { _, layers in
      layers[0].sizes["queryKeyWidth"] = 4
      layers[0].sizes["valueWidth"] = 4
    }
    try withTemporaryFolder { folder in
      let cut = try model.writeCut(to: "\(folder)/cut")
      let found = problems { try PaddedCheckpoint(cut) }
      #expect(found.contains { $0.code == .padding && $0.message.contains("`queryKeyWidth`") })
      #expect(found.allSatisfy { $0.context.file == cut.location })
    }
  }

  @Test func parametersThatAreMissing() throws {
    let model = try UnevenModel("llama_gqa_untied") { _, layers in layers[0].missing = ["attention"] }
    try withTemporaryFolder { folder in
      let cut = try model.writeCut(to: "\(folder)/cut")
      let tensors = try cut.parameters.filter { !$0.name.hasSuffix("layers.0.mlp.up_proj.weight") }.map {
        TestTensor($0.name, $0.shape, try UnevenModel.values($0))
      }
      try TestTensor.write(tensors, to: "\(folder)/cut/model.safetensors")
      let found = problem { try PaddedCheckpoint(try SafetensorsCheckpoint(at: "\(folder)/cut")) }
      #expect(found?.code == .padding)
      #expect(found?.message == "parameters are missing: model.layers.0.mlp.up_proj.weight")
    }
  }

  @Test func unknownFamilies() throws {
    let model = try UnevenModel("llama_gqa_untied") { _, _ in }
    try withTemporaryFolder { folder in
      _ = try model.writeCut(to: "\(folder)/cut")
      try FileSystem.write(Array("{\"model_type\": \"abacus\"}".utf8), to: "\(folder)/cut/config.json")
      let found = problem { try PaddedCheckpoint(try SafetensorsCheckpoint(at: "\(folder)/cut")) }
      #expect(found?.code == .architectureUnsupported)
    }
  }

  // MARK: Runs

  /// `[2, 3]` in the corners of `[3, 5]`: a row below and columns 1 and 3 are new.
  @Test func runsOfZeros() {
    let runs = ZeroRuns(of: [3, 5], holding: [2, 3], at: [[0, 1], [0, 2, 4]])
    #expect(runs.unit == 1)
    #expect(
      runs.runs == [
        .rows(source: 0, first: 0, count: 1), .zeros(count: 1), .rows(source: 0, first: 1, count: 1), .zeros(count: 1),
        .rows(source: 0, first: 2, count: 2), .zeros(count: 1), .rows(source: 0, first: 4, count: 1), .zeros(count: 1),
        .rows(source: 0, first: 5, count: 1), .zeros(count: 5),
      ])
    // Whole rows stay rows.
    let rows = ZeroRuns(of: [4, 5], holding: [2, 5], at: [[0, 2], [0, 1, 2, 3, 4]])
    #expect(rows.unit == 5)
    #expect(
      rows.runs == [
        .rows(source: 0, first: 0, count: 1), .zeros(count: 1), .rows(source: 0, first: 1, count: 1), .zeros(count: 1),
      ])
  }
}
