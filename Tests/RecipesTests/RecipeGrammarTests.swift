import EspalierBasics
import EspalierMerging
import EspalierNumerics
import EspalierRecipes
import Testing

/// Reads a recipe text of one document.
func recipe(_ text: String) throws -> Recipe {
  var warnings: [Problem] = []
  let recipes = try Recipe.read(text, file: "r.yml", warnings: &warnings)
  return try #require(recipes.first)
}

/// Every form of mergekit's grammar, as it is understood.
@Suite struct RecipeGrammarTests {
  private func sources(_ recipe: Recipe) -> [Recipe.Source] {
    if case .models(let sources) = recipe.body { sources } else { [] }
  }

  private func slices(_ recipe: Recipe) -> [Recipe.Slice] {
    if case .slices(let slices) = recipe.body { slices } else { [] }
  }

  /// What the parameter `name` of a recipe of method `linear` with this value under `weight:` comes to.
  private func weight(_ value: String, tensor: String = "t", at position: Double = 0) throws -> ParameterValue? {
    let text = "merge_method: linear\nmodels: [{model: a}]\nparameters:\n  weight: \(value)\n"
    return try recipe(text).parameters.entries["weight"]?.setting.value(for: tensor, position: position)
  }

  @Test func models() throws {
    let recipe = try recipe(
      """
      merge_method: ties
      base_model: org/base
      models:
        - model: org/base
        - model: ./one
          parameters: {weight: 0.5, density: 0.3}
      parameters:
        normalize: false
      dtype: bfloat16
      out_dtype: torch.float16
      chat_template: auto
      """)
    #expect(recipe.method == "ties" && recipe.methodLine == 1)
    #expect(recipe.base?.path == "org/base" && recipe.base?.line == 2)
    #expect(sources(recipe).map(\.model.path) == ["org/base", "./one"])
    #expect(sources(recipe).map(\.line) == [4, 5])
    #expect(sources(recipe)[1].parameters.entries["density"]?.setting.allValues == [.number(0.3)])
    #expect(recipe.parameters.entries["normalize"]?.setting.allValues == [.flag(false)])
    #expect(recipe.computeType == .bf16 && recipe.outputType == .f16)
    #expect(recipe.chatTemplate == "auto")
    #expect(recipe.models.map(\.path) == ["org/base", "./one"])
  }

  @Test func nullIsTheSameAsNothing() throws {
    let recipe = try recipe(
      """
      merge_method: linear
      models: [{model: a, parameters: null}]
      slices: null
      base_model: null
      chat_template: ~
      tokenizer_source:
      dtype: null
      name: null
      """)
    #expect(sources(recipe).map(\.model.path) == ["a"])
    #expect(recipe.base == nil && recipe.chatTemplate == nil && recipe.tokenizer == nil)
    #expect(recipe.computeType == nil && recipe.name == nil)
  }

  @Test func slicesAndModules() throws {
    let recipe = try recipe(
      """
      merge_method: passthrough
      modules:
        text_decoder:
          slices:
            - sources: [{model: a, layer_range: [0, 4]}]
            - sources: [{model: b, layer_range: [2, 6], parameters: {scale: 0.5}}]
              base_model: c
              parameters: {scale: 2}
          parameters: {scale: 3}
        vision_tower:
          models: [{model: a}]
      """)
    guard case .modules(let modules) = recipe.body else {
      Issue.record("no modules")
      return
    }
    #expect(modules.map(\.name) == ["text_decoder", "vision_tower"])
    guard case .slices(let slices) = modules[0].module.body else {
      Issue.record("no slices")
      return
    }
    #expect(slices.map { $0.sources[0].layers } == [0..<4, 2..<6])
    #expect(slices[1].base?.path == "c")
    #expect(recipe.models.map(\.path) == ["a", "b", "c"])
  }

  // MARK: - Values

  @Test func scalars() throws {
    for (text, value) in [
      ("1", 1), ("-0.5", -0.5), ("1e-3", 0.001), ("\"0.5\"", 0.5), ("'1e-3'", 0.001), ("1_000", 1000), ("true", 1),
      ("off", 0),
    ] {
      #expect(try weight(text) == .number(value), "\(text)")
    }
  }

  @Test func gradients() throws {
    for (position, value) in [(0.0, 0.0), (0.25, 0.5), (0.5, 1), (0.75, 0.75), (1, 0.5)] {
      #expect(try weight("[0, 1, 0.5]", at: position) == .number(value))
    }
    #expect(try weight("[0.3]", at: 0.7) == .number(0.3))
  }

  /// Flags of a gradient are not mixed: the element int(t (G - 1)) counts.
  @Test func gradientsOfFlags() throws {
    let text = "merge_method: linear\nmodels: [{model: a}]\nparameters: {normalize: [true, false, true]}\n"
    let setting = try #require(try recipe(text).parameters.entries["normalize"]?.setting)
    let found = [0, 0.49, 0.5, 0.99, 1].map { setting.value(for: "t", position: $0) }
    #expect(found == [.flag(true), .flag(true), .flag(false), .flag(false), .flag(true)])
  }

  @Test func filters() throws {
    let list = "[{filter: mlp, value: 0.1}, {filter: q_proj, value: [0, 1]}, {value: 0.7}]"
    #expect(try weight(list, tensor: "layers.0.mlp.up_proj") == .number(0.1))
    #expect(try weight(list, tensor: "layers.0.self_attn.q_proj", at: 0.5) == .number(0.5))
    #expect(try weight(list, tensor: "norm") == .number(0.7))
    #expect(try weight("{filter: mlp, value: 0.1}", tensor: "mlp") == .number(0.1))
    #expect(try weight("{filter: mlp, value: 0.1}", tensor: "norm") == nil)
    #expect(try weight("[{filter: \"*\", value: 0.1}, {filter: mlp, value: 0.2}]", tensor: "mlp") == .number(0.1))
    // A plain value among filters fits all.
    #expect(try weight("[{filter: mlp, value: 0.1}, 0.4]", tensor: "norm") == .number(0.4))
  }

  @Test func words() throws {
    let text = "merge_method: dare_ties\nmodels: [{model: a}]\nparameters: {rescale: inverse_density}\n"
    #expect(try recipe(text).parameters.entries["rescale"]?.setting.allValues == [.word("inverse_density")])
  }

  // MARK: - Models

  @Test func references() throws {
    for (text, path, revision, adapter, adapterRevision) in [
      ("org/name", "org/name", nil, nil, nil), ("org/name@v1", "org/name", "v1", nil, nil),
      ("org/name+lora/x", "org/name", nil, "lora/x", nil), ("a@r+b@s", "a", "r", "b", "s"),
      ("./a@b/c", "./a@b/c", nil, nil, nil), ("/x/y+/z", "/x/y", nil, "/z", nil),
    ] as [(String, String, String?, String?, String?)] {
      let found = sources(try recipe("merge_method: linear\nmodels:\n- model: \(text)\n"))[0].model
      #expect(found.path == path && found.revision == revision, "\(text)")
      #expect(found.adapter == adapter && found.adapterRevision == adapterRevision, "\(text)")
      #expect(found.key == text)
    }
  }

  @Test func referencesAsMaps() throws {
    let recipe = try recipe(
      """
      merge_method: linear
      models:
        - model: {model: {path: org/a, revision: r}, lora: {path: org/l, revision: s}}
        - model: {model: org/a}
      """)
    #expect(sources(recipe).map(\.model.key) == ["org/a@r+org/l@s", "org/a"])
  }

  // MARK: - Tokenizer

  @Test func tokenizerSources() throws {
    func origin(_ lines: String) throws -> Recipe.TokenizerSetting.Origin? {
      try recipe("merge_method: linear\nmodels: [{model: a}]\n\(lines)\n").tokenizer?.origin
    }
    #expect(try origin("tokenizer_source: union") == .union)
    #expect(try origin("tokenizer_source: base") == .base)
    #expect(try origin("tokenizer: {}") == .union)
    #expect(try origin("tokenizer: {source: base}") == .base)
    #expect(try origin("tokenizer: ") == nil)
    guard case .model(let reference) = try origin("tokenizer_source: org/t") else {
      Issue.record("no model")
      return
    }
    #expect(reference.path == "org/t")
  }

  @Test func tokens() throws {
    let tokenizer = try #require(
      try recipe(
        """
        merge_method: linear
        models: [{model: a}]
        tokenizer:
          source: union
          pad_to_multiple_of: 64
          tokens:
            "<a>": {source: org/m, force: true}
            "<b>": {source: {kind: zero}}
            "<c>": {source: {kind: model_token, model: org/m, token_id: 7}}
            "<d>": {source: {kind: model_token, model: org/m, token: x}}
            "<e>": {}
        """
      ).tokenizer)
    #expect(tokenizer.padToMultipleOf == 64)
    #expect(tokenizer.tokens.map(\.token) == ["<a>", "<b>", "<c>", "<d>", "<e>"])
    #expect(tokenizer.tokens.map(\.force) == [true, false, false, false, false])
    #expect(tokenizer.tokens.map(\.line) == [7, 8, 9, 10, 11])
    let described = tokenizer.tokens.map { token in
      switch token.embedding {
      case .model(let model): model.path
      case .zero: "zero"
      case .modelToken(let model, let id, let text): "\(model.path) \(id ?? -1) \(text ?? "-")"
      case nil: "any"
      }
    }
    #expect(described == ["org/m", "zero", "org/m 7 -", "org/m -1 x", "any"])
  }

  // MARK: - Documents

  @Test func severalDocuments() throws {
    var warnings: [Problem] = []
    let recipes = try Recipe.read(
      """
      name: first
      merge_method: linear
      models: [{model: a, parameters: {weight: 1}}]
      ---
      merge_method: linear
      models: [{model: first, parameters: {weight: 1}}]
      ---
      """, file: "r.yml", warnings: &warnings)
    #expect(recipes.map(\.name) == ["first", nil])
    #expect(recipes.map(\.line) == [1, 5])
    #expect(warnings.isEmpty)
  }

  /// Anchors are a convenience of YAML, so they work.
  @Test func aliases() throws {
    let recipe = try recipe(
      """
      merge_method: linear
      models:
        - model: a
          parameters: &p {weight: 0.25}
        - model: b
          parameters: *p
      """)
    #expect(
      sources(recipe).map { $0.parameters.entries["weight"]?.setting.allValues } == [[.number(0.25)], [.number(0.25)]])
  }
}
