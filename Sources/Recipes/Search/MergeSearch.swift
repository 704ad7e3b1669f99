public import EspalierBasics
internal import EspalierEvaluation
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNumerics

/// Looks for the values of a recipe that keep most of every model that is merged.
///
/// Every candidate is merged into a folder beside the output, measured on texts and removed. What a candidate lost on a
/// text is
///
///     excess = nll(candidate) - min over the recipe's models of nll(model)        nats a token
///
/// and the score is the mean, or the greatest, of that over the texts: the lower the better, 0 as good as the best
/// specialist on each text. The best candidate is then merged to the output.
public struct MergeSearch: Sendable {
  /// How losses on several texts become one score.
  public enum Score: String, Sendable, CaseIterable {
    case mean, worst

    func of(_ losses: [Double]) -> Double {
      self == .mean ? losses.reduce(0, +) / Double(losses.count) : losses.max() ?? 0
    }
  }

  public var score = Score.mean
  public var strategy = RecipeSearchStrategy.grid
  /// Candidates at most.
  public var budget = 256
  private let file: String
  private let search: RecipeSearch
  private let options: MergeOptions
  private let evaluation: ModelEvaluation
  public let warnings: [Problem]

  /// Reads the recipe; merges nothing.
  ///
  /// - Parameters:
  ///   - options: as for a merge of the recipe.
  ///   - evaluation: its texts are what candidates are measured on. Texts that decide are not fit to judge the result.
  public init(recipeAt file: String, options: MergeOptions, evaluation: ModelEvaluation) throws(Problems) {
    var warnings: [Problem] = []
    let text: String
    do throws(Problem) {
      text = String(decoding: try FileSystem.read(file, limit: 16 << 20), as: UTF8.self)
    } catch { throw Problems([error]) }
    self.file = file
    search = try RecipeSearch(parsing: text, file: file, warnings: &warnings)
    guard !evaluation.data.texts.isEmpty else {
      throw Problems([Problem(.recipeSearch, "there is no text to measure candidates on")])
    }
    self.options = options
    self.evaluation = evaluation
    self.warnings = warnings
  }

  /// How many combinations of values the recipe has.
  public var candidateCount: Int {
    search.variables.reduce(1) {
      $0.multipliedReportingOverflow(by: $1.values.count).overflow ? .max : $0 * $1.values.count
    }
  }

  /// The merge of the first combination, planned.
  public func firstCandidate(listener: any ProgressListener) throws(Problems) -> MergePipeline {
    let first = search.candidate(search.variables.map { _ in 0 })
    return try MergePipeline(recipe: first.text, of: file, options: options, listener: listener)
  }

  /// The candidates' folder and the log of trials, by which an interrupted search is continued.
  private var trialFolder: String { options.output + ".trial" }
  private var log: String { options.output + ".search.jsonl" }

  /// Searches, and merges the best candidate to the output.
  ///
  /// - Parameter progress: hears of every trial.
  /// - Returns: all trials, and the report of the final merge.
  public func run(
    listener: any ProgressListener, progress: (RecipeTrial) -> Void
  ) throws(Problems) -> (search: RecipeSearchReport, merge: MergeReport) {
    let report: RecipeSearchReport
    do throws(Problem) {
      // A search that was interrupted leaves a merged model there; anything else is not ours to replace.
      guard FileSystem.kind(trialFolder) == nil || FileSystem.isFile("\(trialFolder)/\(Manifest.fileName)") else {
        throw Problem(
          .outputExists, "candidates are merged into this folder, which exists already",
          remedy: "Move it away, or choose another --output.", file: trialFolder)
      }
      let best = try bestOfModels(listener)
      var choices = RecipeSearchOptions(goal: .minimize)
      (choices.strategy, choices.budget, choices.log) = (strategy, budget, log)
      choices.resume = FileSystem.isFile(log)
      choices.protocolText = [
        "cut": .string(evaluation.cut.text), "mode": .string(evaluation.run.mode.rawValue),
        "score": .string(score.rawValue), "best": .array(best.map { .number($0) }),
        "texts": .array(evaluation.data.texts.map { .string($0.name) }),
      ]
      report = try search.run(
        choices, objective: { (candidate) throws(Problem) in try measure(candidate, against: best) },
        progress: progress)
    } catch { throw Problems([error]) }
    guard let winner = report.bestTrial else {
      throw Problems([Problem(.recipeSearch, "no candidate gave a finite score", file: file)])
    }
    let pipeline = try MergePipeline(recipe: winner.candidate.text, of: file, options: options, listener: listener)
    let merge = try pipeline.run(listener: listener)
    try? FileSystem.remove(log)
    return (report, merge)
  }

  /// For each text the least negative log-likelihood of the models that are merged.
  private func bestOfModels(_ listener: any ProgressListener) throws(Problem) -> [Double] {
    var warnings: [Problem] = []
    do throws(Problems) {
      let first = search.candidate(search.variables.map { _ in 0 })
      let recipes = try Recipe.read(first.text, file: file, warnings: &warnings)
      let stages = Set(recipes.compactMap(\.name))
      let locator = ModelLocator(recipeFolder: FileSystem.parent(of: file), models: options.models)
      var keys = Set<String>()
      let models = recipes.flatMap(\.models).filter { !stages.contains($0.path) && keys.insert($0.key).inserted }
      var best = [Double](repeating: .infinity, count: evaluation.data.texts.count)
      for model in models {
        let losses = try losses(of: model, locator)
        listener.receive(.note("\(model.key): " + text(losses)))
        best = zip(best, losses).map { min($0, $1) }
      }
      return best
    } catch { throw error.all.first ?? Problem(.recipeSearch, "the models cannot be measured", file: file) }
  }

  private func measure(
    _ candidate: RecipeSearch.Candidate, against best: [Double]
  ) throws(Problem) -> RecipeScore {
    do throws(Problems) {
      var options = options
      options.output = trialFolder
      options.policy.force = true
      options.policy.resume = false
      let quiet = SilentListener()
      _ = try MergePipeline(recipe: candidate.text, of: file, options: options, listener: quiet).run(listener: quiet)
      let losses = try losses(
        of: ModelReference(parsing: trialFolder, line: 0), ModelLocator(recipeFolder: ".", models: nil))
      do throws(Problem) { try FileSystem.remove(trialFolder) } catch { throw Problems([error]) }
      let excess = zip(losses, best).map { $0 - $1 }
      let figures = zip(evaluation.data.texts, losses).map { RecipeScore.Figure($0.name, Elementary.exp($1)) }
      return RecipeScore(score.of(excess), figures: figures)
    } catch {
      let first = error.all.first ?? Problem(.recipeSearch, "the candidate cannot be merged", file: file)
      throw first
    }
  }

  /// Mean negative log-likelihood of each text, nats a token.
  private func losses(of reference: ModelReference, _ locator: ModelLocator) throws(Problems) -> [Double] {
    let checkpoint = try locator.open(reference)
    do throws(Problem) {
      let report = try evaluation.evaluate(checkpoint, name: reference.key)
      return report.metrics.compactMap { ($0 as? Perplexity)?.negativeLogLikelihood.value }
    } catch { throw Problems([error]) }
  }

  private func text(_ losses: [Double]) -> String {
    zip(evaluation.data.texts, losses).map { "\($0.name) \(Decimals.text(Elementary.exp($1), 3))" }
      .joined(separator: ", ")
  }
}
