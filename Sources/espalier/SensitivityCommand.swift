import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierEvaluation
import EspalierExecution
import EspalierLinearMaps
import EspalierNetworks
import EspalierRecipes
import EspalierReduction

struct Sensitivity: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measures what every matrix loses at every level of a method, and keeps the table.",
    discussion: """
      Each matrix is reduced by itself, all others being as they were; the table says how far its outputs move on the \
      calibration text, how many numbers stay and what they take. `prune` and `factorize` deal budgets out by it \
      (--allocate, --max-error); Docs/budgets.md describes the file. With --effect-text the model is run with each matrix \
      reduced alone, and --allocate adds errors up by what they do to its predictions.

      EXAMPLES
        espalier sensitivity model --method wanda --text book.txt -o wanda.json
        espalier sensitivity model --method whitened-svd --statistics statistics.safetensors -o svd.json
        espalier sensitivity model --method sparsegpt --level 0.5 --level 0.7 --text book.txt -o sparse.json
        espalier sensitivity model --method wanda --text book.txt --effect-text novel.txt -o wanda.json
        espalier prune model --method wanda --sparsity 0.5 --allocate --table wanda.json --text book.txt -o half
      """)

  @Argument(help: "The model: a folder, a GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @Option(help: "Any method of prune or factorize.")
  var method: String

  @Option(
    help: ArgumentHelp(
      "Sparsity, or share of the numbers that stays (repeatable; default: 0.1 to 0.9).", valueName: "share"))
  var level: [Double] = []

  @Option(help: ArgumentHelp("Levels that keep 1 to M - 1 of every M inputs.", valueName: "M"))
  var groups: Int?

  @Option(
    help: ArgumentHelp(
      "Measure what each matrix does to the model's predictions of this text too (repeatable).", valueName: "file"),
    completion: .file())
  var effectText: [String] = []

  @Option(help: "Windows of each --effect-text.")
  var effectLimit = 4

  @Option(help: "Tokens of such a window (default: 256, or the model's context if that is shorter).")
  var effectWindow: Int?

  @Flag(help: "Count bytes as prune --store sparse stores them.")
  var sparse = false

  @OptionGroup(title: "Calibration") var calibrating: CalibratingOptions
  @OptionGroup var selecting: SelectingOptions

  @Option(name: [.short, .long], help: "The file to write.", completion: .file(extensions: ["json"]))
  var output: String

  @Flag(help: "Replace an existing output.")
  var force = false

  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  private var makesFactors: Bool { ReductionMethods.makesFactors(method) }

  func validate() throws {
    let known = (ReductionMethods.pruning + ReductionMethods.factorization).map { $0.card.name }
    guard known.contains(method) else {
      throw ValidationError("--method \(method) is none of \(known.joined(separator: ", ")).")
    }
    if !level.isEmpty, groups != nil { throw ValidationError("Give --level or --groups, not both.") }
    if let groups, !(2...1024).contains(groups) { throw ValidationError("--groups must be from 2 to 1024.") }
    if effectLimit < 1 { throw ValidationError("--effect-limit must be at least 1.") }
    if let effectWindow, effectWindow < 2 { throw ValidationError("--effect-window must be at least 2.") }
    if groups != nil, makesFactors { throw ValidationError("\(method) makes factors, which have no patterns.") }
    if let bad = level.first(where: { !($0 > 0 && $0 < 1) }) {
      throw ValidationError("--level \(bad) is not between 0 and 1.")
    }
  }

  private var levels: [MatrixBudget] {
    level.isEmpty
      ? SensitivityRun.standardLevels(of: method, patternsOf: groups)
      : level.map { makesFactors ? .parameters($0) : .sparsity($0) }
  }

  func run() throws {
    try reportingProblems(json: style.json) { () throws(Problems) in
      if FileSystem.kind(output) != nil {
        guard force else {
          throw Problems([
            Problem(
              .outputExists, "the output exists already", remedy: "Choose another name, or give --force.",
              file: output)
          ])
        }
        // Nothing is replaced that is not such a table.
        do throws(Problem) { _ = try SensitivityTable(at: output) } catch {
          throw Problems([
            Problem(
              .outputExists, "what is there is no table of sensitivities; --force does not replace it",
              remedy: "Choose another name, or remove it yourself.", file: output)
          ])
        }
      }
      do throws(Problem) { try FileSystem.createParents(of: output) } catch { throw Problems([error]) }
      let checkpoint = try lookup.open(model)
      var request = ReductionRequest(
        method: method, goal: .budget(levels[0]),
        source: try calibrating.source(for: checkpoint, isSequential: false))
      request.parameters = try selecting.parameters(of: method)
      (request.keep, request.only) = (selecting.matrices.keep, selecting.matrices.only)
      request.storage = sparse || makesFactors ? .reduced : .dense
      request.momentLimit = calibrating.momentWidth
      var run = try running.options(work, lookup, default: .exact)
      let whole = run.memory
      // What measures effects runs while a site's statistics are held: half of the ceiling for either.
      if !effectText.isEmpty { run.memory = whole / 2 }
      // Nothing of the model is written, so nothing stands where it would be.
      var options = MergeOptions(output: output + ".model")
      (options.threads, options.memory, options.models) = (work.threadCount, work.memoryBytes, lookup.models)
      options.architectures = lookup.architecture
      let plan = try ReductionPlan(request, of: model, checkpoint: checkpoint, run: run, writing: options)
      let listener = style.listener()
      let effects = try EvaluationData(texts: effectText)
      let cut = TextProtocol(
        .windows(length: effectWindow ?? min(256, checkpoint.contextLength ?? 256)), limit: effectLimit)
      for problem in plan.warnings { listener.receive(.problem(problem)) }
      do throws(Problem) {
        var measuring = run
        measuring.memory = whole - run.memory
        let probe =
          effectText.isEmpty
          ? nil
          : try EffectProbe(
            ModelEvaluation(data: effects, cut: cut, run: measuring, listener: listener), scratch: output + ".effect")
        let table = try SensitivityRun.measure(
          plan, levels: levels, effects: probe, workers: run.pool, listener: listener)
        try FileSystem.write(table.json.bytes(pretty: true) + [UInt8(ascii: "\n")], to: output)
        if style.json { print(table.json.text()) } else if !style.quiet { print(table.text) }
      } catch { throw Problems([error]) }
    }
  }
}
