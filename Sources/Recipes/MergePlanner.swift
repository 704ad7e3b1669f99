internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierMerging
internal import EspalierNumerics

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
  private(set) var unknownOutputs: [String] = []
  private var names: Set<ExactString> = []
  /// Stored names that have been planned, by index of the model.
  private(set) var planned: [Set<ExactString>]

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

  // MARK: - Sections

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

  // MARK: - Tensors

  /// What the sources of a slice have in a part of a module, each once, in the order of the first that has it.
  private func templates(
    _ module: String, in slice: Slice, where isWanted: (ModelStructure.Part) -> Bool
  ) -> [ModelStructure.Slot] {
    var seen: Set<ExactString> = []
    var slots: [ModelStructure.Slot] = []
    for source in slice.sources {
      for tensor in models[source.model].structure.tensors
      where tensor.slot.module == module && isWanted(tensor.slot.part) && seen.insert(tensor.slot.template).inserted {
        slots.append(tensor.slot)
      }
    }
    return slots
  }

  private mutating func tensor(
    _ slot: ModelStructure.Slot, part: ModelStructure.Part, layer: Int, output: Int?, position: Double, slice: Slice
  ) {
    let slots = slice.sources.map { source in
      var wanted = slot
      if case .layer(let layer) = part { wanted.part = .layer(source.firstLayer + layer) } else { wanted.part = part }
      return wanted
    }
    var entries: [(source: Source, tensor: ModelStructure.Tensor?)] = zip(slice.sources, slots).map {
      ($0, models[$0.model].structure[$1])
    }
    // Layer kinds may alternate: a template that no source has at this layer is none of this layer's tensors.
    guard let example = entries.lazy.compactMap(\.tensor).first else { return }
    for (index, slot) in slots.enumerated() where entries[index].tensor == nil {
      entries[index].tensor = models[entries[index].source.model].structure.tied(slot)
    }
    for entry in entries {
      if let tensor = entry.tensor { planned[entry.source.model].insert(ExactString(tensor.parameter.name)) }
    }
    let name = output.map { example.spelling.replacing("{layer}", with: "\($0)") } ?? example.spelling
    guard let present = settle(entries, name: name, isOptional: example.isOptional, slice: slice) else { return }
    if present.isPassedThrough {
      add(name: name, slot: slot, entries: present.entries, base: slice.base, operation: nil, line: slice.line)
    } else {
      let parameters = parameters(for: present, output: name, position: position, slice: slice)
      guard let parameters else { return }
      add(
        name: name, slot: slot, entries: present.entries, base: slice.base,
        operation: .method(method.card.name, parameters), line: slice.line)
    }
  }

  private struct Present {
    /// The base first, where it has its role.
    var entries: [(source: Source, tensor: ModelStructure.Tensor)]
    var hasBase: Bool
    var isPassedThrough: Bool
  }

  /// Decides what is merged when some models lack a tensor; nil if nothing is, or if that is an error.
  private mutating func settle(
    _ entries: [(source: Source, tensor: ModelStructure.Tensor?)], name: String, isOptional: Bool, slice: Slice
  ) -> Present? {
    let rule = method.inputs
    var found = entries.compactMap { entry in entry.tensor.map { (source: entry.source, tensor: $0) } }
    let lacking = entries.filter { $0.tensor == nil }.map { models[$0.source.model].reference.key }
    if !lacking.isEmpty, !isOptional {
      complain(
        .mergeInputs, "\(lacking.joined(separator: ", ")) has no such tensor, which the family requires",
        remedy: "The model is incomplete or of another kind.", tensor: name, line: slice.line)
      return nil
    }
    var hasBase = false
    if case .ordinary = rule.base {
    } else if let base = slice.base {
      if let position = found.firstIndex(where: { $0.source.model == base }) {
        found.insert(found.remove(at: position), at: 0)
        hasBase = true
      } else if !slice.sources.contains(where: { $0.model == base }) {
        complain(
          .mergeInputs, "the base model is not among the sources of the slice",
          remedy: "Add it to the sources with the layers it stands for.", line: slice.line)
        return nil
      }
    }
    let alone = Present(entries: Array(found.prefix(1)), hasBase: false, isPassedThrough: true)
    if !lacking.isEmpty {
      switch rule.missing {
      case .passSingle where found.count == 1: return alone
      case .passBase where found.count == 1 && hasBase: return alone
      case .passBaseOrSkip where found.count == 1 && hasBase: return alone
      case .passBaseOrSkip where found.count < rule.count.lowerBound:
        complain(
          .mergeInputs, "only \(found.count) models have the tensor; it is left out", tensor: name, line: slice.line,
          severity: .warning)
        return nil
      default: break
      }
    }
    if case .required = rule.base, !hasBase {
      complain(
        .mergeInputs,
        slice.base == nil ? "\(method.card.name) needs a base_model" : "the base model lacks the tensor",
        tensor: slice.base == nil ? nil : name, line: slice.base == nil ? recipe.methodLine : slice.line)
      return nil
    }
    guard rule.count.contains(found.count) else {
      let wanted =
        rule.count.lowerBound == rule.count.upperBound
        ? "\(rule.count.lowerBound)"
        : rule.count.upperBound == Int.max
          ? "\(rule.count.lowerBound) or more" : "\(rule.count.lowerBound) to \(rule.count.upperBound)"
      let base = hasBase ? " (the base included)" : ""
      complain(
        .mergeInputs, "\(method.card.name) takes \(wanted) models\(base), here are \(found.count)",
        line: slice.line)
      return nil
    }
    return Present(entries: found, hasBase: hasBase, isPassedThrough: false)
  }

  // MARK: - Parameters

  private mutating func parameters(
    for present: Present, output: String, position: Double, slice: Slice
  ) -> MergeParameters? {
    let card = method.card
    var shared: [String: ParameterValue] = [:]
    var inputs = [[String: ParameterValue]](repeating: [:], count: present.entries.count)
    var complete = true
    for parameter in card.parameters {
      guard parameter.scope != .tensor else {
        let value = lookup(parameter.name, in: slice.scopes, tensor: output, position: position) ?? parameter.standard
        shared[parameter.name] = value
        if value == nil, parameter.isRequired {
          complete = false
          complainOnce(
            "\(card.name) needs the parameter \(parameter.name) (\(parameter.expected))", line: recipe.methodLine)
        }
        continue
      }
      for (index, entry) in present.entries.enumerated() {
        if parameter.scope == .nonBase, present.hasBase, index == 0 { continue }
        let value =
          lookup(
            parameter.name, in: [entry.source.settings] + slice.scopes, tensor: entry.tensor.parameter.name,
            position: position) ?? parameter.standard
        inputs[index][parameter.name] = value
        if value == nil, parameter.isRequired {
          complete = false
          complainOnce(
            "\(card.name) needs the parameter \(parameter.name) (\(parameter.expected)) for "
              + models[entry.source.model].reference.key, line: entry.source.line)
        }
      }
    }
    return complete ? MergeParameters(shared: shared, inputs: inputs, hasBase: present.hasBase) : nil
  }

  private func lookup(
    _ name: String, in scopes: [ParameterSettings], tensor: String, position: Double
  ) -> ParameterValue? {
    for scope in scopes {
      if let value = scope.entries[name]?.setting.value(for: tensor, position: position) { return value }
    }
    return nil
  }

  /// A complaint that would repeat for every tensor is made once.
  private mutating func complainOnce(_ message: String, line: Int) {
    guard !problems.all.contains(where: { $0.message == message && $0.context.recipeLine == line }) else { return }
    complain(.parameterMissing, message, line: line)
  }

  // MARK: - Drafts

  private mutating func add(
    name: String, slot: ModelStructure.Slot, entries: [(source: Source, tensor: ModelStructure.Tensor)], base: Int?,
    operation: MergeJob.Operation?, line: Int
  ) {
    var inputs: [MergeJob.Input] = []
    for entry in entries {
      var parameter = entry.tensor.parameter
      if let dimension = entry.tensor.vocabularyDimension, let vocabulary {
        do throws(Problem) {
          parameter = try vocabulary.adapt(
            parameter, dimension: dimension, model: entry.source.model, peers: peers(of: slot, entries))
        } catch {
          problems.add(error.at(tensor: name, recipeLine: recipe.tokenizer?.line ?? line))
          return
        }
      }
      inputs.append(MergeJob.Input(model: models[entry.source.model].reference.key, parameter: parameter))
    }
    guard let first = inputs.first?.parameter else { return }
    guard names.insert(ExactString(name)).inserted else {
      complain(.mergeInputs, "two tensors of the output would have this name", tensor: name, line: line)
      return
    }
    if let other = inputs.first(where: { $0.parameter.shape != first.shape }) {
      let vocabulary = entries.contains { $0.tensor.vocabularyDimension != nil }
      complain(
        .mergeInputs,
        "shapes differ: \(inputs[0].model) has \(first.shape), \(other.model) has \(other.parameter.shape)",
        remedy: vocabulary
          ? "The vocabularies differ; add tokenizer_source: union (or base) to the recipe."
          : "Only models of one shape can be merged.", tensor: name, line: line)
      return
    }
    if entries[0].tensor.isUnknown { unknownOutputs.append(name) }
    let common = Self.commonType(of: inputs.map(\.parameter))
    guard let common else {
      complain(
        .mergeInputs,
        "element types cannot be mixed: "
          + inputs.map { "\($0.model) has \($0.parameter.elementType.safetensorsName)" }.joined(separator: ", "),
        tensor: name, line: line)
      return
    }
    if !common.isFloat, inputs.contains(where: { !$0.parameter.recipe.isStored }) {
      complain(
        .mergeInputs, "a tensor of type \(common.safetensorsName) can only be carried as it is stored",
        remedy: "Leave the tokenizer and adapters of the recipe out.", tensor: name, line: line)
      return
    }
    if !common.isFloat, let place = entries.firstIndex(where: { $0.source.model == base }) {
      // Where integers differ, the first decides.
      inputs.insert(inputs.remove(at: place), at: 0)
    }
    let type = common.isFloat ? recipe.outputType ?? recipe.computeType ?? common : common
    drafts.append(
      Draft(
        request: .init(name: name, elementType: type, shape: first.shape), inputs: inputs,
        operation: Self.simplest(operation, inputs: inputs, type: type)))
  }

  /// The parameter of every opened model, by index: rows may come from models that are not merged.
  private func peers(
    of slot: ModelStructure.Slot, _ entries: [(source: Source, tensor: ModelStructure.Tensor)]
  ) -> [Int: Parameter] {
    var peers: [Int: Parameter] = [:]
    for (index, model) in models.enumerated() {
      peers[index] = (model.structure[slot] ?? model.structure.tied(slot))?.parameter
    }
    for entry in entries { peers[entry.source.model] = entry.tensor.parameter }
    return peers
  }

  /// The type that holds all of the inputs: their own if they share it, else float32 or float64. Quantized inputs, which
  /// have no type of their own, follow the others.
  private static func commonType(of parameters: [Parameter]) -> ElementType? {
    let own = parameters.filter { !$0.isQuantized }
    let types = (own.isEmpty ? parameters : own).map(\.elementType)
    guard let first = types.first else { return nil }
    if types.allSatisfy({ $0 == first }) { return first }
    guard types.allSatisfy(\.isFloat) else { return nil }
    return types.contains(.f64) ? .f64 : .f32
  }

  /// Bytes are copied where nothing is to be computed, and where nothing can be.
  private static func simplest(
    _ operation: MergeJob.Operation?, inputs: [MergeJob.Input], type: ElementType
  ) -> MergeJob.Operation {
    let stored = inputs.allSatisfy(\.parameter.recipe.isStored)
    if !type.isFloat { return inputs.count == 1 ? .copy : .copyIdentical }
    let unscaled: Bool
    switch operation {
    case nil: unscaled = true
    case .method(Passthrough.card.name, let parameters):
      unscaled = parameters.inputs.first?["scale"].map { $0 == .number(1) } ?? true
    default: unscaled = false
    }
    if unscaled, stored, inputs[0].parameter.elementType == type { return .copy }
    return operation
      ?? .method(
        Passthrough.card.name, MergeParameters(shared: [:], inputs: [[:]], hasBase: false))
  }
}

extension StorageRecipe {
  /// Whether it is one tensor as it lies in a file.
  fileprivate var isStored: Bool { if case .stored = self { true } else { false } }
}

extension Problem.Code {
  static let baseIsInput = Problem.Code("recipe.base-is-input")
}
