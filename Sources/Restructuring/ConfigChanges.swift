internal import EspalierArchitectures
internal import EspalierBasics

/// What a change of structure is in terms of the config.
struct ConfigChanges {
  private let change: StructuralChange
  private let model: ModelDescription
  /// Canonical names of the parameters that there are: experts one by one, or stacked.
  private let stored: Set<String>

  init(of change: StructuralChange, in model: ModelDescription, stored: Set<String>) {
    (self.change, self.model, self.stored) = (change, model, stored)
  }

  /// The config after the change.
  ///
  /// What a config cannot say of all layers, such as fewer heads of the width they had where the width follows from their
  /// number, it says of each.
  func applied(to config: JSON, of family: Architecture) throws(Problem) -> JSON {
    let shapes = try family.layerShapes(config: config)
    do throws(Problem) { return try family.config(config, with: try all(shapes: shapes, evenly: true)) } catch {
      guard error.code == .architectureInverse, !change.choices.isEmpty,
        let changed = try? family.config(config, with: try all(shapes: shapes, evenly: false))
      else { throw error }
      return changed
    }
  }

  /// - Parameters:
  ///   - shapes: of the layers before the change.
  ///   - evenly: whether a size that all layers have is the model's; else each layer's own.
  /// - Throws: `restructuring` for sizes that differ where a model has only one.
  private func all(
    shapes: [(tower: String, layers: [LayerShape])], evenly: Bool
  ) throws(Problem) -> [ConfigChange] {
    var changes: [ConfigChange] = []
    /// The sizes that layers have of their own, by tower and layer before the change.
    var own: [String: [Int: [String: Int]]] = [:]
    /// The new sizes that all layers have.
    var common: [String: Int] = [:]
    for (name, uses) in axes() {
      let sizes = uses.map { change.choices[$0.axis.instance]?.count ?? $0.axis.size }
      guard sizes != uses.map(\.axis.size), let size = sizes.first else { continue }
      let isEven = sizes.allSatisfy { $0 == size } && uses.allSatisfy { $0.axis.size == uses[0].axis.size }
      if isEven, evenly || uses.contains(where: { $0.layer == nil }) {
        changes.append(.size(axis: name, size))
        common[name] = size
        continue
      }
      for (use, size) in zip(uses, sizes) {
        guard let layer = use.layer else {
          throw Problem(.restructuring, "parts of the model would have different numbers of `\(name)`: \(sizes)")
        }
        own[use.tower, default: [:]][layer, default: [:]][name] = size
      }
    }
    for (tower, layers) in shapes where own[tower] != nil || change.missing[tower] != nil {
      changes.append(
        .shapes(
          tower: tower,
          layers.indices.map { layer in
            var shape = layers[layer]
            // Layers that say some sizes of their own say all.
            for (axis, size) in common where shape.sizes[axis] != nil { shape.sizes[axis] = size }
            shape.sizes.merge(own[tower]?[layer] ?? [:]) { $1 }
            shape.missing.formUnion(change.missing[tower]?[layer] ?? [])
            return shape
          }))
    }
    // Shapes first: rearranged layers take theirs along.
    for (tower, layers) in change.layers.sorted(by: { $0.key < $1.key }) {
      changes.append(.layers(tower: tower, sources: layers))
    }
    let known = Set(shapes.map(\.tower))
    if let tower = Set(own.keys).union(change.missing.keys).subtracting(known).min() {
      throw Problem(.restructuring, "layers of `\(tower)` cannot differ from each other in this family")
    }
    return changes
  }

  /// The axes of the layers that stay, by the name they have in the family, each once with where it stands.
  private func axes() -> [(name: String, uses: [(axis: Axis, tower: String, layer: Int?)])] {
    var order: [String] = []
    var groups: [String: [(axis: Axis, tower: String, layer: Int?)]] = [:]
    var seen = Set<String>()
    for parameter in model.parameters where stored.contains(parameter.name) {
      if let layer = parameter.layer, let kept = change.layers[parameter.tower], !kept.contains(layer) { continue }
      for axis in parameter.dimensions.flatMap(\.axes) where seen.insert(axis.instance).inserted {
        if groups[axis.name] == nil { order.append(axis.name) }
        let layer = axis.scope == .model || axis.scope == .tower ? nil : parameter.layer
        groups[axis.name, default: []].append((axis, parameter.tower, layer))
      }
    }
    return order.map { ($0, groups[$0] ?? []) }
  }
}
