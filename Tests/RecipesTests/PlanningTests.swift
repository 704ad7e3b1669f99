import EspalierBasics
import EspalierExecution
import EspalierNumerics
import EspalierRecipes
import TestSupport
import Testing

private let q = "model.layers.0.self_attn.q_proj.weight"

/// A linear merge of two models with equal weights.
private let average = """
  merge_method: linear
  models:
    - model: a
      parameters: {weight: 1}
    - model: b
      parameters: {weight: 1}
  """

/// Which tensors are merged, and as what.
@Suite struct PlanningTests {
  private func codes<T>(_ body: () throws -> T) -> [String] { problems(body).map(\.code.rawValue) }

  // MARK: - Tensors that some models lack

  @Test func aRequiredTensorIsMissing() throws {
    try Workplace.with(["a": TinyLlama(), "b": TinyLlama(without: [q])]) { place in
      let found = problems { try place.plan(average) }
      #expect(found.map(\.context.tensor) == [q])
      #expect(found[0].message == "b has no such tensor, which the family requires")
      #expect(found[0].context.recipeLine == 1)
    }
  }

  @Test func anOptionalTensorIsMissing() throws {
    let buffer = "model.layers.1.self_attn.rotary_emb.inv_freq"
    let a = TinyLlama(extra: [TestTensor(buffer, [1], [5])])
    try Workplace.with(["a": a, "b": TinyLlama(value: 2)]) { place in
      let output = try place.run(average)
      // Linear goes on with the models that have it: (1 * 5) / 1.
      #expect(output.values(buffer) == [5])
      #expect(output.values(q) == [1, 1, 1, 1])
    }
  }

  /// A head that one model stores and the other ties to its embedding is merged with that embedding.
  @Test(arguments: [true, false]) func tiedHeads(_ firstIsTied: Bool) throws {
    let models = ["a": TinyLlama(value: 1, isTied: firstIsTied), "b": TinyLlama(value: 3, isTied: !firstIsTied)]
    try Workplace.with(models) { place in
      let output = try place.run(average)
      #expect(output.values("lm_head.weight") == [Float](repeating: 2, count: 8))
      #expect(output.config?["tie_word_embeddings"] == false)
    }
    try Workplace.with(["a": TinyLlama(isTied: true), "b": TinyLlama(value: 1, isTied: true)]) { place in
      let output = try place.run(average)
      #expect(!output.names.contains("lm_head.weight"))
      #expect(output.config?["tie_word_embeddings"] == true)
    }
  }

  // MARK: - Nothing is dropped, nothing is absent in silence

  /// Layers beyond the config's number, and a second name for one place, are carried along and named.
  @Test func unknownTensorsAreMergedToo() throws {
    let names = ["model.layers.2.self_attn.q_proj.weight", "norm.weight", "model.layers.00.q.weight", "odd.weight"]
    func model(_ value: Float) -> TinyLlama {
      TinyLlama(value: value, extra: names.map { TestTensor($0, [2], [value, 10 * value]) })
    }
    try Workplace.with(["a": model(1), "b": model(3)]) { place in
      let plan = try place.plan(average)
      let warning = plan.warnings.first { $0.code.rawValue == "architecture.unknown-tensors" }
      #expect(warning?.message.contains("does not name 4 tensors") == true)
      let output = try place.run(average)
      for name in names { #expect(output.values(name) == [2, 20], "\(name)") }
      #expect(output.values("model.norm.weight") == [2, 2])
      let card = try FileSystem.read("\(place.options.output)/README.md", limit: 1 << 20)
      #expect(String(decoding: card, as: UTF8.self).contains("does not name them: "))
    }
  }

  /// A config of fewer layers than are stored loses none.
  @Test func moreLayersThanTheConfigSays() throws {
    var model = TinyLlama(layers: 3)
    model.configuration["num_hidden_layers"] = 2
    try Workplace.with(["a": model, "b": model]) { place in
      let output = try place.run(average)
      #expect(output.names.count == 3 + 3 * 9)
      #expect(output.values("model.layers.2.mlp.up_proj.weight") == [Float](repeating: 2, count: 6))
    }
  }

  /// Without a config names are all there is: `01` is no layer, and no other name for layer 1.
  @Test func namesThatDifferInZeros() throws {
    try Workplace.with { place in
      for model in ["a", "b"] {
        let tensors = ["a.1.w", "a.01.w", "a.0.w"].map { TestTensor($0, [1], [Float($0.utf8.count)]) }
        try TestTensor.write(tensors, to: place.path("\(model).safetensors"))
      }
      let recipe = average.replacing("model: a", with: "model: ./a.safetensors")
        .replacing("model: b", with: "model: ./b.safetensors")
      let output = try place.run(recipe)
      #expect(output.names == ["a.0.w", "a.01.w", "a.1.w"])
      #expect(output.values("a.01.w") == [6] && output.values("a.1.w") == [5])
    }
  }

  @Test func requiredTensorsThatNoModelHas() throws {
    let model = TinyLlama(without: ["model.norm.weight", q])
    try Workplace.with(["a": model, "b": model]) { place in
      let found = problems { try place.plan(average) }
      #expect(found.map(\.message) == ["a lacks \(q), model.norm.weight, which the family requires"])
      // A slice answers for its own layers; the last one for what stands behind them.
      let slices = "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [1, 2]}]"
      let sliced = problems { try place.plan(slices) }
      #expect(sliced.map(\.message) == ["a lacks model.norm.weight, which the family requires"])
    }
  }

  // MARK: - Integers

  /// A counter that differs is the base's, with a warning; larger tensors of integers must agree.
  @Test func integersThatDiffer() throws {
    func model(_ counter: UInt8, _ table: UInt8) -> TinyLlama {
      TinyLlama(extra: [
        TestTensor("batches", [], bytes: [counter] + [UInt8](repeating: 0, count: 7), .i64),
        TestTensor("table", [2], bytes: [table, 1], .u8),
      ])
    }
    let based =
      "merge_method: task_arithmetic\nbase_model: b\nmodels: [{model: a, parameters: {weight: 1}}, {model: b}]"
    try Workplace.with(["a": model(7, 4), "b": model(9, 4), "c": model(9, 5)]) { place in
      let first = try place.run(average).bytes["batches"]
      #expect(first?.first == 7)
      place.options.output += "-based"
      let ofBase = try place.run(based).bytes["batches"]
      #expect(ofBase?.first == 9)
      place.options.output += "-larger"
      let found = problems { try place.run(average.replacing("model: b", with: "model: c")) }
      #expect(found.map(\.context.tensor) == ["table"])
      #expect(found.map(\.code.rawValue) == ["values.differ"])
    }
  }

  // MARK: - Tokens

  private func write(tokenizer vocabulary: [String], to folder: String) throws {
    let ids = vocabulary.enumerated().map { "\"\($0.element)\": \($0.offset)" }.joined(separator: ", ")
    let text = #"{"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {\#(ids)}, "merges": []}}"#
    try FileSystem.write(Array(text.utf8), to: "\(folder)/tokenizer.json")
  }

  /// Rows come from a model that is opened for its tokens alone.
  @Test func tokensOfAModelThatIsNotMerged() throws {
    let models = ["a": TinyLlama(value: 1), "b": TinyLlama(value: 3), "c": TinyLlama(value: 7)]
    try Workplace.with(models) { place in
      for (name, tokens) in ["a": "wxyz", "b": "wxyz", "c": "wxyv"] {
        try write(tokenizer: tokens.map(String.init), to: place.path(name))
      }
      let forced = try place.run(average + "\ntokenizer: {source: union, tokens: {w: {source: c, force: true}}}")
      #expect(forced.values("model.embed_tokens.weight").prefix(4) == [7, 7, 2, 2])
      #expect(forced.values("lm_head.weight").prefix(4) == [7, 7, 2, 2])
      // Only c has v, the last token of its vocabulary.
      place.options.output += "-other"
      let other = try place.run(average + "\ntokenizer_source: c")
      #expect(other.values("model.embed_tokens.weight") == [2, 2, 2, 2, 2, 2, 7, 7])
    }
  }

  // MARK: - Shapes and types

  @Test func shapesDiffer() throws {
    let extra = TestTensor(q, [2, 3], [Float](repeating: 0, count: 6))
    try Workplace.with(["a": TinyLlama(), "b": TinyLlama(without: [q], extra: [extra])]) { place in
      let found = problems { try place.plan(average) }
      #expect(found.map(\.message) == ["shapes differ: a has [2, 2], b has [2, 3]"])
      #expect(found[0].context.tensor == q)
      #expect(found[0].remedy == "Only models of one shape can be merged.")
    }
  }

  @Test func vocabulariesDiffer() throws {
    try Workplace.with(["a": TinyLlama(), "b": TinyLlama(vocabulary: 5)]) { place in
      let found = problems { try place.plan(average) }
      #expect(found.compactMap(\.context.tensor) == ["model.embed_tokens.weight", "lm_head.weight"])
      #expect(found.allSatisfy { $0.remedy?.contains("tokenizer_source: union") == true })
    }
  }

  @Test func layerCountsDiffer() throws {
    try Workplace.with(["a": TinyLlama(), "b": TinyLlama(layers: 3)]) { place in
      let found = problems { try place.plan(average) }
      #expect(found.contains { $0.message == "b has 3 layers in text, a has 2" && $0.context.recipeLine == 5 })
    }
  }

  /// Types are promoted to one that holds them all, unless the recipe says otherwise.
  @Test func elementTypes() throws {
    let models = ["a": TinyLlama(type: .bf16), "b": TinyLlama(type: .f16), "c": TinyLlama(type: .f64)]
    func type(_ second: String, _ lines: String = "") throws -> ElementType? {
      try Workplace.with(models) { place in
        let recipe = average.replacing("model: b", with: "model: \(second)") + "\n" + lines
        return try place.run(recipe).types[q]
      }
    }
    #expect(try type("b") == .f32)
    #expect(try type("c") == .f64)
    #expect(try type("b", "dtype: float16") == .f16)
    #expect(try type("b", "dtype: float32\nout_dtype: bfloat16") == .bf16)
    #expect(try type("b", "out_dtype: float8_e4m3fn") == .f8e4m3)
  }

  @Test func theConfigSaysTheType() throws {
    try Workplace.with(["a": TinyLlama(), "b": TinyLlama()]) { place in
      let output = try place.run(average + "\nout_dtype: bfloat16")
      #expect(output.config?["torch_dtype"] == "bfloat16")
    }
  }

  /// Integers are carried where the models agree on them; a difference is found when they are read.
  @Test func integers() throws {
    func extra(_ value: UInt8, _ type: ElementType = .i64) -> TestTensor {
      TestTensor("model.ids", [2], bytes: [value] + [UInt8](repeating: 0, count: 2 * type.byteWidth - 1), type)
    }
    try Workplace.with(["a": TinyLlama(extra: [extra(7)]), "b": TinyLlama(extra: [extra(7)])]) { place in
      let output = try place.run(average)
      #expect(output.types["model.ids"] == .i64)
      #expect(output.bytes["model.ids"] == extra(7).bytes)
    }
    try Workplace.with(["a": TinyLlama(extra: [extra(7)]), "b": TinyLlama(extra: [extra(8)])]) { place in
      #expect(codes { try place.run(average) } == ["values.differ"])
      #expect(FileSystem.kind(place.options.output) == nil)
    }
    try Workplace.with(["a": TinyLlama(extra: [extra(7)]), "b": TinyLlama(extra: [extra(7, .i32)])]) { place in
      #expect(
        problems { try place.plan(average) }.filter { $0.severity == .error }.map(\.message)
          == ["element types cannot be mixed: a has I64, b has I32"])
    }
  }

  // MARK: - Tensors without a description

  /// What a description does not name is merged like the rest, and said to be so.
  @Test func unknownTensors() throws {
    let bias = "model.layers.1.self_attn.q_proj.bias"
    func model(_ value: Float) -> TinyLlama {
      TinyLlama(
        value: value, extra: [TestTensor(bias, [2], [value, value]), TestTensor("oddity", [1], [value])])
    }
    try Workplace.with(["a": model(1), "b": model(3)]) { place in
      let plan = try place.plan(average)
      #expect(plan.text.contains("2 tensors that the family's description does not name"))
      let output = try place.run(average)
      #expect(output.values(bias) == [2, 2] && output.values("oddity") == [2])
    }
  }

  /// Also through slices, where they follow their layer.
  @Test func unknownTensorsInSlices() throws {
    let bias = { (layer: Int, value: Float) in
      TestTensor("model.layers.\(layer).self_attn.q_proj.bias", [1], [value])
    }
    try Workplace.with(["a": TinyLlama(extra: [bias(0, 10), bias(1, 11)])]) { place in
      let output = try place.run(
        """
        merge_method: passthrough
        slices:
          - sources: [{model: a, layer_range: [1, 2]}]
          - sources: [{model: a, layer_range: [0, 2]}]
        """)
      let found = (0..<3).map { output.first("model.layers.\($0).self_attn.q_proj.bias") }
      #expect(found == [11, 10, 11])
      #expect(output.config?["num_hidden_layers"] == 3)
    }
  }

  @Test func unknownFamilies() throws {
    let odd: [String: JSON] = ["model_type": "odd", "architectures": ["OddModel"]]
    let models = ["a": TinyLlama(value: 1, configuration: odd), "b": TinyLlama(value: 3, configuration: odd)]
    try Workplace.with(models) { place in
      let plan = try place.plan(average)
      #expect(plan.warnings.map(\.code.rawValue) == ["architecture.unknown"])
      #expect(plan.warnings[0].message.contains("model_type odd"))
      let output = try place.run(average)
      #expect(output.names.count == 21)
      #expect(output.names.allSatisfy { output.first($0) == ($0.contains("layers.1") ? 3 : 2) })
    }
  }

  @Test func familiesDiffer() throws {
    let other = TinyLlama(configuration: ["model_type": "mistral", "architectures": ["MistralForCausalLM"]])
    try Workplace.with(["a": TinyLlama(), "b": other]) { place in
      #expect(problems { try place.plan(average) }.first?.message == "b is of the family mistral, a of llama")
    }
  }

  /// Bare weights without a config merge by name.
  @Test func bareFiles() throws {
    try Workplace.with(["a": TinyLlama(value: 1), "b": TinyLlama(value: 3)]) { place in
      let output = try place.run(
        average.replacing("model: a", with: "model: a/model.safetensors")
          .replacing("model: b", with: "model: b/model.safetensors"))
      #expect(output.config == nil)
      #expect(output.first(q) == 2)
    }
  }

  // MARK: - Limits

  @Test func theMemoryCeilingNamesTheTensor() throws {
    try Workplace.with(["a": TinyLlama(), "b": TinyLlama()]) { place in
      place.options.memory = 48 << 20
      let found = problems { try place.plan(average) }
      #expect(found.map(\.code.rawValue) == ["memory.ceiling"])
      #expect(found.first?.context.tensor != nil)
      #expect(found.first?.remedy?.hasPrefix("Give --memory ") == true)
    }
  }

  @Test func theOutputIsThere() throws {
    try Workplace.with(["a": TinyLlama(), "b": TinyLlama()]) { place in
      try place.run(average)
      #expect(codes { try place.plan(average) } == ["output.exists"])
      place.options.policy = .init(force: true)
      #expect(codes { try place.run(average) } == [])
    }
  }

  /// Two runs of one recipe, by any number of threads, write the same files to the last byte.
  @Test func outputsAreEqual() throws {
    try Workplace.with(["a": TinyLlama(value: 1), "b": TinyLlama(value: 3)]) { place in
      var listings: [[String: [UInt8]]] = []
      for threads in [1, 3] {
        place.options.threads = threads
        place.options.policy = .init(force: true)
        try place.run(average)
        let names = try FileSystem.list(place.options.output)
        listings.append(
          try Dictionary(uniqueKeysWithValues: names.map { ($0, try FileSystem.read("\(place.options.output)/\($0)")) })
        )
      }
      #expect(listings[0] == listings[1])
      #expect(listings[0].keys.contains("espalier-manifest.json") && listings[0].keys.contains("README.md"))
    }
  }
}
