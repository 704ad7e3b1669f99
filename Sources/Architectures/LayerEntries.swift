import EspalierBasics

/// What one layer has otherwise than the config says of all: its own values of config keys, and blocks it lacks.
///
/// ```json
/// "espalier": {"layers": {"text": [{}, {"intermediate_size": 512}, {"without": ["attention"]}]}}
/// ```
/// A layer's formulas, those of shapes and those of programs, see the config with its entry laid over it.
struct LayerEntry: Sendable, Hashable {
  /// Config keys with the layer's own values, in the order of the config.
  private(set) var keys: [String] = []
  private var values: [String: Int] = [:]
  /// Blocks that the layer lacks.
  var missing: [String] = []

  static let section = "espalier"
  static let layers = "layers"
  static let without = "without"

  var isEven: Bool { keys.isEmpty && missing.isEmpty }

  subscript(key: String) -> Int? {
    get { values[key] }
    set {
      if values.updateValue(newValue ?? 0, forKey: key) == nil { keys.append(key) }
      guard newValue == nil else { return }
      values[key] = nil
      keys.removeAll { $0 == key }
    }
  }

  var json: JSON {
    var members = JSON.Members()
    for key in keys { members[key] = self[key].map { .number($0) } }
    if !missing.isEmpty { members[Self.without] = .array(missing.map { .string($0) }) }
    return .object(members)
  }
}

extension TowerTemplate {
  /// The scope of the formulas of one layer.
  ///
  /// What an entry does not say is as in the rest of the config, defaults included: a default that is computed from a
  /// key which the layer has otherwise keeps the value it has without the entry.
  func scope(ofLayer layer: Int, kind: String?, entry: LayerEntry?, in scope: Scope) -> Scope {
    var inner = scope.with("layer", .integer(layer))
    if let kind { inner = inner.with("kind", .text(kind)) }
    guard let entry, !entry.keys.isEmpty else { return inner }
    var own = inner
    for name in scope.defaults.keys where entry[name] == nil {
      guard let value = try? inner.lookUp(name) else { continue }
      if case .absent = value { continue }
      own.variables[name] = value
    }
    for key in entry.keys { own.config[key] = entry[key].map { .number($0) } }
    return own
  }

  /// The axes along which one layer can have another size than the next.
  func layerAxes(of architecture: Architecture) -> [AxisTemplate] {
    let names = Set(layer.flatMap { $0.dimensions.flatMap(\.axisNames) })
    return architecture.axes.filter { names.contains($0.name) && $0.scope != .model && $0.scope != .tower }
  }

  /// The config keys that a layer can have values of its own of: those that its axes are stored under, but for those
  /// that say something of all layers too.
  func layerKeys(of architecture: Architecture) -> [String] {
    let names = Set(layer.flatMap { $0.dimensions.flatMap(\.axisNames) })
    let shared = architecture.axes.filter { names.contains($0.name) && ($0.scope == .model || $0.scope == .tower) }
    let taken = Set(shared.flatMap { $0.writes.map(\.key) })
    var keys: [String] = []
    for (key, _) in layerAxes(of: architecture).flatMap(\.writes) where !taken.contains(key) && !keys.contains(key) {
      keys.append(key)
    }
    return keys
  }

  /// The sizes of a layer's axes, as far as the config knows them.
  func sizes(of axes: [AxisTemplate], in scope: Scope) -> [String: Int] {
    var sizes: [String: Int] = [:]
    for axis in axes { sizes[axis.name] = try? axis.size.integer(in: scope) }
    return sizes
  }
}

extension Architecture {
  /// The entries of all layers by tower; a tower whose layers are alike has none.
  ///
  /// - Throws: `architecture.config` with everything that is wrong with them.
  func layerEntries(in scope: Scope) throws(Problem) -> [String: [LayerEntry]] {
    guard let section = scope.config[LayerEntry.section] else { return [:] }
    var reader = LayerEntryReader(architecture: self, scope: scope)
    try reader.read(section)
    guard reader.complaints.isEmpty else {
      let shown = reader.complaints.prefix(8).joined(separator: "; ")
      let more = reader.complaints.count > 8 ? "; and \(reader.complaints.count - 8) more" : ""
      throw Problem(
        .architectureConfig, "the config's `\(LayerEntry.section)` does not fit the family \(name): \(shown)\(more)",
        remedy: "Docs/architectures.md says what single layers can have of their own.")
    }
    return reader.entries
  }
}

/// Reads the entries of a config, noting everything that is wrong.
private struct LayerEntryReader {
  let architecture: Architecture
  let scope: Scope
  var entries: [String: [LayerEntry]] = [:]
  var complaints: [String] = []

  mutating func read(_ section: JSON) throws(Problem) {
    guard let members = section.members else { return complaints.append("it should be an object") }
    for key in members.keys where key != LayerEntry.layers { complaints.append("unknown key `\(key)`") }
    guard let layers = members[LayerEntry.layers] else { return }
    guard let towers = layers.members else {
      return complaints.append("`\(LayerEntry.layers)` should be an object with a list a tower")
    }
    let known = architecture.towers.filter { $0.layerCount != nil && $0.repetition == nil }
    for (name, list) in towers.pairs {
      guard let tower = known.first(where: { $0.name == name }) else {
        complaints.append("unknown tower `\(name)`; known: \(known.map(\.name).joined(separator: ", "))")
        continue
      }
      try read(list, of: tower)
    }
  }

  private mutating func read(_ list: JSON, of tower: TowerTemplate) throws(Problem) {
    guard let elements = list.array else { return complaints.append("the tower \(tower.name) should have a list") }
    let count = try tower.layerCount?.integer(in: scope) ?? 0
    guard elements.count == count else {
      complaints.append("the tower \(tower.name) has \(count) layers and a list of \(elements.count)")
      return
    }
    guard (0...Instantiation.mostLayers).contains(count) else { return }
    let kinds = try tower.kinds(of: count, in: scope)
    var found: [LayerEntry] = []
    for (layer, element) in elements.enumerated() {
      let before = complaints.count
      var entry = LayerEntry()
      var own: [String] = []
      read(element, into: &entry, of: tower, complaints: &own)
      if own.isEmpty {
        check(entry, ofLayer: layer, kind: kinds.isEmpty ? nil : kinds[layer], of: tower, complaints: &own)
      }
      complaints += own.map { "layer \(layer) of the tower \(tower.name): \($0)" }
      found.append(complaints.count == before ? entry : LayerEntry())
    }
    if found.contains(where: { !$0.isEven }) { entries[tower.name] = found }
  }

  private func read(
    _ json: JSON, into entry: inout LayerEntry, of tower: TowerTemplate, complaints: inout [String]
  ) {
    guard let members = json.members else { return complaints.append("it should be an object") }
    let keys = tower.layerKeys(of: architecture)
    for (key, value) in members.pairs where key != LayerEntry.without {
      guard let known = keys.first(where: { ExactString($0) == ExactString(key) }) else {
        complaints.append("unknown key `\(key)`; known: \((keys + [LayerEntry.without]).joined(separator: ", "))")
        continue
      }
      guard let number = value.integer, number > 0 else {
        complaints.append("`\(key)` is \(value.text()), and should be a whole number above 0")
        continue
      }
      entry[known] = number
    }
    guard let without = members[LayerEntry.without] else { return }
    let blocks = tower.blocks.map(\.name)
    guard let names = without.array?.map(\.string), !names.contains(nil) else {
      return complaints.append("`\(LayerEntry.without)` should be a list of blocks")
    }
    for case .some(let name) in names {
      if !blocks.contains(name) {
        let known = blocks.isEmpty ? "its layers have none" : "known: \(blocks.joined(separator: ", "))"
        complaints.append("unknown block `\(name)`; \(known)")
      } else if !entry.missing.contains(name) {
        entry.missing.append(name)
      }
    }
  }

  /// Every size that the layer has without its entry it must have with it, and every value must change one.
  private func check(
    _ entry: LayerEntry, ofLayer layer: Int, kind: String?, of tower: TowerTemplate, complaints: inout [String]
  ) {
    guard !entry.keys.isEmpty else { return }
    let axes = tower.layerAxes(of: architecture)
    let even = tower.scope(ofLayer: layer, kind: kind, entry: nil, in: scope)
    let own = tower.scope(ofLayer: layer, kind: kind, entry: entry, in: scope)
    for axis in axes where (try? axis.size.integer(in: even)) != nil {
      do throws(Problem) {
        let size = try axis.size.integer(in: own)
        if size < 1 { complaints.append("the size of `\(axis.name)`, \(axis.size), is \(size)") }
      } catch { complaints.append("the size of `\(axis.name)`, \(axis.size), cannot be computed: \(error.message)") }
    }
    guard complaints.isEmpty else { return }
    let sizes = tower.sizes(of: axes, in: own)
    for key in entry.keys where (try? even.lookUp(key)) != entry[key].map({ .integer($0) }) {
      var others = entry
      others[key] = nil
      let without = tower.scope(ofLayer: layer, kind: kind, entry: others, in: scope)
      if tower.sizes(of: axes, in: without) == sizes { complaints.append("`\(key)` changes no size") }
    }
  }
}
