import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierEvaluation
import EspalierLinearMaps
import EspalierNetworks
import EspalierNumerics
import EspalierRecipes
import EspalierReduction

/// Text that a model is calibrated on.
struct CalibrationTextOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("Calibration text, plain or JSON lines {\"text\"} (repeatable).", valueName: "file"),
    completion: .file())
  var text: [String] = []

  @Option(help: "Windows of calibration text (default: 128, or as many as there are if those are fewer).")
  var sequences: Int?

  @Option(help: "Tokens of a window (default: 2048, or the model's context if that is shorter).")
  var length: Int?

  @Option(help: "Draw the windows among all there are with this seed (default: the first ones).")
  var seed: UInt64?

  func validate() throws {
    if let sequences, sequences < 1 { throw ValidationError("--sequences must be at least 1.") }
    if let length, length < 1 { throw ValidationError("--length must be at least 1.") }
    let cuts = [("--sequences", sequences != nil), ("--length", length != nil), ("--seed", seed != nil)]
    if text.isEmpty, let given = cuts.first(where: \.1) {
      throw ValidationError("\(given.0) is of calibration text: give --text.")
    }
  }

  func read(for checkpoint: any Checkpoint) throws(Problems) -> CalibrationText {
    try CalibrationText(text, for: checkpoint, sequences: sequences, length: length, seed: seed)
  }
}

/// Calibration text, or statistics that were gathered before.
struct CalibratingOptions: ParsableArguments {
  @OptionGroup var text: CalibrationTextOptions

  @Option(
    help: ArgumentHelp("Statistics of `espalier calibrate` in place of text.", valueName: "file"), completion: .file())
  var statistics: String?

  @Option(
    help: """
      Columns up to which a second moment is kept whole; wider ones in squares along the diagonal (default: 8192, or \
      any width for methods that need it whole).
      """)
  var momentWidth: Int?

  func validate() throws {
    if !text.text.isEmpty, statistics != nil { throw ValidationError("Give --text or --statistics, not both.") }
    if let momentWidth, momentWidth < 0 { throw ValidationError("--moment-width must be at least 0.") }
  }

  var isGiven: Bool { !text.text.isEmpty || statistics != nil }

  func source(for checkpoint: any Checkpoint, isSequential: Bool) throws(Problems) -> ReductionRequest.Source {
    if let statistics { return .file(statistics) }
    guard !text.text.isEmpty else { return .nothing }
    return .text(try text.read(for: checkpoint), isSequential: isSequential)
  }
}

/// Which matrices a verb is for.
struct MatrixSelection: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Leave matrices as they are whose name has this (regular expression, repeatable).", valueName: "pattern"))
  var keep: [String] = []

  @Option(
    help: ArgumentHelp(
      "Take only matrices whose name has this, a head too, which is spared otherwise (repeatable).",
      valueName: "pattern"))
  var only: [String] = []
}

/// The parameters of a method, and which matrices it is for.
struct SelectingOptions: ParsableArguments {
  @Option(
    name: .customLong("set"), help: ArgumentHelp("A parameter of the method (repeatable).", valueName: "name=value"))
  var settings: [String] = []

  @OptionGroup var matrices: MatrixSelection

  func validate() throws {
    for setting in settings where !setting.contains("=") {
      throw ValidationError("--set \(setting) is not name=value.")
    }
  }

  /// As the method's card understands them.
  func parameters(of method: String) throws(Problems) -> [String: ParameterValue] {
    do throws(Problem) { return try ReductionMethods.card(named: method)?.values(settings) ?? [:] } catch {
      throw Problems([error])
    }
  }
}

/// What pruning and factorization take alike.
struct ReducingOptions: ParsableArguments {
  @OptionGroup(title: "Calibration") var calibrating: CalibratingOptions

  @Flag(help: "Let each block see the original blocks before it, not the reduced ones.")
  var oneShot = false

  @OptionGroup var selecting: SelectingOptions

  @Flag(help: "Do not measure the plain method (magnitude, SVD) beside.")
  var noBaseline = false

  @OptionGroup var testing: TestingOptions

  @Flag(help: "Say what would be done, touch nothing.")
  var plan = false

  @OptionGroup var writing: WritingOptions
  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func validate() throws { try testing.requireText() }

  /// Refuses what is no method of the verb.
  static func validate(_ method: String?, makesFactors: Bool) throws {
    let known = ReductionMethods.names(makingFactors: makesFactors)
    if let method, !known.contains(method) {
      throw ValidationError("--method \(method) is none of \(known.joined(separator: ", ")).")
    }
  }

  /// Plans, and carries out unless only the plan is wanted.
  ///
  /// - Parameter method: nil for the best that what is known of the inputs allows.
  func run(
    _ model: String, method: String?, makesFactors: Bool, _ wish: BudgetWish, storage: ReductionRequest.Storage
  ) throws {
    var judgement = Judgement()
    let method =
      method
      ?? ReductionRequest.standardMethod(makesFactors: makesFactors, isCalibrated: calibrating.isGiven)
    try reportingProblems(json: style.json) { () throws(Problems) in
      let checkpoint = try lookup.open(model)
      let test = try testing.read()
      var request = ReductionRequest(
        method: method, goal: wish.provisionalGoal(of: method),
        source: try calibrating.source(for: checkpoint, isSequential: !oneShot))
      request.parameters = try selecting.parameters(of: method)
      request.storage = storage
      (request.keep, request.only) = (selecting.matrices.keep, selecting.matrices.only)
      request.momentLimit = calibrating.momentWidth
      request.measuresBaseline = !noBaseline
      let run = try running.options(work, lookup, default: .exact)
      let options = writing.options(work, lookup)
      var plan = try ReductionPlan(request, of: model, checkpoint: checkpoint, run: run, writing: options)
      let listener = style.listener()
      for problem in plan.warnings { listener.receive(.problem(problem)) }
      if wish.needsResolution {
        do throws(Problem) { request = try wish.resolve(plan, workers: run.pool, listener: listener) } catch {
          throw Problems([error])
        }
        plan = try ReductionPlan(request, of: model, checkpoint: checkpoint, run: run, writing: options)
      }
      try plan.carryOut(
        onlyPlan: self.plan, test: test, against: checkpoint, named: model, run: run, style: style, listener: listener,
        judgement: &judgement)
    }
    if !judgement.passes { throw gateFailed }
  }
}
