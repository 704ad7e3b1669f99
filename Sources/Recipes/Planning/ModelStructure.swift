internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints

/// Where every tensor of a model stands: its module and layer, and whether tokens index it.
///
/// Taken from the family's description; for a model of an unknown family, and for tensors a description does not
/// name, from the numbers in the tensors' names.
struct ModelStructure {
  /// A tensor's place, the same in all models of a family however they spell the name.
  struct Slot: Hashable {
    var module: String
    /// The name with `{layer}` for the layer's number.
    var template: ExactString
    var part: Part

    /// The name that the template stands for.
    var name: String {
      guard case .layer(let layer) = part else { return template.text }
      return template.text.replacing("{layer}", with: "\(layer)")
    }
  }

  enum Part: Hashable {
    case before
    case layer(Int)
    case after
  }

  struct Tensor {
    var slot: Slot
    var parameter: Parameter
    /// The name as this model spells it, with `{layer}` for the number.
    var spelling: String
    var isOptional: Bool
    /// Whether the family is known but its description does not name the tensor.
    var isUnknown = false
    var vocabularyDimension: Int?
  }

  /// Name of the family, or nil.
  let family: String?
  /// Modules that have layers, with their number; a model without layers has none.
  let modules: [(name: String, layers: Int)]
  let tensors: [Tensor]
  /// Tensors that the family's description does not name.
  let unknown: [String]
  /// Places of parameters that the family requires and the model does not store.
  let missing: [Slot]
  private let bySlot: [Slot: Int]
  /// Names of the parameters whose values others share, by the place of those others.
  private let ties: [Slot: String]

  static let wholeModel = "model"

  /// - Parameter families: the descriptions to recognise the model by.
  /// - Throws: what is wrong with the config, if the family is known.
  init(of checkpoint: any Checkpoint, families: [Architecture]) throws(Problem) {
    let known = checkpoint.config.flatMap { Architecture.recognise(config: $0, among: families) }
    guard let known, let config = checkpoint.config else {
      self.init(inferredFrom: checkpoint)
      return
    }
    let description: ModelDescription
    do throws(Problem) { description = try known.describe(config: config) } catch {
      throw error.at(file: checkpoint.folder.map { "\($0)/config.json" })
    }
    let meanings = checkpoint.parameters.map { description.parameter(named: $0.name) }
    let described = zip(checkpoint.parameters, meanings).map { parameter, meaning in
      meaning.map { Self.described(parameter, by: $0) }
    }
    // What stands before a layer's number tells which module a tensor of an unknown name goes with.
    let modules = Dictionary(
      described.compactMap { $0 }.filter { $0.spelling.contains("{layer}") }.map {
        (Self.layerPrefix($0.spelling), $0.slot.module)
      }, uniquingKeysWith: { first, _ in first })
    let layered = description.towers.filter { $0.layerCount > 0 }
    let tensors = zip(checkpoint.parameters, described).map { parameter, tensor in
      if let tensor { return tensor }
      let tensor = Self.unknown(parameter, modules: modules)
      // Layers beyond the config's number, as those that predict further tokens, belong to no stack.
      guard case .layer(let layer) = tensor.slot.part,
        layered.first(where: { $0.name == tensor.slot.module })?.layerCount ?? 0 <= layer
      else { return tensor }
      return Self.alone(parameter)
    }
    self.init(
      family: description.architecture, modules: layered.map { ($0.name, $0.layerCount) }, tensors: tensors,
      missing: description.fit(names: checkpoint.parameters.map(\.name)).missing.map { Self.slot(of: $0) },
      ties: Dictionary(
        description.parameters.compactMap { meaning in meaning.tiedTo.map { (Self.slot(of: meaning), $0) } },
        uniquingKeysWith: { first, _ in first }))
  }

  private init(inferredFrom checkpoint: any Checkpoint) {
    let tensors = checkpoint.parameters.map { Self.inferred($0) }
    let layers = tensors.reduce(0) { count, tensor in
      if case .layer(let layer) = tensor.slot.part { max(count, layer + 1) } else { count }
    }
    self.init(
      family: nil, modules: layers > 0 ? [(Self.wholeModel, layers)] : [], tensors: tensors, missing: [], ties: [:])
  }

  private init(
    family: String?, modules: [(name: String, layers: Int)], tensors: [Tensor], missing: [Slot], ties: [Slot: String]
  ) {
    var taken: Set<Slot> = []
    // Two names may mean one place (`norm.weight`, `model.norm.weight`): the second gets a place of its own.
    let tensors = tensors.map {
      taken.insert($0.slot).inserted ? $0 : Self.alone($0.parameter, isUnknown: family != nil)
    }
    self.family = family
    self.modules = modules
    self.tensors = tensors
    self.unknown = tensors.filter(\.isUnknown).map(\.parameter.name)
    self.missing = missing
    self.ties = ties
    bySlot = Dictionary(
      tensors.indices.map { (tensors[$0].slot, $0) }, uniquingKeysWith: { first, _ in first })
  }

  subscript(slot: Slot) -> Tensor? { bySlot[slot].map { tensors[$0] } }

  func layers(of module: String) -> Int? { modules.first { $0.name == module }?.layers }

  /// The stored tensor that gives `slot` its value, if this model's config ties the two.
  func tied(_ slot: Slot) -> Tensor? {
    ties[slot].flatMap { name in tensors.first { $0.slot.template.text == name } }
  }

  // MARK: - Places

  private static func slot(of meaning: ParameterDescription) -> Slot {
    let part: Part =
      switch meaning.position {
      case .beforeLayers: .before
      case .inLayer(let layer): .layer(layer)
      case .afterLayers: .after
      }
    return Slot(module: meaning.tower, template: ExactString(meaning.template), part: part)
  }

  private static func described(_ parameter: Parameter, by meaning: ParameterDescription) -> Tensor {
    Tensor(
      slot: slot(of: meaning), parameter: parameter, spelling: meaning.template(spelling: parameter.name),
      isOptional: meaning.isOptional, vocabularyDimension: meaning.vocabularyDimension)
  }

  private static func layerPrefix(_ template: String) -> String {
    String(template.prefix { $0 != "{" })
  }

  /// A tensor that a known family's description does not name: in a layer if it lies beside the layer's others.
  private static func unknown(_ parameter: Parameter, modules: [String: String]) -> Tensor {
    var tensor = inferred(parameter)
    guard case .layer = tensor.slot.part, let module = modules[layerPrefix(tensor.spelling)] else {
      return alone(parameter)
    }
    tensor.slot.module = module
    tensor.isUnknown = true
    return tensor
  }

  /// A tensor that only its name places.
  private static func alone(_ parameter: Parameter, isUnknown: Bool = true) -> Tensor {
    Tensor(
      slot: Slot(module: wholeModel, template: ExactString(parameter.name), part: .before), parameter: parameter,
      spelling: parameter.name, isOptional: true, isUnknown: isUnknown)
  }

  /// The first number between dots counts layers: `blocks.7.attention.weight`; `07` is no number but a name.
  private static func inferred(_ parameter: Parameter) -> Tensor {
    var words = parameter.name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    var part = Part.before
    if let position = words.firstIndex(where: { !$0.isEmpty && $0.allSatisfy(\.isNumber) }),
      let layer = Int(words[position]), words[position] == "\(layer)", position + 1 < words.count, layer < 100_000
    {
      part = .layer(layer)
      words[position] = "{layer}"
    }
    let template = words.joined(separator: ".")
    return Tensor(
      slot: Slot(module: wholeModel, template: ExactString(template), part: part), parameter: parameter,
      spelling: template, isOptional: true, vocabularyDimension: nil)
  }
}
