internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierReduction

extension StepsPlanner {
  func reduce(
    _ step: ReductionStep, _ index: Int, _ models: StepModels
  ) throws(Problems) -> PlannedStep {
    guard let current = models.current else { throw Problems([noModel]) }
    var problems = Problems()
    let text = locate(step.text, &problems)
    let statistics = locate([step.statistics].compactMap { $0 }, &problems).first
    var wish = step.budget
    wish.table = locate([step.table].compactMap { $0 }, &problems).first
    if let path = wish.table {
      // The table's place is not the recipe's.
      _ = problems.collect { () throws(Problem) in
        do throws(Problem) { _ = try SensitivityTable(at: path) } catch { throw error.of(path, file: file) }
      }
    }
    guard problems.all.isEmpty else { throw problems }
    var request = ReductionRequest(
      method: step.method, goal: wish.provisionalGoal(of: step.method),
      source: try source(of: step, text: text, statistics: statistics, for: current))
    step.fill(&request)
    (request.storage, request.layout) = (step.storage, step.layout)
    let plan = try ReductionPlan(
      request, of: current.name, checkpoint: current.checkpoint, run: run, writing: writing(index), isGiven: true)
    // What keeps a goal of a model that is not known yet is not known either.
    guard wish.needsResolution, !wish.needsTable, !current.isProvisional else { return .reduce(plan, wish) }
    let resolved: ReductionRequest
    do throws(Problem) { resolved = try wish.resolve(plan, workers: run.pool, listener: listener) } catch {
      throw Problems([error])
    }
    return .reduce(try replanned(plan, resolved), wish)
  }

  /// What is known of the inputs of matrices.
  ///
  /// - Parameters:
  ///   - text: files, located.
  ///   - statistics: a file, located.
  func source(
    of step: ReductionStep, text: [String], statistics: String?, for model: StepModel
  ) throws(Problems) -> ReductionRequest.Source {
    if let statistics { return .file(statistics) }
    guard !text.isEmpty else { return .nothing }
    return .text(
      try CalibrationText(
        text, for: model.checkpoint, sequences: step.sequences, length: step.length, seed: step.seed),
      isSequential: !step.isOneShot)
  }

  /// The same plan for another request.
  func replanned(_ plan: ReductionPlan, _ request: ReductionRequest) throws(Problems) -> ReductionPlan {
    try ReductionPlan(
      request, of: plan.conversion.models.first?.reference.key ?? "", checkpoint: plan.checkpoint, run: run,
      writing: plan.conversion.options, isGiven: true)
  }
}
