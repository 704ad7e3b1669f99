internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

/// A model that steps take or make.
struct StepModel: Sendable {
  /// What merges and comparisons call the model so far, and the one that the recipe begins with.
  static let current = "current"
  static let original = "original"

  var name: String
  var checkpoint: any Checkpoint
  /// The model before a change of structure, planned with until what comes of the change is known.
  var isProvisional = false
}

/// The models that a step may refer to.
struct StepModels: Sendable {
  private(set) var original: StepModel?
  /// What the last step that made a model was given.
  private(set) var previous: StepModel?
  private(set) var current: StepModel?

  mutating func advance(to model: StepModel) {
    previous = current
    current = model
    original = original ?? model
  }
}

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

struct PlannedAlignment {
  var plan: AlignmentPlan
  /// Texts by which channels are matched.
  var files: [String]
}

struct PlannedEvaluation {
  var evaluation: ModelEvaluation
  var model: StepModel
  var reference: StepModel?
  var gates: [Gate]
  /// Files that are measured on.
  var files: [String]
}

/// Plans steps, on models that are there or on those that will be.
struct StepsPlanner: Sendable {
  let recipe: StepsRecipe
  let file: String
  let options: MergeOptions
  let run: RunOptions
  let listener: any ProgressListener
  let locator: ModelLocator

  init(
    _ recipe: StepsRecipe, file: String, options: MergeOptions, run: RunOptions, listener: any ProgressListener
  ) {
    self.recipe = recipe
    self.file = file
    self.options = options
    self.run = run
    self.listener = listener
    locator = ModelLocator(recipeFolder: FileSystem.parent(of: file), models: options.models)
  }

  func name(_ index: Int) -> String { "\(index + 1)-\(recipe.steps[index].verb)" }

  /// How a step writes its model: into a folder of the stages, which are this run's own.
  func writing(_ index: Int) -> MergeOptions {
    var stage = options
    stage.output = "\(StepStages.folder(beside: options.output))/\(name(index))"
    stage.title = FileSystem.lastComponent(of: options.output)
    stage.seed = recipe.seed
    stage.policy.force = true
    return stage
  }

  // MARK: - Models

  /// The model that the recipe begins with.
  func begin() throws(Problems) -> StepModels {
    var models = StepModels()
    if let reference = recipe.model {
      do throws(Problems) {
        models.advance(
          to: StepModel(name: reference.key, checkpoint: try locator.open(reference, families: run.families)))
      } catch { throw error.inFile(file) }
    }
    return models
  }

  /// Outputs that would replace what they are made of.
  func overlaps() -> [Problem] {
    var references = [recipe.model].compactMap { $0 }
    for step in recipe.steps {
      switch step.action {
      case .merge(let merge, _): references += merge.models
      case .restructure(let step): references += [step.base].compactMap { $0 }
      case .reduce, .quantize: break
      case .align(let alignment):
        if case .model(let reference) = alignment.reference { references.append(reference) }
      case .evaluate(let evaluation):
        if case .model(let reference)? = evaluation.reference { references.append(reference) }
      }
    }
    let written = [options.output, StepStages.folder(beside: options.output)]
    let found = references.flatMap { reference in
      // Of models that are not there, planning tells.
      written.flatMap {
        (try? OutputOverlap.problems(writing: $0, reading: reference, locator: locator)) ?? []
      }
    }
    return Problems(found).inFile(file).all.uniqued()
  }

  /// The model that a step will make. A quantized one is planned with as if it were not: what follows only measures it.
  /// So is one whose structure changes: what stays is known when the method has chosen.
  func foreseen(_ planned: PlannedStep, _ index: Int) throws(Problem) -> StepModel? {
    switch planned {
    case .restructure(let plan):
      return StepModel(name: name(index), checkpoint: plan.checkpoint, isProvisional: true)
    case .quantize(let quantization):
      return StepModel(name: name(index), checkpoint: quantization.plan.checkpoint)
    case .reduce(let plan, _) where plan.request.storage == .packed:
      return StepModel(name: name(index), checkpoint: plan.checkpoint)
    default: break
    }
    guard let plan = planned.writing else { return nil }
    let checkpoint = try ForeseenCheckpoint(
      at: plan.options.output, files: plan.layout.files.map { ($0.name, $0.header, $0.byteCount) },
      small: plan.smallFiles)
    return StepModel(name: name(index), checkpoint: checkpoint)
  }

  /// The model that a step has made.
  func made(_ planned: PlannedStep, _ index: Int) throws(Problems) -> StepModel? {
    guard let output = planned.output else { return nil }
    return StepModel(
      name: name(index), checkpoint: try Architecture.openCheckpoint(at: output, families: run.families))
  }

  // MARK: - Steps

  /// Plans a step.
  ///
  /// - Parameter models: there already, or foreseen.
  /// - Throws: every problem that can be known without reading weights, with the step's line.
  func plan(_ index: Int, _ models: StepModels) throws(Problems) -> PlannedStep {
    let step = recipe.steps[index]
    do throws(Problems) {
      switch step.action {
      case .merge(let merge, let text):
        var given: [ExactString: any Checkpoint] = [:]
        if let current = models.current { given[ExactString(StepModel.current)] = current.checkpoint }
        if let original = models.original { given[ExactString(StepModel.original)] = original.checkpoint }
        return .merge(
          try MergePlan.prepare(merge, text: text, file: file, options: writing(index), given: given))
      case .restructure(let step): return .restructure(try restructure(step, index, models))
      case .reduce(let reduction): return try reduce(reduction, index, models)
      case .quantize(let step): return .quantize(try quantize(step, index, models))
      case .align(let step): return .align(try align(step, index, models))
      case .evaluate(let evaluation): return .evaluate(try evaluate(evaluation, models))
      }
    } catch { throw located(error, step) }
  }

  /// Problems with the line of their step, but for those of the machine: no recipe could mend them.
  private func located(_ problems: Problems, _ step: StepsRecipe.Step) -> Problems {
    Problems(
      problems.all.map { problem in
        let isOfMachine = ["output.", "memory."].contains { problem.code.rawValue.hasPrefix($0) }
        let told = problem.inRecipeWords()
        return isOfMachine ? told : told.at(file: file, recipeLine: step.line)
      })
  }

  private func reduce(
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

  private func align(
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

  private func evaluate(_ step: EvaluationStep, _ models: StepModels) throws(Problems) -> PlannedEvaluation {
    var problems = Problems()
    let texts = locate(step.text, &problems)
    let choices = locate(step.choices, &problems)
    let answers = locate(step.answers, &problems)
    let labels = locate(step.labels, &problems)
    let sentences = locate(step.sentences, &problems)
    var data: EvaluationData?
    if problems.all.isEmpty {
      do throws(Problems) {
        data = try EvaluationData(
          texts: texts, choices: choices, answers: answers, classified: labels, sentences: sentences)
      } catch { problems.all += error.all }
    }
    var reference: StepModel?
    do throws(Problems) { reference = try self.reference(step.reference, models) } catch {
      problems.all += error.all
    }
    if models.current == nil { problems.add(noModel) }
    var others = 0
    // The model's share of the memory is what the reference leaves.
    for model in [reference, models.current].compactMap({ $0 }) {
      problems.collect { () throws(Problem) in
        others += try run.network(of: model.checkpoint, beside: others).residentBytes
        _ = try ModelTokenizer(of: model.checkpoint)
      }
    }
    guard problems.all.isEmpty, let data, let model = models.current else { throw problems }
    let context = [model, reference].compactMap { $0?.checkpoint.contextLength }.min()
    let length = step.window ?? min(512, context ?? 512)
    var evaluation = ModelEvaluation(
      data: data, cut: TextProtocol(step.cut.cut(length: length, stride: step.stride), limit: step.limit), run: run,
      listener: listener)
    evaluation.answerTokens = step.answerTokens
    evaluation.bootstrap = Bootstrap(seed: step.seed)
    return PlannedEvaluation(
      evaluation: evaluation, model: model, reference: reference, gates: step.gates,
      files: texts + choices + answers + labels + sentences)
  }

  private func reference(
    _ reference: EvaluationStep.Reference?, _ models: StepModels
  ) throws(Problems) -> StepModel? {
    switch reference {
    case nil: return nil
    case .original: return models.original
    case .previous: return models.previous
    case .model(let reference):
      return StepModel(name: reference.key, checkpoint: try locator.open(reference, families: run.families))
    }
  }

  /// A step after one that cannot be planned, whose problems are told.
  var noModel: Problem { Problem(.recipeSteps, "no model is there for this step") }

  // MARK: - Files

  /// Paths are taken from the recipe's folder, then from the current one.
  func locate(_ files: [StepFile], _ problems: inout Problems) -> [String] {
    files.compactMap { named in
      let folders = [FileSystem.parent(of: file), "."]
      let found = folders.map { FileSystem.join($0, named.path) }.first { FileSystem.isFile($0) }
      if found == nil {
        problems.add(
          Problem(
            .recipeValue, "there is no file \(named.path)",
            remedy: "Paths are taken from the recipe's folder, then from the current one.", recipeLine: named.line))
      }
      return found
    }
  }
}
