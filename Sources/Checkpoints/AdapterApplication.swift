internal import EspalierBasics
internal import EspalierNumerics

/// Puts an adapter's modules onto the parameters of a base, collecting what does not fit.
struct AdapterApplication {
  private(set) var config: JSON?
  private(set) var problems = Problems()
  private(set) var warnings: [Problem] = []

  private let configuration: AdapterConfiguration
  private var byName: [ExactString: Parameter]
  /// Parameters that an adapter's factors changed, each by one module.
  private var adapted = Set<ExactString>()

  init(base: any Checkpoint, configuration: AdapterConfiguration) {
    self.configuration = configuration
    config = base.config
    byName = base.parametersByName()
  }

  /// The parameters in the order of names.
  var parameters: [Parameter] { byName.values.sorted { SafetensorsCheckpoint.precedes($0.name, $1.name) } }

  mutating func apply(_ modules: [AdapterModule]) {
    untie(modules)
    for module in modules {
      for (suffix, tensor) in module.wholes {
        attempt(tensor.name) { (application: inout Self) throws(Problem) in
          try application.replace(in: module.path, suffix: suffix, with: tensor)
        }
      }
    }
    for module in modules {
      guard let name = module.parts.values.map(\.name).min(by: SafetensorsCheckpoint.precedes) else { continue }
      attempt(name) { (application: inout Self) throws(Problem) in try application.update(module) }
    }
  }

  private mutating func attempt(_ tensor: String, _ body: (inout Self) throws(Problem) -> Void) {
    do { try body(&self) } catch { problems.add(error.at(tensor: tensor)) }
  }

  // MARK: - Names

  /// Prefixes that a base's names have or lack depending on whether it was saved with its head.
  private static let prefixes = ["model.", "transformer.", "bert.", "roberta.", "gpt_neox.", "deberta.", "distilbert."]

  /// The base's name for what the adapter calls `name`.
  private func baseName(_ name: String) -> ExactString? {
    let shorter = Self.prefixes.filter(name.hasPrefix).map { String(name.dropFirst($0.count)) }
    let candidates = [name] + shorter + Self.prefixes.map { $0 + name }
    return candidates.lazy.map { ExactString($0) }.first { byName[$0] != nil }
  }

  // MARK: - Saved in full

  private mutating func replace(in module: String, suffix: String, with tensor: StoredTensor) throws(Problem) {
    guard let name = baseName("\(module).\(suffix)"), var parameter = byName[name] else {
      guard configuration.savesInFull(module) else {
        throw Problem(
          .adapterBase, "the base has no parameter \(module).\(suffix), and modules_to_save does not list \(module)",
          remedy: "The base is not the model the adapter was trained on.")
      }
      let added = Parameter(
        name: "\(module).\(suffix)", shape: tensor.shape, elementType: tensor.elementType, recipe: .stored(tensor))
      byName[ExactString(added.name)] = added
      return
    }
    if parameter.shape != tensor.shape {
      guard Self.isVocabulary(module), tensor.shape.count == 2, parameter.shape.dropFirst() == tensor.shape.dropFirst()
      else { throw Self.misfit(parameter, tensor.shape) }
      config?["vocab_size"] = .number(tensor.shape[0])
      warnings.append(
        Problem(
          .adapterBase, "the adapter resizes the vocabulary from \(parameter.shape[0]) to \(tensor.shape[0]) rows",
          remedy: "The tokenizer beside the adapter has the added tokens; the base's has not.", tensor: parameter.name,
          severity: .warning))
    }
    parameter.shape = tensor.shape
    parameter.recipe = .stored(tensor)
    byName[name] = parameter
  }

  private static func misfit(_ parameter: Parameter, _ found: [Int]) -> Problem {
    Problem(
      .adapterBase, "the shape \(found) does not fit the base's \(parameter.name), which is \(parameter.shape)",
      remedy: "The base is not the model the adapter was trained on.")
  }

  // MARK: - Ties

  private static let embeddings = ["embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings"]
  private static let head = "lm_head"

  private static func isVocabulary(_ module: String) -> Bool {
    (embeddings + [head]).contains(where: module.endsInComponents)
  }

  /// Gives the output head weights of its own where the base shares the embedding's and the adapter changes one of
  /// the two: as trained, the other kept its values.
  private mutating func untie(_ modules: [AdapterModule]) {
    let name = ExactString("\(Self.head).weight")
    guard byName[name] == nil, let embedding = tiedEmbedding else { return }
    let changesHead = modules.contains { $0.path == Self.head }
    let module = modules.first { baseName("\($0.path).weight") == ExactString(embedding.name) }
    let saved = module?.wholes.first { $0.suffix == "weight" }?.tensor
    let isTrained = module.map { configuration.savesInFull($0.path) } ?? false
    let isAdapted = module.map { !$0.parts.isEmpty } ?? false
    guard changesHead || isAdapted || (isTrained && saved?.shape == embedding.shape) else { return }

    var head = embedding
    head.name = name.text
    if let saved, !isTrained {
      // The embedding as it was adapted: the base's, resized.
      head.shape = saved.shape
      head.recipe = .stored(saved)
    }
    byName[name] = head
    config?["tie_word_embeddings"] = false
    warnings.append(
      Problem(
        .adapterBase, "the adapter changes the embedding or the output head alone, so they are no longer shared",
        tensor: name.text, severity: .warning))
  }

  /// The embedding that also serves as the output head.
  private var tiedEmbedding: Parameter? {
    guard let config, config["tie_word_embeddings"]?.bool != false,
      let architecture = config["architectures"]?[0]?.string,
      ["ForCausalLM", "LMHeadModel", "ForConditionalGeneration"].contains(where: architecture.hasSuffix)
    else { return nil }
    let names = Self.embeddings.map { "\($0).weight" }
    return parameters.first { parameter in names.contains(where: parameter.name.endsInComponents) }
  }

  // MARK: - Factors

  private mutating func update(_ module: AdapterModule) throws(Problem) {
    guard configuration.targets(module.path) else {
      throw Problem(.adapterTensor, "the configuration does not target the module \(module.path)")
    }
    guard let name = baseName("\(module.path).weight"), var parameter = byName[name] else {
      throw Problem(
        .adapterBase, "the base has no parameter \(module.path).weight",
        remedy: "The base is not the model the adapter was trained on.")
    }
    guard parameter.elementType.isFloat else {
      throw Problem(
        .adapterBase, "\(parameter.name) is stored as \(parameter.elementType.safetensorsName)",
        remedy: "Use the base before it was quantized.")
    }
    guard adapted.insert(name).inserted else {
      throw Problem(.adapterTensor, "two modules of the adapter change \(parameter.name)")
    }
    switch configuration.method {
    case .lora: try addFactors(of: module, to: &parameter)
    case .ia3: try scale(&parameter, by: module)
    }
    byName[name] = parameter
  }

  private func addFactors(of module: AdapterModule, to parameter: inout Parameter) throws(Problem) {
    let isEmbedding = module.parts[.embeddingA] != nil || module.parts[.embeddingB] != nil
    var parts = module.parts
    guard let a = parts.removeValue(forKey: isEmbedding ? .embeddingA : .a),
      let b = parts.removeValue(forKey: isEmbedding ? .embeddingB : .b)
    else { throw Problem(.adapterTensor, "\(module.path) has one factor of two") }
    let magnitude = parts.removeValue(forKey: .magnitude)
    guard parts.isEmpty else { throw Problem(.adapterTensor, "\(module.path) has parts that do not go together") }
    guard (magnitude != nil) == configuration.usesDoRA else {
      throw Problem(
        .adapterTensor,
        configuration.usesDoRA
          ? "\(module.path) has no magnitude although use_dora is set"
          : "\(module.path) has a magnitude although use_dora is not set")
    }
    let rank = configuration.rank(of: module.path)
    guard a.shape.first == rank else {
      throw Problem(
        .adapterTensor, "\(module.path) has rank \(a.shape.first ?? 0); the configuration says \(rank)",
        remedy: "The configuration (r, rank_pattern) is not the one the adapter was saved with.", tensor: a.name)
    }
    let transposed = try layout(of: parameter, a: a, b: b, isEmbedding: isEmbedding)
    let scale = configuration.scale(of: module.path)
    let update: Update
    if let magnitude {
      let outputs = transposed ? parameter.shape.dropFirst().reduce(1, *) : parameter.shape[0]
      guard magnitude.elementCount == outputs else { throw Self.misfit(parameter, magnitude.shape) }
      update = .weightDecomposed(a: a, b: b, scale: scale, magnitude: magnitude, transposed: transposed)
    } else {
      update = .lowRank(a: a, b: b, scale: scale, transposed: transposed)
    }
    parameter.recipe = .updated(parameter.recipe, shape: parameter.shape, by: update)
  }

  /// Whether the parameter is stored `[in, out]`.
  ///
  /// The factors' shapes tell; `fan_in_fan_out` decides for a square parameter (one adapter may hold both layouts).
  private func layout(
    of parameter: Parameter, a: StoredTensor, b: StoredTensor, isEmbedding: Bool
  ) throws(Problem) -> Bool {
    let shape = parameter.shape
    guard let rank = a.shape.first, shape.count >= 2, b.shape.count >= 2 else { throw Self.misfit(parameter, a.shape) }
    let straight =
      a.shape == [rank] + shape.dropFirst() && b.shape[...1] == [shape[0], rank]
      && b.shape.dropFirst(2).allSatisfy { $0 == 1 }
    let crossed = shape.count == 2 && a.shape == [rank, shape[0]] && b.shape == [shape[1], rank]
    let prefersCrossed = isEmbedding || configuration.fanInFanOut
    guard isEmbedding ? crossed : straight || crossed else {
      throw Problem(
        .adapterBase,
        "factors of shapes \(a.shape) and \(b.shape) do not fit the base's \(parameter.name), which is \(shape)",
        remedy: "The base is not the model the adapter was trained on.", tensor: a.name)
    }
    return crossed && (prefersCrossed || !straight)
  }

  /// IA3: inputs of feed-forward modules are scaled, outputs (bias included) of the others.
  private mutating func scale(_ parameter: inout Parameter, by module: AdapterModule) throws(Problem) {
    guard let vector = module.parts[.ia3], module.parts.count == 1 else {
      throw Problem(.adapterTensor, "\(module.path) has parts that are not of IA3")
    }
    guard parameter.shape.count == 2 else { throw Self.misfit(parameter, vector.shape) }
    let isInput = configuration.isFeedforward(module.path)
    let count = vector.elementCount
    guard vector.shape == (isInput ? [1, count] : [count, 1]) else {
      throw Problem(
        .adapterTensor,
        "the shape \(vector.shape) is not that of \(isInput ? "an input" : "an output") scale; see feedforward_modules")
    }
    let preferred = isInput == configuration.fanInFanOut ? 0 : 1
    guard let dimension = [preferred, 1 - preferred].first(where: { parameter.shape[$0] == count }) else {
      throw Self.misfit(parameter, vector.shape)
    }
    parameter.recipe = .updated(
      parameter.recipe, shape: parameter.shape, by: .scaled(by: vector, dimension: dimension))
    guard !isInput, let biasName = baseName("\(module.path).bias"), var bias = byName[biasName] else { return }
    guard bias.shape == [count] else { throw Self.misfit(bias, vector.shape) }
    bias.recipe = .updated(bias.recipe, shape: bias.shape, by: .scaled(by: vector, dimension: 0))
    byName[biasName] = bias
  }
}

extension String {
  /// Whether the path is `end` or ends in `.end`.
  fileprivate func endsInComponents(_ end: String) -> Bool { self == end || hasSuffix(".\(end)") }
}
