internal import EspalierArchitectures
internal import EspalierBasics

/// What a change of structure is in terms of the config.
enum ConfigChanges {
  /// - Throws: `restructuring` if layers of a tower would have different sizes of one axis.
  ///
  /// - Parameter stored: canonical names of the parameters that there are: experts one by one, or stacked.
  static func changes(
    of change: StructuralChange, in model: ModelDescription, stored: Set<String>
  ) throws(Problem) -> [ConfigChange] {
    var changes: [ConfigChange] = []
    for (name, axes) in axesByName(of: model, stored, after: change) {
      let sizes = axes.map { change.choices[$0.instance]?.count ?? $0.size }
      guard let size = sizes.first, sizes != axes.map(\.size) else { continue }
      guard sizes.allSatisfy({ $0 == size }) else {
        throw Problem(.restructuring, "layers would have different numbers of `\(name)`: \(Set(sizes).sorted())")
      }
      changes.append(.size(axis: name, size))
    }
    for (tower, layers) in change.layers.sorted(by: { $0.key < $1.key }) {
      changes.append(.layers(tower: tower, sources: layers))
    }
    return changes
  }

  /// The axes of the layers that stay, by the name they have in the family.
  private static func axesByName(
    of model: ModelDescription, _ stored: Set<String>, after change: StructuralChange
  ) -> [(name: String, axes: [Axis])] {
    var order: [String] = []
    var groups: [String: [Axis]] = [:]
    var seen = Set<String>()
    for parameter in model.parameters where stored.contains(parameter.name) {
      if let layer = parameter.layer, let kept = change.layers[parameter.tower], !kept.contains(layer) { continue }
      for axis in parameter.dimensions.flatMap(\.axes) where seen.insert(axis.instance).inserted {
        if groups[axis.name] == nil { order.append(axis.name) }
        groups[axis.name, default: []].append(axis)
      }
    }
    return order.map { ($0, groups[$0] ?? []) }
  }
}
