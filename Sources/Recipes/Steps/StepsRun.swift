public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierReduction

/// Carries the steps of a plan out, one after the other.
///
/// Every step that makes a model writes it into `OUT.stages`; the last one gets the output's name when all gates have
/// held. A step that an earlier run finished is recognised by all that its result depends on, and is not done again.
public struct StepsRun {
  private let plan: StepsPlan
  private let planner: StepsPlanner
  private let stages: StepStages
  private let listener: any ProgressListener

  /// - Returns: the report; where a gate did not hold, ``StepsReport/passes`` is false, nothing is written under the
  ///   output's name, and the stages stay for `--resume`.
  /// - Throws: what planning on what is there, reading, methods and writing throw. Finished steps stay for `--resume`.
  public static func execute(_ plan: StepsPlan, listener: any ProgressListener) throws(Problems) -> StepsReport {
    let options = plan.planner.options
    let stages: StepStages
    do throws(Problem) { stages = try StepStages(beside: options.output, policy: options.policy) } catch {
      throw Problems([error])
    }
    return try StepsRun(plan: plan, planner: plan.planner, stages: stages, listener: listener).execute()
  }

  private func execute() throws(Problems) -> StepsReport {
    let began = Machine.monotonicSeconds
    var report = StepsReport(plan)
    guard !stages.isPlaced else { return try placedReport(report) }
    var models = try planner.begin()
    for (index, step) in planner.recipe.steps.enumerated() {
      listener.receive(.note("step \(index + 1) of \(planner.recipe.steps.count): \(step.verb)"))
      let planned = try planner.plan(index, models)
      let entry: StepsReport.Entry
      do throws(Problems) { entry = try carryOut(planned, index) } catch {
        throw Problems(error.all.map { $0.inRecipeWords() })
      }
      report.entries.append(entry)
      guard entry.passes else {
        report.seconds = Machine.monotonicSeconds - began
        return report
      }
      if let next = try planner.made(planned, index) { models.advance(to: next) }
    }
    report.seconds = Machine.monotonicSeconds - began
    try finish(report)
    return report
  }

  // MARK: - One step

  /// Does a step, unless an earlier run has.
  private func carryOut(_ planned: PlannedStep, _ index: Int) throws(Problems) -> StepsReport.Entry {
    let (step, name) = (planner.recipe.steps[index], planner.name(index))
    var entry: StepsReport.Entry
    do throws(Problem) {
      let fingerprint = try fingerprint(planned, step)
      if let record = try finished(name, planned, fingerprint) {
        return StepsReport.Entry(step, record, isKept: true)
      }
      entry = StepsReport.Entry(
        step, StepRecord(fingerprint: fingerprint, report: .null, text: "", markdown: "", seconds: 0))
    } catch { throw Problems([error]) }
    let began = Machine.monotonicSeconds
    switch planned {
    case .merge(let plan): try merge(plan, &entry)
    case .restructure(let plan):
      try take(&entry) { () throws(Problem) in try RestructuringRun.execute(plan, listener: listener) }
    case .reduce(let plan, let wish): try reduce(plan, wish, index, &entry)
    case .quantize(let planned): try quantize(planned, index, &entry)
    case .align(let planned):
      try take(&entry) { () throws(Problem) in try AlignmentRun.execute(planned.plan, listener: listener) }
    case .evaluate(let evaluation): try evaluate(evaluation, &entry)
    }
    entry.record.seconds = Machine.monotonicSeconds - began
    // A measurement whose gates did not hold is not finished: it is judged again when it is run again.
    guard entry.passes else { return entry }
    do throws(Problem) { try stages.write(entry.record, name) } catch { throw Problems([error]) }
    return entry
  }

  private func take<Outcome: StepOutcome>(
    _ entry: inout StepsReport.Entry, _ body: () throws(Problem) -> Outcome
  ) throws(Problems) {
    do throws(Problem) { entry.record.take(try body()) } catch { throw Problems([error]) }
  }

  private func merge(_ plan: MergePlan, _ entry: inout StepsReport.Entry) throws(Problems) {
    do throws(Problem) {
      let report = MergeReport(try MergeRun.execute(plan, listener: listener))
      entry.record.report = report.json
      entry.record.text = report.text
      entry.record.markdown = "```yaml\n\(plan.text)```\n\n\(report.text)\n"
    } catch { throw Problems([error]) }
  }

  private func reduce(
    _ plan: ReductionPlan, _ wish: BudgetWish, _ index: Int, _ entry: inout StepsReport.Entry
  ) throws(Problems) {
    var plan = plan
    if wish.needsTable {
      let request: ReductionRequest
      do throws(Problem) { request = try allotted(plan, wish, index) } catch { throw Problems([error]) }
      plan = try planner.replanned(plan, request)
    }
    let reduction = plan
    try take(&entry) { () throws(Problem) in
      try ReductionRun.execute(reduction, workers: planner.run.pool, listener: listener)
    }
  }

  /// The request with a budget for each matrix. A table that had to be measured is kept for a resumed run.
  private func allotted(
    _ plan: ReductionPlan, _ wish: BudgetWish, _ index: Int
  ) throws(Problem) -> ReductionRequest {
    var wish = wish
    let text = Digest(of: planner.recipe.steps[index].text).description
    let path = stages.path("\(planner.name(index)).sensitivity-\(text.prefix(16)).json")
    if wish.table == nil, let table = try? SensitivityTable(at: path), (try? table.require(for: plan)) != nil {
      wish.table = path
    }
    let request = try wish.resolve(plan, workers: planner.run.pool, listener: listener)
    if wish.table == nil, let table = request.table {
      try FileSystem.write(table.json.bytes(pretty: true), to: path)
    }
    return request
  }

  private func quantize(
    _ planned: PlannedQuantization, _ index: Int, _ entry: inout StepsReport.Entry
  ) throws(Problems) {
    var (found, outcome) = (planned, TypeFitting.Outcome?.none)
    var probe: ((String) throws(Problem) -> Double)?
    if let fitting = planned.fitting {
      (found, outcome) = try planner.fitted(fitting, planned, index)
      if !fitting.evaluation.data.texts.isEmpty {
        probe = { (path: String) throws(Problem) -> Double in
          try fitting.divergence(of: path, from: planned.model.checkpoint)
        }
      }
    }
    let (rounded, fit) = (found, outcome)
    try take(&entry) { () throws(Problem) in
      if let calibration = rounded.calibration {
        try calibration.execute(fit: fit, probe: probe, run: planner.run, listener: listener)
      } else {
        try QuantizationRun.execute(rounded.plan, fit: fit, probe: probe, listener: listener)
      }
    }
    if planned.fitting != nil { planner.removeScratch(index) }
  }

  private func evaluate(_ planned: PlannedEvaluation, _ entry: inout StepsReport.Entry) throws(Problems) {
    var report: EvaluationReport
    do throws(Problem) {
      if let reference = planned.reference {
        report = try planned.evaluation.compare(
          planned.model.checkpoint, named: planned.model.name, against: reference.checkpoint, named: reference.name)
      } else {
        report = try planned.evaluation.evaluate(planned.model.checkpoint, name: planned.model.name)
      }
    } catch { throw Problems([error]) }
    try report.judge(planned.gates)
    entry.passes = report.passes
    entry.record.report = report.json
    entry.record.text = report.text
    entry.record.markdown = "```\n\(report.text)```\n"
  }

  // MARK: - What was done before

  /// Everything that a step's result depends on.
  private func fingerprint(_ planned: PlannedStep, _ step: StepsRecipe.Step) throws(Problem) -> JSON {
    switch planned {
    case .merge(let plan): return try MergeRun.fingerprint(plan)
    case .restructure(let plan):
      var fingerprint = try plan.fingerprint()
      Self.add(step, plan.conversion.options, to: &fingerprint)
      return fingerprint
    case .reduce(let plan, let wish):
      var fingerprint = try ReductionRun.fingerprint(plan)
      Self.add(step, plan.conversion.options, to: &fingerprint)
      if let table = wish.table { fingerprint["input \(table)"] = try Self.identity(table) }
      return fingerprint
    case .quantize(let planned):
      var fingerprint = try QuantizationRun.fingerprint(planned.plan)
      fingerprint["step"] = .string(step.text)
      for path in planned.files { fingerprint["input \(path)"] = try Self.identity(path) }
      return fingerprint
    case .align(let planned):
      var fingerprint = try MergeRun.fingerprint(planned.plan.conversion)
      fingerprint["step"] = .string(step.text)
      for path in planned.plan.request.reference.checkpoint.weightFiles + planned.files {
        fingerprint["input \(path)"] = try Self.identity(path)
      }
      return fingerprint
    case .evaluate(let planned):
      var members: [(String, JSON)] = [
        ("version", .string(MergeRun.version)), ("step", .string(step.text)),
        ("mode", .string(planner.run.mode.rawValue)),
      ]
      for model in [planned.model, planned.reference].compactMap({ $0 }) {
        members.append(
          ("config \(model.name)", .string(Digest(of: model.checkpoint.config?.text() ?? "").description)))
        for path in model.checkpoint.weightFiles { members.append(("input \(path)", try Self.identity(path))) }
      }
      for path in planned.files { members.append(("input \(path)", try Self.identity(path))) }
      return .object(members)
    }
  }

  /// What a step says and how its folder is written.
  private static func add(_ step: StepsRecipe.Step, _ options: MergeOptions, to fingerprint: inout JSON) {
    fingerprint["step"] = .string(step.text)
    fingerprint["largest file"] = .number(options.shardBytes)
    fingerprint["non-finite values"] = .bool(options.allowsNonFinite)
  }

  private static func identity(_ path: String) throws(Problem) -> JSON {
    let identity = try WeightFile.identity(path)
    return ["size": .number(identity.size), "modified": .number(identity.modifiedNanoseconds)]
  }

  /// The record of a step that an earlier run finished.
  ///
  /// - Throws: `journal.mismatch` if its model is of another run; what verifying the model finds wrong. What was only
  ///   measured on something else is measured again.
  private func finished(
    _ name: String, _ planned: PlannedStep, _ fingerprint: JSON
  ) throws(Problem) -> StepRecord? {
    guard let record = try stages.record(name) else { return nil }
    let changed = record.changes(from: fingerprint)
    guard let path = planned.output else { return changed.isEmpty ? record : nil }
    guard FileSystem.kind(path) != nil else { return nil }
    guard changed.isEmpty else {
      throw Problem(
        .journalMismatch,
        "what is there belongs to another run; changed since: \(changed.joined(separator: ", "))",
        remedy: "Restore what changed, or start over with --force.", file: path)
    }
    let outcome = try Verification.verify(path, threads: planner.options.threads, listener: listener)
    if let problem = outcome.problems.first { throw problem }
    return record
  }

  // MARK: - The end

  private func finish(_ report: StepsReport) throws(Problems) {
    guard let last = planner.recipe.steps.lastIndex(where: \.makesModel) else { return }
    do throws(Problem) {
      try stages.place(
        planner.name(last), run: report.run,
        adding: [
          ("report.json", report.json.bytes(pretty: true) + [UInt8(ascii: "\n")]),
          ("REPORT.md", Array(report.markdown.utf8)), ("recipe.yml", Array(plan.source.utf8)),
        ])
    } catch { throw Problems([error]) }
    // The output is complete: what cannot be removed is only left behind.
    try? stages.remove()
  }

  /// The report of a run that was ended between its output and the end of its stages.
  private func placedReport(_ report: StepsReport) throws(Problems) -> StepsReport {
    var report = report
    do throws(Problem) {
      for (index, step) in planner.recipe.steps.enumerated() {
        if let record = try stages.record(planner.name(index)) {
          report.entries.append(StepsReport.Entry(step, record, isKept: true))
        }
      }
    } catch { throw Problems([error]) }
    try? stages.remove()
    return report
  }
}
