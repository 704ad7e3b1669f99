internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierMerging

/// Turns a recipe and the headers of its models into jobs, collecting every problem on the way.
struct MergePlanner {
  /// A tensor to be written, before its place in the files is known.
  struct Draft {
    var request: OutputLayout.Request
    var inputs: [MergeJob.Input]
    var operation: MergeJob.Operation
  }

  struct OpenModel {
    var reference: ModelReference
    var checkpoint: any Checkpoint
    var structure: ModelStructure
  }

  /// One source of a slice: a model, the first layer taken of it, its parameters.
  struct Source {
    var model: Int
    var firstLayer: Int
    var settings: ParameterSettings
    var line: Int
  }

  struct Slice {
    var sources: [Source]
    var layers: Int
    /// Index of the base model, if the recipe names one for this slice.
    var base: Int?
    /// From the most specific scope to the least.
    var scopes: [ParameterSettings]
    var line: Int
  }

  let recipe: Recipe
  let models: [OpenModel]
  let method: any MergeMethod.Type
  /// Rearranges rows of an input along the vocabulary, where the recipe asks for another tokenizer.
  let vocabulary: VocabularyAdapter?
  var problems = Problems()
  var drafts: [Draft] = []
  /// Names of drafted tensors that the family's description does not name.
  var unknownOutputs: [String] = []
  /// Names of drafted tensors.
  var names: Set<ExactString> = []
  /// Stored names that have been planned, by index of the model.
  var planned: [Set<ExactString>]

  init(recipe: Recipe, models: [OpenModel], method: any MergeMethod.Type, vocabulary: VocabularyAdapter?) {
    self.recipe = recipe
    self.models = models
    self.method = method
    self.vocabulary = vocabulary
    planned = models.map { _ in [] }
  }

  mutating func complain(
    _ code: Problem.Code, _ message: String, remedy: String? = nil, tensor: String? = nil, line: Int,
    severity: Problem.Severity = .error
  ) {
    problems.add(
      Problem(code, message, remedy: remedy, tensor: tensor, recipeLine: line, severity: severity))
  }

  private func index(of reference: ModelReference) -> Int? {
    models.firstIndex { $0.reference.key == reference.key }
  }

  /// Drafts every tensor of the output.
  mutating func plan() {
    var modules: [String] = []
    for model in models {
      for slot in model.structure.tensors.map(\.slot) + model.structure.missing where !modules.contains(slot.module) {
        modules.append(slot.module)
      }
    }
    switch recipe.body {
    case .models, .slices:
      let layered = modules.filter { module in models.contains { $0.structure.layers(of: module) != nil } }
      if case .slices(let slices) = recipe.body, layered.count != 1 {
        complain(
          .recipeValue,
          layered.isEmpty
            ? "the models have no layers to slice"
            : "the model has several modules with layers (\(layered.joined(separator: ", ")))",
          remedy: layered.isEmpty ? "List them under models:." : "Slice each under modules:.",
          line: slices.first?.line ?? recipe.line)
        return
      }
      for module in modules { section(module, recipe.body, scopes: [recipe.parameters]) }
    case .modules(let list):
      for module in modules {
        if let entry = list.first(where: { Self.names(module).contains($0.name) }) {
          section(module, entry.module.body, scopes: [entry.module.parameters, recipe.parameters])
        } else {
          carry(module)
        }
      }
      for entry in list where !modules.contains(where: { Self.names($0).contains(entry.name) }) {
        complain(
          .recipeValue, "the models have no module \(entry.name)",
          remedy: "Their modules: \(modules.joined(separator: ", ")).", line: entry.line)
      }
    }
  }

  /// The names by which recipes know a module.
  static func names(_ module: String) -> [String] {
    switch module {
    case "text": ["text", "text_decoder", "language_model", "decoder", "default", "architecture"]
    case "vision": ["vision", "vision_tower", "vision_model", "visual"]
    case "projector": ["projector", "multi_modal_projector", "connector"]
    default: [module, module + "_tower", module + "_model"]
    }
  }

  /// A module that the recipe does not mention is taken from the base model.
  private mutating func carry(_ module: String) {
    guard let base = recipe.base.flatMap({ index(of: $0) }) else {
      complain(
        .recipeValue, "the recipe does not say what becomes of the module \(module)",
        remedy: "Add it under modules:, or name a base_model to take it from.", line: recipe.line)
      return
    }
    complain(
      .recipeIgnored, "the module \(module) is taken unchanged from the base model", line: recipe.line,
      severity: .warning)
    for tensor in models[base].structure.tensors where tensor.slot.module == module {
      add(
        name: tensor.parameter.name, slot: tensor.slot, entries: [(source(base), tensor)], base: base, operation: nil,
        line: recipe.line)
    }
    let layers = models[base].structure.layers(of: module) ?? 0
    requireComplete(
      module, Slice(sources: [source(base)], layers: layers, base: base, scopes: [], line: recipe.line), isFirst: true,
      isLast: true)
  }

  private func source(_ model: Int) -> Source { Source(model: model, firstLayer: 0, settings: .none, line: 0) }

  private mutating func section(_ module: String, _ body: Recipe.Body, scopes: [ParameterSettings]) {
    let slices = resolve(body, module: module, scopes: scopes)
    guard let first = slices.first, let last = slices.last else { return }
    for template in templates(module, in: first, where: { $0 == .before }) {
      tensor(template, part: .before, layer: 0, output: nil, position: 0, slice: first)
    }
    var offset = 0
    for slice in slices {
      let templates = templates(module, in: slice) { if case .layer = $0 { true } else { false } }
      for layer in 0..<slice.layers {
        let position = slice.layers > 1 ? Double(layer) / Double(slice.layers - 1) : 1
        for template in templates {
          tensor(
            template, part: .layer(layer), layer: layer, output: offset + layer, position: position, slice: slice)
        }
      }
      offset += slice.layers
    }
    for template in templates(module, in: last, where: { $0 == .after }) {
      tensor(template, part: .after, layer: 0, output: nil, position: 0, slice: last)
    }
    for (index, slice) in slices.enumerated() {
      requireComplete(module, slice, isFirst: index == 0, isLast: index == slices.count - 1)
    }
    if case .models = body { requireAllPlanned(module, first) }
  }

  private mutating func resolve(
    _ body: Recipe.Body, module: String, scopes: [ParameterSettings]
  ) -> [Slice] {
    let base = recipe.base.flatMap { index(of: $0) }
    switch body {
    case .modules: return []
    case .models(let list):
      var sources = list.compactMap { entry in
        index(of: entry.model).map {
          Source(model: $0, firstLayer: 0, settings: entry.parameters, line: entry.line)
        }
      }
      if let base, !sources.contains(where: { $0.model == base }) {
        sources.append(Source(model: base, firstLayer: 0, settings: .none, line: recipe.base?.line ?? recipe.line))
        noteAddedBase()
      }
      let counts = sources.map { models[$0.model].structure.layers(of: module) ?? 0 }
      if let other = counts.firstIndex(where: { $0 != counts[0] }) {
        complain(
          .mergeInputs,
          "\(models[sources[other].model].reference.key) has \(counts[other]) layers in \(module), "
            + "\(models[sources[0].model].reference.key) has \(counts[0])",
          remedy: "Use slices to say which layers belong together.", line: sources[other].line)
      }
      return [Slice(sources: sources, layers: counts.first ?? 0, base: base, scopes: scopes, line: recipe.line)]
    case .slices(let list):
      return list.map { slice in
        let sources = slice.sources.compactMap { entry -> Source? in
          guard let model = index(of: entry.model), let layers = entry.layers else { return nil }
          // A module without layers has only what stands before and after them.
          if let count = models[model].structure.layers(of: module), layers.upperBound > count {
            complain(
              .recipeValue,
              "layer_range ends at \(layers.upperBound) but \(entry.model.key) has \(count) layers", line: entry.line)
            return nil
          }
          return Source(
            model: model, firstLayer: layers.lowerBound, settings: entry.parameters, line: entry.line)
        }
        let isLayered = sources.contains { models[$0.model].structure.layers(of: module) != nil }
        return Slice(
          sources: sources, layers: isLayered ? slice.sources.first?.layers?.count ?? 0 : 0,
          base: slice.base.flatMap { index(of: $0) } ?? base, scopes: [slice.parameters] + scopes, line: slice.line)
      }
    }
  }

  /// Where a method gives the base no role, mergekit still makes it an input; so do we, and say so.
  private mutating func noteAddedBase() {
    guard case .ordinary = method.inputs.base, !problems.all.contains(where: { $0.code == .baseIsInput }) else {
      return
    }
    complain(
      .baseIsInput,
      "\(method.card.name) gives the base model no role; it is merged like the other models, as in mergekit",
      remedy: "Leave base_model out, or list it under models with the weight it should have.",
      line: recipe.base?.line ?? recipe.line, severity: .warning)
  }
}
