public import EspalierBasics
public import EspalierCheckpoints

/// `√Σ w²` over every value that leaves with the unit.
public struct MagnitudeScore: UnitScore {
  public static let card = MethodCard(
    name: "magnitude", summary: "the norm of all weights that belong to the unit", source: "li2017pruning",
    notes: "Needs no data. Norms of different layers are not comparable.")
  public static let needs = StructuralNeed.nothing

  public init() {}

  public func scores(
    of group: UnitGroup, in subject: any StructuralSubject, files: FilePool
  ) throws(Problem) -> [Double] {
    var squares = [Double](repeating: 0, count: group.count)
    for member in group.members {
      let values = try member.stored.values(files: files)
      let sums = try group.sums(over: member, values: values) { value, _ in Double(value) * Double(value) }
      for unit in squares.indices { squares[unit] += sums[unit] }
    }
    return squares.map { $0.squareRoot() }
  }
}
