/// Elements with equal keys together, groups and their elements in the order of their first appearance.
func grouped<Element, Key: Hashable>(
  _ elements: [Element], by key: (Element) -> Key
) -> [(key: Key, elements: [Element])] {
  var positions: [Key: Int] = [:]
  var groups: [(key: Key, elements: [Element])] = []
  for element in elements {
    let key = key(element)
    if let position = positions[key] {
      groups[position].elements.append(element)
    } else {
      positions[key] = groups.count
      groups.append((key, [element]))
    }
  }
  return groups
}

/// A layer of a module, or what stands before or after its layers; in the order of listing.
struct LayerKey: Hashable, Comparable {
  var module: String
  var section: TensorPlace.Section

  init(_ place: TensorPlace) {
    module = place.module
    section = place.section
  }

  static func < (a: LayerKey, b: LayerKey) -> Bool { (a.module, a.section) < (b.module, b.section) }

  /// What the layer is called; with its module's name if there are several.
  func name(amongModules count: Int) -> String {
    (count > 1 ? "\(module) " : "") + section.name
  }
}

extension TensorPlace {
  var roleName: String { role ?? "unknown" }
}

extension TensorPlace.Section {
  var name: String {
    switch self {
    case .beforeLayers: "before layers"
    case .layer(let number): "layer \(number)"
    case .afterLayers: "after layers"
    case .elsewhere: "elsewhere"
    }
  }
}
