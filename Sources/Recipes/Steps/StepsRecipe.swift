public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation

extension Problem.Code {
  /// What is wrong with the steps of a recipe as a whole.
  public static let recipeSteps = Problem.Code("recipe.steps")
}

/// A recipe of several steps, each of which takes the model that the one before it made (`Docs/recipes.md`).
struct StepsRecipe: Sendable {
  /// Where the first step begins; nil where that is a merge.
  var model: ModelReference?
  /// Of the random choices of merges.
  var seed: UInt64
  var steps: [Step]

  struct Step: Sendable {
    var action: Action
    /// The step written in one way for one meaning: what of the recipe its result depends on.
    var text: String
    var line: Int
  }

  enum Action: Sendable {
    /// - Parameter text: the mergekit document by itself.
    case merge(Recipe, text: String)
    case restructure(RestructuringStep)
    case reduce(ReductionStep)
    case quantize(QuantizationStep)
    case align(AlignmentStep)
    case evaluate(EvaluationStep)
  }
}

extension StepsRecipe.Step {
  var verb: String {
    switch action {
    case .merge: "merge"
    case .restructure: "restructure"
    case .reduce(let step): step.verb.rawValue
    case .quantize: "quantize"
    case .align: "align"
    case .evaluate: "evaluate"
    }
  }

  var isQuantization: Bool { verb == ReductionStep.Verb.quantize.rawValue }

  /// Whether it makes a model.
  var makesModel: Bool { if case .evaluate = action { false } else { true } }
}

/// A step that prunes, factorizes, or quantizes by a calibrated method to a folder.
struct ReductionStep: Sendable {
  enum Verb: String, Sendable { case prune, factorize, quantize }

  var verb: Verb
  var method: String
  var parameters: [String: ParameterValue] = [:]
  var budget: BudgetWish
  var text: [StepFile] = []
  var sequences: Int?
  var length: Int?
  var seed: UInt64?
  var statistics: StepFile?
  var momentWidth: Int?
  var isOneShot = false
  var keep: [String] = []
  var only: [String] = []
  var storage = ReductionRequest.Storage.dense
  /// Of packed codes; nil for what the method is usually written in.
  var layout: PackedLayout?
  var measuresBaseline = true
  var table: StepFile?

  /// Says in a request what the step says of the method and its matrices.
  func fill(_ request: inout ReductionRequest) {
    request.parameters = parameters
    (request.keep, request.only) = (keep, only)
    (request.momentLimit, request.measuresBaseline) = (momentWidth, measuresBaseline)
  }
}

/// A step that takes layers, channels, heads or experts out.
struct RestructuringStep: Sendable {
  var method: String
  var goal: RestructuringRequest.Goal
  var parameters: [String: ParameterValue] = [:]
  /// Damping of a repair of what stays; nil for none.
  var repair: Double?
  var text: [StepFile] = []
  var sequences: Int?
  var length: Int?
  var seed: UInt64?
  /// Windows of each text on which changes are measured; nil: all.
  var effectLimit: Int?
  var statistics: StepFile?
  /// Prompts that differ in a group of people alone.
  var pairs: StepFile?
  /// What the model was tuned from.
  var base: ModelReference?
}

/// A step that measures the model so far.
struct EvaluationStep: Sendable {
  /// What it is compared with.
  enum Reference: Sendable, Hashable {
    /// The model that the recipe begins with, or that its first merge made.
    case original
    /// The model that the last step that made one was given.
    case previous
    case model(ModelReference)
  }

  var reference: Reference?
  var text: [StepFile] = []
  var choices: [StepFile] = []
  var answers: [StepFile] = []
  var labels: [StepFile] = []
  var sentences: [StepFile] = []
  var cut = TextCutName.windows
  var window: Int?
  var stride: Int?
  var limit: Int?
  var answerTokens = 32
  var seed: UInt64 = 0
  var gates: [Gate] = []

  var files: [StepFile] { text + choices + answers + labels + sentences }
}

/// A file that a step reads, as the recipe names it.
struct StepFile: Sendable {
  var path: String
  var line: Int
}
