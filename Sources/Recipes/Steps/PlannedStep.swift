internal import EspalierBasics
internal import EspalierReduction

/// A step of which everything is known but what reading weights and running models tells.
enum PlannedStep {
  case merge(MergePlan)
  case restructure(RestructuringPlan)
  case reduce(ReductionPlan, BudgetWish)
  case quantize(PlannedQuantization)
  case align(PlannedAlignment)
  case evaluate(PlannedEvaluation)

  /// How a folder of safetensors is written.
  var writing: MergePlan? {
    switch self {
    case .merge(let plan): plan
    case .restructure(let plan): plan.conversion
    case .reduce(let plan, _): plan.conversion
    case .align(let planned): planned.plan.conversion
    case .quantize, .evaluate: nil
    }
  }

  /// The folder of its model.
  var output: String? {
    if case .quantize(let planned) = self { return planned.plan.options.output }
    return writing?.options.output
  }

  var warnings: [Problem] {
    switch self {
    case .merge(let plan): plan.warnings
    case .restructure(let plan): plan.warnings
    case .reduce(let plan, _): plan.warnings
    case .quantize(let planned): planned.warnings
    case .align(let planned): planned.plan.warnings
    case .evaluate: []
    }
  }
}
