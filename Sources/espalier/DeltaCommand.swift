public import ArgumentParser
import EspalierArchitectures
import EspalierBasics
import EspalierEvaluation
import EspalierLinearMaps
import EspalierNumerics
public import EspalierRecipes

extension DeltaMethod: ExpressibleByArgument {}

struct Delta: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Stores what a fine-tune changed in few bytes, with a measured loss.",
    discussion: """
      A delta is used wherever an adapter is: base+delta names the model, in every verb and in recipes.

      EXAMPLES
        espalier delta make fine-tune --base base --method ternary -o ft.delta.safetensors
        espalier evaluate base+ft.delta.safetensors --text book.txt
      """, subcommands: [DeltaMake.self])
}

struct DeltaMake: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "make", abstract: "Writes the change from a base to a fine-tune as a delta file.",
    discussion: """
      Methods: ternary (ComPEFT: the largest entries as signs times a scale), topk (the largest entries), dare (a random \
      share, divided by it), darex (the same, divided by --q), lowrank (--rank, --energy), int8, auto (whichever of \
      ternary, topk and darex is nearest). Of a folder with a LoRA adapter the factors are coded. With --text, scales \
      (and with auto the method) are those of the lowest perplexity on it; take text that will not judge the result. \
      The file appears whole or not at all.

      EXAMPLES
        espalier delta make fine-tune --base base -o ft.delta.safetensors
        espalier delta make fine-tune --base base --density 0.05 --alpha 2 -o ft.delta.safetensors
        espalier delta make fine-tune --base base --method dare --rate 0.9 --seed 1 \\
          -o ft.delta.safetensors
        espalier delta make fine-tune --base base --method auto --density 0.05 \\
          --text calibration.txt -o ft.delta.safetensors
        espalier delta make adapter-folder --base base --method ternary --density 0.5 \\
          -o adapter.delta.safetensors
        espalier delta make base+adapter --base base --method lowrank --energy 0.99 \\
          -o ft.delta.safetensors
      """)

  @Argument(help: "The fine-tune: a model, model+adapter, or the folder of a LoRA adapter.", completion: .directory)
  var fineTune: String

  @Option(help: "The model that it was made from.", completion: .directory)
  var base: String

  @Option(help: "How the change is coded: ternary, topk, dare, darex, lowrank, int8 or auto.")
  var method = DeltaMethod.ternary

  @Option(help: "Share of a tensor's entries that is kept (default: 0.2 of signs, 0.1 of numbers).")
  var density: Double?

  @Option(help: "Share of a tensor's entries that is dropped: 1 - density.")
  var rate: Double?

  @Option(help: "ternary: the scale in standard deviations of the tensor's change (default: least squares).")
  var alpha: Double?

  @Option(help: "darex: what kept entries are divided by (default: 1, least squares; with --text the best on it).")
  var q: Double?

  @Option(help: "Type of kept entries: f16, f32, bf16 or i8.")
  var values = "f16"

  @Option(help: "lowrank: the largest rank of a matrix.")
  var rank: Int?

  @Option(help: "lowrank: the share of each matrix's squared change to keep.")
  var energy: Double?

  @Option(help: "Seed of random choices.")
  var seed: UInt64 = 0

  @Option(
    help: ArgumentHelp("Text by which scales and methods are chosen (repeatable).", valueName: "file"),
    completion: .file())
  var text: [String] = []

  @Option(help: "Tokens of a window of --text.")
  var window = 256

  @Option(help: "Windows of each --text at most.")
  var limit = 16

  @OptionGroup var place: ResumablePlaceOptions

  @Flag(help: "Say what would be done, and touch nothing.")
  var plan = false

  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  static let valueTypes: [ElementType] = [.f16, .f32, .bf16, .i8]

  func validate() throws {
    if density != nil, rate != nil { throw ValidationError("Give --density or --rate, which is 1 - density.") }
    if let density, !(density > 0 && density <= 1) {
      throw ValidationError("--density must be above 0 and at most 1.")
    }
    if let rate, !(rate >= 0 && rate < 1) { throw ValidationError("--rate must be from 0 and below 1.") }
    if let alpha, !(alpha > 0 && alpha.isFinite) { throw ValidationError("--alpha must be above 0.") }
    if let q, !(q > 0 && q.isFinite) { throw ValidationError("--q must be above 0.") }
    if alpha != nil, method != .ternary { throw ValidationError("--alpha goes with --method ternary.") }
    if q != nil, method != .darex { throw ValidationError("--q goes with --method darex.") }
    if method == .lowrank, rank == nil, energy == nil {
      throw ValidationError("--method lowrank needs --rank, --energy or both.")
    }
    if method != .lowrank, rank != nil || energy != nil {
      throw ValidationError("--rank and --energy go with --method lowrank.")
    }
    if [.lowrank, .int8].contains(method), density != nil || rate != nil {
      throw ValidationError("--method \(method.rawValue) keeps every entry: it has no --density.")
    }
    if let rank, rank < 1 { throw ValidationError("--rank must be at least 1.") }
    if let energy, !(energy > 0 && energy <= 1) { throw ValidationError("--energy must be above 0 and at most 1.") }
    if !Self.valueTypes.contains(where: { $0.rawValue == values }) {
      throw ValidationError("--values \(values) is not one of f16, f32, bf16, i8.")
    }
    if window < 2 || limit < 1 { throw ValidationError("--window must be at least 2, --limit at least 1.") }
  }

  private var options: DeltaOptions {
    var options = DeltaOptions(output: place.place.path)
    options.method = method
    options.density = density ?? rate.map { 1 - $0 }
    (options.alpha, options.q, options.rank, options.energy) = (alpha, q, rank, energy)
    options.values = ElementType(rawValue: values) ?? .f16
    (options.seed, options.policy) = (seed, place.policy)
    (options.threads, options.memory) = (work.threadCount, work.memoryBytes)
    options.models = lookup.models
    return options
  }

  func run() throws {
    let listener = style.listener()
    try reportingProblems(json: style.json) { () throws(Problems) in
      let families = try lookup.families()
      var evaluation: ModelEvaluation?
      let pool = text.isEmpty ? nil : WorkerPool(threads: work.threadCount)
      defer { pool?.stop() }
      if let pool {
        evaluation = ModelEvaluation(
          data: try EvaluationData(texts: text), cut: TextProtocol(.windows(length: window), limit: limit),
          run: RunOptions(mode: .fast, pool: pool, memory: work.memoryBytes, families: families),
          listener: style.json ? style.listener() : QuietListener())
      }
      let making = try DeltaMaking(
        of: fineTune, from: base, options: options, families: families, evaluation: evaluation)
      for problem in making.warnings { listener.receive(.problem(problem)) }
      if plan {
        print(style.json ? making.planJSON.text() : making.plan)
        return
      }
      do throws(Problem) {
        let report = try making.run(listener: listener)
        style.show(report.text, json: report.json)
      } catch { throw Problems([error]) }
    }
  }
}
