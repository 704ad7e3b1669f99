import EspalierBasics
import Testing

@testable import EspalierArchitectures

/// Writing a config back after its model changed, and refusing what is wrong in one.
@Suite struct ConfigTests {
  private let llama: JSON = [
    "model_type": "llama", "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "vocab_size": 130,
    "num_attention_heads": 6, "num_key_value_heads": 2, "rms_norm_eps": .literal("1e-05"),
  ]

  @Test func vocabulary() throws {
    let config = try family("llama").config(llama, vocabularySize: 7)
    var expected = llama
    expected["vocab_size"] = 7
    #expect(config == expected)
    let llava = try Fixture("llava").config
    let nested = try family("llava").config(llava, vocabularySize: 7)
    #expect(nested["text_config"]?["vocab_size"] == 7)
    #expect(nested["vision_config"] == llava["vision_config"])
  }

  /// Half of the key-value heads: query heads follow, and the width that was implied must now be said.
  @Test func heads() throws {
    let config = try family("llama").config(llama, with: [.size(axis: "keyValueHeads", 1)])
    #expect(config["num_key_value_heads"] == 1)
    #expect(config["num_attention_heads"] == 3)
    #expect(config["head_dim"] == 8)
    let query = try family("llama").describe(config: config).parameter(named: "layers.0.self_attn.q_proj.weight")
    #expect(query?.shape == [24, 48])
  }

  @Test func whatAConfigCannotSayIsRefused() throws {
    let gpt2 = try Fixture("gpt2").config
    let problem = #expect(throws: Problem.self) { try family("gpt2").config(gpt2, with: [.size(axis: "heads", 3)]) }
    #expect(problem?.code == .architectureInverse)
    #expect(throws: Problem.self) { try family("gpt2").config(gpt2, with: [.size(axis: "wings", 3)]) }
    #expect(throws: Problem.self) { try family("llama").config(llama, with: [.size(axis: "queryKeyWidth", 4)]) }
    // Together the two widths are one key.
    let both: [ConfigChange] = [.size(axis: "queryKeyWidth", 4), .size(axis: "valueWidth", 4)]
    #expect(try family("llama").config(llama, with: both)["head_dim"] == 4)
  }

  @Test func layers() throws {
    let config = try family("llama").config(llama, with: [.layers(tower: "text", sources: [0, 1, 1, 2, 2])])
    #expect(config["num_hidden_layers"] == 5)
    let shorter = try family("llama").config(llama, with: [.layers(tower: "text", sources: [2])])
    #expect(shorter["num_hidden_layers"] == 1)
    #expect(throws: Problem.self) { try family("llama").config(llama, with: [.layers(tower: "text", sources: [3])]) }
    #expect(throws: Problem.self) { try family("llama").config(llama, with: [.layers(tower: "vision", sources: [0])]) }
  }

  @Test func listsOfLayersAreTakenAlong() throws {
    let config = try Fixture("gpt_oss").config
    let taken = try family("gpt_oss").config(config, with: [.layers(tower: "text", sources: [1, 0, 0])])
    #expect(taken["layer_types"] == ["full_attention", "sliding_attention", "sliding_attention"])
  }

  /// Gemma 2 alternates; two sliding layers in a row must be written out.
  @Test func aBrokenPatternIsWrittenOut() throws {
    let config = try Fixture("gemma2").config
    let same = try family("gemma2").config(config, with: [.layers(tower: "text", sources: [0, 1])])
    #expect(same["layer_types"] == nil)
    let broken = try family("gemma2").config(config, with: [.layers(tower: "text", sources: [0, 2, 1])])
    #expect(broken["layer_types"] == ["sliding_attention", "sliding_attention", "full_attention"])
  }

  @Test func denseAndSparseLayers() throws {
    let qwen = try Fixture("qwen3_moe").config
    let moved = try family("qwen3_moe").config(qwen, with: [.layers(tower: "text", sources: [1, 0, 2])])
    #expect(moved["mlp_only_layers"] == [0])
    let deepseek = try Fixture("deepseek_v3").config
    let twice = try family("deepseek_v3").config(deepseek, with: [.layers(tower: "text", sources: [0, 0, 1, 2])])
    #expect(twice["first_k_dense_replace"] == 2)
    let problem = #expect(throws: Problem.self) {
      try family("deepseek_v3").config(deepseek, with: [.layers(tower: "text", sources: [1, 0])])
    }
    #expect(problem?.code == .architectureInverse)
  }

  /// T5's decoder is as deep as its encoder unless the config says otherwise.
  @Test func oneTowerIsChangedAlone() throws {
    var config = try Fixture("t5_relu_tied").config
    config["num_decoder_layers"] = nil
    let changed = try family("t5").config(config, with: [.layers(tower: "encoder", sources: [0])])
    #expect(changed["num_layers"] == 1)
    #expect(changed["num_decoder_layers"] == 2)
    let llava = try Fixture("llava").config
    let text = try family("llava").config(llava, with: [.layers(tower: "text", sources: [0, 2])])
    #expect(text["text_config"]?["num_hidden_layers"] == 2)
    #expect(text["vision_config"] == llava["vision_config"])
  }

  /// Reading after writing gives what was written, for every family and every axis that can be resized alone.
  @Test(arguments: Fixture.names) func readingInvertsWriting(_ name: String) throws {
    let fixture = try Fixture(name)
    let family = try #require(
      Architecture.recognise(config: fixture.config, among: Architecture.builtIn()), "no family")
    let model = try fixture.described()
    #expect(try family.config(fixture.config, with: []) == fixture.config)
    for tower in model.towers where tower.layerCountKey != nil {
      let all: ConfigChange = .layers(tower: tower.name, sources: Array(0..<tower.layerCount))
      #expect(try family.config(fixture.config, with: [all]) == fixture.config, "\(tower.name)")
      let first = try family.config(fixture.config, with: [.layers(tower: tower.name, sources: [0])])
      #expect(try family.describe(config: first).tower(named: tower.name)?.layerCount == 1)
    }
    for axis in Set(model.parameters.flatMap { $0.dimensions.flatMap(\.axes) }.map(\.name)) {
      guard let changed = try? family.config(fixture.config, with: [.size(axis: axis, 2)]) else { continue }
      let resized = try family.describe(config: changed).parameters.flatMap { $0.dimensions.flatMap(\.axes) }
      #expect(resized.allSatisfy { $0.name != axis || $0.size == 2 }, "\(axis)")
    }
  }

  @Test func unknownModelsAreNoError() {
    let families = Architecture.builtIn()
    #expect(Architecture.recognise(config: ["model_type": "hopfield"], among: families) == nil)
    #expect(Architecture.recognise(config: [:], among: families) == nil)
    #expect(Architecture.recognise(config: [1, 2], among: families) == nil)
    #expect(Architecture.recognise(config: ["architectures": ["GPT2Model"]], among: families)?.name == "gpt2")
  }

  @Test(
    arguments: [
      ("hidden_size", nil, "the config lacks `hidden_size`"),
      ("hidden_size", "wide", "`hidden_size` should be a whole number, but is \"wide\""),
      ("vocab_size", -1, "the size of `vocabulary` is -1"),
      ("num_hidden_layers", 1_000_000_000_000, "`num_hidden_layers` is 1000000000000, but must be between 0 and 10000"),
      ("num_hidden_layers", -1, "`num_hidden_layers` is -1, but must be between 0 and 10000"),
      ("num_attention_heads", 0, "48 / 0 cannot be computed"),
      ("num_attention_heads", 7, "7 / 2 leaves a remainder"),
      ("head_dim", .number(Int.max), "the dimension `keyValueHeads * queriesPerGroup * queryKeyWidth` is too large"),
      ("attention_bias", "yes", "`attention_bias` should be true or false, but is \"yes\""),
      ("architectures", [], "`architectures` has 0 entries, entry 0 is wanted"),
    ] as [(String, JSON?, String)])
  func damageIsNamed(_ key: String, _ value: JSON?, _ message: String) throws {
    var config = llama
    config[key] = value
    let llama = try family("llama")
    let problem = #expect(throws: Problem.self) { try llama.describe(config: config) }
    #expect(problem?.message == message)
    #expect(problem?.code == .architectureConfig)
  }

  @Test func tooManyExpertsAreRefused() throws {
    for count: JSON in [1_000_000_000_000, 999_999, -1] {
      var config = try Fixture("mixtral").config
      config["num_local_experts"] = count
      #expect(throws: Problem.self) { try family("mixtral").describe(config: config) }
    }
  }

  @Test func nestedConfigsAreChecked() throws {
    let llava = try family("llava")
    var config = try Fixture("llava").config
    config["text_config"] = ["model_type": "hopfield"]
    let unknown = #expect(throws: Problem.self) { try llava.describe(config: config) }
    #expect(unknown?.message == "no family is known for the `text_config` of llava (model_type: hopfield)")
    config["text_config"] = 3
    #expect(throws: Problem.self) { try llava.describe(config: config) }
    // LLaVA 1.5 as published: everything that equals a 7B Llama is left out.
    config["text_config"] = ["model_type": "llama", "vocab_size": 32064]
    #expect(
      try llava.describe(config: config).parameter(named: "language_model.lm_head.weight")?.shape == [32064, 4096])
  }
}
