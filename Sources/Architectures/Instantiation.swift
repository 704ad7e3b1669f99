public import EspalierBasics
internal import EspalierCheckpoints

extension Architecture {
  /// The parameters of the model with this config.
  ///
  /// - Throws: `architecture.config` naming the key that is missing, of a wrong type or absurd;
  ///   `architecture.description` if the description contradicts itself for this config.
  public func describe(config: JSON) throws(Problem) -> ModelDescription {
    var instantiation = Instantiation(self, config: config)
    try instantiation.run()
    return try ModelDescription(
      architecture: name, towers: instantiation.towers, parameters: instantiation.parameters)
  }
}

/// Fills a description in with the numbers of one config.
struct Instantiation {
  /// Beyond any model there is; a config that asks for more is damaged, and must not exhaust memory.
  static let mostLayers = 10_000
  static let mostParameters = 250_000

  let architecture: Architecture
  let include: Include?
  let configPath: [String]
  private(set) var scope: Scope
  private(set) var towers: [ModelDescription.Tower] = []
  private(set) var parameters: [ParameterDescription] = []
  /// What single layers have otherwise, by tower.
  private var entries: [String: [LayerEntry]] = [:]
  /// The axes of included towers, by prefixed name.
  private var includedAxes: [String: Axis] = [:]

  init(_ architecture: Architecture, config: JSON, include: Include? = nil, configPath: [String] = []) {
    self.architecture = architecture
    self.include = include
    self.configPath = configPath
    let defaults = architecture.defaults.merging(include?.defaults ?? [:]) { _, includes in includes }
    scope = Scope(config: config, defaults: defaults)
  }

  mutating func run() throws(Problem) {
    guard scope.config.members != nil else { throw Problem(.architectureConfig, "the config is not a JSON object") }
    entries = try architecture.layerEntries(in: scope)
    for include in architecture.includes { try add(include) }
    for tower in architecture.towers {
      if let condition = tower.condition, try !condition.truth(in: scope) { continue }
      guard let (variable, formula) = tower.repetition else {
        try add(tower, named: tower.name, in: scope)
        continue
      }
      for value in 0..<(try limited(formula, in: scope, Instantiation.mostLayers)) {
        let name = tower.name.filling(variable, with: value)
        try add(tower, named: name, in: scope.with(variable, .integer(value)))
      }
    }
  }

  private mutating func add(_ include: Include) throws(Problem) {
    let (family, config) = try architecture.included(include, config: scope.config)
    var inner = Instantiation(family, config: config, include: include, configPath: configPath + [include.configKey])
    try inner.run()
    towers += inner.towers
    parameters += inner.parameters
    for axis in inner.parameters.flatMap({ $0.dimensions.flatMap(\.axes) }) where axis.scope == .model {
      includedAxes[axis.name] = axis
      scope.variables[axis.name] = .integer(axis.size)
    }
  }

  private func limited(_ formula: Expression, in scope: Scope, _ most: Int) throws(Problem) -> Int {
    let count = try formula.integer(in: scope)
    guard (0...most).contains(count) else {
      throw Problem(.architectureConfig, "`\(formula)` is \(count), but must be between 0 and \(most)")
    }
    return count
  }
}

// MARK: - Towers

extension Instantiation {
  private mutating func add(_ tower: TowerTemplate, named name: String, in scope: Scope) throws(Problem) {
    let placed = placedName(name)
    let count = try tower.layerCount.map { formula throws(Problem) in
      try limited(formula, in: scope, Instantiation.mostLayers)
    }
    let kinds = try tower.kinds(of: count ?? 0, in: scope)
    let key = tower.layerCount?.bareName.map { configPath + [$0] }
    let entries = entries[tower.name]
    let missing = try MissingBlocks(of: tower, in: architecture, scope: scope, entries: self.entries)
    towers.append(
      .init(
        name: placed, layerCount: count ?? 0, layerCountKey: key, layerKinds: kinds,
        blocks: tower.blocks.map(\.name), missingBlocks: missing == nil ? [] : (entries ?? []).map(\.missing)))
    let place = Place(tower: placed, position: .beforeLayers, kind: nil, scope: scope)
    for template in tower.before { try add(template, at: place) }
    for layer in 0..<(count ?? 0) {
      let kind = kinds.isEmpty ? nil : kinds[layer]
      let inner = tower.scope(ofLayer: layer, kind: kind, entry: entries?[layer], in: scope)
      let place = Place(tower: placed, position: .inLayer(layer), kind: kind, scope: inner)
      let templates = try missing?.parameters(entries?[layer] ?? LayerEntry(), in: inner) ?? tower.layer
      for template in templates { try add(template, at: place) }
    }
    let end = Place(tower: placed, position: .afterLayers, kind: nil, scope: scope)
    for template in tower.after { try add(template, at: end) }
  }

  /// An included family of one tower gives it the name of the inclusion.
  func placedName(_ name: String) -> String {
    guard let include else { return name }
    return architecture.towers.count == 1 ? include.tower : "\(include.tower).\(name)"
  }
}

extension TowerTemplate {
  /// The kind of each of `count` layers; empty if the family knows no kinds.
  func kinds(of count: Int, in scope: Scope) throws(Problem) -> [String] {
    guard !kinds.conditions.isEmpty else { return [] }
    var found: [String] = []
    for layer in 0..<count {
      let inner = scope.with("layer", .integer(layer))
      var kind: String?
      for (name, condition) in kinds.conditions where kind == nil {
        if try condition.truth(in: inner) { kind = name }
      }
      guard let kind else {
        throw Problem(.architectureConfig, "layer \(layer) of the tower \(name) is of no kind the family knows")
      }
      found.append(kind)
    }
    return found
  }
}

// MARK: - Parameters

extension Instantiation {
  /// Where a template is filled in.
  private struct Place {
    var tower: String
    var position: ParameterDescription.Position
    var kind: String?
    var expert: Int?
    var scope: Scope

    func value(of placeholder: String) throws(Problem) -> Int {
      if placeholder == "expert", let expert { return expert }
      return try scope.lookUp(placeholder).integer(of: placeholder)
    }

    /// `text/3/5`: tower, layer, expert, as far as they are given.
    var path: String {
      var path = tower
      if case .inLayer(let layer) = position { path += "/\(layer)" }
      return expert.map { path + "/\($0)" } ?? path
    }
  }

  private mutating func add(_ template: ParameterTemplate, at place: Place) throws(Problem) {
    if let condition = template.condition, try !condition.truth(in: place.scope) { return }
    guard template.placeholders.contains("expert") else { return try append(template, at: place) }
    for expert in 0..<(try experts(in: place.scope)) {
      var inner = place
      inner.expert = expert
      try append(template, at: inner)
    }
  }

  private func experts(in scope: Scope) throws(Problem) -> Int {
    guard let axis = architecture.axes.first(where: { $0.name == "experts" }) else { return 0 }
    return try limited(axis.size, in: scope, Instantiation.mostParameters - parameters.count)
  }

  private mutating func append(_ template: ParameterTemplate, at place: Place) throws(Problem) {
    guard parameters.count < Instantiation.mostParameters else {
      throw Problem(.architectureConfig, "the config asks for more than \(Instantiation.mostParameters) parameters")
    }
    let names = try filled(template, at: place)
    var dimensions: [Dimension] = []
    var shape: [Int] = []
    do throws(Problem) {
      for dimension in template.dimensions {
        let made = try dimension.instantiated(in: place.scope) { name, index throws(Problem) in
          try axis(name, index, at: place)
        }
        dimensions.append(made)
        shape.append(try made.size())
      }
      guard shape.checkedProduct != nil else {
        throw Problem(.architectureConfig, "no tensor has the shape \(shape) that the config asks for")
      }
    } catch { throw error.at(tensor: names[0]) }
    var tiedTo: String?
    if let (target, condition) = template.tie, try condition.truth(in: place.scope) {
      tiedTo = try filled(spellings(of: target)[0], at: place)
    }
    parameters.append(
      ParameterDescription(
        tower: place.tower, position: place.position, layerKind: place.kind, expert: place.expert,
        role: template.role, dimensions: dimensions, shape: shape, recipe: template.recipe,
        isOptional: template.isOptional || tiedTo != nil || !template.replaces.isEmpty, tiedTo: tiedTo,
        inputSite: template.site.map { site(named: $0, at: place) }, replaces: try replaced(by: template, at: place),
        familyName: template.name, templates: names))
  }

  /// The spellings of a name of this family, as it is included or on its own.
  func spellings(of name: String) -> [String] {
    var rules = architecture.spellings
    if let include { rules.beginnings = include.spellings.beginnings }
    return rules.all(of: name)
  }

  /// All spellings of the name with everything but `{layer}` filled in.
  private func filled(_ template: ParameterTemplate, at place: Place) throws(Problem) -> [String] {
    var names = spellings(of: template.name)
    for placeholder in template.placeholders where placeholder != "layer" {
      let value = try place.value(of: placeholder)
      names = names.map { $0.filling(placeholder, with: value) }
    }
    return names
  }

  /// The name of another parameter at the same place.
  private func filled(_ name: String, at place: Place) throws(Problem) -> String {
    var name = name
    for placeholder in name.placeholders { name = name.filling(placeholder, with: try place.value(of: placeholder)) }
    return name
  }

  private func replaced(by template: ParameterTemplate, at place: Place) throws(Problem) -> [String] {
    var names: [String] = []
    for target in template.replaces {
      let name = spellings(of: target)[0]
      guard name.placeholders.contains("expert") else {
        names.append(try filled(name, at: place))
        continue
      }
      for expert in 0..<(try experts(in: place.scope)) {
        var inner = place
        inner.expert = expert
        names.append(try filled(name, at: inner))
      }
    }
    return names
  }

  /// A site belongs to its place; one that begins with `/` is the same for the whole model.
  private func site(named name: String, at place: Place) -> String {
    name.hasPrefix("/") ? String(name.dropFirst()) : "\(place.path)/\(name)"
  }

  private func axis(_ name: String, _ index: Int?, at place: Place) throws(Problem) -> Axis {
    guard let template = architecture.axes.first(where: { $0.name == name }) else {
      if let included = includedAxes[name] { return included }
      throw Problem(.architectureDescription, "the axis `\(name)` is not described")
    }
    let scope = index.map { place.scope.with("index", .integer($0)) } ?? place.scope
    let size = try template.size.integer(in: scope)
    guard size >= 0 else { throw Problem(.architectureConfig, "the size of `\(name)` is \(size)") }
    let indexed = name + (index.map { "[\($0)]" } ?? "")
    let prefixed = include.map { "\($0.tower).\(indexed)" } ?? indexed
    var layerPlace = place
    if template.scope != .expert { layerPlace.expert = nil }
    let instance =
      switch template.scope {
      case .model: prefixed
      case .tower: "\(place.tower)/\(indexed)"
      case .layer, .head, .expert: "\(layerPlace.path)/\(indexed)"
      }
    return Axis(
      name: prefixed, instance: instance, size: size, scope: template.scope, permutation: template.permutation,
      selection: template.selection)
  }
}

// MARK: - Included families

extension Architecture {
  /// The family and the nested config of an inclusion.
  func included(_ include: Include, config: JSON) throws(Problem) -> (family: Architecture, config: JSON) {
    guard let nested = config[include.configKey], nested.members != nil else {
      throw .missingKey(include.configKey)
    }
    let families = Architecture.builtIn()
    if let family = Architecture.recognise(config: nested, among: families) { return (family, nested) }
    if nested["model_type"] == nil, let family = families.first(where: { $0.name == include.family }) {
      return (family, nested)
    }
    let type = nested["model_type"]?.string ?? "none"
    throw Problem(
      .architectureConfig, "no family is known for the `\(include.configKey)` of \(name) (model_type: \(type))")
  }
}
