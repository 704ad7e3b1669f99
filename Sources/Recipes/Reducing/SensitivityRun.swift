public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNetworks
internal import EspalierNumerics
public import EspalierReduction

/// Measures what every matrix loses at every level of a method, each by itself, all others being as they were.
public struct SensitivityRun {
  private let plan: ReductionPlan
  private let levels: [MatrixBudget]
  private let work: SiteReduction
  private let probe: EffectProbe.Measured?
  private let listener: any ProgressListener

  /// Levels that a method is measured at unless others are asked for: tenths.
  ///
  /// - Parameter of: the groups of a pattern; nil for shares.
  public static func standardLevels(of method: String, patternsOf of: Int? = nil) -> [MatrixBudget] {
    if let of { return (1..<max(2, of)).map { .pattern(keep: $0, of: of) } }
    let makesFactors = ReductionMethods.makesFactors(method)
    return (1...9).map { makesFactors ? .parameters(Double($0) / 10) : .sparsity(Double($0) / 10) }
  }

  /// - Parameters:
  ///   - plan: says which matrices, which method and what is known; its budget is not used.
  ///   - probe: measures what each matrix does to the model, at one of its levels.
  /// - Throws: what reading and the method throw. Of levels that a matrix does not have it is left out; one that has none
  ///   is an error.
  public static func measure(
    _ plan: ReductionPlan, levels: [MatrixBudget], effects probe: EffectProbe? = nil, workers: WorkerPool,
    listener: any ProgressListener
  ) throws(Problem) -> SensitivityTable {
    try GlobalPruning.refuseLevels(plan.request)
    try BlockReduction.refuseLevels(plan.request)
    try plan.requireOwnStatistics(workers)
    let run = SensitivityRun(
      plan: plan, levels: levels, work: SiteReduction(plan: plan, pool: workers), probe: try probe?.measuring(plan),
      listener: listener)
    return try run.table(workers, effects: probe?.text)
  }

  /// - Parameter effects: what they are measured on.
  private func table(_ workers: WorkerPool, effects: String?) throws(Problem) -> SensitivityTable {
    let began = Machine.monotonicSeconds
    listener.receive(.began(stage: "sensitivity", totalBytes: plan.blocks.reduce(0) { $0 + $1.targetedBytes }))
    let statistics = try BlockStatistics(plan, workers: workers)
    let last = plan.blocks.lastIndex { !$0.targets.isEmpty } ?? -1
    var rows: [SensitivityTable.Row] = []
    var norm = ""
    for (index, block) in plan.blocks.enumerated() where index <= last {
      try statistics.forEachSite(of: block, reaching: block.targets) { (site, known, sample) throws(Problem) in
        let matrices = block.matrices.filter { ExactString($0.site) == ExactString(site) }
        let seen = SiteReduction.Seen(known, sample, width: matrices[0].inputs)
        for row in try self.rows(matrices, seen, norm: &norm) { rows.append(row) }
        listener.receive(
          .advanced(
            bytes: matrices.reduce(0) { $0 + $1.outputs * $1.inputs * $1.parameter.elementType.byteWidth }))
      }
      if index < last { try statistics.advance() }
    }
    listener.receive(.ended(stage: "sensitivity", seconds: Machine.monotonicSeconds - began))
    let record = SensitivityTable.Record(
      method: plan.request.method, parameters: plan.request.parameters, norm: norm,
      model: try ModelIdentity(of: plan.checkpoint, workers: workers), statistics: try plan.statisticsDigest(),
      effects: effects)
    return try SensitivityTable(record, rows: rows)
  }

  /// The matrices of one site.
  private func rows(
    _ matrices: [NetworkMatrix], _ seen: SiteReduction.Seen, norm: inout String
  ) throws(Problem) -> [SensitivityTable.Row] {
    let weights = try matrices.map { (matrix) throws(Problem) in try plan.network.weight(of: matrix) }
    var measured: [[SensitivityTable.Level]] = matrices.map { _ in [] }
    for level in levels {
      let fitting = matrices.indices.filter {
        level.complaint(outputs: matrices[$0].outputs, inputs: matrices[$0].inputs) == nil
      }
      guard !fitting.isEmpty else { continue }
      let stored = try work.reduce(
        fitting.map { matrices[$0] }, fitting.map { weights[$0] }, seen, to: fitting.map { _ in level })
      for (place, result) in zip(fitting, stored) {
        let error = try work.error(of: result, weights[place], seen)
        norm = error.norm
        measured[place].append(
          SensitivityTable.Level(
            budget: level, numbers: result.numbers, bytes: try bytes(of: result, matrices[place], level),
            relativeError: error.error, kind: error.kind))
      }
    }
    var rows: [SensitivityTable.Row] = []
    for (place, matrix) in matrices.enumerated() {
      guard !measured[place].isEmpty else {
        throw Problem(
          .reduction, "the matrix of \(matrix.outputs) x \(matrix.inputs) has none of the levels",
          remedy: "Leave it out with --keep, or give other --levels.", tensor: matrix.name)
      }
      rows.append(
        SensitivityTable.Row(
          name: matrix.name, shape: [matrix.outputs, matrix.inputs], site: matrix.site,
          denseBytes: matrix.outputs * matrix.inputs * matrix.parameter.elementType.byteWidth,
          outputEnergy: try OutputError.energy(
            of: weights[place], statistics: seen.measured, parallel: work.parallel),
          effect: try effect(of: matrix, weights[place], seen, measured[place]), levels: measured[place]))
    }
    return rows
  }

  /// Errors below this are mostly rounding, and say nothing of what larger ones do.
  private static let leastError = 1e-4

  /// The divergence of the model for an error of 1 squared, measured at the matrix's level of median error among those
  /// that lose something; 0 if none does.
  private func effect(
    of matrix: NetworkMatrix, _ weight: Matrix<Float>, _ seen: SiteReduction.Seen, _ levels: [SensitivityTable.Level]
  ) throws(Problem) -> Double? {
    guard let probe else { return nil }
    let lossy = levels.filter { $0.relativeError > Self.leastError }.sorted { $0.relativeError < $1.relativeError }
    guard !lossy.isEmpty else { return 0 }
    let level = lossy[lossy.count / 2]
    let stored = try work.reduce([matrix], [weight], seen, to: [level.budget])
    let divergence = try probe.divergence(reducing: matrix, to: stored[0])
    return divergence / (level.relativeError * level.relativeError)
  }

  /// What the result takes in the form that it is stored in.
  private func bytes(
    of result: StoredWeight, _ matrix: NetworkMatrix, _ level: MatrixBudget
  ) throws(Problem) -> Int {
    var form = StoredForm.dense
    if plan.request.storage == .reduced {
      let pattern = level.sparsePattern
      form = StoredForm(result.form, zeros: pattern)
    }
    return try form.bytes(
      rows: matrix.outputs, columns: matrix.inputs, elementType: matrix.parameter.elementType)
  }
}
