internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierLinearMaps
internal import EspalierNetworks
internal import EspalierReduction

/// A quantization to GGUF; with a target its types are provisional until effects have been measured.
struct PlannedQuantization {
  var plan: QuantizationPlan
  var model: StepModel
  var fitting: TypeFitting?
  /// What rounds matrices to their blocks before the file is written.
  var calibration: BlockCalibration?
  /// Files that effects are measured on, or a table of them; texts and statistics of a calibration.
  var files: [String] = []

  var warnings: [Problem] { calibration?.warnings ?? plan.warnings }
  var outline: QuantizationOutline { calibration.map { QuantizationOutline($0) } ?? QuantizationOutline(plan) }
}

extension StepsPlanner {
  func quantize(_ step: QuantizationStep, _ index: Int, _ models: StepModels) throws(Problems) -> PlannedQuantization {
    guard let current = models.current else { throw Problems([noModel]) }
    var problems = Problems()
    let imatrix = locate([step.imatrix].compactMap { $0 }, &problems).first
    let statistics = locate([step.statistics].compactMap { $0 }, &problems).first
    let text = locate(step.calibration?.text ?? [], &problems)
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
    var planned: PlannedQuantization
    if let calibration = step.calibration {
      var rounding = ReductionRequest(
        method: calibration.method, goal: .codes,
        source: try source(of: calibration, text: text, statistics: statistics, for: current))
      calibration.fill(&rounding)
      planned = try calibrated(request, by: rounding, index, current)
    } else {
      planned = PlannedQuantization(plan: try self.plan(request, index, current), model: current)
    }
    planned.files = text + [statistics].compactMap { $0 }
    guard let target = step.target else { return planned }
    let length = min(target.effectWindow, current.checkpoint.contextLength ?? target.effectWindow)
    var fitting = TypeFitting(
      request, to: target.goal,
      evaluation: ModelEvaluation(
        data: try EvaluationData(texts: effectText),
        cut: TextProtocol(.windows(length: length), limit: target.effectLimit), run: run, listener: listener))
    (fitting.types, fitting.signal) = (target.types, target.signal)
    // A calibrated file is to have types that are calibrated.
    if step.calibration != nil, fitting.types == nil { fitting.types = GPTQBlocks.types }
    if let table {
      do throws(Problem) { fitting.table = try TypeSensitivity(at: table) } catch {
        // The table's place is not the recipe's.
        throw Problems([error.of(table, file: file)])
      }
    }
    planned.fitting = fitting
    planned.files += effectText + [table].compactMap { $0 }
    return planned
  }

  private func calibrated(
    _ request: QuantizationRequest, by rounding: ReductionRequest, _ index: Int, _ model: StepModel
  ) throws(Problems) -> PlannedQuantization {
    let calibration = try BlockCalibration(
      request, calibratedBy: rounding, of: model.name, checkpoint: model.checkpoint, run: run, options: writing(index),
      place: .folder, isGiven: true)
    return PlannedQuantization(plan: calibration.plan, model: model, calibration: calibration)
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
  ) throws(Problems) -> (planned: PlannedQuantization, outcome: TypeFitting.Outcome) {
    var options = writing(index)
    options.output += ".gguf"
    let outcome = try fitting.find(
      for: planned.model.checkpoint, named: planned.model.name, families: run.families, options: options,
      listener: listener)
    guard let rounding = planned.calibration?.rounding else {
      let plan = try plan(outcome.request, index, planned.model)
      return (PlannedQuantization(plan: plan, model: planned.model), outcome)
    }
    return (try calibrated(outcome.request, by: rounding, index, planned.model), outcome)
  }

  /// Removes what finding types left among the stages.
  func removeScratch(_ index: Int) { TypeFitting.removeScratch(beside: writing(index).output + ".gguf") }
}
