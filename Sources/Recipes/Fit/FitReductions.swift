internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierNumerics
internal import EspalierReduction

/// The plans of one model's reductions, a form each, and the one that gathers for all of them.
struct FitReductions: Sendable {
  /// Takes every matrix that any form takes, in their order, and needs the most of what is known.
  let gathering: ReductionPlan
  /// In the order of the forms; nil for a form that nothing has.
  let plans: [ReductionPlan?]

  /// Parameters that may be stored otherwise, in the order of the model.
  var targets: [ReductionTarget] { gathering.blocks.flatMap(\.targets) }

  /// - Parameters:
  ///   - budgets: of each form, what it does to which matrices; nil to take all, at the form's first level.
  init(
    _ forms: [FitForm], budgets: [[ExactString: MatrixBudget]]? = nil, source: ReductionRequest.Source, keep: [String],
    of model: String, checkpoint: any Checkpoint, run: RunOptions, writing: MergeOptions
  ) throws(Problems) {
    func plan(_ request: ReductionRequest) throws(Problems) -> ReductionPlan {
      try ReductionPlan(request, of: model, checkpoint: checkpoint, run: run, writing: writing, isGiven: true)
    }
    var widest = ReductionRequest(method: GPTQ.card.name, goal: .codes, source: source)
    (widest.keep, widest.takesHead) = (keep, true)
    gathering = try plan(widest)
    var plans: [ReductionPlan?] = []
    for (index, form) in forms.enumerated() {
      guard let budgets else {
        plans.append(try plan(form.request(.budget(form.levels[0]), source: source, keep: keep)))
        continue
      }
      guard !budgets[index].isEmpty else {
        plans.append(nil)
        continue
      }
      plans.append(try plan(form.request(.allotted(budgets[index]), source: source, keep: keep)))
    }
    self.plans = plans
  }

  /// What a form takes of a parameter, with how it is written there; nil if the form does not have it.
  func target(_ name: String, form: Int) -> ReductionTarget? {
    guard let plan = plans[form] else { return nil }
    let found = plan.blocks.lazy.flatMap(\.targets).first { ExactString($0.parameter.name) == ExactString(name) }
    guard let found, found.packing != nil || found.wholeMatrix != nil else { return nil }
    return found
  }
}

extension ReductionTarget {
  /// Bytes as it is.
  var denseBytes: Int { parameter.elementCount * parameter.elementType.byteWidth }
}

extension ReductionTarget.Packing {
  /// Bytes of its tensors.
  func byteCount(of parameter: String) throws(Problem) -> Int {
    try layout.tensors(of: form, parameter: parameter).reduce(0) { $0 + $1.byteCount }
  }
}
