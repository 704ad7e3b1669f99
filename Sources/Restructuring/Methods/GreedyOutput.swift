internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints
public import EspalierNetworks
internal import EspalierNumerics

/// Channels and heads leave one by one, each time that for which the others make up best; then least squares bring the
/// outputs of every block near to what they were.
public struct GreedyOutput: StructuralMethod {
  public static let card = MethodCard(
    name: "greedy-output",
    summary: "units leave whose block's output the others can best make up for, then least squares",
    source: "li2025greedy",
    parameters: [
      UniformWidth.axisCard, UniformWidth.allocationCard, UniformWidth.floorCard,
      ParameterCard(
        "reconstruct", .integer(0...2), default: .number(1),
        "0: none; 1: by statistics of the original; 2: then map after map, on what reaches it in the model that is left"
      ),
      ParameterCard(
        "damp", .number(0...1), default: .number(LeastSquaresRepair.standardDamp),
        "added to the inputs' mean squares, as a share of their mean"),
    ],
    notes:
      "The pairs of depth 2 are those of the source: up and gate with down, values with the output projection. A unit "
      + "is taken out with the best map that is left, and its cost is what the block's squared error grows by, exactly up "
      + "to the damping, which counts as noise on the inputs; the source's criteria leave the others' compensation out. Channels and heads are told by the same criterion; the source's "
      + "heads by similarity. The source's pre-pruning recovery is the first reconstruction here; the second aims at the "
      + "original's outputs. Needs whole second moments; reconstruct=2 needs text, and harms a "
      + "model that is far from the original by then.")
  public static let repairs = true

  private let axis: String
  private let isGlobal: Bool
  private let floor: Double
  private let reconstructions: Int
  private let damp: Double

  public init(_ parameters: StructuralParameters) throws(Problem) {
    axis = parameters.word("axis") ?? "inner"
    isGlobal = parameters.word("allocate") == "global"
    floor = parameters.number("floor") ?? 0.25
    reconstructions = parameters.integer("reconstruct") ?? 1
    damp = parameters.number("damp") ?? LeastSquaresRepair.standardDamp
  }

  public var needs: StructuralNeed { reconstructions == 2 ? .text : .statistics }

  public func check(_ model: any StructuralModel, to parameters: Int) throws(Problem) {
    let groups = try UniformWidth.groups(axis, of: model)
    for group in groups { try group.requireReaders(Self.card) }
    let allocation = WidthAllocation(groups, of: model, to: parameters)
    if isGlobal { _ = try allocation.requireReachable(floor: floor) } else { _ = try allocation.even() }
  }

  public func bytes(for model: any StructuralModel, _ network: Network, lengths: [Int]) throws(Problem) -> Int {
    let groups = try UniformWidth.groups(axis, of: model)
    let readers = groups.flatMap(\.readers)
    var most = groups.map { RepairMemory.eliminating($0.readers) }.max() ?? 0
    if reconstructions > 0 { most = max(most, RepairMemory.solving(readers)) }
    if reconstructions > 1 {
      most = max(
        most, RepairMemory.solving(readers) + (try RepairMemory.running(readers, network, lengths: lengths)))
    }
    return most
  }

  public func restructure(_ subject: any StructuralSubject, to parameters: Int) throws(Problem) -> Restructured {
    guard reconstructions < 2 || !subject.sequences.isEmpty else {
      throw Problem(
        .restructuring, "the second reconstruction runs the model on text",
        remedy: "Give --text, or --set reconstruct=1.")
    }
    let groups = try UniformWidth.groups(axis, of: subject)
    let allocation = WidthAllocation(groups, of: subject, to: parameters)
    var kept = isGlobal ? groups.map { _ in 1 } : try allocation.even()
    let files = FilePool()
    var leaving: [[(unit: Int, cost: Double)]] = []
    for (index, group) in groups.enumerated() {
      subject.progress("order of \(group.axis.instance)")
      leaving.append(try order(of: group, group.count - kept[index], in: subject, files: files))
    }
    if isGlobal { kept = try allocation.global(costs: leaving.map { $0.map(\.cost) }, floor: floor) }
    var choices: [String: AxisChoice] = [:]
    for (index, group) in groups.enumerated() {
      let gone = Set(leaving[index].prefix(group.count - kept[index]).map(\.unit))
      choices[group.axis.instance] = AxisChoice((0..<group.count).filter { !gone.contains($0) })
    }
    let changed = try subject.changed(StructuralChange(choices: choices))
    let cut = Restructured(changed, steps: UniformWidth.steps(groups, keeping: kept))
    guard reconstructions > 0 else { return cut }
    let repaired = try LeastSquaresRepair(damp: damp).repaired(cut, of: subject)
    guard reconstructions > 1 else { return repaired }
    return try SequentialRepair(damp: damp).repaired(repaired, from: changed, of: subject)
  }

  /// The first units that leave, with what each adds to the squared error of the outputs of its block.
  private func order(
    of group: UnitGroup, _ count: Int, in subject: any StructuralSubject, files: FilePool
  ) throws(Problem) -> [(unit: Int, cost: Double)] {
    try group.requireReaders(Self.card)
    var maps: [(columns: ColumnElimination, places: [[Int]])] = []
    for member in group.readers {
      guard let site = member.parameter.inputSite else { continue }
      let weight = try member.stored.matrix(isTransposed: member.parameter.recipe.isTransposed, files: files)
      let statistics = try subject.statistics(ofSite: site)
      var moment = try subject.moment(ofSite: site, width: weight.columns)
      for index in moment.elements.indices { moment.elements[index] /= Double(max(1, statistics.count)) }
      guard
        let columns = try ColumnElimination(weight, moment: moment, damp: damp, parallel: subject.workers.forEach)
      else { continue }
      var places: [[Int]] = []
      for unit in 0..<group.count { places.append(try group.places(of: [unit], in: member)) }
      maps.append((columns, places))
    }
    var left = Array(0..<group.count)
    var order: [(unit: Int, cost: Double)] = []
    while order.count < count {
      let costs = left.map { unit in maps.reduce(0) { $0 + $1.columns.cost(of: $1.places[unit]) } }
      guard let next = costs.indices.min(by: { (costs[$0], $0) < (costs[$1], $1) }) else { break }
      let unit = left.remove(at: next)
      order.append((unit, costs[next]))
      for index in maps.indices { for place in maps[index].places[unit] { maps[index].columns.remove(place) } }
    }
    return order
  }
}
