internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierReduction

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

  func reference(
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
