public import EspalierBasics

/// What is to be different in the config of a changed model.
public enum ConfigChange: Sendable, Hashable {
  /// An axis has a new size. Several axes stored under one key must be changed together.
  case size(axis: String, Int)
  /// The layers of a tower are now these layers of the old one, in this order; repeats are allowed.
  case layers(tower: String, sources: [Int])
  /// The layers of a tower have these shapes, one a layer. Axes that a shape does not name keep the size they have.
  case shapes(tower: String, [LayerShape])
}

extension Architecture {
  /// The config of a model after structural changes, the inverse of reading it.
  ///
  /// Keys that are there are updated; a key that was implied by a default is added only where the default would now
  /// be wrong. Lists with an entry a layer follow the layers; a pattern of layer kinds that no longer holds is written
  /// out. What single layers have of their own is under `espalier`, as far as it differs from what the config says of
  /// all; where all layers agree, the config says it of all. Changes apply in their order, and the new size of an axis
  /// is that of every layer. What holds afterwards: reading the result gives the changed sizes, layer counts and kinds, and all others as
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
struct ConfigWriter {
  let architecture: Architecture
  var scope: Scope
  /// The sizes that are to hold at the end, of all axes that have one size in the whole model.
  var sizes: [String: Value] = [:]
  /// The same before anything changed.
  private var sizesBefore: [String: Value] = [:]

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
    sizesBefore = sizes
    var towers = try layerStates()
    for change in own { try note(change, in: &towers) }
    if towers.contains(where: { $0.shapes != nil }) { settle(&towers) }
    try writeSizes(changed: own)
    for tower in towers { try write(tower) }
    for tower in towers { try writeEntries(of: tower) }
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
      for index in towers.indices { towers[index].resize(axis, to: size) }
    case .layers(let tower, let sources): try towers[index(of: tower, in: towers)].take(sources)
    case .shapes(let tower, let shapes):
      try towers[index(of: tower, in: towers)].take(shapes, of: architecture, in: scope)
    }
  }

  private func index(of tower: String, in towers: [LayerState]) throws(Problem) -> Int {
    guard let index = towers.firstIndex(where: { $0.template.name == tower }) else {
      throw Problem(.architectureInverse, "\(architecture.name) has no tower `\(tower)` with a number of layers")
    }
    return index
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
      return self.tower(tower, inside: include, family).map { .layers(tower: $0, sources: sources) }
    case .shapes(let tower, let shapes):
      let inner = shapes.map { shape in
        let sizes = shape.sizes.map { name, size in
          (name.hasPrefix(prefix) ? String(name.dropFirst(prefix.count)) : name, size)
        }
        return LayerShape(sizes: Dictionary(sizes, uniquingKeysWith: { $1 }), missing: shape.missing)
      }
      return self.tower(tower, inside: include, family).map { .shapes(tower: $0, inner) }
    }
  }

  /// An included family of one tower gave it the name of the inclusion.
  private func tower(_ name: String, inside include: Include, _ family: Architecture) -> String? {
    let prefix = include.tower + "."
    if name == include.tower { return family.towers.first?.name }
    return name.hasPrefix(prefix) ? String(name.dropFirst(prefix.count)) : nil
  }
}

// MARK: - Sizes

extension ConfigWriter {
  /// The sizes that can be read without knowing a layer; what the config does not have, it cannot change. An axis
  /// that only buffers have follows from the others.
  private func currentSizes() -> [String: Value] {
    // Of a tower that the model lacks nothing has a size, whatever its formulas give.
    let present = architecture.towers.filter { tower in
      tower.condition.map { (try? $0.truth(in: scope)) ?? true } ?? true
    }
    let templates = present.flatMap { $0.before + $0.layer + $0.after }
    let learnt = Set(templates.filter { $0.role.part != .buffer }.flatMap { $0.dimensions.flatMap(\.axisNames) })
    var sizes: [String: Value] = [:]
    for axis in architecture.axes where learnt.contains(axis.name) {
      sizes[axis.name] = try? axis.size.evaluate(in: scope)
    }
    return sizes
  }

  mutating func writeSizes(changed: [ConfigChange]) throws(Problem) {
    for axis in architecture.axes
    where changed.contains(where: { $0.axis == axis.name }) || sizes[axis.name] != sizesBefore[axis.name] {
      for (key, formula) in axis.writes where isPresent(key) { try write(key, formula) }
    }
    for axis in architecture.axes {
      for (key, formula) in axis.writes {
        if try isRight(axis) { break }
        try write(key, formula)
      }
    }
  }

  func isRight(_ axis: AxisTemplate) throws(Problem) -> Bool {
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
