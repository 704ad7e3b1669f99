import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNetworks
import EspalierRecipes
import EspalierReduction

struct Fit: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Makes a model take a number of bytes, by whatever loses least: bits, rank, sparsity, depth.",
    discussion: """
      Every matrix is measured in every form, and how far the model's predictions move with it; layers are tried without. \
      The choice for the size is exact for the sum of what was measured, which is a model of the loss: --test says what \
      came of it. The output is a folder that Espalier runs. report.json and REPORT.md have every parameter's form.

      EXAMPLES
        espalier fit model --size 80MB --text book.txt -o small
        espalier fit model --size 80MB --text book.txt --test novel.txt --against-single-knobs -o small
        espalier fit model --size 80MB --statistics statistics.safetensors -o small
        espalier fit model --size 80MB --text book.txt --save-table fit.json -o small
        espalier fit model --size 60MB --text book.txt --table fit.json -o smaller
        espalier fit model --size 80MB --knobs bits,depth --text book.txt --plan -o small
      """)

  @Argument(help: "The model: a folder, a GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @Option(help: "Bytes of all tensors of the result at most, like 80MB.")
  var size: String

  @Option(
    help: ArgumentHelp(
      "What may be done: \(FitKnob.allCases.map(\.rawValue).joined(separator: ",")) (default: all).",
      valueName: "knobs"))
  var knobs: String?

  @OptionGroup(title: "Calibration") var text: CalibrationTextOptions

  @Option(
    help: ArgumentHelp(
      "Statistics of `espalier calibrate`, by which forms are compared, in place of gathering them.",
      valueName: "file"), completion: .file())
  var statistics: String?

  @Option(
    help: ArgumentHelp("Text on which predictions are compared (repeatable; default: --text).", valueName: "file"),
    completion: .file())
  var effectText: [String] = []

  @Option(help: "Windows of it.")
  var effectLimit = 4

  @Option(help: "Tokens of such a window (default: 256, or the model's context if that is shorter).")
  var effectWindow: Int?

  @Option(
    help: ArgumentHelp(
      "Leave matrices as they are whose name has this (regular expression, repeatable).", valueName: "pattern"))
  var keep: [String] = []

  @Option(
    help: ArgumentHelp("Keep what is measured in a file: it serves other sizes.", valueName: "file"),
    completion: .file())
  var saveTable: String?

  @Option(
    help: ArgumentHelp("What an earlier fit of the same model and texts has kept.", valueName: "file"),
    completion: .file())
  var table: String?

  @Flag(help: "Make the same size by each knob alone too, and measure it on --test.")
  var againstSingleKnobs = false

  @OptionGroup var testing: TestingOptions

  @Flag(help: "Say what would be done, touch nothing.")
  var plan = false

  @OptionGroup var writing: WritingOptions
  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func validate() throws {
    try testing.requireText()
    if ByteCount.parse(size) == nil {
      throw ValidationError("--size \(size) is not a size; write it like 80MB or 1.5G.")
    }
    if let bad = knobWords.first(where: { FitKnob(rawValue: $0) == nil }) {
      throw ValidationError("--knobs: \(bad) is none of \(FitKnob.allCases.map(\.rawValue).joined(separator: ", ")).")
    }
    if effectLimit < 1 { throw ValidationError("--effect-limit must be at least 1.") }
    if let effectWindow, effectWindow < 2 { throw ValidationError("--effect-window must be at least 2.") }
    if text.text.isEmpty, statistics == nil { throw ValidationError("Give --text, --statistics, or both.") }
    if againstSingleKnobs, testing.test.isEmpty { throw ValidationError("--against-single-knobs needs --test.") }
  }

  private var knobWords: [String] {
    knobs.map { $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init) }
      ?? FitKnob.allCases.map(\.rawValue)
  }

  private func request(for checkpoint: any Checkpoint) throws(Problems) -> FitRequest {
    var request = FitRequest(bytes: ByteCount.parse(size) ?? 0)
    request.knobs = Set(knobWords.compactMap { FitKnob(rawValue: $0) })
    (request.statistics, request.keep) = (statistics, keep)
    (request.table, request.savedTable) = (table, saveTable)
    if !text.text.isEmpty { request.text = try text.read(for: checkpoint) }
    let effects = effectText.isEmpty ? text.text : effectText
    if !effects.isEmpty {
      request.effects = try CalibrationText(
        effects, for: checkpoint, sequences: effectLimit,
        length: effectWindow ?? min(256, checkpoint.contextLength ?? 256), seed: nil)
    }
    return request
  }

  func run() throws {
    var judgement = Judgement()
    try reportingProblems(json: style.json) { () throws(Problems) in
      let checkpoint = try lookup.open(model)
      let test = try testing.read()
      let whole = try running.options(work, lookup, default: .exact)
      var run = whole
      // Models are measured while statistics are held: half of the ceiling for either.
      if !text.text.isEmpty || !effectText.isEmpty { run.memory = whole.memory / 2 }
      let plan = try FitPlan(
        try request(for: checkpoint), of: model, checkpoint: checkpoint, run: run,
        writing: writing.options(work, lookup))
      let listener = style.listener()
      for problem in plan.warnings { listener.receive(.problem(problem)) }
      if self.plan { return print(style.json ? plan.json.text() : plan.text) }
      if !style.quiet, !style.json { Machine.writeToStandardError(plan.summary + "\n") }
      var found = judgement
      defer { judgement = found }
      var isFirst = true
      do throws(Problem) {
        let report = try FitRun.execute(plan, comparesKnobs: againstSingleKnobs, listener: listener) {
          (made) throws(Problem) in
          // Gates are for what is written, which is measured first.
          var judged = Judgement()
          let evaluation = try test.compare(
            made, named: writing.output, against: checkpoint, named: model, run: whole, listener: listener,
            judgement: &judged)
          if isFirst { (found, isFirst) = (judged, false) }
          return evaluation
        }
        if style.json { print(report.json.text()) } else if !style.quiet { print(report.text) }
      } catch { throw Problems([error]) }
      if let problems = found.problems { throw problems }
    }
    if !judgement.passes { throw gateFailed }
  }
}
