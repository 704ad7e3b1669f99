import EspalierBasics
import EspalierCheckpoints
import TestSupport
import Testing

@testable import EspalierArchitectures

/// Models that llama.cpp's converter wrote, compared with the checkpoints it read (see `make_gguf_fixtures.py`).
@Suite struct GGUFModelTests {
  private static let folder = "\(FileSystem.parent(of: #filePath))/GGUFFixtures"
  private static let names = ((try? FileSystem.list(folder)) ?? []).filter { $0.hasSuffix(".gguf") }
    .map { String($0.dropLast(5)) }
  /// Files that could be of several families; they keep their own names.
  private static let unmapped = ["distilbert"]

  private static func model(_ name: String) throws(Problems) -> GGUFCheckpoint {
    try GGUFCheckpoint(at: "\(folder)/\(name).gguf", families: Architecture.builtIn())
  }

  private static func values(_ parameter: Parameter) throws(Problem) -> [Float] {
    let reader = try parameter.recipe.reader(files: FilePool())
    let count = reader.elementCount
    let scratch = UnsafeMutableRawPointer.allocate(byteCount: max(1, reader.scratchBytes(for: count)), alignment: 64)
    defer { scratch.deallocate() }
    var values = [Float](repeating: .nan, count: count)
    let result: Result<Void, Problem> = values.withUnsafeMutableBufferPointer { values in
      Result { () throws(Problem) in
        if let start = values.baseAddress { try reader.read(0..<count, into: start, scratch: scratch) }
      }
    }
    try result.get()
    return values
  }

  @Test func everyFamilyHasAFixture() {
    #expect(Self.names.count == 25)
    let families = Set(Architecture.builtIn().filter { $0.gguf != nil }.map(\.name))
    let covered = Self.names.filter { !Self.unmapped.contains($0) }.compactMap { name in
      (try? Self.model(name))?.config.flatMap {
        Architecture.recognise(config: $0, among: Architecture.builtIn())?.name
      }
    }
    #expect(Set(covered) == families)
  }

  /// Names, shapes and values are those of the checkpoint: to the bit, where the file does not hold a rounded function
  /// of them.
  @Test(arguments: names.filter { !unmapped.contains($0) })
  func parametersAreThoseOfTheCheckpoint(name: String) throws {
    let model = try Self.model(name)
    let reference = try SafetensorsCheckpoint(at: "\(Self.folder)/\(name).safetensors")
    #expect(model.warnings.isEmpty, "\(model.warnings)")
    // The converter leaves out what llama.cpp does not compute.
    let expected = reference.parameters.filter { !$0.name.hasPrefix("pooler.") }
    #expect(model.parameters.map(\.name) == expected.map(\.name))
    for (parameter, original) in zip(model.parameters, expected) {
      #expect(parameter.shape == original.shape, "\(parameter.name)")
      let (found, wanted) = (try Self.values(parameter), try Self.values(original))
      guard case .mapped = parameter.recipe else {
        #expect(found == wanted, "\(parameter.name)")
        continue
      }
      let worst = zip(found, wanted).map { abs($0 - $1) / max(1, abs($1 + 1)) }.max() ?? 0
      #expect(worst <= 1.2e-7, "\(parameter.name)")
    }
  }

  /// Keys that a GGUF file of the family can say, and what it says is what the checkpoint's config says.
  @Test(arguments: names.filter { !unmapped.contains($0) })
  func configIsThatOfTheCheckpoint(name: String) throws {
    let config = try #require(try Self.model(name).config)
    let original = try JSON(parsing: try FileSystem.read("\(Self.folder)/\(name).json"))
    let untold: Set<String> = [
      // What training or tooling needs, and special tokens, since the fixtures have no tokenizer.
      "attention_dropout", "attention_probs_dropout_prob", "attn_pdrop", "bos_token_id", "chunk_size",
      "classifier_dropout", "dropout_rate", "dtype", "embd_pdrop", "eos_token_id", "hidden_dropout",
      "hidden_dropout_prob", "initializer_factor", "initializer_range", "output_router_logits", "pad_token_id",
      "pretraining_tp", "rescale_prenorm_residual", "resid_pdrop", "router_aux_loss_coef", "router_jitter_noise",
      "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
      "torch_dtype", "transformers_version", "use_associative_scan", "use_cache", "use_mambapy",
      // Fixed by the family, as llama.cpp has it.
      "add_cross_attention", "is_decoder", "is_gated_act", "dense_act_fn", "layer_types", "max_window_layers",
      "norm_topk_prob", "qkv_bias", "relative_attention_max_distance", "reorder_and_upcast_attn", "residual_in_fp32",
      "scale_attn_by_inverse_layer_idx", "scale_attn_weights", "use_bidirectional_attention",
      // Read from other keys, and compared below.
      "rope_parameters", "rope_scaling", "rope_theta", "num_local_experts", "n_inner", "num_experts",
    ]
    // Settings of the tiny models that no published model has and no GGUF file can say.
    let unsayable: [String: Set<String>] = [
      "gemma2": ["query_pre_attn_scalar"], "gemma3_text": ["query_pre_attn_scalar", "sliding_window_pattern"],
      "mistral": ["sliding_window"], "bert": ["tie_word_embeddings"],
    ]
    for (key, value) in original.members?.pairs ?? [] where !untold.contains(key) && !value.isNull {
      if unsayable[name]?.contains(key) == true { continue }
      if key.hasPrefix("time_step"), key != "time_step_rank" || name == "mamba2" { continue }
      if key == "sliding_window", value == 0 { continue }
      let found = config[key]
      #expect(found == value || found?.number == value.number && value.number != nil, "\(key): \(value.text())")
    }
    // What the family's own description makes of both configs is the same.
    let families = Architecture.builtIn()
    let (read, meant) = (try describe(config, families), try describe(original, families))
    #expect(read.parameters.map(\.name) == meant.parameters.map(\.name))
    #expect(read.parameters.map(\.shape) == meant.parameters.map(\.shape))
  }

  private func describe(_ config: JSON, _ families: [Architecture]) throws -> ModelDescription {
    try #require(Architecture.recognise(config: config, among: families)).describe(config: config)
  }

  @Test func rotaryScalingIsReconstructed() throws {
    for name in ["llama_rope_linear", "llama_rope_llama3", "llama_rope_yarn", "phi3"] {
      let found = try #require(try Self.model(name).config?["rope_scaling"])
      let original = try JSON(parsing: try FileSystem.read("\(Self.folder)/\(name).json"))
      for (key, value) in original["rope_scaling"]?.members?.pairs ?? [] {
        #expect(found[key] == value, "\(name) \(key)")
      }
      let theta = original["rope_theta"]?.number
      #expect(try Self.model(name).config?["rope_theta"]?.number == theta)
    }
    #expect(try Self.model("mistral").config?["rope_scaling"] == nil)
  }

  @Test func queriesKeepTheirCodedRows() throws {
    let model = try Self.model("llama_bias").parametersByName()
    let query = try #require(model["model.layers.0.self_attn.q_proj.weight"]?.codedMatrix())
    #expect(try query.order == RowOrder(sizes: [6, 2, 6], stored: [0, 2, 1]) && query.columns == 48)
    let value = try #require(model["model.layers.0.self_attn.v_proj.weight"]?.codedMatrix())
    #expect(value.order == nil && value.rows == 24)
    let convolution = try #require(try Self.model("gpt2").parametersByName()["transformer.h.0.mlp.c_fc.weight"])
    #expect(convolution.shape == [48, 192] && convolution.codedMatrix() == nil)
    #expect(convolution.codedMatrix(transposed: true)?.rows == 192)
    let expert = try #require(
      try Self.model("qwen2_moe").parametersByName()["model.layers.1.mlp.experts.3.up_proj.weight"])
    #expect(expert.codedMatrix()?.rows == 26 && expert.recipe.storedTensors.first?.byteCount == 26 * 42 * 2)
  }

  @Test func whatCouldBeOfSeveralFamiliesKeepsItsNames() throws {
    let model = try Self.model("distilbert")
    #expect(model.config == nil && model.parameters.contains { $0.name == "blk.0.attn_q.weight" })
    #expect(model.warnings.count == 1 && model.warnings[0].severity == .warning)
  }

  /// The remedy is not to mend a config.json that there is none of.
  @Test func metadataWithoutHyperparametersAreAProblem() throws {
    try withTemporaryFolder { folder in
      var model = TestGGUF()
      model.add("general.architecture", "llama")
      model.add("a.weight", shape: [2], [1, 2])
      try model.write(to: "\(folder)/model.gguf")
      let found = problem { try GGUFCheckpoint(at: "\(folder)/model.gguf", families: Architecture.builtIn()) }
      #expect(found?.code == .architectureConfig && found?.message == "the config lacks `num_hidden_layers`")
      #expect(found?.remedy?.hasPrefix("The config is read from the GGUF file's metadata") == true)
      let stored = try GGUFCheckpoint(unmappedAt: "\(folder)/model.gguf", warnings: found.map { [$0] } ?? [])
      #expect(stored.version == 3 && stored.config == nil && stored.warnings.count == 1)
      #expect(stored.parameters.map(\.name) == ["a.weight"])
    }
  }

  @Test func aTensorThatDoesNotFitTheMetadataIsAProblem() throws {
    var bytes = try FileSystem.read("\(Self.folder)/llama_bias.gguf")
    let key = Array("llama.feed_forward_length".utf8)
    let place = try #require((0..<bytes.count - 64).first { bytes[$0..<$0 + key.count].elementsEqual(key) })
    bytes[place + key.count + 4] += 8
    try withTemporaryFolder { folder in
      let file = "\(folder)/model.gguf"
      try FileSystem.write(bytes, to: file)
      let found = problem { try GGUFCheckpoint(at: file, families: Architecture.builtIn()) }
      #expect(found?.code == .ggufTensor && found?.context.tensor?.hasPrefix("blk.0.ffn_") == true)
    }
  }
}

@Suite struct Llama3ScalingTests {
  private static func factors(_ scaling: Llama3Scaling, count: Int, base: Double) -> [Float] {
    scaling.divisors(count: count, base: base).map { Float($0) }
  }

  @Test(arguments: [
    (Llama3Scaling(factor: 8, originalLength: 8192), 64), (Llama3Scaling(factor: 32, originalLength: 8192), 32),
    (Llama3Scaling(factor: 8, originalLength: 32), 16),
  ])
  func scalingsOfPublishedModelsAreFound(scaling: Llama3Scaling, count: Int) {
    let factors = Self.factors(scaling, count: count, base: 500_000)
    #expect(Llama3Scaling(factors: factors, base: 500_000) == scaling)
  }

  @Test func anyScalingWithTwoBlendedFrequenciesIsFound() throws {
    let scaling = Llama3Scaling(factor: 6, highFrequencyFactor: 9, originalLength: 3000)
    let factors = Self.factors(scaling, count: 64, base: 10_000)
    let found = try #require(Llama3Scaling(factors: factors, base: 10_000))
    #expect(found.originalLength == 3000 && abs(found.highFrequencyFactor - 9) < 1e-3 && found.factor == 6)
  }

  @Test func whatIsNoSuchScalingIsNotTakenForOne() {
    #expect(Llama3Scaling(factors: [1, 1, 1, 1], base: 10_000) == nil)
    #expect(Llama3Scaling(factors: [1, 7, 2, 9], base: 10_000) == nil)
    #expect(Llama3Scaling(factors: [], base: 10_000) == nil)
    #expect(Llama3Scaling(factors: [.nan, 2], base: 10_000) == nil)
  }
}

@Suite struct GGUFMappingTests {
  private static func problems(_ section: JSON) throws -> [Problem] {
    var json = try JSON(parsing: try #require(Architecture.builtInSource(named: "llama")))
    json["gguf"] = section
    return TestSupport.problems { try Architecture.load(parsing: json, file: "f") }
  }

  @Test func mistakesHaveTheirPlace() throws {
    let bad: JSON = [
      "architecture": "x", "whem": "1",
      "config": ["a": "1 +"],
      "tensors": ["t": ["name": "n", "rows": ["a": "2", "b": "*"], "stored": ["a", "c"]], "u": ["names": []]],
    ]
    let messages = try Self.problems(bad).map(\.message)
    #expect(messages.contains { $0.hasPrefix("at gguf: unknown key `whem`") })
    #expect(messages.contains { $0.hasPrefix("at gguf.config.a:") })
    #expect(messages.contains { $0.hasPrefix("at gguf.tensors.t: `stored` must name every group") })
    #expect(messages.contains("at gguf.tensors.u.names: expected at least one name"))
    #expect(messages.count == 4)
  }

  @Test func mistakesInWhatIsWrittenHaveTheirPlace() throws {
    let bad: JSON = [
      "architecture": "x",
      "writes": [
        "metadata": ["a": "1 +", "b": ["f64": "1"]], "refuses": ["1 ==": "never"], "warns": ["true": 1],
        "slidingPeriod": "six", "pools": true,
      ],
    ]
    let messages = try Self.problems(bad).map(\.message)
    for place in ["metadata.a", "metadata.b", "metadata.b.f32", "refuses.1 ==", "warns.true", "slidingPeriod"] {
      #expect(messages.contains { $0.hasPrefix("at gguf.writes.\(place):") }, "\(place)")
    }
    #expect(messages.contains { $0.hasPrefix("at gguf.writes: unknown key `pools`") } && messages.count == 7)
  }

  @Test func templatesOfConfigs() throws {
    var json = try JSON(parsing: try #require(Architecture.builtInSource(named: "llama")))
    json["gguf"] = [
      "architecture": "x",
      "config": [
        "carried": "eps", "missing": "nothing", "otherwise": "nothing ?? eps", "computed": "size * 2",
        "list": ["a", "b"], "null": nil,
        "nested": [["when": "size > 9", "kind": "'large'"], ["when": "size > 1", "kind": "'small'", "size": "size"]],
      ],
    ]
    let mapping = try #require(try Architecture.load(parsing: json, file: "f").gguf)
    let scope = Scope(config: ["eps": .literal("1e-06"), "size": 4])
    let found = try mapping.config.compactMap { key, template in try template.value(in: scope).map { (key, $0) } }
    #expect(
      JSON.object(found) == [
        "carried": .literal("1e-06"), "otherwise": .literal("1e-06"), "computed": 8, "list": ["a", "b"], "null": nil,
        "nested": ["kind": "small", "size": 4],
      ])
  }
}
