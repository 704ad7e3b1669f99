internal import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints

/// How far the model's predictions move when the unit leaves, measured in groups of units.
public struct DivergenceScore: UnitScore {
  /// Groups of a layer's units that are measured.
  static let groups = 16

  public static let card = MethodCard(
    name: "divergence", summary: "how far predictions move without the unit, measured for groups of like units",
    source: "munoz2025multipruner",
    notes: "A layer's units make 16 groups in the order of `output`; the model is run without each, and the divergence "
      + "shared out within it by `output`. The source measures so, for groups by magnitude and by perplexity. A run of the "
      + "model for every group: slow.")
  public static let needs = StructuralNeed.text
  public static let gathersStatistics = true
  public static let isComparable = true

  public init() {}

  public func scores(
    of group: UnitGroup, in subject: any StructuralSubject, files: FilePool
  ) throws(Problem) -> [Double] {
    // Nothing can be measured without the only one.
    guard group.count > 1 else { return [0] }
    let shares = try OutputScore().scores(of: group, in: subject, files: files)
    let order = shares.indices.sorted { shares[$0] == shares[$1] ? $0 < $1 : shares[$0] < shares[$1] }
    let count = min(Self.groups, group.count)
    var scores = [Double](repeating: 0, count: group.count)
    for index in 0..<count {
      let units = order[index * group.count / count..<(index + 1) * group.count / count]
      let gone = Set(units)
      let rest = AxisChoice((0..<group.count).filter { !gone.contains($0) })
      let candidate = try subject.changed(StructuralChange(choices: [group.axis.instance: rest]))
      let name = "without \(units.count) of \(group.axis.instance)"
      let divergence = try subject.divergence(of: candidate, named: name)
      let sum = units.reduce(0) { $0 + shares[$1] }
      for unit in units { scores[unit] = divergence * (sum > 0 ? shares[unit] / sum : 1 / Double(units.count)) }
    }
    return scores
  }
}
