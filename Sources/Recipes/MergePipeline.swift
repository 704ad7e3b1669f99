public import EspalierBasics
internal import EspalierExecution

/// A recipe file from text to output: its documents in the order in which they need each other.
///
/// A file with one document is one merge. With several, the named ones are merged first, into `OUT.stages/NAME`, and
/// the others use them as models; the stages are removed when the last is done. Until then they keep their journals, by
/// which a resumed run knows those that are finished.
public struct MergePipeline: Sendable {
  private let file: String
  private let source: String
  private let options: MergeOptions
  /// Documents in the order of execution; the last is the output.
  private let recipes: [Recipe]
  /// The plan of the first document. Later ones can be planned only when their inputs exist.
  private let first: MergePlan
  public let warnings: [Problem]

  /// Reads and plans; touches nothing.
  public init(
    recipeAt file: String, options: MergeOptions, listener: any ProgressListener
  ) throws(Problems) {
    let text: String
    do throws(Problem) {
      text = String(decoding: try FileSystem.read(file, limit: 16 << 20), as: UTF8.self)
    } catch { throw Problems([error]) }
    try self.init(recipe: text, of: file, options: options, listener: listener)
  }

  /// Plans a recipe that is given as text: a candidate of a ``RecipeSearch``, say.
  ///
  /// - Parameter file: where the recipe is from; paths in it are taken from that folder.
  public init(
    recipe text: String, of file: String, options: MergeOptions, listener: any ProgressListener
  ) throws(Problems) {
    var warnings: [Problem] = []
    self.file = file
    self.options = options
    source = text
    recipes = try Self.ordered(try Recipe.read(source, file: file, warnings: &warnings), file: file)
    var problems = Problems(Self.foreseen(recipes, file: file, options: options))
    do throws(Problems) {
      first = try MergePlan.prepare(
        recipes[0], text: source, file: file,
        options: Self.options(options, stage: recipes.count > 1 ? recipes[0] : nil))
    } catch {
      problems.all += error.all
      throw problems
    }
    guard problems.all.isEmpty else { throw problems }
    self.warnings = warnings + first.warnings
  }

  // MARK: - Documents

  private static func ordered(_ recipes: [Recipe], file: String) throws(Problems) -> [Recipe] {
    guard recipes.count > 1 else { return recipes }
    var problems = Problems()
    let unnamed = recipes.filter { $0.name == nil }
    if unnamed.count > 1 {
      problems.add(
        Problem(
          .recipeValue, "\(unnamed.count) documents have no name; only the last merge may go without",
          file: file, recipeLine: unnamed[1].line))
    }
    let names = recipes.compactMap(\.name)
    for (index, recipe) in recipes.enumerated() {
      guard let name = recipe.name else { continue }
      if names.firstIndex(of: name) != recipes[..<index].filter({ $0.name != nil }).count {
        problems.add(Problem(.recipeValue, "two documents are called \(name)", file: file, recipeLine: recipe.line))
      }
      if name.isEmpty || name.contains("/") || name.hasPrefix(".") {
        problems.add(
          Problem(.recipeValue, "\"\(name)\" cannot be the name of a folder", file: file, recipeLine: recipe.line))
      }
    }
    guard problems.all.isEmpty else { throw problems }
    var waiting = recipes
    var done: [Recipe] = []
    while !waiting.isEmpty {
      let ready = waiting.firstIndex { recipe in
        recipe.models.allSatisfy { model in
          !waiting.contains { $0.name == model.path } && (recipe.name != nil || waiting.count == 1)
        }
      }
      guard let ready else {
        throw Problems([
          Problem(
            .recipeValue,
            "documents refer to each other in a circle: \(waiting.compactMap(\.name).joined(separator: ", "))",
            file: file, recipeLine: waiting[0].line)
        ])
      }
      done.append(waiting.remove(at: ready))
    }
    return done
  }

  /// What is known to stand in the way of documents after the first, which are planned only when their inputs exist:
  /// models that are not on this machine, an output that may not be written, a stage that is there already.
  private static func foreseen(_ recipes: [Recipe], file: String, options: MergeOptions) -> [Problem] {
    guard recipes.count > 1 else { return [] }
    var problems = Problems(OutputFolder.obstacles(at: options.output, policy: options.policy, bytes: 0))
    let locator = ModelLocator(recipeFolder: FileSystem.parent(of: file), models: options.models)
    let stages = Set(recipes.compactMap(\.name))
    for (index, recipe) in recipes.enumerated() {
      if (1..<recipes.count - 1).contains(index) {
        let stage = Self.options(options, stage: recipe)
        problems.all += OutputFolder.obstacles(at: stage.output, policy: stage.policy, bytes: 0)
      }
      for model in recipe.models where !stages.contains(model.path) {
        do throws(Problems) {
          problems.all += try OutputOverlap.problems(writing: options.output, reading: model, locator: locator)
        } catch {
          // Of the first document its own plan tells.
          if index > 0 { problems.all += error.all }
        }
      }
    }
    return problems.inFile(file).all.uniqued()
  }

  private static func options(_ options: MergeOptions, stage: Recipe?) -> MergeOptions {
    guard let name = stage?.name else { return options }
    var options = options
    options.output = "\(stages(options))/\(name)"
    // A finished stage is no obstacle to a resumed run: it is kept if it is of this run, and else an error.
    options.policy.force = options.policy.force || options.policy.resume
    return options
  }

  private static func stages(_ options: MergeOptions) -> String { options.output + ".stages" }

  // MARK: - Running

  public func run(listener: any ProgressListener) throws(Problems) -> MergeReport {
    var finished: [String: String] = [:]
    var report: MergeRun.Report?
    for (index, recipe) in recipes.enumerated() {
      let isLast = index == recipes.count - 1
      let plan: MergePlan
      if index == 0 {
        plan = first
      } else {
        plan = try MergePlan.prepare(
          recipe, text: source, file: file, options: Self.options(options, stage: isLast ? nil : recipe),
          references: finished)
        for problem in plan.warnings { listener.receive(.problem(problem)) }
      }
      do throws(Problem) {
        if isLast {
          report = try MergeRun.execute(plan, listener: listener)
        } else {
          let isFinished = options.policy.resume ? try MergeRun.isFinished(plan, listener: listener) : false
          if !isFinished { _ = try MergeRun.execute(plan, keepingJournal: true, listener: listener) }
        }
      } catch {
        throw Problems([error])
      }
      if let name = recipe.name, !isLast { finished[name] = plan.options.output }
    }
    removeStages(Array(finished.values))
    guard let report else { throw Problems([Problem(.recipeValue, "the recipe has no document", file: file)]) }
    return MergeReport(report)
  }

  /// Removes the stages of this run, and their folder if nothing else is in it. The output is complete already, so
  /// that what cannot be removed is only left behind.
  private func removeStages(_ stages: [String]) {
    guard !stages.isEmpty else { return }
    for stage in stages { try? FileSystem.remove(stage) }
    let folder = Self.stages(options)
    if (try? FileSystem.list(folder).isEmpty) == true { try? FileSystem.remove(folder) }
  }

  // MARK: - What will be done

  /// One line before the work.
  public var summary: String {
    let stages = recipes.count > 1 ? " (the first of \(recipes.count) merges)" : ""
    let models = first.models.count == 1 ? "1 model" : "\(first.models.count) models"
    return "\(first.recipe.method): \(models), \(first.jobs.count) tensors, "
      + "\(ByteCount.text(first.layout.byteCount)) to write, \(ByteCount.text(first.movedBytes)) to move, "
      + "\(first.memory.threads) threads, at most \(ByteCount.text(first.memory.predictedPeak)) of "
      + "\(ByteCount.text(first.options.memory)) memory\(stages)"
  }

  /// The plan for a person.
  public var text: String { PlanText.text(first, later: recipes.dropFirst().map { $0 }) }
  /// The plan for a program.
  public var json: JSON { PlanText.json(first) }
}
