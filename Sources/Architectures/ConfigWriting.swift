public import EspalierBasics

/// What is to be different in the config of a changed model.
public enum ConfigChange: Sendable, Hashable {
  /// An axis has a new size. Several axes stored under one key must be changed together.
  case size(axis: String, Int)
  /// The layers of a tower are now these layers of the old one, in this order; repeats are allowed.
  case layers(tower: String, sources: [Int])
}

extension Architecture {
  /// The config of a model after structural changes, the inverse of reading it.
  ///
  /// Keys that are there are updated; a key that was implied by a default is added only where the default would now
  /// be wrong. Lists with an entry a layer follow the layers; a pattern of layer kinds that no longer holds is written
  /// out. What holds afterwards: reading the result gives the changed sizes, layer counts and kinds, and all others as
  /// before.
  /// - Throws: `architecture.inverse` if the family's config cannot say that; `architecture.config` if the config
  ///   itself is unreadable.
  public func config(_ config: JSON, with changes: [ConfigChange]) throws(Problem) -> JSON {
    var writer = ConfigWriter(self, config: config)
    return try writer.apply(changes)
  }

  /// The config after every axis of tokens has been given `size` entries.
  public func config(_ config: JSON, vocabularySize size: Int) throws(Problem) -> JSON {
    let axes = try vocabularyAxes(config: config)
    return try self.config(config, with: axes.map { .size(axis: $0, size) })
  }

  private func vocabularyAxes(config: JSON) throws(Problem) -> [String] {
    var names = axes.map(\.name).filter { $0 == "vocabulary" }
    for include in includes {
      let (family, nested) = try included(include, config: config)
      names += try family.vocabularyAxes(config: nested).map { "\(include.tower).\($0)" }
    }
    return names
  }
}

/// Applies changes to one config, included families first.
private struct ConfigWriter {
  let architecture: Architecture
  var scope: Scope
  /// The sizes that are to hold at the end, of all axes that have one size in the whole model.
  private var sizes: [String: Value] = [:]

  init(_ architecture: Architecture, config: JSON, include: Include? = nil) {
    self.architecture = architecture
    let defaults = architecture.defaults.merging(include?.defaults ?? [:]) { _, includes in includes }
    scope = Scope(config: config, defaults: defaults)
  }

  mutating func apply(_ changes: [ConfigChange]) throws(Problem) -> JSON {
    var own = changes
    for include in architecture.includes {
      let (family, nested) = try architecture.included(include, config: scope.config)
      let inner = own.compactMap { $0.inside(include, family) }
      own.removeAll { $0.inside(include, family) != nil }
      guard !inner.isEmpty else { continue }
      var writer = ConfigWriter(family, config: nested, include: include)
      scope.config[include.configKey] = try writer.apply(inner)
    }
    guard !own.isEmpty else { return scope.config }
    sizes = currentSizes()
    var towers = try layerStates()
    for change in own { try note(change, in: &towers) }
    try writeSizes(changed: own)
    for tower in towers { try write(tower) }
    try verify(towers)
    return scope.config
  }

  private mutating func note(_ change: ConfigChange, in towers: inout [LayerState]) throws(Problem) {
    switch change {
    case .size(let axis, let size):
      guard sizes[axis] != nil else {
        throw Problem(.architectureInverse, "the axis `\(axis)` of \(architecture.name) has no size in the config")
      }
      sizes[axis] = .integer(size)
    case .layers(let tower, let sources):
      guard let index = towers.firstIndex(where: { $0.template.name == tower }) else {
        throw Problem(.architectureInverse, "\(architecture.name) has no tower `\(tower)` with a number of layers")
      }
      try towers[index].take(sources)
    }
  }
}

extension ConfigChange {
  /// The change as the included family sees it; nil if it concerns another part of the model.
  fileprivate func inside(_ include: Include, _ family: Architecture) -> ConfigChange? {
    let prefix = include.tower + "."
    switch self {
    case .size(let axis, let size):
      return axis.hasPrefix(prefix) ? .size(axis: String(axis.dropFirst(prefix.count)), size) : nil
    case .layers(let tower, let sources):
      // An included family of one tower gave it the name of the inclusion.
      if tower == include.tower { return family.towers.first.map { .layers(tower: $0.name, sources: sources) } }
      return tower.hasPrefix(prefix) ? .layers(tower: String(tower.dropFirst(prefix.count)), sources: sources) : nil
    }
  }
}

// MARK: - Sizes

extension ConfigWriter {
  /// The sizes that can be read without knowing a layer; what the config does not have, it cannot change. An axis
  /// that only buffers have follows from the others.
  private func currentSizes() -> [String: Value] {
    let templates = architecture.towers.flatMap { $0.before + $0.layer + $0.after }
    let learnt = Set(templates.filter { $0.role.part != .buffer }.flatMap { $0.dimensions.flatMap(\.axisNames) })
    var sizes: [String: Value] = [:]
    for axis in architecture.axes where learnt.contains(axis.name) {
      sizes[axis.name] = try? axis.size.evaluate(in: scope)
    }
    return sizes
  }

  private mutating func writeSizes(changed: [ConfigChange]) throws(Problem) {
    for axis in architecture.axes where changed.contains(where: { $0.axis == axis.name }) {
      for (key, formula) in axis.writes where isPresent(key) { try write(key, formula) }
    }
    for axis in architecture.axes {
      for (key, formula) in axis.writes {
        if try isRight(axis) { break }
        try write(key, formula)
      }
    }
  }

  private func isRight(_ axis: AxisTemplate) throws(Problem) -> Bool {
    guard let wanted = sizes[axis.name] else { return true }
    // A half-written config may be unreadable for the moment: that is not right yet.
    return (try? axis.size.evaluate(in: scope)) == wanted
  }

  private func isPresent(_ key: String) -> Bool { scope.config[key].map { !$0.isNull } ?? false }

  private mutating func write(_ key: String, _ formula: Expression) throws(Problem) {
    var sizesOnly = Scope(config: .object(JSON.Members()))
    sizesOnly.variables = sizes
    let value: Value
    do { value = try formula.evaluate(in: sizesOnly) } catch {
      throw Problem(.architectureInverse, "`\(key)` of \(architecture.name) cannot be written: \(error.message)")
    }
    // What says the same already keeps the digits it was written with.
    if Value(scope.config[key], name: key) != value { scope.config[key] = value.json }
  }
}

extension ConfigChange {
  fileprivate var axis: String? { if case .size(let axis, _) = self { axis } else { nil } }
}

// MARK: - Layers

/// The layers of one tower, as they are to be.
private struct LayerState {
  let template: TowerTemplate
  /// The config key of their number.
  let key: String
  var count: Int
  var kinds: [String]
  /// Where the layers come from, if they changed.
  var sources: [Int]?

  mutating func take(_ sources: [Int]) throws(Problem) {
    if let wrong = sources.first(where: { $0 < 0 || $0 >= count }) {
      throw Problem(.architectureInverse, "the tower \(template.name) has \(count) layers, layer \(wrong) is wanted")
    }
    kinds = kinds.isEmpty ? [] : sources.map { kinds[$0] }
    count = sources.count
    self.sources = sources
  }
}

extension ConfigWriter {
  private func layerStates() throws(Problem) -> [LayerState] {
    var states: [LayerState] = []
    for tower in architecture.towers where tower.repetition == nil {
      guard let key = tower.layerCount?.bareName else { continue }
      if let condition = tower.condition, try !condition.truth(in: scope) { continue }
      let count = try scope.lookUp(key).integer(of: key)
      guard (0...Instantiation.mostLayers).contains(count) else {
        throw Problem(.architectureConfig, "`\(key)` is \(count)")
      }
      states.append(LayerState(template: tower, key: key, count: count, kinds: try tower.kinds(of: count, in: scope)))
    }
    return states
  }

  private mutating func write(_ tower: LayerState) throws(Problem) {
    if try scope.lookUp(tower.key) != .integer(tower.count) { scope.config[tower.key] = .number(tower.count) }
    if let sources = tower.sources {
      for key in tower.template.lists {
        guard let list = scope.config[key]?.array else { continue }
        guard let taken = list.taking(sources) else {
          throw Problem(.architectureConfig, "`\(key)` has \(list.count) entries, fewer than there are layers")
        }
        scope.config[key] = .array(taken)
      }
    }
    if !hasKinds(of: tower) {
      for (key, form) in tower.template.kinds.writes { scope.config[key] = form.json(of: tower.kinds) }
    }
  }

  private func hasKinds(of tower: LayerState) -> Bool {
    (try? tower.template.kinds(of: tower.count, in: scope)) == tower.kinds
  }

  private func verify(_ towers: [LayerState]) throws(Problem) {
    for axis in architecture.axes where try !isRight(axis) {
      let found = try axis.size.integer(in: scope)
      let wanted = sizes[axis.name]?.json.text() ?? ""
      throw Problem(
        .architectureInverse,
        "a config of \(architecture.name) cannot store these sizes: `\(axis.name)` should be \(wanted) and is \(found)",
        remedy: "change every axis that is stored under the same key together")
    }
    for tower in towers {
      guard try scope.lookUp(tower.key) == .integer(tower.count), hasKinds(of: tower) else {
        throw Problem(
          .architectureInverse,
          "a config of \(architecture.name) cannot store this order of layer kinds in the tower \(tower.template.name): "
            + tower.kinds.joined(separator: ", "))
      }
    }
  }
}

extension KindsForm {
  fileprivate func json(of kinds: [String]) -> JSON {
    switch self {
    case .each(let values): .array(kinds.map { .string(values[$0] ?? $0) })
    case .count(let kind): .number(kinds.count { $0 == kind })
    case .indices(let kind): .array(kinds.indices.filter { kinds[$0] == kind }.map { .number($0) })
    case .constant(let value): value
    }
  }
}

extension [JSON] {
  fileprivate func taking(_ positions: [Int]) -> [JSON]? {
    positions.contains { !indices.contains($0) } ? nil : positions.map { self[$0] }
  }
}
