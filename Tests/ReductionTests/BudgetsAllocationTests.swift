import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

/// Every combination, summed as the solver sums: what is best by (value, other total, choices).
private func bruteForce(
  _ items: [AllocationItem], allowing isAllowed: (_ cost: Int, _ error: Double) -> Bool,
  preferring isBetter: ((cost: Int, error: Double), (cost: Int, error: Double)) -> Bool
) -> (choices: [Int], cost: Int, error: Double)? {
  var best: (choices: [Int], cost: Int, error: Double)?
  var choices = [Int](repeating: 0, count: items.count)
  while true {
    let chosen = zip(items, choices).map { $0.choices[$1] }
    let (cost, error) = (chosen.reduce(0) { $0 + $1.cost }, chosen.reversed().reduce(0) { $0 + $1.error })
    if isAllowed(cost, error), best.map({ isBetter((cost, error), ($0.cost, $0.error)) }) ?? true {
      best = (choices, cost, error)
    }
    // Lexicographic order: of equals the first stays.
    guard let last = items.indices.last(where: { choices[$0] + 1 < items[$0].choices.count }) else { return best }
    choices[last] += 1
    for index in (last + 1)..<max(last + 1, items.count) { choices[index] = 0 }
  }
}

extension AllocationItem {
  fileprivate init(_ choices: [(Int, Double)], _ name: String = "m") {
    self.init(name, choices: choices.map { Choice(cost: $0.0, error: $0.1) })
  }
}

extension SeededGenerator {
  /// In [0, 1).
  mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }
  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
}

/// How the curves of items look.
enum Curves: CaseIterable {
  /// Few different costs and errors, so that ties abound.
  case coarse
  case free
  /// Falling and convex, as measured ones nearly are.
  case convex
  /// Error and cost on one line: every choice is as good for what it costs.
  case linear

  func items(_ count: Int, most choices: Int, _ generator: inout SeededGenerator) -> [AllocationItem] {
    (0..<count).map { index in
      let size = 1 + generator.below(choices)
      let scale = 0.1 + generator.unit()
      let width = 10 + generator.below(1000)
      let list = (0..<size).map { level -> (Int, Double) in
        switch self {
        case .coarse: return (generator.below(6), Double(generator.below(5)) / 4)
        case .free: return (generator.below(1000), generator.unit())
        case .convex:
          let share = Double(size - level) / Double(size)
          return (Int(Double(width) * share), scale * (1 - share) * (1 - share) * (1 + 0.05 * generator.unit()))
        case .linear:
          let cost = generator.below(500)
          return (cost, Double(1000 - cost) / 1024)
        }
      }
      return AllocationItem(list, "m\(index)")
    }
  }
}

@Suite struct BudgetsAllocationTests {
  @Test(arguments: Curves.allCases) func leastErrorIsThatOfAllCombinations(curves: Curves) throws {
    var generator = SeededGenerator(seed: 11)
    for round in 0..<150 {
      let items = curves.items(1 + generator.below(6), most: 5, &generator)
      let least = items.reduce(0) { $0 + ($1.choices.map(\.cost).min() ?? 0) }
      let most = items.reduce(0) { $0 + ($1.choices.map(\.cost).max() ?? 0) }
      let budget = least + generator.below(most - least + 2)
      let expected = try #require(
        bruteForce(
          items, allowing: { cost, _ in cost <= budget }, preferring: { ($0.error, $0.cost) < ($1.error, $1.cost) }))
      let found = try BudgetAllocation.leastError(of: items, within: budget)
      #expect(found.choices == expected.choices, "\(curves) \(round): \(items) within \(budget)")
      #expect(found.cost == expected.cost)
      #expect(found.error == expected.error)
      #expect(found.certificate.kind == .exact)
      #expect(found.certificate.error == 0)
    }
  }

  @Test(arguments: Curves.allCases) func leastCostIsThatOfAllCombinations(curves: Curves) throws {
    var generator = SeededGenerator(seed: 12)
    for round in 0..<150 {
      let items = curves.items(1 + generator.below(6), most: 5, &generator)
      func total(_ pick: ([Double]) -> Double?) -> Double {
        items.reversed().reduce(0) { $0 + (pick($1.choices.map(\.error)) ?? 0) }
      }
      let (least, most) = (total { $0.min() }, total { $0.max() })
      let limit = max(least, least + generator.unit() * (most - least))
      let expected = try #require(
        bruteForce(
          items, allowing: { _, error in error <= limit }, preferring: { ($0.cost, $0.error) < ($1.cost, $1.error) }))
      let found = try BudgetAllocation.leastCost(of: items, totalError: limit)
      #expect(found.choices == expected.choices, "\(curves) \(round): \(items) up to \(limit)")
      #expect(found.cost == expected.cost)
      #expect(found.error == expected.error)
      #expect(found.certificate.kind == .exact)
    }
  }

  /// Instances of binary knapsacks (D. L. Kreher, D. R. Stinson, Combinatorial Algorithms, 1998, as P01 and P08 in the
  /// collection of J. Burkardt): a thing is taken, or its profit is lost.
  @Test(arguments: [
    (
      165, [23, 31, 29, 44, 53, 38, 63, 85, 89, 82], [92, 57, 49, 68, 60, 43, 67, 84, 87, 72], 309,
      [1, 1, 1, 1, 0, 1, 0, 0, 0, 0]
    ),
    (
      6_404_180,
      [
        382745, 799601, 909247, 729069, 467902, 44328, 34610, 698150, 823460, 903959, 853665, 551830, 610856, 670702,
        488960, 951111, 323046, 446298, 931161, 31385, 496951, 264724, 224916, 169684,
      ],
      [
        825594, 1_677_009, 1_676_628, 1_523_970, 943972, 97426, 69666, 1_296_457, 1_679_693, 1_902_996, 1_844_992,
        1_049_289, 1_252_836, 1_319_836, 953277, 2_067_538, 675367, 853655, 1_826_027, 65731, 901489, 577243, 466257,
        369261,
      ], 13_549_094, [1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1]
    ),
  ]) func knownKnapsacks(capacity: Int, weights: [Int], profits: [Int], best: Int, taken: [Int]) throws {
    let items = zip(weights, profits).map { AllocationItem([(0, Double($1)), ($0, 0)]) }
    let found = try BudgetAllocation.leastError(of: items, within: capacity)
    #expect(found.error == Double(profits.reduce(0, +) - best))
    #expect(found.choices == taken)
    #expect(found.certificate.kind == .exact)
    let cost = try BudgetAllocation.leastCost(of: items, totalError: found.error)
    #expect(cost.cost == found.cost)
  }

  /// Against dynamic programming over an array of costs, which shares nothing with the solver.
  @Test(arguments: [0.05, 0.3, 0.62, 0.9]) func manyMatricesAgainstAnArrayOfCosts(part: Double) throws {
    var generator = SeededGenerator(seed: 21)
    let items = (0..<60).map { index in
      let scale = 0.2 + generator.unit()
      return AllocationItem(
        (0..<12).map { level in
          let removed = Double(level) / 12 + 0.02 * generator.unit()
          return (4096 * (600 - level * 45 - generator.below(40)), scale * removed * removed)
        }, "m\(index)")
    }
    let least = items.reduce(0) { $0 + ($1.choices.map(\.cost).min() ?? 0) }
    let most = items.reduce(0) { $0 + ($1.choices.map(\.cost).max() ?? 0) }
    let budget = least + Int(Double(most - least) * part)
    var errors = [Double](repeating: 0, count: budget / 4096 + 1)
    for item in items.reversed() {
      errors = errors.indices.map { room in
        item.choices.reduce(.infinity) { best, choice in
          choice.cost / 4096 <= room ? min(best, errors[room - choice.cost / 4096] + choice.error) : best
        }
      }
    }
    let found = try BudgetAllocation.leastError(of: items, within: budget)
    #expect(found.error == errors[budget / 4096])
    #expect(found.cost <= budget)
    #expect(found.certificate.kind == .exact)
  }

  @Test(arguments: Curves.allCases) func threeHundredMatricesOfTwentyLevels(curves: Curves) throws {
    var generator = SeededGenerator(seed: 31)
    // Where every choice is worth its cost no bound tells one from another; this takes a while.
    let items = curves.items(curves == .linear ? 80 : 300, most: 20, &generator)
    let least = items.reduce(0) { $0 + ($1.choices.map(\.cost).min() ?? 0) }
    let most = items.reduce(0) { $0 + ($1.choices.map(\.cost).max() ?? 0) }
    for part in [0.1, 0.5, 0.8] {
      let budget = least + Int(Double(most - least) * part)
      let found = try BudgetAllocation.leastError(of: items, within: budget)
      #expect(found.certificate.kind == .exact)
      #expect(found.cost <= budget)
      // No more for the same error, and no less error for the same cost.
      let cost = try BudgetAllocation.leastCost(of: items, totalError: found.error)
      #expect(cost.certificate.kind == .exact)
      #expect(cost.cost <= found.cost)
      #expect(cost.error == found.error)
    }
  }

  /// What is not proven is bounded.
  @Test(arguments: [1, 60, 2000]) func littleEffort(effort: Int) throws {
    var generator = SeededGenerator(seed: 41)
    var bounded = 0
    for _ in 0..<200 {
      let curves = Curves.allCases[generator.below(4)]
      let items = curves.items(2 + generator.below(12), most: 8, &generator)
      let least = items.reduce(0) { $0 + ($1.choices.map(\.cost).min() ?? 0) }
      let most = items.reduce(0) { $0 + ($1.choices.map(\.cost).max() ?? 0) }
      let budget = least + generator.below(most - least + 1)
      let best = try BudgetAllocation.leastError(of: items, within: budget)
      let found = try BudgetAllocation.leastError(of: items, within: budget, effort: effort)
      #expect(found.cost <= budget)
      #expect(found.error >= best.error)
      switch found.certificate.kind {
      case .exact: #expect(found == best)
      default:
        bounded += 1
        #expect(found.certificate.kind == .bound)
        #expect(found.error - found.certificate.error <= best.error)
      }
    }
    #expect(bounded > 0)
  }

  @Test func moreBudgetIsNeverWorse() throws {
    var generator = SeededGenerator(seed: 51)
    let items = Curves.free.items(12, most: 6, &generator)
    let least = items.reduce(0) { $0 + ($1.choices.map(\.cost).min() ?? 0) }
    var last = Double.infinity
    for budget in stride(from: least, to: least + 6000, by: 97) {
      let found = try BudgetAllocation.leastError(of: items, within: budget)
      #expect(found.error <= last)
      last = found.error
    }
  }

  @Test func tiesGoToTheLowestIndex() throws {
    // Two equal matrices, and numbers for one of them: the first keeps its first choice, the smaller one.
    let curve = [(1, 2.0), (2, 1.0), (2, 1.0)]
    let found = try BudgetAllocation.leastError(of: [AllocationItem(curve), AllocationItem(curve)], within: 3)
    #expect(found.choices == [0, 1])
    // Of equal errors the cheapest, though more would be allowed.
    let flat = try BudgetAllocation.leastError(of: [AllocationItem([(9, 1), (4, 1), (7, 1)])], within: 100)
    #expect(flat.choices == [1])
    #expect(flat.cost == 4)
  }

  @Test func errorOfEach() throws {
    let items = [
      AllocationItem([(10, 0.1), (6, 0.3), (6, 0.2), (6, 0.2), (1, 0.9)], "a"), AllocationItem([(5, 0.25)], "b"),
    ]
    let found = try BudgetAllocation.leastCost(of: items, eachError: 0.3)
    #expect(found.choices == [2, 0])
    #expect(found.cost == 11)
    #expect(found.error == 0.25)
    #expect(found.certificate.kind == .exact)
    let impossible = problem { try BudgetAllocation.leastCost(of: items, eachError: 0.2) }
    #expect(impossible?.code == .reduction)
    #expect(impossible?.message == "b: its least error is 0.25, above the limit of 0.2")
    #expect(problem { try BudgetAllocation.leastCost(of: items, eachError: .nan) }?.code == .reduction)
  }

  @Test func whatIsRefused() throws {
    let items = [AllocationItem([(10, 0.5), (4, 1)], "a"), AllocationItem([(7, 0.25), (3, 2)], "b")]
    #expect(
      problem { try BudgetAllocation.leastError(of: items, within: 6) }?.message
        == "a budget of 6 is below 7, the least that 2 matrices can take together")
    #expect(
      problem { try BudgetAllocation.leastCost(of: items, totalError: 0.5) }?.message
        == "a total error of 0.5 is below 0.75, the least that 2 matrices can have together")
    for limit in [-1, -Double.infinity, .nan] {
      #expect(problem { try BudgetAllocation.leastCost(of: items, totalError: limit) }?.code == .reduction)
    }
    #expect(try BudgetAllocation.leastError(of: items, within: .max).choices == [0, 0])
    #expect(try BudgetAllocation.leastCost(of: items, totalError: .infinity).choices == [1, 1])

    for choice in [(-1, 0.5), (1, -0.5), (1, .nan), (1, .infinity), (Int.max, 0)] {
      let damaged = items + [AllocationItem([(3, 1), choice], "c")]
      let found = problem { try BudgetAllocation.leastError(of: damaged, within: 100) }
      #expect(found?.code == .reduction)
      #expect(found?.message == "c: a cost of \(choice.0) and an error of \(choice.1)")
    }
    let vast = (0..<3).map { AllocationItem([(1 << 51, 1)], "m\($0)") }
    #expect(
      problem { try BudgetAllocation.leastError(of: vast, within: .max) }?.message.hasPrefix("m2: with it") == true)
    #expect(
      problem { try BudgetAllocation.leastError(of: [AllocationItem([], "c")], within: 1) }?.message
        == "c: there is nothing to choose from")
    let nothing = try BudgetAllocation.leastError(of: [], within: 0)
    #expect(nothing.choices == [])
    #expect(nothing.cost == 0)
    #expect(problem { try BudgetAllocation.leastError(of: [], within: -1) }?.code == .reduction)
  }

  /// Errors of very different sizes, and of none.
  @Test func extremeErrors() throws {
    for scale in [0, .leastNonzeroMagnitude, .leastNormalMagnitude / 64, 1e-160, 1e150] {
      let items = (0..<5).map { index in
        AllocationItem((0..<4).map { (($0 + index) % 4, scale * Double(4 - $0)) })
      }
      for budget in [5, 8, 12] {
        let expected = bruteForce(
          items, allowing: { cost, _ in cost <= budget }, preferring: { ($0.error, $0.cost) < ($1.error, $1.cost) })
        let found = try BudgetAllocation.leastError(of: items, within: budget)
        #expect(found.choices == expected?.choices)
      }
      for limit in [5, 8, 12, 20] {
        let most = scale * Double(limit)
        let expected = bruteForce(
          items, allowing: { _, error in error <= most }, preferring: { ($0.cost, $0.error) < ($1.cost, $1.error) })
        let found = try BudgetAllocation.leastCost(of: items, totalError: most)
        #expect(found.choices == expected?.choices)
        #expect(found.certificate.kind == .exact)
      }
    }
    let mixed = [AllocationItem([(0, 1e190), (5, 1e-9)]), AllocationItem([(0, 3e-9), (4, 1e-9), (5, 2e-9)])]
    #expect(try BudgetAllocation.leastError(of: mixed, within: 9).choices == [1, 1])
    #expect(try BudgetAllocation.leastError(of: mixed, within: 8).choices == [1, 0])
  }
}
