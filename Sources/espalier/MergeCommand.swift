public import ArgumentParser
import EspalierBasics
import EspalierEvaluation
import EspalierExecution
import EspalierLinearMaps
public import EspalierRecipes

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

  @Option(name: [.short, .long], help: "The folder to write.", completion: .directory)
  var output: String

  @Flag(help: "Print what would be done, and stop.")
  var plan = false

  @Flag(help: "Continue an interrupted run.")
  var resume = false

  @Flag(help: "Replace an existing output, and start over if a partial one is there.")
  var force = false

  @Option(help: "Seed of random choices.")
  var seed: UInt64 = 0

  @Option(help: ArgumentHelp("Largest weight file, e.g. 5GB or 500MB.", valueName: "size"))
  var shardSize = "5GB"

  @Flag(help: "Carry NaN and infinity instead of stopping at them.")
  var allowNonfinite = false

  @Flag(help: "Put SHA-256 of the weight files into the manifest.")
  var sha256 = false

  @OptionGroup(title: "Search") var search: SearchOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func validate() throws {
    guard let bytes = ByteCount.parse(shardSize), bytes >= 1 << 16 else {
      throw ValidationError("--shard-size \(shardSize) is not a size from 64 KiB; write it like 5GB or 500MB.")
    }
    // The folder is renamed into place, which needs a name.
    guard FileSystem.isFile(recipe) else { throw ValidationError("There is no recipe \(recipe).") }
    if ["", ".", "..", "/"].contains(FileSystem.lastComponent(of: output)) {
      throw ValidationError("--output needs the name of a folder.")
    }
    if sha256, !FileHash.isAvailable {
      throw ValidationError("This program was built without SHA-256 (package trait SHA256).")
    }
  }

  private var options: MergeOptions {
    var options = MergeOptions(output: output)
    while options.output.count > 1, options.output.hasSuffix("/") { options.output.removeLast() }
    options.seed = seed
    options.threads = work.threadCount
    options.memory = work.memoryBytes
    options.shardBytes = ByteCount.parse(shardSize) ?? options.shardBytes
    options.policy = OutputFolder.Policy(resume: resume, force: force)
    options.allowsNonFinite = allowNonfinite
    options.sha256 = sha256
    options.models = lookup.models
    options.architectures = lookup.architecture
    return options
  }

  func run() throws {
    let listener = style.listener()
    if search.search { return try runSearch(listener) }
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

  private func runSearch(_ listener: any ProgressListener) throws {
    try reportingProblems(json: style.json) { () throws(Problems) in
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

extension MergeSearch.Score: ExpressibleByArgument {}
extension RecipeSearchStrategy: ExpressibleByArgument {}

/// Options of a search over what a recipe leaves open.
struct SearchOptions: ParsableArguments {
  @Flag(help: "Try the values that the recipe's `search:` names, and merge with the best.")
  var search = false

  @Option(
    help: ArgumentHelp(
      "Text that candidates are measured on: calibration text, not what will judge the result (repeatable).",
      valueName: "file"), completion: .file())
  var searchText: [String] = []

  @Option(
    help: """
      What a candidate loses on each text to the best of the recipe's models, in nats a token, counts by its mean or by \
      the worst text.
      """)
  var searchScore = MergeSearch.Score.mean

  @Option(help: "grid tries every combination, coordinate one value after the other until none helps.")
  var searchBy = RecipeSearchStrategy.grid

  @Option(help: "Candidates at most.")
  var searchBudget = 256

  @Option(help: "Tokens of a window.")
  var searchWindow = 256

  @Option(help: "Windows of each text at most.")
  var searchLimit = 32

  func validate() throws {
    if search, searchText.isEmpty { throw ValidationError("--search needs --search-text.") }
    if !search, !searchText.isEmpty { throw ValidationError("--search-text needs --search.") }
    if searchBudget < 1 { throw ValidationError("--search-budget must be at least 1.") }
    if searchWindow < 2 { throw ValidationError("--search-window must be at least 2.") }
    if searchLimit < 1 { throw ValidationError("--search-limit must be at least 1.") }
  }
}
