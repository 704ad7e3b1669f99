public import ArgumentParser
import EspalierBasics
import EspalierEvaluation
import EspalierNumerics
public import EspalierRecipes

extension TextCutName: ExpressibleByArgument {}

/// Texts on which losses are taken, and how they are cut.
struct TextMeasuringOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("Text to take perplexity on, plain or JSON lines {\"text\"} (repeatable).", valueName: "file"),
    completion: .file())
  var text: [String] = []

  @Option(
    name: .customLong("protocol"),
    help: """
      How texts are cut: windows (by themselves, all tokens but the first scored), sliding (--stride), rolling (the \
      evaluation harness's), llama.cpp (half of each window scored).
      """)
  var cut = TextCutName.windows

  @Option(help: "Tokens of a window (default: 512, or the model's context if that is shorter).")
  var window: Int?

  @Option(help: "With --protocol sliding: tokens from one window to the next (default: half a window).")
  var stride: Int?

  @Option(help: "At most this many windows of each text.")
  var limit: Int?

  @Option(help: "Seed of the bootstrap.")
  var seed: UInt64 = 0

  func validate() throws {
    if stride != nil, cut != .sliding { throw ValidationError("--stride needs --protocol sliding.") }
    if let window, window < 2 { throw ValidationError("--window must be at least 2.") }
    if let limit, limit < 1 { throw ValidationError("--limit must be at least 1.") }
  }

  /// - Parameter context: the shortest context of the models.
  func textProtocol(context: Int?) -> TextProtocol {
    let length = window ?? min(512, context ?? 512)
    return TextProtocol(cut.cut(length: length, stride: stride), limit: limit)
  }
}

/// What models are measured on, and how.
struct MeasuringOptions: ParsableArguments {
  @OptionGroup var texts: TextMeasuringOptions

  @Option(
    help: ArgumentHelp(
      "Multiple choice, JSON lines {\"context\", \"choices\", \"answer\"} (repeatable).", valueName: "file"),
    completion: .file())
  var choices: [String] = []

  @Option(
    help: ArgumentHelp("Questions with answers, JSON lines {\"prompt\", \"answer\"} (repeatable).", valueName: "file"),
    completion: .file())
  var answers: [String] = []

  @Option(
    help: ArgumentHelp(
      "Encoders: texts with classes, JSON lines {\"text\", \"label\"} (repeatable).", valueName: "file"),
    completion: .file())
  var labels: [String] = []

  @Option(
    help: ArgumentHelp("Encoders: a file with a sentence a line (repeatable).", valueName: "file"), completion: .file())
  var sentences: [String] = []

  @Option(help: "Tokens that an answer may take.")
  var answerTokens = 32

  func validate() throws {
    if [texts.text, choices, answers, labels, sentences].allSatisfy(\.isEmpty) {
      throw ValidationError("Give something to measure on: --text, --choices, --answers, --labels or --sentences.")
    }
    if answerTokens < 1 { throw ValidationError("--answer-tokens must be at least 1.") }
  }

  var data: EvaluationData {
    get throws(Problems) {
      try EvaluationData(
        texts: texts.text, choices: choices, answers: answers, classified: labels, sentences: sentences)
    }
  }
}
