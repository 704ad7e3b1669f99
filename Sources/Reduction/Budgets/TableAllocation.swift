public import EspalierBasics
internal import EspalierNumerics

/// A level for every matrix of a table.
public struct BudgetAssignment: Sendable, Hashable {
  /// In the order of the table's rows; nil leaves a matrix as it is.
  public var levels: [MatrixBudget?]
  /// Cost in the unit of the goal. The error is the sum of the objective over all matrices; for a goal of error, the
  /// largest relative error.
  public var allocation: Allocation
}

extension SensitivityTable {
  /// What each matrix may become, for ``BudgetAllocation``.
  ///
  /// - Parameter keepsDense: whether leaving a matrix as it is, at no error, is one more choice, the last.
  public func items(
    _ unit: BudgetUnit, _ objective: Objective = .relative, keepsDense: Bool = false
  ) -> [AllocationItem] {
    items(unit, keepsDense: keepsDense) { row, level in
      let square = level.relativeError * level.relativeError
      return switch objective {
      case .relative: square
      case .absolute: row.squaredError(level)
      case .effect: (row.effect ?? 0) * square
      }
    }
  }

  private func require(_ objective: Objective) throws(Problem) {
    guard objective == .effect, let row = rows.first(where: { $0.effect == nil }) else { return }
    throw Problem(
      .reduction, "the table does not say what this matrix does to the model",
      remedy: "Measure one with `espalier sensitivity --effect-text FILE`, or give another --objective.",
      tensor: row.name)
  }

  private func items(
    _ unit: BudgetUnit, keepsDense: Bool, error: (Row, Level) -> Double
  ) -> [AllocationItem] {
    rows.map { row in
      var choices = row.levels.map { level in
        AllocationItem.Choice(cost: unit == .numbers ? level.numbers : level.bytes, error: error(row, level))
      }
      if keepsDense { choices.append(.init(cost: unit == .numbers ? row.numbers : row.denseBytes, error: 0)) }
      return AllocationItem(row.name, choices: choices)
    }
  }

  /// The best levels for a goal: of least error within it, or, for a goal of error, of least cost.
  ///
  /// - Parameters:
  ///   - unit: what is to be least under a goal of error; other goals have their own.
  ///   - untouched: what of the model the table does not list.
  /// - Throws: `reduction` for a goal out of its range or that no levels reach, naming the least that they do.
  public func allocation(
    for goal: BudgetGoal, _ objective: Objective = .relative, untouched: UntouchedPart = UntouchedPart(),
    unit: BudgetUnit = .bytes, keepsDense: Bool = false, effort: Int = BudgetAllocation.standardEffort
  ) throws(Problem) -> BudgetAssignment {
    let allocation: Allocation
    try require(objective)
    if let (unit, most) = try goal.limit(targets: try numbers(), untouched: untouched) {
      allocation = try BudgetAllocation.leastError(
        of: items(unit, objective, keepsDense: keepsDense), within: most, effort: effort)
    } else {
      allocation = try BudgetAllocation.leastCost(
        of: items(unit, keepsDense: keepsDense) { $1.relativeError }, eachError: goal.error)
    }
    let levels = zip(rows, allocation.choices).map { row, choice in
      choice < row.levels.count ? row.levels[choice].budget : nil
    }
    return BudgetAssignment(levels: levels, allocation: allocation)
  }

  /// One level for all matrices: of those that every matrix was measured at, the one of least error within the goal, or,
  /// for a goal of error, of least cost. Of equal ones the first of the first matrix.
  ///
  /// Never better than ``allocation(for:_:untouched:unit:keepsDense:effort:)``, which chooses among these too.
  ///
  /// - Throws: `reduction` if no level is common to all matrices, and as above.
  public func uniform(
    for goal: BudgetGoal, _ objective: Objective = .relative, untouched: UntouchedPart = UntouchedPart(),
    unit: BudgetUnit = .bytes
  ) throws(Problem) -> BudgetAssignment {
    try require(objective)
    let limit = try goal.limit(targets: try numbers(), untouched: untouched)
    let items =
      limit.map { self.items($0.unit, objective) } ?? self.items(unit, keepsDense: false) { $1.relativeError }
    try BudgetAllocation.check(items)
    let places = rows.map { row in
      Dictionary(uniqueKeysWithValues: row.levels.enumerated().map { ($1.budget, $0) })
    }
    let common = (rows.first?.levels ?? []).map(\.budget).filter { budget in places.allSatisfy { $0[budget] != nil } }
    guard !common.isEmpty else {
      throw Problem(
        .reduction, "no level was measured for all \(rows.count) matrices", remedy: "Measure the same levels for all.")
    }
    let candidates = common.map { budget -> Allocation in
      let choices = places.compactMap { $0[budget] }
      let chosen = zip(items, choices).map { $0.choices[$1] }
      let errors = chosen.map(\.error).reversed()
      return Allocation(
        choices: choices, cost: chosen.reduce(0) { $0 + $1.cost },
        error: limit == nil ? errors.reduce(0, max) : errors.reduce(0, +),
        certificate: Certificate(
          error: 0, norm: "the excess over the best level that all matrices have", kind: .exact))
    }
    // First what is limited, then what is to be least.
    let totals = candidates.map { limit == nil ? ($0.error, Double($0.cost)) : (Double($0.cost), $0.error) }
    let most = limit.map { Double($0.most) } ?? goal.error
    let best = totals.indices.filter { totals[$0].0 <= most }
      .min { (totals[$0].1, totals[$0].0, $0) < (totals[$1].1, totals[$1].0, $1) }
    guard let best else {
      let unit = limit.map { "\($0.unit)" } ?? "relative error"
      let least = totals.map(\.0).min() ?? 0
      throw Problem(
        .reduction,
        "no level of all matrices is within \(Self.plain(most)) (\(unit)); the least is \(Self.plain(least))",
        remedy: "Raise the limit, or measure further levels.")
    }
    return BudgetAssignment(levels: rows.map { _ in common[best] }, allocation: candidates[best])
  }

  private static func plain(_ value: Double) -> String { ParameterValue.number(value).description }

  private func numbers() throws(Problem) -> Int {
    var sum = 0
    for row in rows {
      sum += row.numbers
      guard sum <= 1 << 52 else {
        throw Problem(.reduction, "with it the table has \(sum) numbers", tensor: row.name)
      }
    }
    return sum
  }
}

extension BudgetGoal {
  fileprivate var error: Double { if case .maxError(let error) = self { error } else { .infinity } }
}
