internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// Makes one checkpoint into what a GGUF file of its family holds: first the metadata, then the tensors, then a look at
/// what a reader would make of both.
struct GGUFExporter {
  let family: Architecture
  private(set) var mapping: GGUFMapping
  let writing: GGUFWriting
  let description: ModelDescription
  let config: JSON
  var problems = Problems()
  var warnings: [Problem] = []

  init(
    family: Architecture, mapping: GGUFMapping, writing: GGUFWriting, description: ModelDescription, config: JSON
  ) {
    self.family = family
    self.mapping = mapping
    self.writing = writing
    self.description = description
    self.config = config
    isUneven = config[LayerEntry.section] != nil && Self.entries(of: family, in: config).contains { !$0.isEven }
    guard isUneven else { return }
    if let layers = mapping.layers {
      self.mapping.architecture = layers.architecture
    } else {
      problems.add(
        Problem(
          .ggufConfig,
          "the layers of the model differ, and llama.cpp takes the sizes of the first for all in files of the family "
            + family.name,
          remedy: "`espalier convert --pad` makes all layers alike."))
    }
  }

  /// Whether layers have sizes of their own, or lack blocks.
  private let isUneven: Bool

  private static func entries(of family: Architecture, in config: JSON) -> [LayerEntry] {
    let scope = Scope(config: config, defaults: family.defaults)
    guard let tower = family.towers.first else { return [] }
    return (try? family.layerEntries(in: scope))?[tower.name] ?? []
  }

  private var scope: Scope { Scope(config: config, defaults: family.defaults) }

  mutating func run(_ checkpoint: any Checkpoint, families: [Architecture], name: String?) throws(Problems)
    -> GGUFExport
  {
    checkConditions()
    let (metadata, computed) = metadata(name: name, folder: checkpoint.folder)
    let view = GGUFMetadataView(metadata, tensors: [], architecture: mapping.architecture)
    var sources = GGUFExportSources(description, omitted: writing.omitted)
    sources.collect(checkpoint.parameters, problems: &problems)
    warnings += sources.warnings(family: family.name)
    var naming = GGUFExportNaming(mapping, description: description, sources: sources.byName, metadata: view.json)
    naming.run(problems: &problems)
    let added = computed.map { name, values in
      GGUFExport.Tensor(
        name: name, shape: [values.count], content: .computed(values), role: GGUFTensorRole(name: name), sources: [])
    }
    let tensors = GGUFTensorRole.sorted(naming.tensors + added, by: \.name)
    let outputs =
      tensors.contains { $0.role.kind == .output }
      || description.parameters.contains { $0.role.part == .headProjection }
    if !outputs, mapping.tensors.contains(where: { $0.name == "output.weight" }) {
      warnings.append(
        Problem(
          .ggufTensor, "the model has no projection to logits; llama.cpp takes the embedding for one",
          severity: .warning))
    }
    if problems.errors.isEmpty { readBack(metadata, tensors, families: families) }
    guard problems.errors.isEmpty else {
      throw Problems(problems.errors.map { $0.at(file: checkpoint.location) })
    }
    let transforms = GGUFExport.Transform.Kind.allCases.compactMap { kind in
      naming.transformed[kind].map { GGUFExport.Transform(kind: kind, tensors: $0) }
    }
    return GGUFExport(
      family: family.name, metadata: metadata, tensors: tensors,
      warnings: warnings.map { $0.at(file: checkpoint.location) }, transforms: transforms)
  }

  private mutating func checkConditions() {
    var scope = scope
    addPeriod(to: &scope)
    for (isError, conditions) in [(true, writing.refusals), (false, writing.warnings)] {
      for (condition, what) in conditions {
        guard problems.collect({ () throws(Problem) in try condition.truth(in: scope) }) == true else { continue }
        let problem = Problem(
          .ggufConfig, "GGUF files of the family \(family.name): \(what)", severity: isError ? .error : .warning)
        if isError { problems.add(problem) } else { warnings.append(problem) }
      }
    }
  }

  // MARK: - Metadata

  private mutating func metadata(
    name: String?, folder: String?
  ) -> (metadata: GGUFMetadata, computed: [(name: String, values: [Float])]) {
    var metadata = GGUFMetadata()
    metadata.set("general.architecture", to: .text(mapping.architecture))
    metadata.set("general.type", to: .text("model"))
    if let name { metadata.set("general.name", to: .text(name)) }
    var scope = scope
    addPeriod(to: &scope)
    var rotary: GGUFExportRotary?
    if mapping.isRotary {
      let plain = self.scope
      rotary = problems.collect { () throws(Problem) in try GGUFExportRotary(in: plain) }
      if let rotary { scope.variables["rotary.base"] = Value(.number(rotary.base), name: "rope_theta") }
      if let base = rotary?.localBase { scope.variables["rotary.localBase"] = Value(.number(base), name: "rope_theta") }
    }
    for (key, value) in writing.entries(architecture: mapping.architecture, in: scope, problems: &problems) {
      metadata.set(key, to: value)
    }
    let prefix = mapping.architecture + "."
    if isUneven { addLayers(to: &metadata, in: scope) }
    if writing.hasPooling, let folder, let pooling = GGUFPooling(folder: folder) {
      metadata.set(prefix + "pooling_type", to: .u32(pooling.rawValue))
    }
    guard let rotary else { return (metadata, []) }
    let width =
      metadata.integer(prefix + "rope.dimension_count") ?? metadata.integer(prefix + "attention.key_length")
      ?? (metadata.integer(prefix + "embedding_length") ?? 0)
      / max(1, metadata.integer(prefix + "attention.head_count") ?? 1)
    let allowed = writing.scalings
    let scaling = problems.collect { () throws(Problem) in try rotary.scaling(width: width, allowed: allowed) }
    for (key, value) in scaling?.metadata ?? [] { metadata.set(prefix + key, to: value) }
    return (metadata, scaling?.tensors ?? [])
  }

  /// Adds what the file says of single layers.
  private mutating func addLayers(to metadata: inout GGUFMetadata, in scope: Scope) {
    guard let layers = mapping.layers, let tower = family.towers.first else { return }
    let entries = Self.entries(of: family, in: config)
    let kinds = description.towers.first?.layerKinds ?? []
    let scopes = entries.indices.map { layer in
      tower.scope(
        ofLayer: layer, kind: kinds.isEmpty ? nil : kinds[layer], entry: entries[layer], in: scope)
    }
    let own = GGUFWriting(metadata: layers.metadata)
    for (key, value) in own.entries(architecture: mapping.architecture, in: scope, problems: &problems) {
      metadata.set(key, to: value)
    }
    for (key, value) in layers.metadata(entries, scopes: scopes, problems: &problems) { metadata.set(key, to: value) }
  }

  /// Every how many layers one attends to everything, where the layers have such an order.
  private func addPeriod(to scope: inout Scope) {
    guard let usual = writing.slidingPeriod, let kinds = description.towers.first?.layerKinds else { return }
    func fits(_ period: Int) -> Bool {
      kinds.enumerated().allSatisfy { ($0.offset + 1) % period == 0 ? $0.element == "full" : $0.element == "sliding" }
    }
    if let period = ([usual] + (1...kinds.count + 1)).first(where: fits) {
      scope.variables["sliding.period"] = .integer(period)
    }
  }

  // MARK: - Reading back

  /// Compares the config with the one that a reader gets from the metadata. Whatever the description says that
  /// llama.cpp takes for granted, a config may say otherwise.
  private mutating func readBack(_ metadata: GGUFMetadata, _ tensors: [GGUFExport.Tensor], families: [Architecture]) {
    let stored = tensors.map { tensor in
      StoredTensor(
        name: tensor.name, elementType: .f32, shape: tensor.shape, file: "", offset: 0,
        byteCount: tensor.shape.reduce(4, *))
    }
    let view = GGUFMetadataView(metadata, tensors: stored, architecture: mapping.architecture)
    let plain = Scope(config: view.json)
    let reader = mapping.layers?.scopeOfAll(in: plain) ?? plain
    var found = JSON.object([])
    for (key, template) in mapping.config {
      let value = problems.collect { () throws(Problem) in try template.value(in: reader) }
      if let value = value ?? nil { found[key] = value }
    }
    let read = Scope(config: found, defaults: family.defaults)
    let scope = scope
    var unchecked = writing.unchecked + ["architectures", "tie_word_embeddings"]
    if isUneven { unchecked += checkLayers(of: found, plain) }
    for (key, _) in mapping.config where !unchecked.contains(key) {
      let values = problems.collect { () throws(Problem) in
        (meant: try scope.lookUp(key), read: try read.lookUp(key))
      }
      guard let (meant, read) = values, !Self.agree(meant, read) else { continue }
      problems.add(
        Problem(
          .ggufConfig,
          "`\(key)` is \(meant.json.text()); GGUF files of the family \(family.name) say \(read.json.text())",
          remedy: "llama.cpp would compute something else with the model."))
    }
    let recognised = problems.collect { () throws(Problem) in
      try Architecture.recognise(ggufArchitecture: mapping.architecture, view, among: families)
    }
    if let other = recognised ?? nil, other.name != family.name {
      warnings.append(
        Problem(.ggufFamily, "the file will be taken for one of the family \(other.name)", severity: .warning))
    }
  }

  /// Compares the layers' parameters with those that a reader expects by the arrays; returns the config keys that this
  /// looks after.
  private mutating func checkLayers(of found: JSON, _ metadata: Scope) -> [String] {
    var read = found
    let parameters = problems.collect { () throws(Problem) in
      read[LayerEntry.section] = try GGUFNaming.layers(of: family, mapping, metadata: metadata, config: found)
      return try family.describe(config: read).parameters
    }
    let expected = Set((parameters ?? []).map { "\($0.name) \($0.shape)" })
    for parameter in description.parameters where parameter.layer != nil && !parameter.isOptional {
      guard parameters != nil, !expected.contains("\(parameter.name) \(parameter.shape)") else { continue }
      problems.add(
        Problem(.ggufConfig, "the file cannot say that its shape is \(parameter.shape)", tensor: parameter.name))
    }
    return mapping.layers?.arrays.map(\.key) ?? []
  }

  /// What a config does not say cannot be wrong; metadata have float32.
  private static func agree(_ meant: Value, _ read: Value) -> Bool {
    if case .absent = meant { return true }
    if let a = meant.json.number, let b = read.json.number { return Float(a) == Float(b) }
    return meant == read
  }
}

/// How the states of a text's tokens become one vector, as sentence-transformers folders say it and llama.cpp counts it.
enum GGUFPooling: UInt32 {
  case mean = 1
  case firstToken = 2
  case lastToken = 3

  /// Nil if the folder does not say, or another way.
  init?(folder: String) {
    func json(_ path: String) -> JSON? {
      (try? FileSystem.read(FileSystem.join(folder, path), limit: 1 << 20)).flatMap { try? JSON(parsing: $0) }
    }
    let modules = json("modules.json")?.array ?? []
    guard let module = modules.first(where: { $0["type"]?.string?.hasSuffix("Pooling") == true }),
      let path = module["path"]?.string, let pooling = json(FileSystem.join(path, "config.json"))
    else { return nil }
    let names: [(key: String, mode: String, pooling: GGUFPooling)] = [
      ("pooling_mode_mean_tokens", "mean", .mean), ("pooling_mode_cls_token", "cls", .firstToken),
      ("pooling_mode_lasttoken", "lasttoken", .lastToken),
    ]
    let mode = pooling["pooling_mode"]?.string
    guard let found = names.first(where: { pooling[$0.key]?.bool == true || mode == $0.mode }) else { return nil }
    self = found.pooling
  }
}
