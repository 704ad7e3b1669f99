import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierEvaluation
import EspalierLinearMaps
import EspalierNetworks
import EspalierNumerics
import EspalierRecipes

struct SearchCut: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "search-cut",
    abstract: "Looks for the one matrix that a trained model is better with when it is cut to a low rank.",
    discussion: """
      Layer-selective rank reduction: every matrix inside layers is cut by SVD to every rank, one at a time, and the \
      model is measured on answers or a text. If a cut scores above the model as it is, the model with the best one is \
      written, an ordinary folder with report.json and REPORT.md. That figure was chosen for being high; what the cut is \
      worth is told by held-out data, which are measured once. What was tried is kept in OUT.search.jsonl for --resume.

      EXAMPLES
        espalier search-cut model --answers dev.jsonl --held-out-answers test.jsonl -o cut
        espalier search-cut model --text dev.txt --held-out-text test.txt --layers 20-31 --only 'mlp\\.' -o cut
        espalier search-cut model --answers dev.jsonl --shares 0.01,0.05,0.1,0.25,0.6 -o cut --resume
      """)

  @Argument(help: "The model: a folder, a GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @Option(
    help: ArgumentHelp(
      "Questions with answers that decide, JSON lines {\"prompt\", \"answer\"}.", valueName: "file"),
    completion: .file())
  var answers: String?

  @Option(help: ArgumentHelp("Text that decides, by its perplexity.", valueName: "file"), completion: .file())
  var text: String?

  @Option(help: ArgumentHelp("Other answers, for the chosen cut.", valueName: "file"), completion: .file())
  var heldOutAnswers: String?

  @Option(help: ArgumentHelp("Another text, for the chosen cut.", valueName: "file"), completion: .file())
  var heldOutText: String?

  @Option(
    help: ArgumentHelp("Shares of a matrix's singular values that are tried, with commas between.", valueName: "list"))
  var shares = "0.01,0.05,0.1,0.2,0.5"

  @Option(help: ArgumentHelp("Only matrices of these layers, e.g. 4-7 (default: all).", valueName: "range"))
  var layers: String?

  @OptionGroup var matrices: MatrixSelection

  @Option(help: "dense: the cut matrix as an ordinary tensor; factors: as two factors, which Espalier runs.")
  var store = Factorize.Store.dense

  @Option(help: "Tokens that an answer may take.")
  var answerTokens = 32

  @Option(help: "Tokens of a window of text (default: 512, or the model's context if that is shorter).")
  var window: Int?

  @Option(help: "At most this many windows of each text.")
  var limit: Int?

  @Option(help: "Seed of the bootstrap.")
  var seed: UInt64 = 0

  @OptionGroup var writing: WritingOptions
  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func validate() throws {
    guard (answers == nil) != (text == nil) else {
      throw ValidationError("Give what decides: --answers or --text.")
    }
    if heldOutAnswers != nil, answers == nil { throw ValidationError("--held-out-answers needs --answers.") }
    if heldOutText != nil, text == nil { throw ValidationError("--held-out-text needs --text.") }
    if Self.parsed(shares: shares) == nil {
      throw ValidationError("--shares \(shares) is not a list of shares above 0 and at most 1, like 0.01,0.1,0.5.")
    }
    if let layers, Self.parsed(layers: layers) == nil {
      throw ValidationError("--layers \(layers) is neither a layer nor a range like 4-7.")
    }
    if answerTokens < 1 { throw ValidationError("--answer-tokens must be at least 1.") }
    if let window, window < 2 { throw ValidationError("--window must be at least 2.") }
    if let limit, limit < 1 { throw ValidationError("--limit must be at least 1.") }
  }

  static func parsed(shares: String) -> [Double]? {
    let parts = shares.split(separator: ",", omittingEmptySubsequences: false)
    let values = parts.compactMap { Double($0) }.filter { $0 > 0 && $0 <= 1 }
    return values.count == parts.count ? values : nil
  }

  static func parsed(layers: String) -> ClosedRange<Int>? {
    let parts = layers.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
    guard (1...2).contains(parts.count), let first = parts[0], let last = parts[parts.count - 1], first <= last else {
      return nil
    }
    return first...last
  }

  func run() throws {
    try reportingProblems(json: style.json) { () throws(Problems) in
      let deciding = try EvaluationData(texts: text.map { [$0] } ?? [], answers: answers.map { [$0] } ?? [])
      let others = try EvaluationData(
        texts: heldOutText.map { [$0] } ?? [], answers: heldOutAnswers.map { [$0] } ?? [])
      let checkpoint = try lookup.open(model)
      var request = CutSearchRequest()
      request.shares = Self.parsed(shares: shares) ?? request.shares
      request.layers = layers.flatMap { Self.parsed(layers: $0) }
      (request.keep, request.only) = (matrices.keep, matrices.only)
      request.storage = store == .dense ? .dense : .reduced
      let listener = style.listener()
      let run = try running.options(work, lookup, default: .exact)
      let length = window ?? min(512, checkpoint.contextLength ?? 512)
      var evaluation = ModelEvaluation(
        data: deciding, cut: TextProtocol(.windows(length: length), limit: limit), run: run, listener: listener)
      evaluation.answerTokens = answerTokens
      evaluation.bootstrap = Bootstrap(seed: seed)
      var heldOut = evaluation
      heldOut.data = others
      let search = try CutSearch(
        request, of: model, checkpoint: checkpoint, run: run, writing: writing.options(work, lookup),
        evaluation: evaluation, heldOut: others.needsLanguageModel ? heldOut : nil)
      for problem in search.warnings { listener.receive(.problem(problem)) }
      if !style.quiet, !style.json {
        Machine.writeToStandardError("\(search.matrixCount) matrices, \(search.trialCount) cuts to try\n")
      }
      let found = try search.execute(listener: listener)
      if style.json {
        let reduction = found.reduction?.json ?? .null
        print(JSON.object([("search", found.search.json), ("reduction", reduction)]).text())
      } else if !style.quiet {
        // The report of what was written has the search in it.
        print(found.reduction?.text ?? found.search.text())
      }
    }
  }
}
