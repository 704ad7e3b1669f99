internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints

/// Which layers stay, how many units of every group, and by which score they are chosen: what a search varies.
struct Subnet: Hashable {
  var layers: [Bool]
  /// By group; of those whose layers leave, all.
  var kept: [Int]
  /// By group the number of the score whose highest units stay.
  var masks: [Int]
}

/// All subnets of one size: every layer there or not, with widths and masks of its own.
struct SubnetSpace {
  let tower: ModelDescription.Tower
  let groups: [UnitGroup]
  /// By score, then by group.
  let scores: [[[Double]]]
  /// Groups of the axis with the most units: those that are made to fit.
  let fine: [Int]
  let coarse: [Int]
  private let names: [String]
  private let isComparable: Bool
  private let floor: Double
  private let now: Int
  private let wanted: Int
  private let layerSizes: [Int]
  private let least: [Int]

  /// A subnet that is smaller than this share of what is wanted would be another size.
  private static let tightness = 0.97

  /// - Parameters:
  ///   - masks: by which units may be chosen; the first says with what widths to begin.
  ///   - floor: the share of a layer's units that stays.
  init(
    _ subject: any StructuralSubject, masks: [any UnitScore], to wanted: Int, floor: Double
  ) throws(Problem) {
    let tower = try subject.layeredTower()
    let groups = try Self.groups(of: tower, in: subject)
    (self.tower, self.groups, self.wanted, self.floor) = (tower, groups, wanted, floor)
    isComparable = masks.first.map { type(of: $0).isComparable } ?? false
    names = masks.map { type(of: $0).card.name }
    now = ParameterCount.of(subject.checkpoint, described: subject.description)
    layerSizes = subject.layerSizes(of: tower)
    least = groups.map { $0.least(floor: floor) }
    let finest = groups.max { $0.count < $1.count }?.axis.name
    fine = groups.indices.filter { groups[$0].axis.name == finest }
    coarse = groups.indices.filter { groups[$0].axis.name != finest }
    let files = FilePool()
    var scores: [[[Double]]] = []
    for mask in masks {
      var found: [[Double]] = []
      for group in groups { found.append(try mask.scores(of: group, in: subject, files: files)) }
      scores.append(found)
    }
    self.scores = scores
  }

  private static func groups(
    of tower: ModelDescription.Tower, in model: any StructuralModel
  ) throws(Problem) -> [UnitGroup] {
    try UniformWidth.groups("both", of: model).filter { $0.tower == tower.name && $0.layer != nil }
  }

  /// The fewest numbers of a subnet to begin with: all layers at their floor, but for as many as one variation takes out.
  static func leastNumbers(of model: any StructuralModel, floor: Double) throws(Problem) -> Int {
    let tower = try model.layeredTower()
    let groups = try groups(of: tower, in: model)
    var sizes = model.layerSizes(of: tower)
    let rest = ParameterCount.of(model.checkpoint, described: model.description) - sizes.reduce(0, +)
    for group in groups {
      sizes[group.layer ?? 0] -= (group.count - group.least(floor: floor)) * group.parametersPerUnit
    }
    return rest + sizes.sorted().prefix(max(1, sizes.count - mostMoves)).reduce(0, +)
  }

  /// Everything there is.
  var whole: Subnet {
    Subnet(layers: layerSizes.map { _ in true }, kept: groups.map(\.count), masks: groups.map { _ in 0 })
  }

  /// Subnets to begin with, those of them that there are: the same share of every layer's channels (where they do not
  /// suffice, of heads too), what leaves by one order of all channels, and of heads too, and what lies between.
  var starts: [(text: String, subnet: Subnet)] {
    let channels = fine.map { groups[$0] }
    func widths(_ kept: [Int]?) -> [Int]? {
      kept.map { kept in
        var all = groups.map(\.count)
        for (index, count) in zip(fine, kept) { all[index] = count }
        return all
      }
    }
    func global(_ indices: [Int]) -> [Int]? {
      guard isComparable else { return nil }
      return try? WidthAllocation(indices.map { groups[$0] }, from: now, to: wanted).global(
        costs: indices.map { scores[0][$0].sorted() }, floor: floor)
    }
    let even =
      widths(try? WidthAllocation(channels, from: now, to: wanted).even())
      ?? (try? WidthAllocation(groups, from: now, to: wanted).even())
    let order = widths(global(fine))
    var starts: [(text: String, kept: [Int]?)] = [
      ("the same share of every layer", even), ("by one order of all channels", order),
    ]
    if let even, let order {
      for share in [0.5, 0.25, 0.75] {
        let kept = zip(even, order).map { Int((Double($0) + share * Double($1 - $0)).rounded()) }
        starts.append(("\(share) of the way from the one to the other", kept))
      }
    }
    if !coarse.isEmpty { starts.append(("by one order of all channels and heads", global(Array(groups.indices)))) }
    return starts.compactMap { text, kept in
      guard let kept else { return nil }
      var subnet = whole
      subnet.kept = kept
      return fitted(subnet).map { (text, $0) }
    }
  }

  /// Widths of channels by what the model was measured to lose without a share of each layer's, one run a layer; nil if
  /// there is no such subnet.
  func measuredStart(in subject: any StructuralSubject) throws(Problem) -> Subnet? {
    let allocation = WidthAllocation(fine.map { groups[$0] }, from: now, to: wanted)
    guard allocation.share > 0, allocation.share < 1 else { return nil }
    var costs: [[Double]] = []
    for index in fine {
      let scores = scores[0][index]
      costs.append(
        try groups[index].measuredCosts(scores.sorted(), share: allocation.share, in: subject) {
          AxisChoice(scores.highest($0))
        })
    }
    guard let kept = try? allocation.global(costs: costs, floor: floor) else { return nil }
    var subnet = whole
    for (index, count) in zip(fine, kept) { subnet.kept[index] = count }
    return fitted(subnet)
  }

  func change(_ subnet: Subnet) -> StructuralChange {
    var change = StructuralChange()
    for (index, group) in groups.enumerated() where isThere(index, subnet) && subnet.kept[index] < group.count {
      let scores = scores[subnet.masks[index]][index]
      change.choices[group.axis.instance] = AxisChoice(scores.highest(subnet.kept[index]))
    }
    if subnet.layers.contains(false) {
      change.layers[tower.name] = subnet.layers.indices.filter { subnet.layers[$0] }
    }
    return change
  }

  func steps(_ subnet: Subnet) -> [Restructured.Step] {
    var steps: [Restructured.Step] = []
    for layer in subnet.layers.indices where !subnet.layers[layer] { steps.append(.init("layer \(layer) leaves")) }
    for (index, group) in groups.enumerated() where isThere(index, subnet) {
      let mask = subnet.kept[index] < group.count ? " by \(names[subnet.masks[index]])" : ""
      steps.append(.init("\(group.axis.instance): \(subnet.kept[index]) of \(group.count) stay\(mask)"))
    }
    return steps
  }

  /// The subnet with channels of all layers scaled alike until it has the size that is wanted; nil if none has.
  func fitted(_ subnet: Subnet) -> Subnet? {
    var start = subnet
    for (index, group) in groups.enumerated() {
      start.kept[index] =
        isThere(index, start) ? max(least[index], min(group.count, start.kept[index])) : group.count
    }
    guard start.layers.contains(true) else { return nil }
    func scaled(_ factor: Double) -> Subnet {
      var result = start
      for index in fine where isThere(index, start) {
        result.kept[index] = max(least[index], min(groups[index].count, Int(Double(start.kept[index]) * factor)))
      }
      return result
    }
    var (low, high) = (0.0, 16.0)
    guard size(of: scaled(low)) <= wanted else { return nil }
    for _ in 0..<40 {
      let middle = (low + high) / 2
      if size(of: scaled(middle)) <= wanted { low = middle } else { high = middle }
    }
    var result = scaled(low)
    for index in fine where isThere(index, result) && result.kept[index] < groups[index].count {
      if size(of: result) + groups[index].parametersPerUnit <= wanted { result.kept[index] += 1 }
    }
    // Where all units stay no score chooses: such subnets are one.
    for (index, group) in groups.enumerated() where result.kept[index] == group.count { result.masks[index] = 0 }
    return Double(size(of: result)) >= Self.tightness * Double(wanted) ? result : nil
  }

  /// Numbers of the model that a subnet is.
  func size(of subnet: Subnet) -> Int {
    var size = now
    for layer in subnet.layers.indices where !subnet.layers[layer] { size -= layerSizes[layer] }
    for (index, group) in groups.enumerated() where isThere(index, subnet) {
      size -= (group.count - subnet.kept[index]) * group.parametersPerUnit
    }
    return size
  }

  func isThere(_ group: Int, _ subnet: Subnet) -> Bool { subnet.layers[groups[group].layer ?? 0] }
}
