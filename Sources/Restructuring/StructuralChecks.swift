internal import EspalierArchitectures
internal import EspalierBasics

/// Whether a model can be changed as it is asked.
enum StructuralChecks {
  /// - Throws: the first choice on an axis that the model does not have or that must stay as it is.
  static func check(_ change: StructuralChange, of model: ModelDescription) throws(Problem) {
    let axes = Dictionary(model.axes.map { ($0.instance, $0) }, uniquingKeysWith: { first, _ in first })
    for (instance, choice) in change.choices.sorted(by: { $0.key < $1.key }) {
      guard let axis = axes[instance] else {
        throw Problem(
          .restructuring, "the model has no axis `\(instance)`",
          remedy: "`espalier groups MODEL` lists the axes.")
      }
      try check(choice, on: axis)
    }
    for (place, sums) in change.foldedExperts.sorted(by: { $0.key < $1.key }) {
      guard let axis = axes[place] else { throw Problem(.restructuring, "the model has no axis `\(place)`") }
      try check(sums, below: axis.size, of: place)
    }
    for (tower, sums) in change.foldedLayers.sorted(by: { $0.key < $1.key }) {
      guard let found = model.tower(named: tower) else {
        throw Problem(.restructuring, "the model has no tower `\(tower)`")
      }
      try check(sums, below: found.layerCount, of: tower)
    }
    for (tower, layers) in change.missing.sorted(by: { $0.key < $1.key }) {
      guard let found = model.tower(named: tower) else {
        throw Problem(.restructuring, "the model has no tower `\(tower)`")
      }
      if let wrong = layers.keys.filter({ $0 < 0 || $0 >= found.layerCount }).min() {
        throw Problem(.restructuring, "`\(tower)` has \(found.layerCount) layers; blocks leave layer \(wrong)")
      }
    }
    for (tower, layers) in change.layers.sorted(by: { $0.key < $1.key }) {
      guard let found = model.tower(named: tower) else {
        throw Problem(.restructuring, "the model has no tower `\(tower)`")
      }
      guard !layers.isEmpty else { throw Problem(.restructuring, "no layer of `\(tower)` would be left") }
      if let wrong = layers.first(where: { $0 < 0 || $0 >= found.layerCount }) {
        throw Problem(.restructuring, "`\(tower)` has \(found.layerCount) layers, layer \(wrong) is wanted")
      }
    }
  }

  /// - Throws: `restructuring` if a block that should be missing is not known to the family by its name.
  static func checkMissing(_ change: StructuralChange, in after: ModelDescription) throws(Problem) {
    for (tower, layers) in change.missing.sorted(by: { $0.key < $1.key }) {
      let missing = after.tower(named: tower)?.missingBlocks ?? []
      let kept = change.layers[tower] ?? Array(missing.indices)
      for (place, layer) in kept.enumerated() {
        let absent = missing.indices.contains(place) ? missing[place] : []
        if let block = layers[layer]?.subtracting(absent).min() {
          throw Problem(.restructuring, "layers of `\(tower)` have no block `\(block)` that could leave")
        }
      }
    }
  }

  private static func check(
    _ sums: [Int: [PartShare]], below count: Int, of place: String
  ) throws(Problem) {
    for (part, shares) in sums.sorted(by: { $0.key < $1.key }) {
      guard !shares.isEmpty else { throw Problem(.restructuring, "nothing folds into \(part) of `\(place)`") }
      if let wrong = ([part] + shares.map(\.part)).first(where: { $0 < 0 || $0 >= count }) {
        throw Problem(.restructuring, "`\(place)` has \(count) parts, part \(wrong) folds into another")
      }
    }
  }

  private static func check(_ choice: AxisChoice, on axis: Axis) throws(Problem) {
    guard choice.count > 0 else { throw Problem(.restructuring, "nothing of `\(axis.instance)` would be left") }
    for list in choice.lists {
      if let wrong = list.first(where: { $0 < 0 || $0 >= axis.size }) {
        throw Problem(.restructuring, "`\(axis.instance)` has \(axis.size) entries, entry \(wrong) is wanted")
      }
      let isPermutation = list.count == axis.size && Set(list).count == list.count
      if list == Array(0..<axis.size) { continue }
      if isPermutation {
        guard axis.permutation == .free else {
          throw Problem(
            .restructuring,
            axis.permutation == .pairs
              ? "entries of `\(axis.instance)` turn in pairs with frequencies that follow from the config: they stay in order"
              : "entries of `\(axis.instance)` have places of their own: they stay in order")
        }
      } else if axis.selection == .none {
        throw Problem(.restructuring, "`\(axis.instance)` cannot be smaller or larger in this family")
      }
    }
  }
}
