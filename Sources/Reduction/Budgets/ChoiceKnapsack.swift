/// The multiple-choice knapsack: one choice of every item, so that the weights stay within a limit and the sum of values
/// is least.
///
/// 1. Choices that are worse than another in both weight and value are left out.
/// 2. ``ChoiceRelaxation`` gives a multiplier, a lower bound L and a first solution, the incumbent.
/// 3. Dynamic programming over lists of partial choices that are not worse than others (``PartialChoices``) looks for all
///    solutions of a value up to a target T, beginning a little above L. For any multiplier m >= 0 a partial choice of the
///    items from i on leads to nothing better than
///
///        value + m (weight - limit) + sum over the items before i of their min (value + m weight)
///
///    so that where this exceeds T it is dropped, at several m. If a solution up to T exists, the best one is among what is
///    left, and proven. If not, T is a lower bound, and the search goes on with a target farther up; at the latest it
///    finds the incumbent.
/// 4. If more than `effort` partial choices would have to be held, the last search keeps the most promising ones only. Its
///    best solution comes with the largest lower bound that was shown.
///
/// Lists hold no more than one partial choice for each total weight. For whole weights the search therefore needs no more
/// than dynamic programming over an array of limit / (greatest common divisor) + 1 weights for each item, and ends if that
/// is within the effort; the bounds usually leave a vanishing part of it.
///
/// Rounding: sums run from the last item to the first in float64. Rounded addition is monotone, so that dropping what is
/// worse in both sums never drops the best rounded sum; bounds are only trusted beyond their own rounding error. The
/// result is thus the best of the rounded sums.
///
/// Source: lists of states `nemhauser1969allocation`; bounds and a core around the relaxation's solution
/// `pisinger1995multiplechoice`. Ours: targets instead of an expanding core.
struct ChoiceKnapsack {
  struct Solution {
    /// Indices as the items were given.
    var choices: [Int]
    var value: Double
    var isProven: Bool
    /// No solution's value is less.
    var lowerBound: Double
  }

  private let items: [ChoiceFrontier]
  private let limit: Double
  private let effort: Int

  /// - Parameters:
  ///   - items: values and weights, finite and not negative; every item has a choice, and the lightest of all fit together.
  ///   - effort: how many partial choices may be held, at up to 20 bytes each.
  init(_ items: [[(value: Double, weight: Double)]], limit: Double, effort: Int) {
    self.items = items.map(ChoiceFrontier.init)
    self.limit = limit
    self.effort = effort
  }

  func solution() -> Solution {
    // Rounding of a sum of as many terms as there are items, relative to the largest sum that matters.
    let rounding = Double(items.count + 8) * 0x1p-51
    let relaxation = ChoiceRelaxation(items, limit: limit)
    var incumbent = relaxation.choices
    var best = value(of: incumbent)
    var lowerBound = max(0, relaxation.bound - rounding * (best + relaxation.multiplier * limit))
    let (bound, gap) = (lowerBound, max(best - lowerBound, 0))
    for share in [0x1p-10, 0x1p-8, 0x1p-6, 0x1p-4, 0x1p-2, 1] {
      let target = share == 1 ? best : min(best, bound + share * gap)
      let search = search(to: target, relaxation.multiplier, rounding)
      guard case .whole(let found) = search.best(effort: effort) else { break }
      if let found, value(of: found) <= best { (incumbent, best) = (found, value(of: found)) }
      lowerBound = min(best, target)
      if best <= target {
        return Solution(choices: incumbent.map(\.index), value: best, isProven: true, lowerBound: best)
      }
    }
    let width = effort / max(items.count, 4 * (items.map(\.choices.count).max() ?? 0), 1)
    let search = search(to: best, relaxation.multiplier, rounding)
    if case .whole(let found?) = search.best(effort: effort, width: max(1, width)), value(of: found) < best {
      (incumbent, best) = (found, value(of: found))
    }
    return Solution(choices: incumbent.map(\.index), value: best, isProven: false, lowerBound: min(best, lowerBound))
  }

  private func search(to target: Double, _ multiplier: Double, _ rounding: Double) -> ChoiceSearch {
    ChoiceSearch(items, limit: limit, target: target, multiplier: multiplier, rounding: rounding)
  }

  private func value(of choices: [ChoiceFrontier.Choice]) -> Double { choices.reversed().reduce(0) { $0 + $1.value } }
}
