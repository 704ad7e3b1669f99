import EspalierBasics
import EspalierNumerics
import EspalierRecipes
import TestSupport
import Testing

/// What recipes come to: bases, scopes, gradients, slices, modules, and parameters that do not fit.
@Suite struct RecipeMeaningTests {
  private func q(_ layer: Int) -> String { "model.layers.\(layer).self_attn.q_proj.weight" }

  // MARK: - The base

  /// A base that is not among the models is an input all the same; a method that gives it no role says so.
  @Test func theBaseIsAdded() throws {
    let models = ["base": TinyLlama(value: 1), "a": TinyLlama(value: 3)]
    try Workplace.with(models) { place in
      let output = try place.run(
        "merge_method: task_arithmetic\nbase_model: base\nmodels: [{model: a, parameters: {weight: 0.5}}]")
      #expect(output.first(q(0)) == 2)
    }
    try Workplace.with(models) { place in
      let plan = try place.plan("merge_method: karcher\nbase_model: base\nmodels: [{model: a}]")
      #expect(plan.warnings.map(\.code.rawValue) == ["recipe.base-is-input"])
    }
    try Workplace.with(models) { place in
      let found = problems {
        try place.plan("merge_method: linear\nbase_model: base\nmodels: [{model: a, parameters: {weight: 1}}]")
      }
      #expect(
        found.contains { $0.message.hasPrefix("linear needs the parameter weight") && $0.message.hasSuffix("base") })
    }
  }

  /// Where the base stands in the list does not matter.
  @Test func theBaseIsListed() throws {
    let models = ["base": TinyLlama(value: 1), "a": TinyLlama(value: 3)]
    for order in [["a", "base"], ["base", "a"]] {
      try Workplace.with(models) { place in
        let list = order.map { "{model: \($0), parameters: {weight: 0.5}}" }.joined(separator: ", ")
        let output = try place.run("merge_method: task_arithmetic\nbase_model: base\nmodels: [\(list)]")
        #expect(output.first(q(0)) == 2)
      }
    }
  }

  @Test func theBaseIsNeeded() throws {
    try Workplace.with(["a": TinyLlama(), "b": TinyLlama()]) { place in
      let found = problems {
        try place.plan("merge_method: ties\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 1}")
      }
      #expect(found.map(\.message) == ["ties needs a base_model"])
    }
    try Workplace.with(["a": TinyLlama(), "b": TinyLlama()]) { place in
      let found = problems {
        try place.plan(
          """
          merge_method: ties
          base_model: b
          slices:
            - sources: [{model: a, layer_range: [0, 2]}]
          parameters: {weight: 1}
          """)
      }
      #expect(found.map(\.message) == ["the base model is not among the sources of the slice"])
      #expect(found.first?.context.recipeLine == 4)
    }
  }

  @Test func counts() throws {
    let models = ["a": TinyLlama(), "b": TinyLlama(), "c": TinyLlama()]
    func message(_ text: String) throws -> [String] {
      try Workplace.with(models) { place in problems { try place.plan(text) }.map(\.message) }
    }
    #expect(
      try message("merge_method: slerp\nbase_model: a\nmodels: [{model: b}, {model: c}]\nparameters: {t: 0.5}")
        == ["slerp takes 2 models (the base included), here are 3"])
    #expect(
      try message("merge_method: model_stock\nbase_model: a\nmodels: [{model: b}]")
        == ["model_stock takes 3 or more models (the base included), here are 2"])
    #expect(
      try message("merge_method: passthrough\nmodels: [{model: a}, {model: b}]") == [
        "passthrough takes 1 models, here are 2"
      ])
  }

  // MARK: - Parameters

  /// A source's value comes before the slice's, that before the recipe's; a filter that does not fit passes on.
  @Test func scopes() throws {
    try Workplace.with(["a": TinyLlama(value: 1)]) { place in
      let output = try place.run(
        """
        merge_method: passthrough
        slices:
          - sources:
              - model: a
                layer_range: [0, 1]
                parameters: {scale: {filter: q_proj, value: 2}}
            parameters: {scale: {filter: proj, value: 3}}
          - sources: [{model: a, layer_range: [0, 1]}]
        parameters:
          scale: 5
        """)
      let suffixes = ["self_attn.q_proj", "self_attn.k_proj", "input_layernorm"]
      #expect(suffixes.map { output.first("model.layers.0.\($0).weight") } == [2, 3, 5])
      #expect(suffixes.map { output.first("model.layers.1.\($0).weight") } == [5, 5, 5])
      // Embeddings go with the first slice, the norm and the head with the last.
      #expect(output.first("model.embed_tokens.weight") == 5)
    }
  }

  /// In each slice a gradient runs from its first layer to its last; what is outside layers takes the first point.
  @Test func gradientsRunThroughSlices() throws {
    try Workplace.with(["a": TinyLlama(value: 1, layers: 3)]) { place in
      let output = try place.run(
        """
        merge_method: passthrough
        slices:
          - sources: [{model: a, layer_range: [0, 3]}]
            parameters: {scale: [1, 3]}
          - sources: [{model: a, layer_range: [1, 3]}]
            parameters: {scale: [10, 20, 40]}
          - sources: [{model: a, layer_range: [2, 3]}]
            parameters: {scale: [0, 7]}
        """)
      // Layers of `a` hold 1, 2, 3: by 1, 2, 3; by 10, 40; by 7, for a single layer stands at its gradient's end.
      let expected: [Float?] = [1, 4, 9, 20, 120, 21]
      #expect((0..<6).map { output.first(q($0)) } == expected)
      #expect(output.first("model.embed_tokens.weight") == 1)
      #expect(output.first("lm_head.weight") == 0)
      #expect(output.config?["num_hidden_layers"] == 6)
    }
  }

  /// Weights that cancel are refused, once and not for every tensor.
  @Test func weightsThatSumToNothing() throws {
    try Workplace.with(["a": TinyLlama(), "b": TinyLlama()]) { place in
      let found = problems {
        try place.plan(
          "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: -1}}]")
      }
      #expect(found.map(\.code.rawValue) == ["parameter.range"])
      #expect(found.first?.context.recipeLine == 1)
    }
  }

  @Test func missingParametersAreNamedOnce() throws {
    try Workplace.with(["a": TinyLlama(), "b": TinyLlama()]) { place in
      let found = problems { try place.plan("merge_method: slerp\nbase_model: a\nmodels: [{model: b}]") }
      #expect(found.map(\.message) == ["slerp needs the parameter t (a number from 0 to 1)"])
      let weights = problems { try place.plan("merge_method: linear\nmodels:\n- model: a\n- model: b") }
      #expect(weights.map(\.context.recipeLine) == [3, 4])
    }
  }

  // MARK: - Slices and modules

  @Test func layersOutOfRange() throws {
    for range in ["[1, 3]", "[2, 4]", "[0, 1000000000000000]", "[0, 9223372036854775807]"] {
      try Workplace.with(["a": TinyLlama()]) { place in
        let found = problems {
          try place.plan("merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: \(range)}]")
        }
        #expect(found.count == 1, "\(found)")
        #expect(found.first?.message.hasSuffix("but a has 2 layers") == true)
        #expect(found.first?.context.recipeLine == 3)
      }
    }
  }

  /// A model without layers (here: bare weights of one tensor) cannot be sliced, however long the range.
  @Test func nothingToSlice() throws {
    try Workplace.with { place in
      try TestTensor.write([TestTensor("x", [1], [1])], to: place.path("a.safetensors"))
      let found = problems {
        try place.plan(
          "merge_method: passthrough\nslices:\n- sources: [{model: a.safetensors, layer_range: [0, 1000000000000]}]")
      }
      #expect(found.map(\.context.recipeLine) == [3])
    }
  }

  @Test func modules() throws {
    try Workplace.with(["a": TinyLlama(value: 1), "b": TinyLlama(value: 3)]) { place in
      let output = try place.run(
        """
        merge_method: linear
        modules:
          text_decoder:
            models: [{model: a}, {model: b}]
            parameters: {weight: 1}
        """)
      #expect(output.first(q(0)) == 2)
    }
    try Workplace.with(["a": TinyLlama()]) { place in
      let found = problems {
        try place.plan(
          """
          merge_method: linear
          base_model: a
          modules:
            ears: {models: [{model: a, parameters: {weight: 1}}]}
          """)
      }
      #expect(found.contains { $0.message == "the models have no module ears" && $0.context.recipeLine == 4 })
    }
  }

  // MARK: - Several documents

  @Test func documentsFollowTheirNeeds() throws {
    try Workplace.with(["a": TinyLlama(value: 1), "b": TinyLlama(value: 3)]) { place in
      let output = try place.run(
        """
        merge_method: linear
        models: [{model: half, parameters: {weight: 1}}, {model: more, parameters: {weight: 1}}]
        ---
        name: more
        merge_method: passthrough
        models: [{model: half, parameters: {scale: 2}}]
        ---
        name: half
        merge_method: linear
        models: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 1}}]
        """)
      // half = 2, more = 4.
      #expect(output.first(q(0)) == 3)
      #expect(FileSystem.kind(place.options.output + ".stages") == nil)
    }
  }

  @Test func documentsThatCannotBeOrdered() throws {
    func message(_ text: String) throws -> [String] {
      try Workplace.with(["a": TinyLlama()]) { place in problems { try place.plan(text) }.map(\.message) }
    }
    func document(_ name: String?, _ model: String) -> String {
      (name.map { "name: \($0)\n" } ?? "") + "merge_method: passthrough\nmodels: [{model: \(model)}]\n---\n"
    }
    #expect(
      try message(document("x", "y") + document("y", "x")) == ["documents refer to each other in a circle: x, y"])
    #expect(
      try message(document(nil, "a") + document(nil, "a")) == [
        "2 documents have no name; only the last merge may go without"
      ])
    #expect(try message(document("x", "a") + document("x", "a")) == ["two documents are called x"])
    #expect(try message(document("../x", "a") + document(nil, "a")) == ["\"../x\" cannot be the name of a folder"])
  }
}
