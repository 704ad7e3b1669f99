internal import EspalierBasics
internal import EspalierCheckpoints

extension StepsPlanner {
  func restructure(
    _ step: RestructuringStep, _ index: Int, _ models: StepModels
  ) throws(Problems) -> RestructuringPlan {
    guard let current = models.current else { throw Problems([noModel]) }
    var problems = Problems()
    let text = locate(step.text, &problems)
    let statistics = locate([step.statistics].compactMap { $0 }, &problems).first
    let pairs = locate([step.pairs].compactMap { $0 }, &problems).first
    guard problems.all.isEmpty else { throw problems }
    var source = RestructuringRequest.Source.nothing
    if let statistics { source = .statistics(statistics) }
    if !text.isEmpty {
      source = .text(
        try CalibrationText(
          text, for: current.checkpoint, sequences: step.sequences, length: step.length, seed: step.seed))
    }
    var request = RestructuringRequest(method: step.method, goal: step.goal, source: source)
    request.parameters = step.parameters
    request.repair = step.repair
    request.effectLimit = step.effectLimit
    if let pairs { request.pairs = try PromptPairs(pairs, for: current.checkpoint) }
    if let base = step.base { request.base = (base.key, try locator.open(base, families: run.families)) }
    // Of a model that a step before changes, sizes and memory are known once it is made.
    return try RestructuringPlan(
      request, of: current.name, checkpoint: current.checkpoint, run: run, writing: writing(index), isGiven: true,
      isExecuted: !current.isProvisional)
  }
}
