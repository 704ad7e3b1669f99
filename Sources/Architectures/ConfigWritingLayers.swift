import EspalierBasics

/// The layers of one tower, as they are to be.
struct LayerState {
  let template: TowerTemplate
  /// The config key of their number.
  let key: String
  var count: Int
  var kinds: [String]
  /// Where the layers come from, if they changed.
  var sources: [Int]?
  /// The shapes of the layers, where not all are alike or somebody gave them.
  var shapes: [LayerShape]?

  mutating func resize(_ axis: String, to size: Int) {
    for layer in shapes?.indices ?? 0..<0 where shapes?[layer].sizes[axis] != nil { shapes?[layer].sizes[axis] = size }
  }

  mutating func take(_ given: [LayerShape], of architecture: Architecture, in scope: Scope) throws(Problem) {
    let count = count
    guard given.count == count else {
      throw Problem(
        .architectureInverse, "the tower \(template.name) has \(count) layers, and shapes of \(given.count) are given")
    }
    // Layers that were rearranged are no longer those of the config; their shapes were taken along then.
    var known = shapes
    if known == nil { known = try template.shapes(of: architecture, entries: nil, in: scope) }
    guard var shapes = known, shapes.count == count else {
      throw Problem(.architectureInverse, "the layers of the tower \(template.name) have nothing of their own")
    }
    for (layer, shape) in given.enumerated() {
      for (axis, size) in shape.sizes {
        guard shapes[layer].sizes[axis] != nil else {
          throw Problem(
            .architectureInverse, "layers of the tower \(template.name) have no axis `\(axis)` of their own")
        }
        guard size > 0 else {
          throw Problem(.architectureInverse, "`\(axis)` of layer \(layer) of \(template.name) would be \(size)")
        }
        shapes[layer].sizes[axis] = size
      }
      if let unknown = shape.missing.first(where: { name in !template.blocks.contains { $0.name == name } }) {
        throw Problem(.architectureInverse, "layers of the tower \(template.name) have no block `\(unknown)`")
      }
      shapes[layer].missing = shape.missing
    }
    self.shapes = shapes
  }

  mutating func take(_ sources: [Int]) throws(Problem) {
    if let wrong = sources.first(where: { $0 < 0 || $0 >= count }) {
      throw Problem(.architectureInverse, "the tower \(template.name) has \(count) layers, layer \(wrong) is wanted")
    }
    kinds = kinds.isEmpty ? [] : sources.map { kinds[$0] }
    shapes = shapes.map { shapes in sources.map { shapes[$0] } }
    count = sources.count
    self.sources = sources
  }
}

extension ConfigWriter {
  func layerStates() throws(Problem) -> [LayerState] {
    var states: [LayerState] = []
    let entries = try architecture.layerEntries(in: scope)
    for tower in architecture.towers where tower.repetition == nil {
      guard let key = tower.layerCount?.bareName else { continue }
      if let condition = tower.condition, try !condition.truth(in: scope) { continue }
      let count = try scope.lookUp(key).integer(of: key)
      guard (0...Instantiation.mostLayers).contains(count) else {
        throw Problem(.architectureConfig, "`\(key)` is \(count)")
      }
      var state = LayerState(template: tower, key: key, count: count, kinds: try tower.kinds(of: count, in: scope))
      if let own = entries[tower.name] { state.shapes = try tower.shapes(of: architecture, entries: own, in: scope) }
      states.append(state)
    }
    return states
  }

  mutating func write(_ tower: LayerState) throws(Problem) {
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

  /// Where all layers of the model agree on a size, it is the model's, if the config can say so of all: where the width
  /// of heads follows from their number, it cannot.
  mutating func settle(_ towers: inout [LayerState]) {
    let agreed = agreedSizes(of: towers)
    if says(agreed) { return sizes.merge(agreed) { $1 } }
    for (axis, size) in agreed.sorted(by: { $0.key < $1.key }) where says([axis: size]) { sizes[axis] = size }
  }

  /// Whether the config, with these sizes written, gives all sizes that are wanted.
  private func says(_ agreed: [String: Value]) -> Bool {
    var trial = self
    trial.sizes.merge(agreed) { $1 }
    guard (try? trial.writeSizes(changed: [])) != nil else { return false }
    return architecture.axes.allSatisfy { (try? trial.isRight($0)) == true }
  }

  private func agreedSizes(of towers: [LayerState]) -> [String: Value] {
    var agreed: [String: Value] = [:]
    for axis in architecture.axes {
      var found: Set<Int> = []
      for tower in towers where tower.template.layerAxes(of: architecture).contains(where: { $0.name == axis.name }) {
        if let shapes = tower.shapes {
          found.formUnion(shapes.compactMap { $0.sizes[axis.name] })
        } else if case .integer(let size)? = sizes[axis.name] {
          found.insert(size)
        }
      }
      if found.count == 1, let size = found.first, sizes[axis.name] != nil { agreed[axis.name] = .integer(size) }
    }
    return agreed
  }

  /// Writes what the layers of a tower have otherwise than the config says of all.
  mutating func writeEntries(of tower: LayerState) throws(Problem) {
    guard let shapes = tower.shapes else { return }
    var entries: [LayerEntry] = []
    for (layer, shape) in shapes.enumerated() { entries.append(try entry(of: shape, layer, in: tower)) }
    var section = scope.config[LayerEntry.section]?.members ?? JSON.Members()
    var layers = section[LayerEntry.layers]?.members ?? JSON.Members()
    let isEven = entries.allSatisfy(\.isEven)
    layers[tower.template.name] = isEven ? nil : .array(entries.map(\.json))
    section[LayerEntry.layers] = layers.isEmpty ? nil : .object(layers)
    scope.config[LayerEntry.section] = section.isEmpty ? nil : .object(section)
  }

  private func entry(of shape: LayerShape, _ layer: Int, in tower: LayerState) throws(Problem) -> LayerEntry {
    let template = tower.template
    let kind = tower.kinds.isEmpty ? nil : tower.kinds[layer]
    let axes = template.layerAxes(of: architecture).filter { shape.sizes[$0.name] != nil }
    let keys = template.layerKeys(of: architecture)
    var entry = LayerEntry()
    entry.missing = template.blocks.map(\.name).filter(shape.missing.contains)
    var wanted = Scope(config: .object(JSON.Members()))
    wanted.variables = sizes.merging(shape.sizes.mapValues { .integer($0) }) { $1 }
    func isRight(_ axis: AxisTemplate) -> Bool {
      let inner = template.scope(ofLayer: layer, kind: kind, entry: entry, in: scope)
      return (try? axis.size.integer(in: inner)) == shape.sizes[axis.name]
    }
    // Twice, since an axis may be stored under a key that another one changes.
    for axis in axes + axes {
      for (key, formula) in axis.writes where keys.contains(key) && !isRight(axis) {
        entry[key] = try formula.integer(in: wanted)
      }
    }
    if let wrong = axes.first(where: { !isRight($0) }) {
      throw Problem(
        .architectureInverse,
        "a config of \(architecture.name) cannot give layer \(layer) of the tower \(template.name) a `\(wrong.name)` of "
          + "\(shape.sizes[wrong.name] ?? 0)")
    }
    return entry
  }

  private func hasKinds(of tower: LayerState) -> Bool {
    (try? tower.template.kinds(of: tower.count, in: scope)) == tower.kinds
  }

  func verify(_ towers: [LayerState]) throws(Problem) {
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
