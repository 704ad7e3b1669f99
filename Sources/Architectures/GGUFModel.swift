public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierNumerics

extension GGUFCheckpoint {
  /// Opens a GGUF model as a checkpoint of its family: under the names, in the layout and with the values and the config
  /// that the model's Hugging Face folder has.
  ///
  /// A file of an architecture that no family knows keeps its own names and has no config, with a warning.
  ///
  /// - Parameters:
  ///   - path: a GGUF file, any part of a split model, or a folder with one model.
  ///   - families: the descriptions to recognise it by.
  /// - Throws: every problem found; reads headers and the few numbers of rotary scaling.
  public init(at path: String, families: [Architecture]) throws(Problems) {
    let files = try GGUFFiles(at: path)
    let stored = try files.storedTensors()
    let architecture = files.metadata.text("general.architecture") ?? ""
    let view = GGUFMetadataView(files.metadata, tensors: stored, architecture: architecture)
    do throws(Problem) {
      guard let family = try Architecture.recognise(ggufArchitecture: architecture, view, among: families) else {
        let warning = Problem(
          .ggufMetadata, "no known family fits the architecture \(architecture.isEmpty ? "(none)" : architecture)",
          remedy: "The tensors keep the file's own names, and there is no config.", file: files.paths.first,
          severity: .warning)
        self.init(files, at: path, config: nil, parameters: stored.map(Parameter.init), warnings: [warning])
        return
      }
      let named = try Self.named(stored, view, family: family, families: families)
      self.init(
        files, at: path, config: named.config, parameters: named.parameters,
        warnings: named.warnings.map { $0.at(file: files.paths.first) })
    } catch { throw Problems([error.inGGUFMetadata.at(file: files.paths.first)]) }
  }

  /// The tensors and metadata of a file as those of a family.
  static func named(
    _ tensors: [StoredTensor], _ view: GGUFMetadataView, family: Architecture, families: [Architecture]
  ) throws(Problem) -> (config: JSON, parameters: [Parameter], warnings: [Problem]) {
    var naming = try GGUFNaming(family: family, families: families, metadata: view.json, tensors: tensors)
    try naming.run(on: tensors)
    return (naming.config, naming.parameters, naming.warnings)
  }
}

extension Architecture {
  /// The first family that knows the architecture and whose condition holds.
  static func recognise(
    ggufArchitecture: String, _ view: GGUFMetadataView, among families: [Architecture]
  ) throws(Problem) -> Architecture? {
    let scope = Scope(config: view.json)
    for family in families {
      guard let mapping = family.gguf, [mapping.architecture, mapping.layers?.architecture].contains(ggufArchitecture)
      else { continue }
      if let condition = mapping.condition, try !condition.truth(in: scope) { continue }
      return family
    }
    return nil
  }
}

/// Turns the tensors and metadata of one file into the family's parameters and config.
struct GGUFNaming {
  let family: Architecture
  private let mapping: GGUFMapping
  private let targets: [ExactString: [GGUFTensorTarget]]
  private let scope: Scope
  private let description: ModelDescription
  private(set) var config: JSON
  private(set) var parameters: [Parameter] = []
  private(set) var warnings: [Problem] = []
  /// Tensors that the mapping does not name.
  private var unknown: [String] = []
  /// Tensors that are part of the config.
  private var consumed: Set<ExactString> = []

  init(
    family: Architecture, families: [Architecture], metadata: JSON, tensors: [StoredTensor]
  ) throws(Problem) {
    self.family = family
    mapping =
      family.gguf?.completed(among: families)
      ?? GGUFMapping(
        architecture: "", isRotary: false, config: [], tensors: [])
    targets = Dictionary(
      mapping.tensors.map { (ExactString($0.name), $0.variants) }, uniquingKeysWith: { first, _ in first })
    let stored = Scope(config: metadata)
    scope = mapping.layers?.scopeOfAll(in: stored) ?? stored
    config = .object([])
    if mapping.isRotary {
      let rotary = GGUFRotary(metadata: metadata, factors: try Self.factors(among: tensors))
      let (members, warning) = rotary.members()
      for (key, value) in members { config[key] = value }
      if let warning { warnings.append(warning) }
      for name in rotary.factors.keys where warning == nil { consumed.insert(ExactString(name)) }
    }
    for (key, template) in mapping.config {
      if let value = try template.value(in: scope) { config[key] = value }
    }
    let own = try Self.layers(of: family, mapping, metadata: stored, config: config)
    if let own { config[LayerEntry.section] = own }
    config = Self.completed(config, family: family, metadata: metadata, tensors: tensors)
    description = try family.describe(config: config)
  }

  /// What single layers have of their own, as a config says it; nil if they are alike.
  static func layers(
    of family: Architecture, _ mapping: GGUFMapping, metadata: Scope, config: JSON
  ) throws(Problem) -> JSON? {
    guard let layers = mapping.layers, let tower = family.towers.first, let formula = tower.layerCount else {
      return nil
    }
    let count = try formula.integer(in: Scope(config: config, defaults: family.defaults))
    guard (0...Instantiation.mostLayers).contains(count) else { return nil }
    let entries = try layers.entries(count: count, metadata: metadata, config: mapping.config)
    return entries.map { [LayerEntry.layers: [tower.name: .array($0.map(\.json))]] }
  }

  private static func factors(among tensors: [StoredTensor]) throws(Problem) -> [String: [Float]] {
    var factors: [String: [Float]] = [:]
    for tensor in tensors where GGUFRotary.factorTensors.contains(tensor.name) && tensor.elementCount <= 4096 {
      guard !Parameter(tensor).isQuantized else { continue }
      factors[tensor.name] = try tensor.floats(files: FilePool())
    }
    return factors
  }

  /// What every config has.
  private static func completed(
    _ config: JSON, family: Architecture, metadata: JSON, tensors: [StoredTensor]
  ) -> JSON {
    var members: [(String, JSON)] = [
      ("architectures", config["architectures"] ?? .array([.string(family.classes.first ?? "")])),
      ("model_type", config["model_type"] ?? .string(family.modelTypes.first ?? family.name)),
    ]
    members += (config.members?.pairs ?? []).filter { $0.key != "architectures" && $0.key != "model_type" }
    for (key, source) in [("bos", "bos"), ("eos", "eos"), ("pad", "padding")] {
      if let id = metadata["tokenizer.ggml.\(source)_token_id"] { members.append(("\(key)_token_id", id)) }
    }
    let bytes = Dictionary(grouping: tensors.map(Parameter.init), by: \.elementType)
      .mapValues { $0.reduce(0) { $0 + $1.elementCount } }
    let names: [ElementType: JSON] = [.f32: "float32", .f16: "float16", .bf16: "bfloat16", .f64: "float64"]
    let most = bytes.max { ($0.value, $0.key.rawValue) < ($1.value, $1.key.rawValue) }?.key
    if let name = most.flatMap({ names[$0] }) { members.append(("torch_dtype", name)) }
    return .object(members)
  }

  // MARK: - Tensors

  mutating func run(on tensors: [StoredTensor]) throws(Problem) {
    for tensor in tensors where !consumed.contains(ExactString(tensor.name)) {
      do throws(Problem) { try add(tensor) } catch { throw error.at(tensor: tensor.name) }
    }
    var names = Set<ExactString>()
    if let twice = parameters.first(where: { !names.insert(ExactString($0.name)).inserted }) {
      throw Problem(.ggufTensor, "several tensors of the file are the parameter \(twice.name)")
    }
    guard !unknown.isEmpty else { return }
    let list = unknown.prefix(4).joined(separator: ", ") + (unknown.count > 4 ? ", ..." : "")
    warnings.append(
      Problem(
        .ggufTensor,
        "\(unknown.count) tensor\(unknown.count == 1 ? "" : "s") of the file "
          + "\(unknown.count == 1 ? "is" : "are") not known in the family \(family.name): \(list)",
        remedy: "They keep the file's names.", severity: .warning))
  }

  private mutating func add(_ tensor: StoredTensor) throws(Problem) {
    guard let (target, layer, expert) = try target(of: tensor.name) else {
      unknown.append(tensor.name)
      parameters.append(Parameter(tensor))
      return
    }
    var parts = target.parts
    for index in parts.indices {
      if let layer { parts[index].name = parts[index].name.filling("layer", with: layer) }
      if let expert { parts[index].name = parts[index].name.filling("expert", with: expert) }
    }
    guard parts.contains(where: { $0.name.placeholders.contains("expert") }) else {
      return try add(tensor, as: parts, layer: layer)
    }
    // The parameters of all experts, stacked along the first dimension.
    guard tensor.shape.count >= 2, tensor.elementCount > 0, let experts = tensor.shape.first else {
      throw Problem(.ggufTensor, "experts are stacked along a dimension of their own; the shape is \(tensor.shape)")
    }
    for expert in 0..<experts {
      let slice = tensor.rows(
        expert..<expert + 1, name: "\(tensor.name)[\(expert)]", shape: Array(tensor.shape.dropFirst()))
      let filled = parts.map { GGUFTensorTarget.Part(name: $0.name.filling("expert", with: expert), rows: $0.rows) }
      try add(slice, as: filled, layer: layer)
    }
  }

  /// Adds the parameters that a tensor holds one below the other, each as long as the family says.
  private mutating func add(
    _ tensor: StoredTensor, as parts: [GGUFTensorTarget.Part], layer: Int?
  ) throws(Problem) {
    if parts.count == 1, let part = parts.first { return try add(tensor, as: part, layer: layer) }
    let count = tensor.shape.first ?? 0
    var first = 0
    for part in parts {
      guard let rows = description.parameter(named: part.name)?.shape.first else {
        throw Problem(.ggufTensor, "the family's description does not say how long \(part.name) is")
      }
      guard rows <= count - first else { break }
      let slice = tensor.rows(
        first..<first + rows, name: "\(tensor.name)[\(first)...]", shape: [rows] + tensor.shape.dropFirst())
      try add(slice, as: part, layer: layer)
      first += rows
    }
    guard first == count else {
      throw Problem(.ggufTensor, "the tensor has \(count) rows; its parts have \(first)")
    }
  }

  /// The target of a name, with the numbers in it: `blk.3.attn_q.weight` is `blk.{layer}.attn_q`.
  private func target(
    of name: String
  ) throws(Problem) -> (GGUFTensorTarget, layer: Int?, expert: Int?)? {
    var numbers: [Int] = []
    let parts = name.split(separator: ".", omittingEmptySubsequences: false).map { part -> String in
      guard let number = Int(part), "\(number)" == part, number >= 0, numbers.count < 2 else { return String(part) }
      numbers.append(number)
      return numbers.count == 1 ? "{layer}" : "{expert}"
    }
    let template = parts.joined(separator: ".")
    for (candidate, numbered) in [(name, false), (template, true)] {
      for ending in ["", ".weight", ".bias"] where candidate.hasSuffix(ending) {
        guard let variants = targets[ExactString(String(candidate.dropLast(ending.count)))] else { continue }
        let layer = numbered ? numbers.first : nil
        for var variant in variants {
          if let condition = variant.condition, try !condition.truth(in: scope(layer)) { continue }
          for index in variant.parts.indices { variant.parts[index].name += ending }
          return (variant, layer, numbered && numbers.count > 1 ? numbers[1] : nil)
        }
      }
    }
    return nil
  }

  private func scope(_ layer: Int?) -> Scope {
    guard let layer else { return scope }
    return mapping.layers?.scope(ofLayer: layer, in: scope) ?? scope.with("layer", .integer(layer))
  }

  /// Adds one parameter in the form in which checkpoints of the family store it.
  private mutating func add(_ tensor: StoredTensor, as part: GGUFTensorTarget.Part, layer: Int?) throws(Problem) {
    let name = part.name
    var parameter = Parameter(tensor)
    parameter.name = name
    if let rows = part.rows {
      parameter.recipe = .reordered(
        parameter.recipe, try rows.order(rowCount: tensor.shape.first ?? 1, in: scope(layer)))
    }
    guard let described = description.parameter(named: name) else {
      parameters.append(parameter)
      return
    }
    guard described.shape.reduce(1, *) == tensor.elementCount else {
      throw Problem(
        .ggufTensor, "the shape is \(tensor.shape); by the metadata \(name) has the shape \(described.shape)")
    }
    parameter.shape = described.shape
    if described.recipe.isTransposed, described.shape.count == 2 {
      parameter.recipe = .transposed(parameter.recipe, shape: described.shape)
    }
    switch described.recipe.value {
    case .identity: break
    case .plusOne: parameter.recipe = .mapped(parameter.recipe, .minusOne)
    case .negativeExponential: parameter.recipe = .mapped(parameter.recipe, .logarithmOfNegative)
    }
    parameters.append(parameter)
  }
}

extension GGUFTensorTarget.RowGroups {
  /// The permutation of `count` rows.
  ///
  /// - Parameter scope: of the metadata.
  func order(rowCount count: Int, in scope: Scope) throws(Problem) -> RowOrder {
    var known: [Int?] = []
    for group in groups { known.append(try group.size?.integer(in: scope)) }
    let product = known.compactMap(\.self).checkedProduct ?? 0
    guard product > 0, count > 0, count % product == 0, known.contains(nil) || product == count else {
      let sizes = zip(groups, known).map { "\($0.name) \($1.map { "\($0)" } ?? "*")" }.joined(separator: ", ")
      throw Problem(.ggufTensor, "\(count) rows cannot be \(sizes)")
    }
    let sizes = known.map { $0 ?? count / product }
    let nesting = stored.compactMap { name in groups.firstIndex { $0.name == name } }
    return try RowOrder(sizes: sizes, stored: nesting)
  }
}
