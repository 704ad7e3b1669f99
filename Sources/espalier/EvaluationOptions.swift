import ArgumentParser
import EspalierBasics
import EspalierEvaluation
import EspalierNumerics
import EspalierRecipes

enum ProtocolName: String, ExpressibleByArgument, CaseIterable {
  case windows, sliding, rolling
  case llamaCpp = "llama.cpp"
}

/// What models are measured on, and how: shared by `evaluate` and `compare`.
struct MeasuringOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("Text to take perplexity on, plain or JSON lines {\"text\"} (repeatable).", valueName: "file"),
    completion: .file())
  var text: [String] = []

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

  @Option(
    name: .customLong("protocol"),
    help: """
      How texts are cut: windows (by themselves, all tokens but the first scored), sliding (--stride), rolling (the \
      evaluation harness's), llama.cpp (half of each window scored).
      """)
  var cut = ProtocolName.windows

  @Option(help: "Tokens of a window (default: 512, or the model's context if that is shorter).")
  var window: Int?

  @Option(help: "With --protocol sliding: tokens from one window to the next (default: half a window).")
  var stride: Int?

  @Option(help: "At most this many windows of each text.")
  var limit: Int?

  @Option(help: "Tokens that an answer may take.")
  var answerTokens = 32

  @Option(help: "Seed of the bootstrap.")
  var seed: UInt64 = 0

  func validate() throws {
    if [text, choices, answers, labels, sentences].allSatisfy(\.isEmpty) {
      throw ValidationError("Give something to measure on: --text, --choices, --answers, --labels or --sentences.")
    }
    if stride != nil, cut != .sliding { throw ValidationError("--stride needs --protocol sliding.") }
    if let window, window < 2 { throw ValidationError("--window must be at least 2.") }
    if let limit, limit < 1 { throw ValidationError("--limit must be at least 1.") }
    if answerTokens < 1 { throw ValidationError("--answer-tokens must be at least 1.") }
  }

  var data: EvaluationData {
    get throws(Problems) {
      try EvaluationData(texts: text, choices: choices, answers: answers, classified: labels, sentences: sentences)
    }
  }

  /// - Parameter context: the shortest context of the models.
  func textProtocol(context: Int?) -> TextProtocol {
    let length = window ?? min(512, context ?? 512)
    let cut: TextProtocol.Cut =
      switch cut {
      case .windows: .windows(length: length)
      case .sliding: .sliding(length: length, stride: stride ?? length / 2)
      case .rolling: .rolling(length: length)
      case .llamaCpp: .llamaCpp(context: length)
      }
    return TextProtocol(cut, limit: limit)
  }
}

/// Limits that become the exit code.
struct GateOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Gate: mean KL divergence at most, nats a token, e.g. 0.05.", valueName: "nats"))
  var maxKl: String?

  @Option(help: ArgumentHelp("Gate: mean Jensen-Shannon divergence at most.", valueName: "nats"))
  var maxJs: String?

  @Option(help: ArgumentHelp("Gate: perplexity at most.", valueName: "value"))
  var maxPerplexity: String?

  @Option(help: ArgumentHelp("Gate: rise of perplexity over the reference at most, e.g. 2%.", valueName: "share"))
  var maxPerplexityRise: String?

  @Option(help: ArgumentHelp("Gate: bits per byte at most.", valueName: "bits"))
  var maxBitsPerByte: String?

  @Option(help: ArgumentHelp("Gate: share of tokens with the same most probable token at least.", valueName: "share"))
  var minSameTop: String?

  @Option(help: ArgumentHelp("Gate: share of choices or classes right at least, e.g. 60%.", valueName: "share"))
  var minAccuracy: String?

  @Option(help: ArgumentHelp("Gate: the same, likelihoods by length.", valueName: "share"))
  var minAccuracyNorm: String?

  @Option(help: ArgumentHelp("Gate: share of answers right at least.", valueName: "share"))
  var minExactMatch: String?

  @Option(help: ArgumentHelp("Gate: fall of the share right below the reference's at most.", valueName: "share"))
  var maxAccuracyDrop: String?

  @Option(help: ArgumentHelp("Gate: mean cosine of embeddings at least.", valueName: "cosine"))
  var minCosine: String?

  @Flag(help: "The whole 95 % interval must keep the gates, not only the figure.")
  var strict = false

  var gates: [Gate] {
    get throws(Problems) {
      let given: [(Gate.Kind, String?)] = [
        (.maximumKL, maxKl), (.maximumJS, maxJs), (.maximumPerplexity, maxPerplexity),
        (.maximumPerplexityRise, maxPerplexityRise), (.maximumBitsPerByte, maxBitsPerByte),
        (.minimumSameTop, minSameTop), (.minimumAccuracy, minAccuracy), (.minimumNormalizedAccuracy, minAccuracyNorm),
        (.minimumExactMatch, minExactMatch), (.maximumAccuracyDrop, maxAccuracyDrop), (.minimumCosine, minCosine),
      ]
      var problems = Problems()
      let gates = given.compactMap { kind, text in
        text.flatMap { text in problems.collect { () throws(Problem) in try Gate(kind, parsing: text, strict: strict) }
        }
      }
      guard problems.all.isEmpty else { throw problems }
      return gates
    }
  }
}

/// A gate did not hold.
let gateFailed = ExitCode(3)
