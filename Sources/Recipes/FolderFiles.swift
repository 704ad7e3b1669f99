internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierNumerics
internal import EspalierTokenizers

/// The small files around the weights: config, generation config, tokenizer.
enum FolderFiles {
  /// Names copied from the model that gives the config, if it has them; the tokenizer's are decided elsewhere.
  private static let copied = [
    "generation_config.json", "preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json",
    "feature_extractor_config.json", "normalizer.json",
  ]

  static func files(
    recipe: Recipe, models: [MergePlanner.OpenModel], donor: Int, layout: OutputLayout,
    tokenizer: PlannedTokenizer?, families: [Architecture], problems: inout Problems
  ) -> [(name: String, bytes: [UInt8])] {
    var files: [(name: String, bytes: [UInt8])] = []
    let model = models[donor]
    if let config = model.checkpoint.config {
      let written = self.config(
        config, recipe: recipe, models: models, layout: layout, tokenizer: tokenizer, families: families,
        problems: &problems)
      files.append(("config.json", Array((written.text(pretty: true) + "\n").utf8)))
    }
    if let folder = model.checkpoint.folder {
      for name in copied where FileSystem.isFile("\(folder)/\(name)") {
        if let bytes = problems.collect({ () throws(Problem) in
          try FileSystem.read("\(folder)/\(name)", limit: 64 << 20)
        }) {
          files.append((name, bytes))
        }
      }
    }
    if let json = generationConfig(of: model.checkpoint),
      !files.contains(where: { $0.name == "generation_config.json" })
    {
      files.append(("generation_config.json", json.bytes(pretty: true) + [UInt8(ascii: "\n")]))
    }
    for (name, bytes) in (tokenizer?.files.contents ?? [:]).sorted(by: { $0.key < $1.key }) {
      files.append((name, bytes))
    }
    return files
  }

  /// What a GGUF file says about the tokens that end a text.
  private static func generationConfig(of checkpoint: any Checkpoint) -> JSON? {
    guard let gguf = checkpoint as? GGUFCheckpoint else { return nil }
    return try? GGUFVocabulary(gguf.metadata).generationConfiguration
  }

  // MARK: - config.json

  private static func config(
    _ donor: JSON, recipe: Recipe, models: [MergePlanner.OpenModel], layout: OutputLayout,
    tokenizer: PlannedTokenizer?, families: [Architecture], problems: inout Problems
  ) -> JSON {
    var config = donor
    setType(&config, layout: layout)
    setTies(&config, layout: layout)
    if let size = tokenizer?.vocabularySize { setVocabulary(&config, size, families: families, problems: &problems) }
    for (role, id) in tokenizer?.specialTokenIDs ?? [:] where config[role.idKey]?.integer != nil {
      config[role.idKey] = .number(id)
    }
    return LayerCounts.written(
      config, recipe: recipe, models: models, families: families, problems: &problems)
  }

  private static func setVocabulary(
    _ config: inout JSON, _ size: Int, families: [Architecture], problems: inout Problems
  ) {
    if let family = Architecture.recognise(config: config, among: families) {
      config = problems.collect { () throws(Problem) in try family.config(config, vocabularySize: size) } ?? config
    } else if config["vocab_size"] != nil {
      config["vocab_size"] = .number(size)
    }
  }

  private static func setType(_ config: inout JSON, layout: OutputLayout) {
    let bytes = Dictionary(grouping: layout.tensors.filter(\.elementType.isFloat), by: \.elementType)
      .mapValues { $0.reduce(0) { $0 + $1.byteCount } }
    guard let type = bytes.max(by: { ($0.value, $0.key.rawValue) < ($1.value, $1.key.rawValue) })?.key else { return }
    let names: [ElementType: String] = [
      .f16: "float16", .bf16: "bfloat16", .f32: "float32", .f64: "float64", .f8e4m3: "float8_e4m3fn",
      .f8e5m2: "float8_e5m2",
    ]
    guard let name = names[type] else { return }
    let key = config["dtype"] != nil ? "dtype" : "torch_dtype"
    config[key] = .string(name)
  }

  /// A head that is now stored on its own is not tied any more.
  private static func setTies(_ config: inout JSON, layout: OutputLayout) {
    guard config["tie_word_embeddings"]?.bool == true, layout.tensors.contains(where: { $0.name == "lm_head.weight" })
    else { return }
    config["tie_word_embeddings"] = false
  }
}

/// Writes the number of layers into a config, where slices changed it.
enum LayerCounts {
  static func written(
    _ config: JSON, recipe: Recipe, models: [MergePlanner.OpenModel], families: [Architecture],
    problems: inout Problems
  ) -> JSON {
    switch recipe.body {
    case .models: return config
    case .slices(let slices):
      return written(config, slices, tower: nil, models: models, families: families, problems: &problems)
    case .modules(let modules):
      var config = config
      for module in modules {
        if case .slices(let slices) = module.module.body {
          config = written(
            config, slices, tower: module.name, models: models, families: families, problems: &problems)
        }
      }
      return config
    }
  }

  private static func written(
    _ config: JSON, _ slices: [Recipe.Slice], tower: String?, models: [MergePlanner.OpenModel],
    families: [Architecture], problems: inout Problems
  ) -> JSON {
    let sources = slices.flatMap { slice in slice.sources.first?.layers.map(Array.init) ?? [] }
    guard let family = Architecture.recognise(config: config, among: families) else {
      var config = config
      if config["num_hidden_layers"] != nil { config["num_hidden_layers"] = .number(sources.count) }
      return config
    }
    return problems.collect { () throws(Problem) in
      let towers = try family.describe(config: config).towers.filter { $0.layerCount > 0 }
      guard let tower = towers.first(where: { tower == nil || MergePlanner.names($0.name).contains(tower ?? "") })
      else { return config }
      var changes = [ConfigChange.layers(tower: tower.name, sources: sources)]
      if let shapes = try shapes(of: slices, tower: tower.name, models: models, families: families) {
        changes.append(.shapes(tower: tower.name, shapes))
      }
      return try family.config(config, with: changes)
    } ?? config
  }

  /// The shapes of the layers that slices take, each from its own model; nil if the layers of all models are alike.
  private static func shapes(
    of slices: [Recipe.Slice], tower: String, models: [MergePlanner.OpenModel], families: [Architecture]
  ) throws(Problem) -> [LayerShape]? {
    var known: [String: [LayerShape]] = [:]
    for model in models {
      guard let config = model.checkpoint.config,
        let family = Architecture.recognise(config: config, among: families)
      else { continue }
      known[model.reference.key] = try family.layerShapes(config: config).first { $0.tower == tower }?.layers
    }
    guard Set(known.values.joined()).count > 1 else { return nil }
    var shapes: [LayerShape] = []
    for source in slices.compactMap(\.sources.first) {
      guard let layers = known[source.model.key] else { return nil }
      for layer in source.layers ?? 0..<0 where layers.indices.contains(layer) { shapes.append(layers[layer]) }
    }
    return shapes
  }
}
