internal import EspalierBasics
internal import EspalierCheckpoints

struct PlannedAlignment {
  var plan: AlignmentPlan
  /// Texts by which channels are matched.
  var files: [String]
}

extension StepsPlanner {
  func align(
    _ step: AlignmentStep, _ index: Int, _ models: StepModels
  ) throws(Problems) -> PlannedAlignment {
    guard let current = models.current, let reference = try reference(step.reference, models) else {
      throw Problems([noModel])
    }
    var problems = Problems()
    let text = locate(step.text, &problems)
    guard problems.all.isEmpty else { throw problems }
    var request = AlignmentRequest(to: reference.checkpoint, named: reference.name)
    (request.options, request.comparesSingularVectors) = (step.options, step.comparesSingularVectors)
    if !text.isEmpty {
      request.text = try CalibrationText(
        text, for: current.checkpoint, sequences: step.sequences, length: step.length, seed: step.seed)
    }
    let plan = try AlignmentPlan(
      request, of: current.name, checkpoint: current.checkpoint, run: run, writing: writing(index), isGiven: true)
    return PlannedAlignment(plan: plan, files: text)
  }
}
