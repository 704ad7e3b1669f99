internal import EspalierArchitectures
internal import EspalierBasics

/// How many units of every group stay, so that a model becomes as small as it should.
struct WidthAllocation {
  let groups: [UnitGroup]
  /// Numbers that have to leave, at least.
  let excess: Int

  /// - Parameters:
  ///   - now: numbers of the model.
  ///   - wanted: that are to be left at most.
  init(_ groups: [UnitGroup], from now: Int, to wanted: Int) {
    self.groups = groups
    excess = now - wanted
    (self.now, self.wanted) = (now, wanted)
  }

  init(_ groups: [UnitGroup], of model: any StructuralModel, to wanted: Int) {
    self.init(
      groups, from: ParameterCount.of(model.checkpoint, described: model.description), to: wanted)
  }

  private let now: Int
  private let wanted: Int

  /// The share of every group that stays if all lose the same.
  var share: Double { 1 - Double(excess) / Double(max(1, groups.reduce(0) { $0 + $1.parametersPerUnit * $1.count })) }

  /// The same share of every group, in multiples of a number; groups of fewer units than that keep any number. Of axes of
  /// few units, as of heads, the nearest number of units stays, or as many fewer as it takes; those of the most units make
  /// up for the rest.
  ///
  /// - Throws: `restructuring` if nothing would be left of a group, or too many numbers.
  func even(multiple: Int = 1) throws(Problem) -> [Int] {
    func step(_ group: UnitGroup) -> Int { group.count < multiple ? 1 : multiple }
    let finest = groups.map(\.count).max() ?? 0
    var fewer = 0
    while true {
      let kept = even(finest, fewer, step: step)
      if kept.allSatisfy({ $0 > 0 }), size(keeping: kept) <= wanted { return kept }
      fewer += 1
      guard zip(groups, kept).contains(where: { $0.count < finest && $1 > step($0) }) else {
        throw unreachable(leaving: groups.map { $0.count - step($0) })
      }
    }
  }

  /// - Parameters:
  ///   - finest: the most units of a group.
  ///   - fewer: steps that every group of fewer units is below the nearest number.
  private func even(_ finest: Int, _ fewer: Int, step: (UnitGroup) -> Int) -> [Int] {
    var kept = groups.map { group in
      let (step, most) = (step(group), group.count / step(group))
      let nearest = Int((share * Double(group.count) / Double(step)).rounded())
      return group.count == finest ? 0 : step * max(1, min(most, nearest) - fewer)
    }
    let gone = groups.indices.filter { kept[$0] > 0 }.reduce(0) {
      $0 + groups[$1].parametersPerUnit * (groups[$1].count - kept[$1])
    }
    let fine = groups.indices.filter { groups[$0].count == finest }
    let weight = fine.reduce(0) { $0 + groups[$1].parametersPerUnit * groups[$1].count }
    let rest = min(1, 1 - Double(excess - gone) / Double(max(1, weight)))
    for index in fine {
      let step = step(groups[index])
      kept[index] = Int(rest * Double(finest) + 1e-9) / step * step
    }
    return kept
  }

  /// Numbers of the model when so many units of every group stay.
  func size(keeping kept: [Int]) -> Int {
    zip(groups, kept).reduce(now) { $0 - $1.0.parametersPerUnit * ($1.0.count - $1.1) }
  }

  /// - Parameter floor: the share of a group that stays; one unit always does.
  /// - Throws: `restructuring` if too many numbers are left without all the others.
  /// - Returns: how many units of every group stay then.
  func requireReachable(floor: Double) throws(Problem) -> [Int] {
    let most = removable(floor)
    try requireReachable(leaving: most)
    return zip(groups, most).map { $0.count - $1 }
  }

  /// - Parameter most: of every group the units that may leave.
  func requireReachable(leaving most: [Int]) throws(Problem) {
    guard size(keeping: zip(groups, most).map { $0.count - $1 }) <= wanted else { throw unreachable(leaving: most) }
  }

  private func removable(_ floor: Double) -> [Int] {
    groups.map { $0.count - $0.least(floor: floor) }
  }

  /// Of all units of all groups those leave whose leaving costs least for each number that leaves with them.
  ///
  /// - Parameters:
  ///   - costs: of every group, in the order in which its units leave.
  ///   - floor: the share of a group that stays; one unit always does.
  /// - Throws: `restructuring` if that leaves too many numbers.
  func global(costs: [[Double]], floor: Double) throws(Problem) -> [Int] {
    let removable = removable(floor)
    var left = groups.map { _ in 0 }
    var gone = 0
    while gone < excess {
      let next = groups.indices.filter { left[$0] < removable[$0] }.min { a, b in
        let (first, second) = (price(a, costs[a][left[a]]), price(b, costs[b][left[b]]))
        return first == second ? a < b : first < second
      }
      guard let next else { throw unreachable(leaving: removable) }
      left[next] += 1
      gone += groups[next].parametersPerUnit
    }
    return groups.indices.map { groups[$0].count - left[$0] }
  }

  private func price(_ group: Int, _ cost: Double) -> Double {
    cost / Double(max(1, groups[group].parametersPerUnit))
  }

  private func unreachable(leaving most: [Int]) -> Problem {
    let least = size(keeping: zip(groups, most).map { $0.count - $1 })
    let names = Set(groups.map(\.axis.name)).sorted().map { "`\($0)`" }.joined(separator: ", ")
    return Problem(
      .restructuring, "\(wanted) numbers cannot be reached by \(names) alone: \(least) to \(now) can",
      remedy: "Ask for more, or let another method take layers too.")
  }
}
