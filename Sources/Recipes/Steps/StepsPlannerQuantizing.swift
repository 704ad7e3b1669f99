internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierLinearMaps
internal import EspalierNetworks

/// A quantization to GGUF; with a target its types are provisional until effects have been measured.
struct PlannedQuantization {
  var plan: QuantizationPlan
  var model: StepModel
  var fitting: TypeFitting?
  /// Files that effects are measured on, or a table of them.
  var files: [String] = []
}

extension StepsPlanner {
  func quantize(_ step: QuantizationStep, _ index: Int, _ models: StepModels) throws(Problems) -> PlannedQuantization {
    guard let current = models.current else { throw Problems([noModel]) }
    var problems = Problems()
    let imatrix = locate([step.imatrix].compactMap { $0 }, &problems).first
    let statistics = locate([step.statistics].compactMap { $0 }, &problems).first
    let effectText = locate(step.target?.effectText ?? [], &problems)
    let table = locate([step.target?.table].compactMap { $0 }, &problems).first
    guard problems.all.isEmpty else { throw problems }
    var request = QuantizationRequest(mix: step.mix)
    request.rules = step.rules
    request.isPure = step.isPure
    request.search = step.isRefined ? .refined : .reference
    request.allowsRequantizing = true
    try request.setImportance(
      imatrix: imatrix, statistics: statistics, for: current.checkpoint, families: run.families)
    let plan = try self.plan(request, index, current)
    guard let target = step.target else { return PlannedQuantization(plan: plan, model: current) }
    let length = min(target.effectWindow, current.checkpoint.contextLength ?? target.effectWindow)
    var fitting = TypeFitting(
      request, to: target.goal,
      evaluation: ModelEvaluation(
        data: try EvaluationData(texts: effectText),
        cut: TextProtocol(.windows(length: length), limit: target.effectLimit), run: run, listener: listener))
    fitting.types = target.types
    if let table {
      do throws(Problem) { fitting.table = try TypeSensitivity(at: table) } catch { throw Problems([error]) }
    }
    return PlannedQuantization(
      plan: plan, model: current, fitting: fitting, files: effectText + [table].compactMap { $0 })
  }

  private func plan(
    _ request: QuantizationRequest, _ index: Int, _ model: StepModel
  ) throws(Problems) -> QuantizationPlan {
    try QuantizationPlan(
      request, of: model.name, checkpoint: model.checkpoint, families: run.families, options: writing(index),
      place: .folder)
  }

  /// Finds the types of a target, and plans with them.
  func fitted(
    _ fitting: TypeFitting, _ planned: PlannedQuantization, _ index: Int
  ) throws(Problems) -> (plan: QuantizationPlan, outcome: TypeFitting.Outcome) {
    var options = writing(index)
    options.output += ".gguf"
    let outcome = try fitting.find(
      for: planned.model.checkpoint, named: planned.model.name, families: run.families, options: options,
      listener: listener)
    return (try plan(outcome.request, index, planned.model), outcome)
  }

  /// Removes what finding types left among the stages.
  func removeScratch(_ index: Int) { TypeFitting.removeScratch(beside: writing(index).output + ".gguf") }
}
