import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierEvaluation
import EspalierLinearMaps
import EspalierNumerics
import EspalierRecipes

struct Evaluate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measures a model: perplexity, multiple choice, answers, classes; with intervals.",
    discussion: """
      Every figure comes with its protocol, its counts and a 95 % interval (bootstrap over documents, windows or
      items). In exact mode, the default, figures do not depend on threads, batch or memory. A gate that does not hold
      makes the exit code 3.

      EXAMPLES
        espalier evaluate model --text book.txt
        espalier evaluate model.gguf --text book.txt --protocol llama.cpp --window 512
        espalier evaluate model --choices cloze.jsonl --answers sums.jsonl --json
        espalier evaluate model --text book.txt --max-perplexity 12
        espalier evaluate base tuned merged --table --text book.txt --text code.txt
      """)

  @Argument(help: "Models: folders, GGUF files, or model+adapter.", completion: .directory)
  var models: [String]

  @Flag(help: "Print one table, a line a model, in place of a report for each.")
  var table = false

  @OptionGroup var measuring: MeasuringOptions
  @OptionGroup(title: "Gates") var gates: GateOptions
  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func run() throws {
    var passes = true
    try reportingProblems(json: style.json) { () throws(Problems) in
      let (gates, data) = (try gates.gates, try measuring.data)
      // All are opened before the first is measured, so that a wrong name is found at once.
      var checkpoints: [(name: String, checkpoint: any Checkpoint)] = []
      for model in models { checkpoints.append((model, try lookup.open(model))) }
      let context = checkpoints.compactMap { $0.checkpoint.contextLength }.min()
      var evaluation = ModelEvaluation(
        data: data, cut: measuring.textProtocol(context: context),
        run: try running.options(work, lookup, default: .exact), listener: style.quietListener())
      evaluation.answerTokens = measuring.answerTokens
      evaluation.bootstrap = Bootstrap(seed: measuring.seed)
      var lines = EvaluationTable()
      for (name, checkpoint) in checkpoints {
        var report = EvaluationReport()
        do throws(Problem) { report = try evaluation.evaluate(checkpoint, name: name) } catch {
          throw Problems([error])
        }
        try report.judge(gates)
        passes = passes && report.passes
        if style.json { print(report.json.text()) } else if !table { print(report.text) }
        lines.add(report, of: FileSystem.lastComponent(of: name))
      }
      if table, !style.json { print(lines.text) }
    }
    if !passes { throw gateFailed }
  }
}

struct Compare: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Says how far a model is from another, token by token and answer by answer.",
    discussion: """
      Both models run side by side: KL and Jensen-Shannon divergence of the next token, most probable tokens that agree,
      change of perplexity, and the same items answered by both (McNemar's test, bootstrap of the difference). A gate
      that does not hold makes the exit code 3.

      EXAMPLES
        espalier compare small.gguf --against model --text book.txt
        espalier compare merged --against base --text book.txt --max-kl 0.05 --max-perplexity-rise 2%
        espalier compare merged --against expert --answers sums.jsonl
        espalier compare tuned-encoder --against encoder --sentences lines.txt
      """)

  @Argument(help: "The model in question.", completion: .directory)
  var candidate: String

  @Option(help: ArgumentHelp("The model it is compared with.", valueName: "model"), completion: .directory)
  var against: String

  @OptionGroup var measuring: MeasuringOptions
  @OptionGroup(title: "Gates") var gates: GateOptions
  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func run() throws {
    var passes = true
    try reportingProblems(json: style.json) { () throws(Problems) in
      let (gates, data) = (try gates.gates, try measuring.data)
      let (first, second) = (try lookup.open(candidate), try lookup.open(against))
      let context = [first.contextLength, second.contextLength].compactMap { $0 }.min()
      var evaluation = ModelEvaluation(
        data: data, cut: measuring.textProtocol(context: context),
        run: try running.options(work, lookup, default: .exact), listener: style.quietListener())
      evaluation.answerTokens = measuring.answerTokens
      evaluation.bootstrap = Bootstrap(seed: measuring.seed)
      var report = EvaluationReport()
      do throws(Problem) {
        report = try evaluation.compare(first, named: candidate, against: second, named: against)
      } catch { throw Problems([error]) }
      try report.judge(gates)
      print(style.json ? report.json.text() : report.text)
      passes = report.passes
    }
    if !passes { throw gateFailed }
  }
}

extension Checkpoint {
  /// The longest sequence the config says the model was made for.
  fileprivate var contextLength: Int? {
    ["max_position_embeddings", "n_positions", "n_ctx"].lazy.compactMap { config?[$0]?.integer }.first { $0 > 1 }
  }
}

extension OutputStyle {
  /// Progress for people only: with --json the report is the one object printed.
  func quietListener() -> any ProgressListener { json || quiet ? QuietListener() : ProgressPrinter() }
}
