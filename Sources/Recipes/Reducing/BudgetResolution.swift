public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierNetworks
internal import EspalierNumerics
public import EspalierReduction

/// How the budget of a whole model becomes one of each matrix.
public struct BudgetResolution: Sendable {
  /// Where `--allocate` and goals of error take their levels from.
  public let table: SensitivityTable
  public let assignment: BudgetAssignment
  private let objective: SensitivityTable.Objective

  /// Levels of least error within a goal, or, for a goal of error, of fewest numbers.
  ///
  /// - Parameter plan: whose matrices are among those of the table.
  /// - Throws: `reduction` for a goal that no levels reach, naming the least that they do; `sensitivity.mismatch`.
  public init(
    _ goal: BudgetGoal, _ objective: SensitivityTable.Objective, from table: SensitivityTable, for plan: ReductionPlan
  ) throws(Problem) {
    let rows = try table.rows(for: plan)
    self.objective = objective
    self.table = try SensitivityTable(table.record, rows: rows)
    assignment = try self.table.allocation(
      for: goal, objective, untouched: plan.untouched(by: self.table), unit: .numbers, keepsDense: true)
  }

  /// What the assignment asks for, matrix by matrix; those that stay as they are have no entry.
  public var goal: ReductionRequest.Goal {
    var budgets: [ExactString: MatrixBudget] = [:]
    for (row, level) in zip(table.rows, assignment.levels) { budgets[ExactString(row.name)] = level }
    return .allotted(budgets)
  }

  /// In words, with how sure it is that nothing better exists.
  public var text: String {
    let reduced = assignment.levels.count { $0 != nil }
    let certificate = assignment.allocation.certificate
    return
      "allocated: \(reduced) of \(ReductionReport.matrices(table.rows.count)) \(reduced == 1 ? "is" : "are") reduced, "
      + "sum of squared errors (\(objective.rawValue)) "
      + "\(Decimals.text(assignment.allocation.error, 6)) (\(certificate.kind.rawValue): \(certificate.norm))"
  }
}

extension ReductionPlan {
  /// What of the model is not in a table.
  func untouched(by table: SensitivityTable) -> UntouchedPart {
    let listed = table.rows.reduce(into: (numbers: 0, bytes: 0)) {
      $0.numbers += $1.numbers
      $0.bytes += $1.denseBytes
    }
    return UntouchedPart(
      numbers: max(0, modelNumbers - listed.numbers), bytes: max(0, modelBytes - listed.bytes))
  }

  /// Numbers and bytes of what is written where nothing is reduced.
  public var modelNumbers: Int { conversion.layout.tensors.reduce(0) { $0 + $1.elementCount } }
  public var modelBytes: Int { conversion.layout.tensors.reduce(0) { $0 + $1.byteCount } }

  /// One level for all matrices that keeps a goal for the whole model, without measuring.
  ///
  /// - Throws: `reduction` for a goal that the smallest level exceeds, or one of error.
  public func uniformBudget(_ goal: BudgetGoal, of pattern: Int? = nil) throws(Problem) -> UniformBudget {
    if case .bytes = goal, request.storage == .dense {
      throw Problem(
        .reduction, "a size cannot be kept by storing every number",
        remedy: "Store what is left: --store \(request.makesFactors ? "factors" : "sparse").")
    }
    let targets = blocks.flatMap(\.matrices).map {
      UniformBudget.Target(
        $0.name, rows: $0.outputs, columns: $0.inputs, elementType: $0.parameter.elementType)
    }
    let numbers = targets.reduce(0) { $0 + $1.rows * $1.columns }
    let bytes = targets.reduce(0) { $0 + $1.rows * $1.columns * $1.elementType.byteWidth }
    let family: LevelFamily =
      request.makesFactors
      ? (request.method == CUR.card.name ? .cur : .factors)
      : .zeros(pattern.map { .groups(keep: 1, of: $0) } ?? .perRow(0), sparse: request.storage == .reduced)
    return try UniformBudget(
      goal, for: targets, in: family,
      untouched: UntouchedPart(numbers: modelNumbers - numbers, bytes: modelBytes - bytes))
  }

  /// Of the file of statistics, or of the tokens.
  func statisticsDigest() throws(Problem) -> Digest? {
    switch request.source {
    case .nothing: return nil
    case .file(let path):
      let file = try File.reading(path)
      return try file.digest(of: 0..<(try file.size()))
    case .text(let text, _): return text.record(mode: network.mode, momentLimit: momentLimit).tokens
    }
  }
}

extension SensitivityTable {
  /// - Throws: `sensitivity.format` and what reading throws.
  public init(at path: String) throws(Problem) {
    do throws(Problem) { try self.init(parsing: try FileSystem.read(path)) } catch { throw error.at(file: path) }
  }

  /// Refuses a table of another model, method or calibration, or of other matrices.
  ///
  /// - Throws: `sensitivity.mismatch`.
  public func require(for plan: ReductionPlan) throws(Problem) {
    try require(
      method: plan.request.method, parameters: plan.request.parameters,
      model: try ModelIdentity(of: plan.checkpoint, workers: plan.network.workers),
      statistics: try plan.statisticsDigest())
    _ = try rows(for: plan)
  }

  /// The rows of the matrices that a plan reduces, with the bytes that they take as the plan stores them.
  ///
  /// - Throws: `sensitivity.mismatch` for a matrix that is not there or has another shape.
  func rows(for plan: ReductionPlan) throws(Problem) -> [Row] {
    let listed = Dictionary(rows.map { (ExactString($0.name), $0) }, uniquingKeysWith: { first, _ in first })
    return try plan.blocks.flatMap(\.matrices).map { (matrix) throws(Problem) in
      guard var row = listed[ExactString(matrix.name)], row.shape == [matrix.outputs, matrix.inputs] else {
        throw Problem(
          .sensitivityMismatch, "the table does not have the matrix of \(matrix.outputs) x \(matrix.inputs)",
          remedy: "Measure one of this model with the same --keep and --only.", tensor: matrix.name)
      }
      let type = matrix.parameter.elementType
      row.denseBytes = matrix.outputs * matrix.inputs * type.byteWidth
      for place in row.levels.indices {
        let level = row.levels[place]
        var bytes = row.denseBytes
        if plan.request.storage == .reduced {
          bytes =
            plan.request.makesFactors
            ? level.numbers * type.byteWidth
            : try StoredForm.sparse(level.budget.sparsePattern, numbers: level.numbers).bytes(
              rows: matrix.outputs, columns: matrix.inputs, elementType: type)
        }
        row.levels[place].bytes = bytes
      }
      return row
    }
  }
}
