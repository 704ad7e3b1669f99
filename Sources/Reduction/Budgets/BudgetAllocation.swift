public import EspalierBasics
public import EspalierNumerics

/// What one matrix may become: its choices with what each costs and what each does to the outputs.
public struct AllocationItem: Sendable, Hashable {
  public struct Choice: Sendable, Hashable {
    /// Numbers or bytes, not negative.
    public var cost: Int
    /// Not negative, finite; errors of items add up.
    public var error: Double

    public init(cost: Int, error: Double) {
      self.cost = cost
      self.error = error
    }
  }

  /// For messages.
  public var name: String
  /// In any order: neither costs nor errors have to fall, let alone to be convex.
  public var choices: [Choice]

  public init(_ name: String, choices: [Choice]) {
    self.name = name
    self.choices = choices
  }
}

/// One choice for every item.
public struct Allocation: Sendable, Hashable {
  /// The index of each item's choice.
  public var choices: [Int]
  public var cost: Int
  /// The sum of the errors; where a limit was set for each, the largest.
  public var error: Double
  /// How far this is from the best allocation, in what was to be least: 0 and exact where it is proven to be the best,
  /// otherwise a bound.
  public var certificate: Certificate

  public init(choices: [Int], cost: Int, error: Double, certificate: Certificate) {
    self.choices = choices
    self.cost = cost
    self.error = error
    self.certificate = certificate
  }
}

/// One budget for many matrices: which choice each gets so that the whole is best. The multiple-choice knapsack problem,
/// solved by ``ChoiceKnapsack``.
///
/// Of several best allocations it is the one whose other total (the cost, where errors are to be least) is least; of
/// those, the one with the lowest choice of the first item, then of the second, and so on. Totals are float64 sums from
/// the last item to the first, and it is these sums that are compared.
///
/// Source: the problem and its relaxation `sinha1979multiplechoice`.
public enum BudgetAllocation {
  /// How many partial allocations may be held, at up to 20 bytes each: 84 MB. Tables of some hundred matrices take a
  /// few thousandths of it.
  public static let standardEffort = 1 << 22

  /// The allocation of least total error that costs no more than the budget.
  ///
  ///     minimize sum over i of error(i, c_i)   with   sum over i of cost(i, c_i) <= budget
  ///
  /// - Parameter effort: how many partial allocations may be held; beyond, the result may be less than the best, and its
  ///   certificate bounds by how much.
  /// - Throws: `reduction` for an item without choices, costs or errors that are negative or too large to be added up, and
  ///   a budget below the least that all items can cost, which it names.
  public static func leastError(
    of items: [AllocationItem], within budget: Int, effort: Int = standardEffort
  ) throws(Problem) -> Allocation {
    try check(items)
    let least = items.reduce(0) { $0 + ($1.choices.map(\.cost).min() ?? 0) }
    guard least <= budget else {
      throw Problem(
        .reduction, "a budget of \(budget) is below \(least), the least that \(count(items)) can take together",
        remedy: "Raise the budget to \(least), or measure smaller levels.")
    }
    // A budget beyond all costs is none; float64 holds what is left exactly.
    let limit = min(budget, items.reduce(0) { $0 + ($1.choices.map(\.cost).max() ?? 0) })
    let problem = ChoiceKnapsack(
      items.map { $0.choices.map { ($0.error, Double($0.cost)) } }, limit: Double(limit), effort: effort)
    return allocation(items, problem.solution(), "the total error above the least that the budget allows")
  }

  /// The allocation of least cost whose errors sum up to no more than the limit.
  ///
  /// - Throws: as ``leastError(of:within:effort:)``; `reduction` for a limit that is below the least total error, which it
  ///   names, or not a number.
  public static func leastCost(
    of items: [AllocationItem], totalError limit: Double, effort: Int = standardEffort
  ) throws(Problem) -> Allocation {
    try check(items)
    let least = total(items.map { $0.choices.map(\.error).min() ?? 0 })
    guard least <= limit else {
      throw Problem(
        .reduction, "a total error of \(limit) is below \(least), the least that \(count(items)) can have together",
        remedy: "Raise the limit to \(least), or measure larger levels.")
    }
    let bounded = min(limit, total(items.map { $0.choices.map(\.error).max() ?? 0 }))
    let problem = ChoiceKnapsack(
      items.map { $0.choices.map { (Double($0.cost), $0.error) } }, limit: bounded, effort: effort)
    return allocation(items, problem.solution(), "the cost above the least that the total error allows")
  }

  /// The allocation of least cost in which no item's error exceeds the limit; each item is chosen for itself. The error of
  /// the result is the largest.
  ///
  /// - Throws: as ``leastError(of:within:effort:)``; `reduction` naming the first item that has no choice within the limit
  ///   and its least error.
  public static func leastCost(of items: [AllocationItem], eachError limit: Double) throws(Problem) -> Allocation {
    try check(items)
    var chosen: [Int] = []
    for item in items {
      let allowed = item.choices.indices.filter { item.choices[$0].error <= limit }
      let best = allowed.min { a, b in
        let (x, y) = (item.choices[a], item.choices[b])
        return (x.cost, x.error, a) < (y.cost, y.error, b)
      }
      guard let best else {
        let least = item.choices.map(\.error).min() ?? 0
        throw Problem(
          .reduction, "\(item.name): its least error is \(least), above the limit of \(limit)",
          remedy: "Raise the limit, or measure larger levels.")
      }
      chosen.append(best)
    }
    return Allocation(
      choices: chosen, cost: zip(items, chosen).reduce(0) { $0 + $1.0.choices[$1.1].cost },
      error: zip(items, chosen).reduce(0) { max($0, $1.0.choices[$1.1].error) },
      certificate: Certificate(error: 0, norm: "the cost above the least that the limit allows", kind: .exact))
  }

  // MARK: -

  /// So that sums of costs are exact in float64, and no error times a cost overflows.
  private static let (mostCost, mostError) = (1 << 52, 1e200)

  /// - Throws: `reduction` as the functions above.
  static func check(_ items: [AllocationItem]) throws(Problem) {
    var (cost, error) = (0, 0.0)
    for item in items {
      guard !item.choices.isEmpty else { throw Problem(.reduction, "\(item.name): there is nothing to choose from") }
      for choice in item.choices {
        guard choice.cost >= 0, choice.cost <= mostCost, choice.error >= 0, choice.error <= mostError else {
          throw Problem(
            .reduction, "\(item.name): a cost of \(choice.cost) and an error of \(choice.error)",
            remedy: "Costs are from 0 to 2^52, errors from 0 to 1e200.")
        }
      }
      cost += item.choices.map(\.cost).max() ?? 0
      error += item.choices.map(\.error).max() ?? 0
      guard cost <= mostCost, error <= mostError else {
        throw Problem(
          .reduction, "\(item.name): with it the largest costs add up to \(cost), the largest errors to \(error)",
          remedy: "Costs may add up to 2^52, errors to 1e200.")
      }
    }
  }

  /// A sum in the order in which the solver adds.
  private static func total(_ values: [Double]) -> Double { values.reversed().reduce(0, +) }

  private static func count(_ items: [AllocationItem]) -> String {
    items.count == 1 ? items[0].name : "\(items.count) matrices"
  }

  private static func allocation(
    _ items: [AllocationItem], _ found: ChoiceKnapsack.Solution, _ norm: String
  ) -> Allocation {
    let chosen = zip(items, found.choices).map { $0.choices[$1] }
    let excess = found.isProven ? 0 : max(0, found.value - found.lowerBound)
    return Allocation(
      choices: found.choices, cost: chosen.reduce(0) { $0 + $1.cost }, error: total(chosen.map(\.error)),
      certificate: Certificate(
        error: excess, norm: norm, kind: found.isProven ? .exact : .bound,
        assumptions: ["totals are float64 sums"]))
  }
}
