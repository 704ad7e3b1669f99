import ArgumentParser
import EspalierArchitectures
import EspalierBasics
import EspalierNumerics
import EspalierRecipes

struct ExtractLora: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "extract-lora", abstract: "Writes what a fine-tune changed as a low-rank adapter.",
    discussion: """
      The change of every linear map is replaced by the nearest one of the rank asked for. The output is a folder in \
      PEFT's layout (adapter_model.safetensors, adapter_config.json) with a report of what every matrix kept and lost. \
      Changes of embeddings, norms and biases are not captured; the report names them. The output appears whole or not \
      at all.

      EXAMPLES
        espalier extract-lora fine-tune --base base --rank 32 -o adapter
        espalier extract-lora fine-tune --base base --energy 0.9 -o adapter
        espalier extract-lora fine-tune --base base --rank 64 --energy 0.95 \\
          --dtype bf16 -o adapter
        espalier extract-lora fine-tune --base base --rank 16 \\
          --target 'q_proj|v_proj' --target lm_head -o adapter
        espalier convert base+adapter -o merged
      """)

  @Argument(help: "The fine-tune: a folder, a safetensors or GGUF file, or model+adapter.", completion: .directory)
  var fineTune: String

  @Option(help: "The model that it was made from.", completion: .directory)
  var base: String

  @Option(help: "The largest rank of a matrix.")
  var rank: Int?

  @Option(help: "The share of each matrix's squared change to keep; its rank is the smallest that does.")
  var energy: Double?

  @Option(
    help: ArgumentHelp(
      "Modules to take, the whole path or its end from a dot on (repeatable; default: every linear map but the head).",
      valueName: "regex"))
  var target: [String] = []

  @Option(help: "Type of the factors: f32, f16 or bf16.")
  var dtype = "f32"

  @OptionGroup var place: PlaceOptions

  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func validate() throws {
    if rank == nil, energy == nil { throw ValidationError("Give --rank, --energy or both.") }
    if let rank, rank < 1 { throw ValidationError("--rank must be at least 1.") }
    if let energy, !(energy > 0 && energy <= 1) { throw ValidationError("--energy must be above 0 and at most 1.") }
    if !Conversion.elementTypes.contains(where: { $0.rawValue == dtype }) {
      throw ValidationError("--dtype \(dtype) is not one of f32, f16, bf16.")
    }
  }

  private var options: AdapterExtractionOptions {
    var options = AdapterExtractionOptions(output: place.path)
    (options.rank, options.energy, options.targets) = (rank, energy, target)
    options.elementType = ElementType(rawValue: dtype) ?? .f32
    options.force = place.force
    (options.threads, options.memory) = (work.threadCount, work.memoryBytes)
    options.models = lookup.models
    return options
  }

  func run() throws {
    let listener = style.listener()
    try reportingProblems(json: style.json) { () throws(Problems) in
      let extraction = try AdapterExtraction(
        of: fineTune, from: base, options: options, families: try lookup.families())
      for problem in extraction.warnings { listener.receive(.problem(problem)) }
      do throws(Problem) {
        let report = try extraction.run(listener: listener)
        style.show(report.text, json: report.json)
      } catch { throw Problems([error]) }
    }
  }
}
