internal import EspalierBasics
internal import EspalierNumerics

/// How subnets come from others: the moves of a search.
extension SubnetSpace {
  static let mostMoves = 3

  /// One to three moves: numbers go from one layer's channels to another's, one layer becomes wider or narrower, its units
  /// are chosen by another score, a head leaves or returns, a layer does.
  ///
  /// - Parameter reach: the largest step, of the logarithm of a width. Layers leave and return the more rarely the smaller
  ///   it is.
  func mutated(_ subnet: Subnet, reach: Double, _ draws: inout Draws) -> Subnet {
    var result = subnet
    for _ in 0...draws.below(Self.mostMoves) {
      let there = fine.filter { isThere($0, result) }
      let kind = draws.uniform()
      if kind < 0.2 * reach || there.isEmpty {
        result.layers[draws.below(result.layers.count)].toggle()
      } else if kind < 0.4 * reach, !coarse.isEmpty {
        result.kept[coarse[draws.below(coarse.count)]] += draws.below(2) == 0 ? -1 : 1
      } else if kind < 0.5, scores.count > 1 {
        result.masks[draws.below(groups.count)] = draws.below(scores.count)
      } else if kind < 0.6 {
        let index = there[draws.below(there.count)]
        let factor = Elementary.exp((2 * draws.uniform() - 1) * reach)
        result.kept[index] = Int((Double(result.kept[index]) * factor).rounded())
      } else {
        let (giver, taker) = (there[draws.below(there.count)], there[draws.below(there.count)])
        pass(reach * draws.uniform(), of: giver, to: taker, in: &result)
      }
    }
    return result
  }

  /// As many numbers as a share of one group's units has become units of another, as far as there is room.
  private func pass(_ share: Double, of giver: Int, to taker: Int, in subnet: inout Subnet) {
    let (from, to) = (groups[giver].parametersPerUnit, max(1, groups[taker].parametersPerUnit))
    let room = (groups[taker].count - subnet.kept[taker]) * to / max(1, from)
    let units = min(max(0, room), max(1, Int((share * Double(subnet.kept[giver])).rounded())))
    subnet.kept[giver] -= units
    subnet.kept[taker] += units * from / to
  }

  /// Every layer as it is in one of the two.
  func crossed(_ a: Subnet, _ b: Subnet, _ draws: inout Draws) -> Subnet {
    var result = a
    let fromSecond = result.layers.map { _ in draws.below(2) == 1 }
    for layer in fromSecond.indices where fromSecond[layer] { result.layers[layer] = b.layers[layer] }
    for (index, group) in groups.enumerated() where fromSecond[group.layer ?? 0] {
      (result.kept[index], result.masks[index]) = (b.kept[index], b.masks[index])
    }
    return result
  }
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
