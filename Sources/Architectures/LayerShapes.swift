public import EspalierBasics

/// The sizes and blocks of one layer.
public struct LayerShape: Sendable, Hashable {
  /// Of the axes that may differ from layer to layer, by name.
  public var sizes: [String: Int]
  /// Blocks that the layer lacks, such as `attention`; the stream passes them by.
  public var missing: Set<String>

  public init(sizes: [String: Int] = [:], missing: Set<String> = []) {
    self.sizes = sizes
    self.missing = missing
  }
}

extension Architecture {
  /// The shapes of all layers of the model with this config, tower by tower, even ones too.
  ///
  /// Written back by ``ConfigChange/shapes(tower:_:)``. Towers and axes of included families have their prefixes; a
  /// tower whose layers have nothing of their own is not listed.
  ///
  /// - Throws: `architecture.config` for an unreadable config.
  public func layerShapes(config: JSON) throws(Problem) -> [(tower: String, layers: [LayerShape])] {
    try layerShapes(config: config, include: nil)
  }

  /// The config without what it says of single layers: the model that has the usual sizes everywhere.
  ///
  /// - Throws: `architecture.config` if the config of an included family cannot be found.
  public func withoutLayerEntries(_ config: JSON) throws(Problem) -> JSON {
    var config = config
    config[LayerEntry.section] = nil
    for include in includes {
      let (family, nested) = try included(include, config: config)
      config[include.configKey] = try family.withoutLayerEntries(nested)
    }
    return config
  }

  private func layerShapes(
    config: JSON, include: Include?
  ) throws(Problem) -> [(tower: String, layers: [LayerShape])] {
    let instantiation = Instantiation(self, config: config, include: include)
    let scope = instantiation.scope
    var found: [(tower: String, layers: [LayerShape])] = []
    for include in includes {
      let (family, nested) = try included(include, config: config)
      for (tower, layers) in try family.layerShapes(config: nested, include: include) {
        let prefixed = layers.map { layer in
          LayerShape(
            sizes: Dictionary(uniqueKeysWithValues: layer.sizes.map { ("\(include.tower).\($0.key)", $0.value) }),
            missing: layer.missing)
        }
        found.append((tower, prefixed))
      }
    }
    let entries = try layerEntries(in: scope)
    for tower in towers where tower.repetition == nil {
      if let condition = tower.condition, try !condition.truth(in: scope) { continue }
      guard let shapes = try tower.shapes(of: self, entries: entries[tower.name], in: scope) else { continue }
      found.append((instantiation.placedName(tower.name), shapes))
    }
    return found
  }
}

extension TowerTemplate {
  /// The shapes of the tower's layers; nil if they have nothing of their own.
  func shapes(
    of architecture: Architecture, entries: [LayerEntry]?, in scope: Scope
  ) throws(Problem) -> [LayerShape]? {
    let axes = layerAxes(of: architecture).filter { !$0.writes.isEmpty }
    guard let layerCount, !axes.isEmpty || !blocks.isEmpty else { return nil }
    let count = try layerCount.integer(in: scope)
    guard (0...Instantiation.mostLayers).contains(count) else {
      throw Problem(.architectureConfig, "`\(layerCount)` is \(count)")
    }
    let kinds = try kinds(of: count, in: scope)
    return (0..<count).map { layer in
      let entry = entries?[layer]
      let inner = self.scope(ofLayer: layer, kind: kinds.isEmpty ? nil : kinds[layer], entry: entry, in: scope)
      return LayerShape(sizes: sizes(of: axes, in: inner), missing: Set(entry?.missing ?? []))
    }
  }
}
