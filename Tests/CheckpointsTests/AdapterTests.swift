import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

/// A base and an adapter in memory, written to a temporary folder and opened.
struct AdapterCase {
  var config: JSON = ["architectures": ["LlamaForCausalLM"], "tie_word_embeddings": false]
  var base: [TestTensor]
  var adapterConfig: JSON
  var adapter: [TestTensor]

  /// A 2 x 3 weight and rank-1 factors for it: BA = [[1, 2, 3], [-2, -4, -6]], scale 2.
  static let lora = AdapterCase(
    base: [
      TestTensor("model.layers.0.q_proj.weight", [2, 3], [10, 20, 30, 40, 50, 60]),
      TestTensor("model.norm.weight", [3], [1, 1, 1]),
    ],
    adapterConfig: ["peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["q_proj"]],
    adapter: [
      TestTensor("base_model.model.model.layers.0.q_proj.lora_A.weight", [1, 3], [1, 2, 3]),
      TestTensor("base_model.model.model.layers.0.q_proj.lora_B.weight", [2, 1], [1, -2]),
    ])

  func withCheckpoint<T>(_ body: (AdaptedCheckpoint) throws -> T) throws -> T {
    try withTemporaryFolder { folder in
      for (name, tensors) in [("base", base), ("adapter", adapter)] {
        try FileSystem.createFolder("\(folder)/\(name)")
        let file = name == "base" ? "model.safetensors" : "adapter_model.safetensors"
        try TestTensor.write(tensors, to: "\(folder)/\(name)/\(file)")
      }
      try FileSystem.write(Array(config.text().utf8), to: "\(folder)/base/config.json")
      try FileSystem.write(Array(adapterConfig.text().utf8), to: "\(folder)/adapter/adapter_config.json")
      return try body(
        AdaptedCheckpoint(base: try SafetensorsCheckpoint(at: "\(folder)/base"), adapterAt: "\(folder)/adapter"))
    }
  }

  func values(_ name: String) throws -> [Float] {
    try withCheckpoint { try #require($0.parametersByName()[ExactString(name)]).recipe.values() }
  }

  /// The problems that opening finds.
  func problems() throws -> [Problem] {
    do {
      try withCheckpoint { _ in }
      return []
    } catch let problems as Problems { return problems.all }
  }

  mutating func rename(_ old: String, to new: String) {
    for index in adapter.indices { adapter[index].name = adapter[index].name.replacing(old, with: new) }
  }
}

@Suite struct AdapterTests {
  let weight = "model.layers.0.q_proj.weight"

  @Test func lowRankIsAddedWithItsScale() throws {
    #expect(try AdapterCase.lora.values(weight) == [12, 24, 36, 36, 42, 48])
    #expect(try AdapterCase.lora.values("model.norm.weight") == [1, 1, 1])
  }

  @Test func rankStabilizationDividesByTheRoot() throws {
    var test = AdapterCase.lora
    test.adapterConfig["r"] = 4
    test.adapterConfig["use_rslora"] = true
    test.adapter[0].shape = [4, 3]
    test.adapter[0].values = [1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    test.adapter[1].shape = [2, 4]
    test.adapter[1].values = [1, 0, 0, 0, -2, 0, 0, 0]
    // 2 / sqrt(4)
    #expect(try test.values(weight) == [11, 22, 33, 38, 46, 54])
  }

  @Test func transposedStorageIsTransposedBack() throws {
    var test = AdapterCase.lora
    test.base[0].shape = [3, 2]
    test.base[0].values = [10, 40, 20, 50, 30, 60]
    #expect(try test.values(weight) == [12, 36, 24, 42, 36, 48])
  }

  @Test func fanInFanOutDecidesForASquare() throws {
    var test = AdapterCase.lora
    test.base[0].shape = [2, 2]
    test.base[0].values = [0, 0, 0, 0]
    test.adapter[0].shape = [1, 2]
    test.adapter[0].values = [1, 2]
    #expect(try test.values(weight) == [2, 4, -4, -8])
    test.adapterConfig["fan_in_fan_out"] = true
    #expect(try test.values(weight) == [2, -4, 4, -8])
  }

  @Test func aConvolutionIsAMatrixOfItsOutputs() throws {
    var test = AdapterCase.lora
    test.base[0].shape = [2, 1, 3]
    test.adapter[0].shape = [1, 1, 3]
    test.adapter[1].shape = [2, 1, 1]
    #expect(try test.values(weight) == [12, 24, 36, 36, 42, 48])
  }

  /// V = W + s BA = [[3, 4], [0, 5]]; norms 5, 5; magnitudes 10, 1.
  @Test func weightDecompositionScalesOutputs() throws {
    var test = AdapterCase.lora
    test.base[0].shape = [2, 2]
    test.base[0].values = [1, 0, 4, 13]
    test.adapter[0].shape = [1, 2]
    test.adapter[0].values = [1, 2]
    test.adapterConfig["use_dora"] = true
    test.adapter.append(
      TestTensor(
        "base_model.model.model.layers.0.q_proj.lora_magnitude_vector", [2], [10, 1]))
    #expect(try test.values(weight) == [6, 8, 0, 1])
    // Stored transposed, outputs are columns.
    test.adapterConfig["fan_in_fan_out"] = true
    test.base[0].values = [1, 4, 0, 13]
    #expect(try test.values(weight) == [6, 0, 8, 1])
    // The older name of the magnitude.
    test.adapter[2].name += ".weight"
    #expect(try test.values(weight) == [6, 0, 8, 1])
    // Base and factors cancel in one output.
    test.base[0].values = [-2, 4, -4, 13]
    let error = #expect(throws: Problem.self) { try test.values(weight) }
    #expect(error?.code == .adapterValue)
  }

  @Test func anEmbeddingIsTransposed() throws {
    var test = AdapterCase.lora
    test.base[0].name = "model.embed_tokens.weight"
    test.adapterConfig["target_modules"] = ["embed_tokens"]
    // A [rank, vocabulary = 2], B [width = 3, rank].
    test.adapter = [
      TestTensor("base_model.model.model.embed_tokens.lora_embedding_A", [1, 2], [1, -2]),
      TestTensor("base_model.model.model.embed_tokens.lora_embedding_B", [3, 1], [1, 2, 3]),
    ]
    #expect(try test.values("model.embed_tokens.weight") == [12, 24, 36, 36, 42, 48])
  }

  @Test func scalesOfInputsAndOutputs() throws {
    var test = AdapterCase.lora
    test.adapterConfig = ["peft_type": "IA3", "target_modules": ["q_proj"], "feedforward_modules": ["q_proj"]]
    test.adapter = [
      TestTensor("base_model.model.model.layers.0.q_proj.ia3_l", [1, 3], [1, 2, 3])
    ]
    test.base.append(TestTensor("model.layers.0.q_proj.bias", [2], [1, 1]))
    #expect(try test.values(weight) == [10, 40, 90, 40, 100, 180])
    #expect(try test.values("model.layers.0.q_proj.bias") == [1, 1])
    test.adapterConfig["feedforward_modules"] = []
    #expect(try test.problems().map(\.code) == [.adapterTensor])
    test.adapter[0].shape = [2, 1]
    test.adapter[0].values = [2, 3]
    #expect(try test.values(weight) == [20, 40, 60, 120, 150, 180])
    #expect(try test.values("model.layers.0.q_proj.bias") == [2, 3])
  }

  @Test func valuesKeepTheTypeOfTheBase() throws {
    var test = AdapterCase.lora
    test.base[0].type = .bf16
    try test.withCheckpoint { checkpoint in
      #expect(checkpoint.parametersByName()[ExactString(weight)]?.elementType == .bf16)
      #expect(checkpoint.weightFiles.count == 2)
    }
  }

  @Test(arguments: [("model.", ""), ("", "model."), ("transformer.", ""), ("", "transformer.")])
  func basesWithAndWithoutTheirPrefix(_ inBase: String, _ inAdapter: String) throws {
    var test = AdapterCase.lora
    test.base[0].name = "\(inBase)layers.0.q_proj.weight"
    test.rename("base_model.model.model.", to: "base_model.model.\(inAdapter)")
    #expect(try test.values("\(inBase)layers.0.q_proj.weight") == [12, 24, 36, 36, 42, 48])
  }

  // MARK: - Modules saved in full

  @Test func modulesToSaveReplaceAndAdd() throws {
    var test = AdapterCase.lora
    test.adapterConfig["modules_to_save"] = ["norm", "score"]
    test.adapter += [
      TestTensor("base_model.model.model.norm.weight", [3], [5, 6, 7]),
      TestTensor("base_model.model.score.weight", [1, 3], [7, 8, 9]),
      TestTensor("base_model.model.score.out.modules_to_save.bias", [1], [4]),
    ]
    try test.withCheckpoint { checkpoint in
      #expect(checkpoint.parameters.map(\.name) == [weight, "model.norm.weight", "score.out.bias", "score.weight"])
    }
    #expect(try test.values("model.norm.weight") == [5, 6, 7])
    #expect(try test.values("score.weight") == [7, 8, 9])
    #expect(try test.values(weight) == [12, 24, 36, 36, 42, 48])
    test.adapterConfig["modules_to_save"] = ["norm"]
    let unlisted = try test.problems().map(\.context.tensor)
    #expect(unlisted == ["base_model.model.score.weight", "base_model.model.score.out.modules_to_save.bias"])
  }

  @Test func trainedBiasesReplaceThoseOfTheBase() throws {
    var test = AdapterCase.lora
    test.base.append(TestTensor("model.layers.0.q_proj.bias", [2], [1, 1]))
    test.adapterConfig["bias"] = "lora_only"
    test.adapter.append(
      TestTensor("base_model.model.model.layers.0.q_proj.base_layer.bias", [2], [3, 4]))
    #expect(try test.values("model.layers.0.q_proj.bias") == [3, 4])
  }

  @Test func resizedEmbeddingsChangeTheVocabulary() throws {
    var test = AdapterCase.lora
    test.config["vocab_size"] = 2
    test.base.append(TestTensor("model.embed_tokens.weight", [2, 1], [1, 2]))
    test.adapter.append(
      TestTensor("base_model.model.model.embed_tokens.weight", [3, 1], [1, 2, 3]))
    try test.withCheckpoint { checkpoint in
      #expect(checkpoint.config?["vocab_size"]?.integer == 3)
      #expect(checkpoint.parametersByName()["model.embed_tokens.weight"]?.shape == [3, 1])
      #expect(checkpoint.warnings.map(\.severity) == [.warning])
    }
    test.adapter[2].shape = [3, 2]
    test.adapter[2].values = [1, 2, 3, 4, 5, 6]
    #expect(try test.problems().map(\.code) == [.adapterBase])
  }

  // MARK: - Shared embeddings

  /// The base shares a 2 x 3 embedding with its output head.
  var tied: AdapterCase {
    var test = AdapterCase.lora
    test.config["tie_word_embeddings"] = true
    test.base.append(TestTensor("model.embed_tokens.weight", [2, 3], [0, 0, 0, 1, 1, 1]))
    return test
  }

  @Test func adapterOfTheHeadUntiesIt() throws {
    var test = tied
    test.adapterConfig["target_modules"] = ["lm_head"]
    test.rename("model.layers.0.q_proj", to: "lm_head")
    #expect(try test.values("lm_head.weight") == [2, 4, 6, -3, -7, -11])
    #expect(try test.values("model.embed_tokens.weight") == [0, 0, 0, 1, 1, 1])
    try test.withCheckpoint { checkpoint in
      #expect(checkpoint.config?["tie_word_embeddings"]?.bool == false)
      #expect(checkpoint.warnings.map(\.context.tensor) == ["lm_head.weight"])
    }
  }

  @Test func adapterOfTheEmbeddingUntiesIt() throws {
    var test = tied
    test.adapterConfig["target_modules"] = ["embed_tokens"]
    test.adapter = [
      TestTensor("base_model.model.model.embed_tokens.lora_embedding_A", [1, 2], [1, 0]),
      TestTensor("base_model.model.model.embed_tokens.lora_embedding_B", [3, 1], [1, 2, 3]),
    ]
    #expect(try test.values("lm_head.weight") == [0, 0, 0, 1, 1, 1])
    #expect(try test.values("model.embed_tokens.weight") == [2, 4, 6, 1, 1, 1])
    // Resized first: the head is the resized embedding.
    test.adapter[0] = TestTensor(
      "base_model.model.model.embed_tokens.lora_embedding_A", [1, 3], [1, 0, 0])
    test.adapter.append(
      TestTensor(
        "base_model.model.model.embed_tokens.base_layer.weight", [3, 3],
        [0, 0, 0, 1, 1, 1, 2, 2, 2]))
    #expect(try test.values("lm_head.weight") == [0, 0, 0, 1, 1, 1, 2, 2, 2])
    #expect(try test.values("model.embed_tokens.weight") == [2, 4, 6, 1, 1, 1, 2, 2, 2])
  }

  @Test func aTiedModelStaysTiedIfNeitherIsTrained() throws {
    var test = tied
    test.adapter.append(
      TestTensor(
        "base_model.model.model.embed_tokens.weight", [3, 3], [0, 0, 0, 1, 1, 1, 2, 2, 2]))
    try test.withCheckpoint { checkpoint in
      #expect(checkpoint.parametersByName()["lm_head.weight"] == nil)
      #expect(checkpoint.config?["tie_word_embeddings"]?.bool == true)
    }
  }

  @Test func aHeadSavedInFullIsAdded() throws {
    var test = tied
    test.adapterConfig["modules_to_save"] = ["lm_head"]
    test.adapter.append(
      TestTensor("base_model.model.lm_head.weight", [2, 3], [9, 8, 7, 6, 5, 4]))
    #expect(try test.values("lm_head.weight") == [9, 8, 7, 6, 5, 4])
    try test.withCheckpoint { #expect($0.config?["tie_word_embeddings"]?.bool == false) }
  }

  // MARK: - What does not fit

  @Test func everyTensorMustBeUsed() throws {
    var test = AdapterCase.lora
    test.adapter += [
      TestTensor("base_model.model.model.layers.0.q_proj.lora_C.weight", [1], [1]),
      TestTensor("model.layers.0.q_proj.lora_A.weight", [1], [1]),
      TestTensor("base_model.model.model.layers.7.q_proj.lora_A.weight", [1, 3], [1, 2, 3]),
      TestTensor("base_model.model.model.layers.0.q_proj.ia3_l", [1, 3], [1, 2, 3]),
      TestTensor("base_model.model.model.norm.step", [1], [1], .i64),
    ]
    let found = try test.problems()
    #expect(
      Set(found.compactMap(\.context.tensor)) == [
        "base_model.model.model.layers.0.q_proj.lora_C.weight", "model.layers.0.q_proj.lora_A.weight",
        "base_model.model.model.layers.7.q_proj.lora_A.weight", "base_model.model.model.layers.0.q_proj.ia3_l",
        "base_model.model.model.norm.step",
      ])
    #expect(found.count == 5)
    #expect(found.allSatisfy { $0.context.file?.hasSuffix("adapter/adapter_model.safetensors") == true })
  }

  @Test func aPartMayNotComeTwice() throws {
    var test = AdapterCase.lora
    test.adapterConfig["use_dora"] = true
    let magnitude = "base_model.model.model.layers.0.q_proj.lora_magnitude_vector"
    test.adapter += [
      TestTensor(magnitude, [2], [1, 1]),
      TestTensor("\(magnitude).weight", [2], [1, 1]),
    ]
    #expect(try test.problems().map(\.code) == [.adapterTensor])
  }

  @Test func oneParameterIsAdaptedOnce() throws {
    var test = AdapterCase.lora
    test.adapter += test.adapter.map { tensor in
      var copy = tensor
      copy.name = tensor.name.replacing("model.model.layers", with: "model.layers")
      return copy
    }
    #expect(try test.problems().map(\.message) == ["two modules of the adapter change model.layers.0.q_proj.weight"])
  }

  static let damages: [(String, @Sendable (inout AdapterCase) -> Void)] = [
    ("a factor is missing", { $0.adapter.removeLast() }),
    ("another rank", { $0.adapterConfig["r"] = 2 }),
    ("inputs do not fit", { $0.base[0] = TestTensor($0.base[0].name, [2, 2], [1, 2, 3, 4]) }),
    ("a vector is no matrix", { $0.base[0].shape = [6] }),
    ("a scalar factor", { $0.adapter[1] = TestTensor($0.adapter[1].name, [], [1]) }),
    ("the base has no such module", { $0.base.removeFirst() }),
    ("the base is quantized", { $0.base[0].type = .u8 }),
    ("not targeted", { $0.adapterConfig["target_modules"] = ["k_proj"] }),
    ("excluded", { $0.adapterConfig["exclude_modules"] = ["q_proj"] }),
    ("no magnitude", { $0.adapterConfig["use_dora"] = true }),
    ("no tensors", { $0.adapter = [] }),
    ("parts of another method", { $0.adapterConfig["peft_type"] = "IA3" }),
  ]

  @Test(arguments: damages.indices) func damageIsAProblem(_ index: Int) throws {
    var test = AdapterCase.lora
    Self.damages[index].1(&test)
    #expect(try test.problems().count == 1, "\(Self.damages[index].0)")
  }

  @Test func configurationAndTensorsAreReportedTogether() throws {
    var test = AdapterCase.lora
    test.adapterConfig["layer_replication"] = [[0, 1]]
    test.adapterConfig["use_qalora"] = true
    #expect(try test.problems().map(\.code) == [.adapterConfiguration, .adapterConfiguration])
  }

  @Test func aFolderWithoutSafetensorsIsExplained() throws {
    try withTemporaryFolder { folder in
      let base = try SafetensorsCheckpoint(at: "\(Fixtures.peft)/base_llama")
      let missing = problems { () throws(Problems) in try AdaptedCheckpoint(base: base, adapterAt: folder) }
      #expect(missing.map(\.code) == [.fileMissing, .fileMissing])
      try FileSystem.write([0], to: "\(folder)/adapter_model.bin")
      let pickled = problems { () throws(Problems) in try AdaptedCheckpoint(base: base, adapterAt: folder) }
      #expect(pickled.map(\.code) == [.checkpointFormat, .fileMissing])
    }
  }
}
