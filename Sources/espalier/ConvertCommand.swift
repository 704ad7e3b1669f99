import ArgumentParser
import EspalierBasics
import EspalierExecution
import EspalierNumerics
import EspalierRecipes

struct Convert: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Writes a model as a safetensors folder, from GGUF or in another type.",
    discussion: """
      Names, layouts and config of the output are those of the model's Hugging Face folder. Without --dtype, floats keep
      their type and quantized weights become f16. The output appears whole or not at all; what an interrupted run
      finished is kept in OUT.partial for --resume.

      EXAMPLES
        espalier convert model.Q4_K_M.gguf -o model
        espalier convert model.gguf -o model --dtype bf16
        espalier convert base+adapter -o merged --dtype f32
      """)

  @Argument(help: "A model: a folder, a safetensors or GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @Option(name: [.short, .long], help: "The folder to write.", completion: .directory)
  var output: String

  @Option(help: "Type of the floats: f32, f16 or bf16 (default: as they are).")
  var dtype: String?

  @Flag(help: "Print what would be done, and stop.")
  var dryRun = false

  @Flag(help: "Continue an interrupted run.")
  var resume = false

  @Flag(help: "Replace an existing output, and start over if a partial one is there.")
  var force = false

  @Option(help: ArgumentHelp("Largest weight file, e.g. 5GB or 500MB.", valueName: "size"))
  var shardSize = "5GB"

  @Flag(help: "Carry NaN and infinity instead of stopping at them.")
  var allowNonfinite = false

  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  private var elementType: ElementType? { dtype.flatMap { ElementType(rawValue: $0) } }

  func validate() throws {
    if let dtype, !Conversion.elementTypes.contains(where: { $0.rawValue == dtype }) {
      throw ValidationError("--dtype \(dtype) is not one of f32, f16, bf16.")
    }
    guard let bytes = ByteCount.parse(shardSize), bytes >= 1 << 16 else {
      throw ValidationError("--shard-size \(shardSize) is not a size from 64 KiB; write it like 5GB or 500MB.")
    }
    // The folder is renamed into place, which needs a name.
    if ["", ".", "..", "/"].contains(FileSystem.lastComponent(of: output)) {
      throw ValidationError("--output needs the name of a folder.")
    }
  }

  private var options: MergeOptions {
    var options = MergeOptions(output: output)
    while options.output.count > 1, options.output.hasSuffix("/") { options.output.removeLast() }
    options.threads = work.threadCount
    options.memory = work.memoryBytes
    options.shardBytes = ByteCount.parse(shardSize) ?? options.shardBytes
    options.policy = OutputFolder.Policy(resume: resume, force: force)
    options.allowsNonFinite = allowNonfinite
    options.models = lookup.models
    options.architectures = lookup.architecture
    return options
  }

  func run() throws {
    let listener = style.listener()
    try reportingProblems(json: style.json) { () throws(Problems) in
      let plan = try Conversion.plan(of: model, elementType: elementType, options: options)
      let outline = ConversionOutline(plan)
      for problem in plan.warnings { listener.receive(.problem(problem)) }
      if dryRun {
        print(style.json ? outline.json.text() : outline.text)
        return
      }
      if !style.quiet, !style.json { Machine.writeToStandardError(outline.summary + "\n") }
      do throws(Problem) {
        let report = try Conversion.run(plan, listener: listener)
        if style.json {
          print(report.json.text())
        } else if !style.quiet {
          print(report.text)
        }
      } catch { throw Problems([error]) }
    }
  }
}
