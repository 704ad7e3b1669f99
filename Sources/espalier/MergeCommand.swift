import ArgumentParser
import EspalierBasics
import EspalierEvaluation
import EspalierLinearMaps
import EspalierRecipes

struct Merge: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Merges models into one, as a recipe says.",
    discussion: """
      The recipe is mergekit's YAML. Everything that can be known beforehand is checked before a weight is read. The
      output appears whole or not at all; what an interrupted run finished is kept in OUT.partial for --resume.

      EXAMPLES
        espalier merge ties.yml -o merged
        espalier merge ties.yml -o merged --plan
        espalier merge ties.yml -o merged --memory 2G --resume
        espalier merge open.yml -o merged --search --search-text calib/code.txt --search-text calib/prose.txt
      """)

  @Argument(help: "The recipe, a YAML file.", completion: .file(extensions: ["yml", "yaml"]))
  var recipe: String

  @Flag(help: "Print what would be done, and stop.")
  var plan = false

  @Option(help: "Seed of random choices.")
  var seed: UInt64 = 0

  @Flag(help: "Put SHA-256 of the weight files into the manifest.")
  var sha256 = false

  @OptionGroup var writing: WritingOptions
  @OptionGroup(title: "Search") var search: SearchOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func validate() throws {
    guard FileSystem.isFile(recipe) else { throw ValidationError("There is no recipe \(recipe).") }
    if sha256, !FileHash.isAvailable {
      throw ValidationError("This program was built without SHA-256 (package trait SHA256).")
    }
  }

  private var options: MergeOptions {
    var options = writing.options(work, lookup)
    options.seed = seed
    options.sha256 = sha256
    return options
  }

  func run() throws {
    let listener = style.listener()
    if search.search { return try plan ? planSearch(listener) : runSearch(listener) }
    try reportingProblems(json: style.json) { () throws(Problems) in
      let pipeline = try MergePipeline(recipeAt: recipe, options: options, listener: listener)
      for problem in pipeline.warnings { listener.receive(.problem(problem)) }
      if plan {
        print(style.json ? pipeline.json.text() : pipeline.text)
        return
      }
      if !style.quiet, !style.json { Machine.writeToStandardError(pipeline.summary + "\n") }
      let report = try pipeline.run(listener: listener)
      if style.json {
        print(report.json.text())
      } else if !style.quiet {
        print(report.text)
      }
    }
  }

  /// What a search would try, and the plan of its first candidate.
  private func planSearch(_ listener: any ProgressListener) throws {
    try reportingProblems(json: style.json) { () throws(Problems) in
      let merging = try recipeSearch(listener)
      let pipeline = try merging.firstCandidate(listener: listener)
      if style.json {
        print(JSON.object([("candidates", .number(Double(merging.candidateCount))), ("first", pipeline.json)]).text())
      } else {
        print("\(merging.candidateCount) combinations, at most \(merging.budget) of them tried; the first:\n")
        print(pipeline.text)
      }
    }
  }

  private func recipeSearch(_ listener: any ProgressListener) throws(Problems) -> MergeSearch {
    let run = RunOptions(
      mode: .exact, pool: WorkerPool(threads: work.threadCount), memory: work.memoryBytes,
      families: try lookup.families())
    let evaluation = ModelEvaluation(
      data: try EvaluationData(texts: search.searchText),
      cut: TextProtocol(.windows(length: search.searchWindow), limit: search.searchLimit), run: run,
      listener: SilentListener())
    var merging = try MergeSearch(recipeAt: recipe, options: options, evaluation: evaluation)
    (merging.score, merging.strategy, merging.budget) = (search.searchScore, search.searchBy, search.searchBudget)
    for problem in merging.warnings { listener.receive(.problem(problem)) }
    return merging
  }

  private func runSearch(_ listener: any ProgressListener) throws {
    try reportingProblems(json: style.json) { () throws(Problems) in
      let merging = try recipeSearch(listener)
      let format = { (value: Double) in Decimals.text(value, 4) }
      let result = try merging.run(listener: listener) { trial in
        guard !style.quiet, !style.json else { return }
        let values = trial.candidate.values.joined(separator: ", ")
        Machine.writeToStandardError("trial \(trial.number): \(values): \(format(trial.score.value))\n")
      }
      if style.json {
        print(JSON.object([("search", result.search.json), ("merge", result.merge.json)]).text())
      } else if !style.quiet {
        print(result.search.table(scoreName: "excess, nats", format: format))
        print(result.merge.text)
      }
    }
  }
}
