/// All solutions of a multiple-choice knapsack up to a target value, by dynamic programming from the last item to the
/// first; see ``ChoiceKnapsack``.
struct ChoiceSearch {
  enum Outcome {
    /// The best solution up to the target; nil if there is none.
    case whole([ChoiceFrontier.Choice]?)
    /// More states than allowed would have to be held.
    case stopped
  }

  /// One multiplier with what it says of items that are still open.
  private struct Bound {
    let multiplier: Double
    /// Of index i: the sum of the least value + multiplier * weight of the items before i.
    let open: [Double]
    /// What value + multiplier * weight + open may be at most.
    let most: Double

    init(_ items: [[ChoiceFrontier.Choice]], multiplier: Double, limit: Double, target: Double, rounding: Double) {
      self.multiplier = multiplier
      open = ChoiceSearch.sums(items.map { $0.least(multiplier) })
      let whole = target + multiplier * limit
      most = whole + rounding * (whole + open[items.count]) + .leastNormalMagnitude
    }
  }

  /// Choices in the order in which they were given.
  private let items: [[ChoiceFrontier.Choice]]
  private let bounds: [Bound]
  /// Of index i: the least weight of the items before i.
  private let openWeights: [Double]
  private let limit: Double
  /// The limit with what rounding may add to a sum that is within it.
  private let mostWeight: Double

  /// - Parameters:
  ///   - target: solutions of a greater value may be left out.
  ///   - multiplier: the relaxation's; others around it bound partial choices that are far from its weight.
  ///   - rounding: the relative error of sums.
  init(_ given: [ChoiceFrontier], limit: Double, target: Double, multiplier: Double, rounding: Double) {
    func bounds(_ items: [[ChoiceFrontier.Choice]]) -> [Bound] {
      ([1, 0.5, 2, 0] as [Double]).map {
        Bound(items, multiplier: $0 * multiplier, limit: limit, target: target, rounding: rounding)
      }
    }
    // Without the choices that lead beyond the target whatever the others are.
    let first = bounds(given.map(\.choices))
    let open = given.enumerated().map { index, item in
      item.keeping { choice in
        first.allSatisfy { bound in
          let others = bound.open[given.count] - (bound.open[index + 1] - bound.open[index])
          return choice.value + bound.multiplier * choice.weight + others <= bound.most
        }
      }
    }
    items = open
    self.bounds = bounds(open)
    openWeights = Self.sums(open.map { $0.reduce(.infinity) { min($0, $1.weight) } })
    self.limit = limit
    mostWeight = limit + rounding * limit
  }

  /// Of index i: the sum of the first i.
  private static func sums(_ values: [Double]) -> [Double] {
    values.reduce(into: [0]) { sums, value in sums.append(sums[sums.count - 1] + value) }
  }

  /// - Parameters:
  ///   - effort: the most links that are held; a quarter as many states may come of an item.
  ///   - width: the most states that go on from an item to the next, those of the least bound; nil for all.
  func best(effort: Int, width: Int = .max) -> Outcome {
    guard items.allSatisfy({ !$0.isEmpty }) else { return .whole(nil) }
    var partial = PartialChoices.start
    // An item that leaves the states as they are has no links.
    var links: [[PartialChoices.Link]?] = []
    var held = 0
    for index in items.indices.reversed() {
      let choices = items[index]
      guard partial.states.count <= effort / 4 / choices.count else { return .stopped }
      let count = partial.states.count
      partial = extended(partial, at: index, choices.indices).least(width) {
        $0.value + bounds[0].multiplier * $0.weight
      }
      if choices.count == 1, partial.states.count == count {
        links.append(nil)
      } else {
        links.append(partial.links)
        held += partial.states.count
        guard held <= effort else { return .stopped }
      }
    }
    return .whole(choices(from: partial, links))
  }

  /// The states with one of these choices of the item; the earlier half's stay where two are equal.
  private func extended(_ partial: PartialChoices, at index: Int, _ choices: Range<Int>) -> PartialChoices {
    guard choices.count == 1 else {
      let middle = (choices.lowerBound + choices.upperBound) / 2
      return PartialChoices.merging(
        extended(partial, at: index, choices.lowerBound..<middle),
        extended(partial, at: index, middle..<choices.upperBound))
    }
    let position = choices.lowerBound
    let room = mostWeight - openWeights[index]
    let (b0, b1, b2, b3) = (bounds[0], bounds[1], bounds[2], bounds[3])
    let rooms = (
      b0.most - b0.open[index], b1.most - b1.open[index], b2.most - b2.open[index], b3.most - b3.open[index]
    )
    return partial.adding(items[index][position], at: position) { weight, value in
      weight <= room && value + b0.multiplier * weight <= rooms.0 && value + b1.multiplier * weight <= rooms.1
        && value + b2.multiplier * weight <= rooms.2 && value + b3.multiplier * weight <= rooms.3
    }
  }

  /// Follows the links of the state of the least value within the limit.
  private func choices(
    from last: PartialChoices, _ links: [[PartialChoices.Link]?]
  ) -> [ChoiceFrontier.Choice]? {
    guard var state = last.states.lastIndex(where: { $0.weight <= limit }) else { return nil }
    return zip(items, links.reversed()).map { item, links in
      guard let link = links?[state] else { return item[0] }
      state = Int(link.parent)
      return item[Int(link.choice)]
    }
  }
}
