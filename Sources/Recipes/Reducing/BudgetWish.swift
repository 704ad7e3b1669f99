public import EspalierBasics
public import EspalierReduction

/// A budget as options or a recipe write it, before it is known to make sense.
public struct BudgetWords: Sendable {
  /// What may be written; the raw values are a recipe's keys.
  public enum Word: String, Sendable, Hashable, CaseIterable {
    case sparsity, pattern, rank, share, size
    case maxError = "max_error"
    case allocate, objective, table
  }

  /// The share of the weights that goes.
  public var sparsity: Double?
  /// Of every M consecutive inputs N stay: `N:M`.
  public var pattern: String?
  public var rank: Int?
  /// The share of the numbers that stays.
  public var share: Double?
  /// Bytes of the whole model: `100MB`.
  public var size: String?
  /// The relative error of each matrix's outputs at most.
  public var maxError: Double?
  public var allocate = false
  public var objective: SensitivityTable.Objective?
  /// The path of a table of sensitivities.
  public var table: String?

  public init() {}

  /// What does not make sense, the first thing first.
  ///
  /// - Parameters:
  ///   - makesFactors: for factors, else for zeros.
  ///   - name: what a word is called where it was written.
  public func complaints(
    makesFactors: Bool, calling name: (Word) -> String
  ) -> [(word: Word?, message: String, remedy: String?)] {
    var found: [(word: Word?, message: String, remedy: String?)] = []
    let budgets: [(word: Word, isGiven: Bool)] =
      (makesFactors ? [(.rank, rank != nil)] : [(.sparsity, sparsity != nil), (.pattern, pattern != nil)])
      + [(.share, share != nil), (.size, size != nil), (.maxError, maxError != nil)]
    let given = budgets.filter(\.isGiven)
    if given.count != 1 {
      let names = budgets.map { name($0.word) }
      let list = names.dropLast().joined(separator: ", ") + " or " + (names.last ?? "")
      found.append((given.dropFirst().first?.word, "Give one budget: \(list)", nil))
    }
    func check(_ word: Word, _ holds: Bool, _ message: String, _ remedy: String? = nil) {
      if !holds { found.append((word, message, remedy)) }
    }
    check(.sparsity, sparsity.map { (0...1).contains($0) } ?? true, "\(name(.sparsity)) must be from 0 to 1")
    if let pattern {
      check(.pattern, Self.groups(pattern) != nil, "\(name(.pattern)) \(pattern) is not of the form 2:4")
    }
    check(.rank, rank.map { $0 >= 1 } ?? true, "\(name(.rank)) must be at least 1")
    check(.share, share.map { $0 > 0 && $0 <= 1 } ?? true, "\(name(.share)) must be above 0 and at most 1")
    if let size {
      check(
        .size, ByteCount.parse(size) != nil, "\(name(.size)) \(size) is not a size; write it like 100MB or 1.5G")
    }
    check(.maxError, maxError.map { $0 >= 0 && $0.isFinite } ?? true, "\(name(.maxError)) must be 0 or more")
    check(
      .table, table == nil || allocate || maxError != nil,
      "\(name(.table)) needs \(name(.allocate)) or \(name(.maxError))")
    check(
      .allocate, maxError == nil || !allocate,
      "\(name(.maxError)) sets each matrix by itself; leave \(name(.allocate)) out")
    check(
      .allocate, pattern == nil || !allocate,
      "\(name(.pattern)) is one pattern for all; \(name(.allocate)) takes a sparsity, a share or a size")
    check(
      .allocate, rank == nil || !allocate,
      "\(name(.rank)) is one rank for all; \(name(.allocate)) takes a share or a size")
    return found
  }

  /// Whether this is what methods of whole blocks take: a share, which they deal out themselves.
  public var isShareAlone: Bool { share != nil && !allocate }

  /// What is asked for; of words that make no sense, nothing that makes more.
  ///
  /// - Parameter makesFactors: as in ``complaints(makesFactors:calling:)``.
  public func wish(makesFactors: Bool) -> BudgetWish {
    var wish: BudgetWish
    if let (keep, of) = pattern.flatMap({ Self.groups($0) }) {
      wish = BudgetWish(
        level: .pattern(keep: keep, of: of), goal: .sparsity(Double(of - keep) / Double(of)), groups: of)
    } else if let rank {
      wish = BudgetWish(level: .rank(rank), goal: .parameters(1))
    } else if let sparsity {
      wish = BudgetWish(level: .sparsity(sparsity), goal: .sparsity(sparsity))
    } else if let share {
      // A sparsity is rounded in favour of what stays; a share of what stays is kept strictly.
      wish = BudgetWish(level: makesFactors ? .parameters(share) : nil, goal: .parameters(share))
    } else if let bytes = size.flatMap({ ByteCount.parse($0) }) {
      wish = BudgetWish(level: nil, goal: .bytes(bytes))
    } else {
      wish = BudgetWish(level: nil, goal: .maxError(maxError ?? 0))
    }
    (wish.isAllocated, wish.objective, wish.table) = (allocate, objective, table)
    return wish
  }

  /// N of M, both at least 1, from `N:M`; nil for anything else.
  public static func groups(_ text: String) -> (keep: Int, of: Int)? {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 2, let keep = Int(parts[0]), let of = Int(parts[1]), of > 0, (1...of).contains(keep) else {
      return nil
    }
    return (keep, of)
  }
}

/// What is asked of a whole model, and how it is dealt out.
public struct BudgetWish: Sendable {
  /// One level for every matrix, where the budget is that.
  public var level: MatrixBudget?
  /// The same, or another, as a goal for the whole model.
  public var goal: BudgetGoal
  /// The groups of a pattern.
  public var groups: Int?
  /// By measured sensitivity, so that the sum of squared errors is least.
  public var isAllocated = false
  /// Nil for the table's standard.
  public var objective: SensitivityTable.Objective?
  /// A table of sensitivities in place of measuring one.
  public var table: String?

  /// Levels that are measured where the goal is not one level.
  public func levels(of method: String) -> [MatrixBudget] {
    SensitivityRun.standardLevels(of: method, patternsOf: groups)
  }

  /// The goal of a request until ``resolve(_:of:workers:listener:)``.
  public func provisionalGoal(of method: String) -> ReductionRequest.Goal { .budget(level ?? levels(of: method)[0]) }

  /// Whether the provisional goal is not what is asked for.
  public var needsResolution: Bool { level == nil || isAllocated }

  /// Whether resolving needs a table of sensitivities.
  public var needsTable: Bool { if case .maxError = goal { true } else { isAllocated } }

  /// The request of a plan with a budget for each matrix, or the one level that keeps the goal.
  ///
  /// - Parameter plan: of the request with the provisional goal.
  /// - Throws: `reduction` for a goal that cannot be kept, naming the least that can; what reading and measuring throw.
  public func resolve(
    _ plan: ReductionPlan, workers: WorkerPool, listener: any ProgressListener
  ) throws(Problem) -> ReductionRequest {
    var request = plan.request
    guard needsResolution else { return request }
    try GlobalPruning.refuseLevels(request)
    try BlockReduction.refuseLevels(request)
    guard needsTable else {
      request.goal = .budget(try plan.uniformBudget(goal, of: groups).level)
      return request
    }
    let table: SensitivityTable
    if let path = self.table {
      table = try SensitivityTable(at: path)
      try table.require(for: plan)
    } else {
      table = try SensitivityRun.measure(
        plan, levels: levels(of: request.method), workers: workers, listener: listener)
    }
    let resolution = try BudgetResolution(goal, objective ?? table.standardObjective, from: table, for: plan)
    listener.receive(.note(resolution.text))
    (request.goal, request.table) = (resolution.goal, table)
    return request
  }
}

extension ReductionRequest {
  /// The method that is taken where none is named.
  ///
  /// - Parameter isCalibrated: whether there is text, or statistics.
  public static func standardMethod(makesFactors: Bool, isCalibrated: Bool) -> String {
    makesFactors ? (isCalibrated ? "whitened-svd" : "svd") : isCalibrated ? "sparsegpt" : "magnitude"
  }
}
