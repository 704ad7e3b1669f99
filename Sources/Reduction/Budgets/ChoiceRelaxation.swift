/// Choices of one item that are worth a look: none is worse than another in both weight and value.
///
/// In ascending weight, so values descend strictly. Of choices that are equal in both, the first is kept.
struct ChoiceFrontier {
  struct Choice {
    var value: Double
    var weight: Double
    /// In the item as it was given.
    var index: Int
  }

  let choices: [Choice]

  init(_ given: [(value: Double, weight: Double)]) {
    let order = given.indices.sorted {
      (given[$0].weight, given[$0].value, $0) < (given[$1].weight, given[$1].value, $1)
    }
    var kept: [Choice] = []
    for index in order where kept.last.map({ given[index].value < $0.value }) ?? true {
      kept.append(Choice(value: given[index].value, weight: given[index].weight, index: index))
    }
    choices = kept
  }

  /// Some of them, in the order in which they were given.
  func keeping(_ isKept: (Choice) -> Bool) -> [Choice] { choices.filter(isKept).sorted { $0.index < $1.index } }

  /// Positions of the choices on the lower convex hull of (weight, value), ascending.
  var hull: [Int] {
    var hull: [Int] = []
    for next in choices.indices {
      while hull.count >= 2, slope(hull[hull.count - 1], next) >= slope(hull[hull.count - 2], hull[hull.count - 1]) {
        hull.removeLast()
      }
      hull.append(next)
    }
    return hull
  }

  /// What value a unit of weight takes off between two choices.
  func slope(_ from: Int, _ to: Int) -> Double {
    (choices[from].value - choices[to].value) / (choices[to].weight - choices[from].weight)
  }
}

extension [ChoiceFrontier.Choice] {
  /// The least of value + multiplier * weight.
  func least(_ multiplier: Double) -> Double { reduce(.infinity) { Swift.min($0, $1.value + multiplier * $1.weight) } }
}

/// The Lagrangian relaxation of a multiple-choice knapsack at the multiplier that bounds best, and what it suggests.
///
///     L(m) = sum over i of min over c of (value(i, c) + m weight(i, c)) - m limit  <=  the least value,   m >= 0
///
/// L is concave and piecewise linear, and its corners are the slopes of the items' hulls. So instead of halving an interval
/// around the best multiplier it is found at once: all steps along the hulls are sorted by slope and taken until one does
/// not fit; that step's slope is the multiplier, and L there is the optimum of the linear relaxation.
///
/// Source: `everett1963lagrange`, `sinha1979multiplechoice`.
struct ChoiceRelaxation {
  let multiplier: Double
  /// L(multiplier) in float64, not corrected for rounding.
  let bound: Double
  /// What comes of taking all steps that fit: a solution within the limit.
  let choices: [ChoiceFrontier.Choice]

  /// - Parameter items: frontiers whose lightest choices fit the limit together.
  init(_ items: [ChoiceFrontier], limit: Double) {
    struct Step {
      var item: Int
      var from: Int
      var to: Int
      var slope: Double
    }
    var steps: [Step] = []
    for (item, frontier) in items.enumerated() {
      let hull = frontier.hull
      for (from, to) in zip(hull, hull.dropFirst()) {
        steps.append(Step(item: item, from: from, to: to, slope: frontier.slope(from, to)))
      }
    }
    // Slopes of one hull descend, so an item's steps stay in their order.
    steps.sort { ($1.slope, $0.item, $0.from) < ($0.slope, $1.item, $1.from) }
    var positions = [Int](repeating: 0, count: items.count)
    var weights = items.map { $0.choices[0].weight }
    // What the solver would call the weight: summed from the last item to the first.
    var weight = weights.reversed().reduce(0, +)
    var multiplier: Double?
    for step in steps where positions[step.item] == step.from {
      let target = items[step.item].choices[step.to].weight
      let next = weight + (target - weights[step.item])
      if next <= limit {
        positions[step.item] = step.to
        weights[step.item] = target
        weight = next
      } else if multiplier == nil {
        multiplier = step.slope
      }
    }
    // Differences were added up: should their rounding hide an excess, steps are taken back from the last item on.
    while weights.reversed().reduce(0, +) > limit, let item = positions.lastIndex(where: { $0 > 0 }) {
      positions[item] -= 1
      weights[item] = items[item].choices[positions[item]].weight
    }
    // Any multiplier bounds, so one that would make products overflow is cut down.
    let heaviest = items.reduce(1) { $0 + ($1.choices.last?.weight ?? 0) }
    let best = min(multiplier ?? 0, 0x1p900 / heaviest)
    self.multiplier = best
    choices = zip(items, positions).map { $0.choices[$1] }
    bound = items.reduce(0) { $0 + $1.choices.least(best) } - best * limit
  }
}
