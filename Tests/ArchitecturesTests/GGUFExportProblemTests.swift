import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierArchitectures
@testable import EspalierCheckpoints

/// What cannot be exported, what is left out, and what stacked experts become.
@Suite struct GGUFExportProblemTests {
  /// A checkpoint without files, of the parameters that a family describes for a config.
  private struct Imagined: Checkpoint {
    var config: JSON?
    var parameters: [Parameter]
    var location: String { "imagined" }
    var folder: String? { nil }
    var weightFiles: [String] { [] }
    var warnings: [Problem] { [] }

    init(_ config: JSON, stacked: Bool = false) throws {
      self.config = config
      let family = try #require(Architecture.recognise(config: config, among: Architecture.builtIn()))
      let described = try family.describe(config: config).parameters
      let replaced = Set(described.flatMap(\.replaces))
      parameters = []
      var offset = 0
      for parameter in described where parameter.tiedTo == nil && parameter.role.part != .buffer {
        guard stacked ? !replaced.contains(parameter.name) : parameter.replaces.isEmpty else { continue }
        let bytes = parameter.shape.reduce(2, *)
        parameters.append(
          Parameter(
            StoredTensor(
              name: parameter.name, elementType: .bf16, shape: parameter.shape, file: "f", offset: offset,
              byteCount: bytes)))
        offset += bytes
      }
    }

    func exported() throws -> GGUFExport {
      let families = Architecture.builtIn()
      let family = try #require(Architecture.recognise(config: config ?? .null, among: families))
      return try family.ggufExport(of: self, families: families)
    }
  }

  private static let llama: JSON = [
    "model_type": "llama", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
  ]

  private static func changed(_ changes: (String, JSON)...) -> JSON {
    var config = llama
    for (key, value) in changes { config[key] = value }
    return config
  }

  @Test func metadataOfAConfigAreDefaultsWhereItIsSilent() throws {
    let export = try Imagined(Self.llama).exported()
    let metadata = export.metadata
    #expect(metadata.integer("llama.attention.head_count_kv") == 2 && metadata.integer("llama.vocab_size") == 32)
    #expect(metadata["llama.rope.freq_base"] == .f32(10000) && metadata["llama.attention.key_length"] == nil)
    #expect(metadata["llama.attention.layer_norm_rms_epsilon"] == .f32(1e-5))
    #expect(metadata.type(of: "llama.context_length") == .u32 && metadata.text("general.type") == "model")
    #expect(metadata.text("general.name") == nil && export.warnings.isEmpty)
    // A width that is not what heads share of the model must be said.
    let wide = try Imagined(Self.changed(("head_dim", 8))).exported().metadata
    #expect(wide.integer("llama.attention.value_length") == 8 && wide.integer("llama.rope.dimension_count") == 8)
  }

  @Test func tensorsKnowWhatTheyAre() throws {
    let export = try Imagined(Self.llama).exported()
    #expect(
      export.tensors.prefix(4).map(\.name) == [
        "output.weight", "output_norm.weight", "token_embd.weight", "blk.0.attn_k.weight",
      ])
    let key = try #require(export.tensors.first { $0.name == "blk.1.attn_k.weight" })
    #expect(key.role.kind == .attentionKey && key.role.layer == 1 && !key.staysFloat32)
    #expect(key.sources == ["model.layers.1.self_attn.k_proj.weight"] && key.shape == [8, 16])
    #expect(key.parameter?.recipe.storedTensors.count == 1 && key.parameter?.elementType == .bf16)
    let norm = try #require(export.tensors.first { $0.name == "blk.0.ffn_norm.weight" })
    #expect(norm.role.kind == .norm && norm.staysFloat32)
    let reordered = try #require(export.transforms.first { $0.kind == .rowsReordered })
    #expect(reordered.tensors.count == 4 && reordered.kind.isExact && export.transforms.count == 1)
  }

  @Test func rolesByName() {
    func kind(_ name: String) -> GGUFTensorRole.Kind { GGUFTensorRole(name: name).kind }
    #expect(kind("blk.7.ffn_gate_inp.weight") == .router && kind("blk.7.ffn_down_exps.weight") == .expertDown)
    #expect(kind("blk.7.attn_q_norm.weight") == .norm && kind("blk.7.attn_q.bias") == .bias)
    #expect(kind("output_norm.weight") == .norm && kind("output.weight") == .output && kind("x") == .other)
    #expect(GGUFTensorRole(name: "blk.x.attn_q.weight").layer == nil)
    #expect(GGUFTensorRole(name: "blk.0.ffn_up.weight").staysFloat32(shape: [1, 40]))
    #expect(!GGUFTensorRole(name: "blk.0.ffn_up_exps.weight").staysFloat32(shape: [2, 3, 40]))
  }

  @Test func rowsOfQueriesAreInTheFilesOrder() throws {
    let order = try RowOrder(sizes: [3, 2, 4], stored: [0, 2, 1])
    let back = try order.inverse
    #expect((0..<24).allSatisfy { back.storedRow(of: order.storedRow(of: $0)) == $0 })
    #expect(try back.inverse == order)
    #expect(
      try RowOrder(sizes: [2, 3, 5], stored: [2, 0, 1]).inverse == RowOrder(sizes: [5, 2, 3], stored: [1, 2, 0]))
  }

  @Test func everyProblemAtOnce() throws {
    var model = try Imagined(Self.changed(("hidden_act", "gelu"), ("rope_scaling", ["type": "dynamic", "factor": 2])))
    model.parameters.removeAll { $0.name == "model.norm.weight" || $0.name == "lm_head.weight" }
    model.parameters[1].shape = [17]
    model.parameters.append(model.parameters[0])
    model.parameters[model.parameters.count - 1].name = "model.surprise"
    let found = problems { try model.exported() }
    #expect(found.map(\.code) == [.ggufConfig, .ggufTensor, .ggufTensor, .ggufTensor])
    #expect(found[0].message.contains("`dynamic`"))
    #expect(found.contains { $0.message.hasSuffix("does not know: model.surprise") })
    #expect(found.contains { $0.message == "parameters are missing: model.norm.weight, lm_head.weight" })
    #expect(found.contains { $0.context.tensor == "model.layers.0.input_layernorm.weight" })
    // What only reading back shows comes when the rest is right.
    let activation = problem { try Imagined(Self.changed(("hidden_act", "gelu"))).exported() }
    #expect(activation?.code == .ggufConfig && activation?.message.hasPrefix("`hidden_act` is \"gelu\"") == true)
    #expect(activation?.severity == .error && activation?.context.file == "imagined")
  }

  @Test func familiesWithoutProofAreRefusedByName() throws {
    let found = problem { try Imagined(try Fixture("mamba2").config).exported() }
    #expect(found?.code == .ggufFamily && found?.message == "GGUF files of the family mamba2 are not written")
    #expect(found?.remedy?.contains("llama, mistral, mixtral, olmo2") == true)
    var bare = try Imagined(Self.llama)
    let family = try family("llama")
    bare.config = nil
    #expect(problem { try family.ggufExport(of: bare, families: Architecture.builtIn()) }?.code == .checkpointConfig)
  }

  @Test func headsWithoutANameAreRefused() throws {
    let found = problem { try Imagined(Self.changed(("architectures", ["LlamaForSequenceClassification"]))).exported() }
    #expect(found?.code == .ggufTensor && found?.message.hasSuffix("have no name for: score.weight") == true)
  }

  @Test func whatFollowsFromTheConfigIsLeftOut() throws {
    var model = try Imagined(Self.changed(("tie_word_embeddings", true)))
    for name in ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq", "lm_head.weight"] {
      model.parameters.append(model.parameters[0])
      model.parameters[model.parameters.count - 1].name = name
    }
    let export = try model.exported()
    #expect(!export.tensors.contains { $0.name == "output.weight" } && export.warnings.count == 2)
    #expect(export.warnings.allSatisfy { $0.severity == .warning && $0.message.hasPrefix("left out") })
    #expect(export.warnings[0].message.contains("inv_freq") && export.warnings[1].message.hasSuffix("lm_head.weight"))
  }

  @Test func aModelWithoutAHeadIsExportedWithAWarning() throws {
    let export = try Imagined(Self.changed(("architectures", ["LlamaModel"]))).exported()
    #expect(export.warnings.count == 1 && export.warnings[0].message.contains("takes the embedding"))
  }

  @Test func headsOfBertAreLeftOut() throws {
    var model = try Imagined(try Fixture("bert_mlm").config)
    model.parameters.append(model.parameters[0])
    // Published folders have it, whatever class the config names.
    model.parameters[model.parameters.count - 1].name = "cls.seq_relationship.weight"
    let export = try model.exported()
    #expect(export.warnings.count == 1 && export.warnings[0].message.contains("llama.cpp computes with"))
    #expect(export.metadata.integer("tokenizer.ggml.token_type_count") == 2)
    #expect(export.metadata["bert.attention.causal"] == .truth(false))
    #expect(!export.tensors.contains { $0.role.kind == .other })
  }

  @Test func aModelOfThousandsOfExperts() throws {
    var config = try Fixture("qwen3_moe").config
    for (key, value) in [("num_hidden_layers", 24), ("num_experts", 128)] as [(String, JSON)] { config[key] = value }
    config["mlp_only_layers"] = []
    config["norm_topk_prob"] = true
    let export = try Imagined(config).exported()
    #expect(export.tensors.count == 24 * 12 + 3)
    let down = try #require(export.tensors.first { $0.name == "blk.23.ffn_down_exps.weight" })
    #expect(down.sources.count == 128 && down.shape[0] == 128 && !down.staysFloat32)
  }

  @Test func mapsAreUndoneByTheirInverse() {
    for map in ElementMap.allCases {
      #expect(map.inverse != map && map.inverse.inverse == map)
      // Exact, or off by roundings of both ways.
      let negative: [Float] = [-0.5, -1, -7.25, -1e-3]
      var values = negative
      values.withUnsafeMutableBufferPointer { values in
        map.apply(to: values)
        map.inverse.apply(to: values)
      }
      #expect(zip(values, negative).allSatisfy { abs($0 - $1) <= 4e-7 * max(1, abs($1)) }, "\(map)")
    }
  }

  @Test func impossibleRotationsAreRefused() throws {
    let scaling: JSON = ["type": "linear", "factor": 2]
    let config = Self.changed(("head_dim", 4_000_000_000), ("rope_scaling", scaling))
    var model = try Imagined(Self.llama)
    model.config = config
    #expect(problems { try model.exported() }.contains { $0.message.hasSuffix("entries of a head cannot be rotated") })
  }

  // MARK: Rotary embedding

  @Test func bothStylesOfConfigsSayTheSame() throws {
    let scaling: JSON = [
      "rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
      "original_max_position_embeddings": 32,
    ]
    var both = scaling
    both["rope_theta"] = 500000
    let old = try Imagined(Self.changed(("rope_theta", 500000), ("rope_scaling", scaling))).exported()
    let new = try Imagined(Self.changed(("rope_parameters", both))).exported()
    #expect(old.tensors == new.tensors && old.metadata.encoded == new.metadata.encoded)
    let factors = try #require(old.tensors.first { $0.name == "rope_freqs.weight" })
    #expect(factors.shape == [2] && factors.staysFloat32 && factors.parameter == nil && factors.sources.isEmpty)
    // Wavelengths 2 pi and 2 pi sqrt(500000) = 4443 against 32 / 4 and 32: the first is kept, the second divided.
    #expect(factors.content == .computed([1, 8]))
    #expect(old.metadata["llama.rope.freq_base"] == .f32(500000) && old.metadata["llama.rope.scaling.type"] == nil)
  }

  @Test func yarnIsWhatLlamaCppComputes() throws {
    let yarn: JSON = ["type": "yarn", "factor": 4, "original_max_position_embeddings": 16, "beta_fast": 24]
    let metadata = try Imagined(Self.changed(("rope_scaling", yarn))).exported().metadata
    #expect(metadata.text("llama.rope.scaling.type") == "yarn" && metadata["llama.rope.scaling.factor"] == .f32(4))
    #expect(metadata.integer("llama.rope.scaling.original_context_length") == 16)
    #expect(metadata["llama.rope.scaling.yarn_beta_fast"] == .f32(24))
    #expect(metadata["llama.rope.scaling.yarn_attn_factor"] == nil)
    var other = yarn
    other["attention_factor"] = 2
    #expect(problem { try Imagined(Self.changed(("rope_scaling", other))).exported() }?.code == .ggufConfig)
  }

  // MARK: Windows

  private static func gemma3(_ changes: (String, JSON)...) -> JSON {
    var config: JSON = [
      "model_type": "gemma3_text", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24,
      "num_hidden_layers": 7, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
      "query_pre_attn_scalar": 4, "sliding_window": 8,
    ]
    for (key, value) in changes { config[key] = value }
    return config
  }

  @Test func layersWithWindowsAreSaidByTheirPeriod() throws {
    let key = "gemma3.attention.sliding_window_pattern"
    let usual = try Imagined(Self.gemma3()).exported()
    #expect(usual.metadata[key] == nil && usual.metadata["gemma3.rope.freq_base_swa"] == .f32(10000))
    #expect(usual.transforms.map(\.kind) == [.onePlus] && usual.transforms[0].tensors.count == 7 * 6 + 1)
    #expect(usual.tensors.first { $0.name == "output_norm.weight" }?.parameter?.elementType == .f32)
    #expect(try Imagined(Self.gemma3(("sliding_window_pattern", 3))).exported().metadata.integer(key) == 3)
    func kinds(_ text: String) -> JSON {
      .array(text.map { .string($0 == "s" ? "sliding_attention" : "full_attention") })
    }
    #expect(try Imagined(Self.gemma3(("layer_types", kinds("sfsfsfs")))).exported().metadata.integer(key) == 2)
    #expect(try Imagined(Self.gemma3(("layer_types", kinds("sssssfs")))).exported().metadata[key] == nil)
    let odd = problem { try Imagined(Self.gemma3(("layer_types", kinds("ssfffss")))).exported() }
    #expect(odd?.message.contains("equal distances") == true)
    let scale = problem { try Imagined(Self.gemma3(("query_pre_attn_scalar", 9))).exported() }
    #expect(scale?.message.contains("`query_pre_attn_scalar` is 9") == true)
  }

  @Test func windowsThatLlamaCppIgnoresAreAWarning() throws {
    var config = Self.llama
    config["model_type"] = "mistral"
    config["sliding_window"] = 8
    let export = try Imagined(config).exported()
    #expect(export.warnings.count == 1 && export.warnings[0].message.contains("those of a window"))
    config["sliding_window"] = nil
    config["sliding_window"] = .null
    #expect(try Imagined(config).exported().warnings.isEmpty)
  }

  // MARK: Experts

  @Test func expertsAreStackedFromEitherLayout() throws {
    var config = Self.llama
    config["model_type"] = "mixtral"
    config["num_local_experts"] = 3
    let (apart, stacked) = (try Imagined(config).exported(), try Imagined(config, stacked: true).exported())
    #expect(apart.tensors.map(\.name) == stacked.tensors.map(\.name))
    #expect(apart.tensors.map(\.shape) == stacked.tensors.map(\.shape))
    let gate = try #require(apart.tensors.first { $0.name == "blk.1.ffn_gate_exps.weight" })
    #expect(gate.shape == [3, 24, 16] && gate.sources.count == 3 && gate.role.kind == .expertGate)
    let up = try #require(stacked.tensors.first { $0.name == "blk.1.ffn_up_exps.weight" })
    #expect(up.sources == ["model.layers.1.mlp.experts.gate_up_proj"])
    // In each expert the gate's 24 rows lie before those of up.
    let whole = try #require(stacked.tensors.first { $0.name == "blk.1.ffn_gate_exps.weight" })
    let starts = [whole, up].map { $0.parameter?.recipe.storedTensors.map(\.offset) ?? [] }
    let size = 24 * 16 * 2
    #expect(zip(starts[0], starts[1]).allSatisfy { $1 - $0 == size } && starts[0].count == 3)
    #expect(starts[0][1] - starts[0][0] == 2 * size)
    // What lies side by side is one tensor.
    let down = try #require(stacked.tensors.first { $0.name == "blk.1.ffn_down_exps.weight" })
    #expect(down.parameter?.recipe.storedTensors.map(\.byteCount) == [3 * size])
    #expect(apart.metadata.integer("llama.expert_count") == 3 && apart.metadata.integer("llama.expert_used_count") == 2)
  }

  @Test func pooledStatesOfAFolder() throws {
    try withTemporaryFolder { folder in
      #expect(GGUFPooling(folder: folder) == nil)
      try FileSystem.write(
        Array(#"[{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "1_Pooling"}]"#.utf8),
        to: "\(folder)/modules.json")
      try FileSystem.createFolder("\(folder)/1_Pooling")
      for (text, pooling) in [
        (#"{"pooling_mode_mean_tokens": true}"#, GGUFPooling.mean), (#"{"pooling_mode": "cls"}"#, .firstToken),
        (#"{"pooling_mode_cls_token": false, "pooling_mode_lasttoken": true}"#, .lastToken),
      ] {
        try FileSystem.write(Array(text.utf8), to: "\(folder)/1_Pooling/config.json")
        #expect(GGUFPooling(folder: folder) == pooling)
      }
    }
  }
}
