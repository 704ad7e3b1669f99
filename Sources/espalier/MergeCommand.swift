import ArgumentParser
import EspalierBasics
import EspalierExecution
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
}
