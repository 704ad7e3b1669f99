import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierEvaluation
import EspalierNetworks
import EspalierRecipes

/// Text on which a verb compares what it made with the original, and what must hold there.
struct TestingOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("Text on which the result is compared with the original (repeatable).", valueName: "file"),
    completion: .file())
  var test: [String] = []

  @Option(help: "Tokens of a window of --test (default: 512, or the model's context if that is shorter).")
  var testWindow: Int?

  @Option(help: "At most this many windows of each --test.")
  var testLimit: Int?

  @OptionGroup(title: "Gates") var gates: GateOptions

  func validate() throws {
    if let testWindow, testWindow < 2 { throw ValidationError("--test-window must be at least 2.") }
    if let testLimit, testLimit < 1 { throw ValidationError("--test-limit must be at least 1.") }
    let others = [
      gates.minAccuracy, gates.minAccuracyNorm, gates.minExactMatch, gates.maxAccuracyDrop, gates.minCosine,
    ]
    if others.contains(where: { $0 != nil }) {
      throw ValidationError("Only text is measured here: gates of accuracy, answers and cosines need `compare`.")
    }
    if gates.maxPerplexity != nil || gates.maxBitsPerByte != nil {
      throw ValidationError("A comparison has no --max-perplexity and --max-bits-per-byte; see --max-perplexity-rise.")
    }
  }

  /// - Parameter target: a gate that is a target too, and as such needs no text.
  func requireText(except target: String? = nil) throws {
    let ofText = [gates.maxKl, gates.maxJs, gates.maxPerplexityRise, gates.minSameTop].compactMap(\.self)
    if test.isEmpty, ofText.contains(where: { $0 != target }) { throw ValidationError("Gates need --test.") }
  }

  /// The texts read, the gates understood.
  func read() throws(Problems) -> ComparisonTest {
    ComparisonTest(
      data: try EvaluationData(texts: test), gates: try gates.gates, window: testWindow, limit: testLimit)
  }
}

/// Whether gates held; and why they could not be judged, if they could not.
struct Judgement {
  var passes = true
  var problems: Problems?
}

/// A comparison of what was made with what it was made of.
struct ComparisonTest {
  let data: EvaluationData
  let gates: [Gate]
  let window: Int?
  let limit: Int?

  /// Nil without text.
  func compare(
    _ candidate: any Checkpoint, named name: String, against original: any Checkpoint, named originalName: String,
    run: RunOptions, listener: any ProgressListener, judgement: inout Judgement
  ) throws(Problem) -> ReductionReport.Evaluation? {
    guard data.needsLanguageModel else { return nil }
    let length = window ?? min(512, original.contextLength ?? 512)
    let evaluation = ModelEvaluation(
      data: data, cut: TextProtocol(.windows(length: length), limit: limit), run: run, listener: listener)
    var found = try evaluation.compare(candidate, named: name, against: original, named: originalName)
    do throws(Problems) { try found.judge(gates) } catch { judgement.problems = error }
    judgement.passes = found.passes
    return ReductionReport.Evaluation(json: found.json, text: found.text)
  }
}
