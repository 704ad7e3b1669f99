internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// Which layers stay, and how many units of every group: what a search varies.
struct Subnet: Hashable {
  var layers: [Bool]
  /// By group; of those whose layers leave, all.
  var kept: [Int]
}

/// All subnets of one size: every layer there or not, with widths of its own.
struct SubnetSpace {
  let tower: ModelDescription.Tower
  let groups: [UnitGroup]
  private let scores: [[Double]]
  private let isComparable: Bool
  private let floor: Double
  private let now: Int
  private let wanted: Int
  private let layerSizes: [Int]
  private let least: [Int]
  /// Groups of the axis with the most units: those that are made to fit.
  private let fine: [Int]
  private let coarse: [Int]

  /// A subnet that is smaller than this share of what is wanted would be another size.
  private static let tightness = 0.97

  /// - Parameter floor: the share of a layer's units that stays.
  init(
    _ subject: any StructuralSubject, score: any UnitScore, to wanted: Int, floor: Double
  ) throws(Problem) {
    let tower = try subject.layeredTower()
    let groups = try UniformWidth.groups("both", of: subject).filter { $0.tower == tower.name && $0.layer != nil }
    (self.tower, self.groups, self.wanted, self.floor) = (tower, groups, wanted, floor)
    isComparable = type(of: score).isComparable
    now = ParameterCount.of(subject.checkpoint, described: subject.description)
    var sizes = [Int](repeating: 0, count: tower.layerCount)
    for parameter in subject.checkpoint.parameters {
      guard let described = subject.description.parameter(named: parameter.name), described.tower == tower.name,
        let layer = described.layer, ParameterCount.isCounted(described)
      else { continue }
      sizes[layer] += parameter.elementCount
    }
    layerSizes = sizes
    least = groups.map { max(1, Int((floor * Double($0.count)).rounded(.up))) }
    let finest = groups.max { $0.count < $1.count }?.axis.name
    fine = groups.indices.filter { groups[$0].axis.name == finest }
    coarse = groups.indices.filter { groups[$0].axis.name != finest }
    let files = FilePool()
    var scores: [[Double]] = []
    for group in groups { scores.append(try score.scores(of: group, in: subject, files: files)) }
    self.scores = scores
  }

  /// Everything there is.
  var whole: Subnet { Subnet(layers: layerSizes.map { _ in true }, kept: groups.map(\.count)) }

  /// Subnets to begin with: the same share of every layer's channels and heads, and what leaves by one order of all
  /// units; those of them that there are.
  var starts: [(text: String, subnet: Subnet)] {
    let allocation = WidthAllocation(groups, from: now, to: wanted)
    var starts: [(text: String, kept: [Int]?)] = [("the same share of every layer", try? allocation.even())]
    if isComparable {
      let costs = scores.map { $0.sorted() }
      starts.append(("by one order of all units", try? allocation.global(costs: costs, floor: floor)))
    }
    return starts.compactMap { text, kept in
      guard let kept, let subnet = fitted(Subnet(layers: whole.layers, kept: kept)) else { return nil }
      return (text, subnet)
    }
  }

  func change(_ subnet: Subnet) -> StructuralChange {
    var change = StructuralChange()
    for (index, group) in groups.enumerated() where isThere(index, subnet) && subnet.kept[index] < group.count {
      change.choices[group.axis.instance] = AxisChoice(scores[index].highest(subnet.kept[index]))
    }
    if subnet.layers.contains(false) {
      change.layers[tower.name] = subnet.layers.indices.filter { subnet.layers[$0] }
    }
    return change
  }

  func steps(_ subnet: Subnet) -> [Restructured.Step] {
    var steps: [Restructured.Step] = []
    for layer in subnet.layers.indices where !subnet.layers[layer] { steps.append(.init("layer \(layer) leaves")) }
    let there = groups.indices.filter { isThere($0, subnet) }
    return steps + UniformWidth.steps(there.map { groups[$0] }, keeping: there.map { subnet.kept[$0] })
  }

  // MARK: - Variation

  /// One to three changes: a layer leaves or returns, a head does, channels become fewer or more.
  func mutated(_ subnet: Subnet, _ draws: inout Draws) -> Subnet {
    var result = subnet
    for _ in 0...draws.below(3) {
      let kind = draws.uniform()
      if kind < 0.15 || (fine.isEmpty && coarse.isEmpty) {
        result.layers[draws.below(result.layers.count)].toggle()
      } else if kind < 0.4, !coarse.isEmpty {
        let index = coarse[draws.below(coarse.count)]
        result.kept[index] += draws.below(2) == 0 ? -1 : 1
      } else {
        let index = fine[draws.below(fine.count)]
        // From 3/5 to 5/3 of it.
        let factor = Elementary.exp((2 * draws.uniform() - 1) * 0.51)
        result.kept[index] = Int((Double(result.kept[index]) * factor).rounded())
      }
    }
    return result
  }

  /// Every layer as it is in one of the two.
  func crossed(_ a: Subnet, _ b: Subnet, _ draws: inout Draws) -> Subnet {
    var result = a
    let fromSecond = result.layers.map { _ in draws.below(2) == 1 }
    for layer in fromSecond.indices where fromSecond[layer] { result.layers[layer] = b.layers[layer] }
    for (index, group) in groups.enumerated() where fromSecond[group.layer ?? 0] { result.kept[index] = b.kept[index] }
    return result
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

  private func isThere(_ group: Int, _ subnet: Subnet) -> Bool { subnet.layers[groups[group].layer ?? 0] }
}

/// Random numbers one after the other.
struct Draws {
  private let random: KeyedRandom
  private var next = 0

  init(seed: Int) { random = KeyedRandom(seed: UInt64(seed), name: "search") }

  /// From 0 to below 1.
  mutating func uniform() -> Double {
    var value: Float = 0
    random.uniforms(startingAt: next, into: &value, count: 1)
    next += 1
    return Double(value)
  }

  mutating func below(_ count: Int) -> Int { min(count - 1, Int(uniform() * Double(count))) }
}
