internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints

/// What of a changed model's parameter is a sum of parameters: of layers that collapse, of experts that merge.
///
///     W'[part] = sum over shares of weight · W[share.part]
///
/// Norms of layers and rows of routers are not summed: they stay those of the part that the others fold into.
struct Folding {
  /// One term of a sum: where it comes from, and its weight; of a stack of experts, which of them.
  struct Term {
    var origin: Origin
    var entry: Int?
    var weight: Double
  }

  /// One sum, or of a stack of experts one for each that stays.
  let sums: [[Term]]
  /// Whether the parameter holds all experts of its layer.
  let isStack: Bool
  private let experts: String

  /// Nil for a parameter that stays what it is.
  init?(
    of parameter: ParameterDescription, from origin: Origin, source: ParameterDescription, change: StructuralChange
  ) throws(Problem) {
    let place = origin.layer.map { "\(source.tower)/\($0)" } ?? source.tower
    experts = "\(place)/experts"
    let layers = origin.layer.flatMap { change.foldedLayers[source.tower]?[$0] }
    let merged = source.role.part == .router ? nil : change.foldedExperts[experts]
    func term(_ share: PartShare, _ set: (inout Origin) -> Void) -> Term {
      var origin = origin
      set(&origin)
      return Term(origin: origin, entry: nil, weight: share.weight)
    }
    if let merged, let expert = origin.expert {
      guard let shares = merged[expert] else { return nil }
      sums = [shares.map { share in term(share) { $0.expert = share.part } }]
      isStack = false
    } else if let merged, source.dimensions.first?.axes.map(\.instance) == [experts],
      case .axis(let axis)? = source.dimensions.first
    {
      let kept = change.choices[experts]?.lists.first ?? Array(0..<axis.size)
      sums = kept.map { expert in
        (merged[expert] ?? [PartShare(expert, weight: 1)]).map { share in
          Term(origin: origin, entry: share.part, weight: share.weight)
        }
      }
      isStack = true
    } else if let layers, source.role.part != .norm {
      sums = [layers.map { share in term(share) { $0.layer = share.part } }]
      isStack = false
    } else {
      return nil
    }
    if layers != nil, merged != nil {
      throw Problem(.restructuring, "experts of layers that fold into one cannot be merged in the same change")
    }
  }

  /// - Parameter terms: the parameters of ``sums``, of the shape wanted; of a stack as they are stored.
  func recipe(
    of terms: [[Parameter]], described source: ParameterDescription, shape: [Int], change: StructuralChange
  ) throws(Problem) -> StorageRecipe {
    guard isStack else { return combined(terms[0].map(\.recipe), sums[0], shape) }
    let slice = [1] + shape.dropFirst()
    var experts: [StorageRecipe] = []
    for (parts, sum) in zip(terms, sums) {
      var recipes: [StorageRecipe] = []
      for (part, term) in zip(parts, sum) {
        var choices = change.choices
        choices[self.experts] = AxisChoice([term.entry ?? 0])
        var entries: [[Int]?] = []
        for dimension in source.dimensions { entries.append(try dimension.indices(taking: choices)) }
        recipes.append(.selected(part.recipe, try EntrySelection(of: part.shape, entries: entries)))
      }
      experts.append(combined(recipes, sum, slice))
    }
    return .gathered(
      experts.indices.map { .rows(source: $0, first: 0, count: 1) }, sources: experts, shape: shape)
  }

  private func combined(_ recipes: [StorageRecipe], _ sum: [Term], _ shape: [Int]) -> StorageRecipe {
    .combined(zip(recipes, sum).map { WeightedRecipe(weight: $1.weight, recipe: $0) }, constant: 0, shape: shape)
  }
}
