public import EspalierBasics
internal import EspalierNumerics

/// A limit that a figure must keep, for use in scripts: `--max-kl 0.05`, `--max-perplexity-rise 2%`.
///
/// The figure itself is judged, as it is printed: that is what a limit is read as, and it does not depend on how much
/// data there was. The outcome says whether the whole interval keeps the limit; with `strict` it must.
public struct Gate: Sendable, Hashable {
  /// What is limited, and from which side.
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    /// Mean KL divergence from the reference, nats a token.
    case maximumKL = "max-kl"
    /// Mean Jensen-Shannon divergence, nats a token.
    case maximumJS = "max-js"
    case maximumPerplexity = "max-perplexity"
    /// Relative rise of perplexity over the reference's.
    case maximumPerplexityRise = "max-perplexity-rise"
    case maximumBitsPerByte = "max-bits-per-byte"
    /// Share of tokens before which both models find the same one most probable.
    case minimumSameTop = "min-same-top"
    /// Share right: of multiple choice (`acc`) and of classification.
    case minimumAccuracy = "min-accuracy"
    /// Share right of multiple choice, likelihood by characters (`acc_norm`).
    case minimumNormalizedAccuracy = "min-accuracy-norm"
    case minimumExactMatch = "min-exact-match"
    /// What the candidate's share right falls below the reference's: of multiple choice (`acc`), answers, classes.
    case maximumAccuracyDrop = "max-accuracy-drop"
    /// Mean cosine of the two models' embeddings of a text.
    case minimumCosine = "min-cosine"
  }

  public var kind: Kind
  /// As the figure counts: a share or a relative change is 0.02, not 2.
  public var limit: Double
  public var strict: Bool

  public init(_ kind: Kind, _ limit: Double, strict: Bool = false) {
    self.kind = kind
    self.limit = limit
    self.strict = strict
  }

  /// Reads a limit: a number, or a percentage (`2%`) where the figure is a share or a change. The most that a share may
  /// change by is a number below 1 or a percentage.
  ///
  /// - Throws: `usage.gate` for what is neither, or is out of the figure's range.
  public init(_ kind: Kind, parsing text: String, strict: Bool = false) throws(Problem) {
    var digits = text[...]
    while digits.utf8.last == UInt8(ascii: " ") { digits.removeLast() }
    let isPercent = digits.utf8.last == UInt8(ascii: "%")
    if isPercent { digits.removeLast() }
    while digits.utf8.last == UInt8(ascii: " ") { digits.removeLast() }
    guard let number = Double(String(digits)), number.isFinite else {
      throw Problem(.usageGate, "--\(kind.rawValue) \(text) is not a number", remedy: "Write it like \(kind.example).")
    }
    guard !isPercent || kind.allowsPercent else {
      throw Problem(
        .usageGate, "--\(kind.rawValue) is not a share: \(text) means nothing", remedy: "Write it like \(kind.example)."
      )
    }
    // A 2 is more likely to mean 2 % than 200 %, and as 200 % the gate would always hold.
    guard isPercent || number < 1 || !(kind.allowsPercent && kind.isMaximum) else {
      throw Problem(
        .usageGate, "--\(kind.rawValue) \(text) is a share of 1 or more; a percentage has its sign: \(text)%",
        remedy: "Write it like \(kind.example).")
    }
    let limit = isPercent ? number / 100 : number
    guard kind.range.contains(limit) else {
      let hint = kind.allowsPercent && !isPercent && limit > 1 ? "; a percentage has its sign: \(text)%" : ""
      throw Problem(
        .usageGate, "--\(kind.rawValue) \(text) is outside of what the figure can be\(hint)",
        remedy: "Write it like \(kind.example).")
    }
    self.init(kind, limit, strict: strict)
  }
}

extension Problem.Code {
  /// A gate that cannot be read, or whose figure was not measured.
  public static let usageGate = Problem.Code("usage.gate")
}

extension Gate.Kind {
  var isMaximum: Bool { rawValue.hasPrefix("max-") }

  /// Metrics and keys of the figures that the gate judges.
  var figures: [(metric: String, key: String)] {
    switch self {
    case .maximumKL: [(Divergence.name, "kl")]
    case .maximumJS: [(Divergence.name, "js")]
    case .maximumPerplexity: [(Perplexity.name, "perplexity")]
    case .maximumPerplexityRise: [(PerplexityChange.name, "rise")]
    case .maximumBitsPerByte: [(Perplexity.name, "bits_per_byte")]
    case .minimumSameTop: [(Divergence.name, "same_top")]
    case .minimumAccuracy: [(MultipleChoice.name, "acc"), (Classification.name, "accuracy")]
    case .minimumNormalizedAccuracy: [(MultipleChoice.name, "acc_norm")]
    case .minimumExactMatch: [(ExactMatch.name, "exact_match")]
    case .maximumAccuracyDrop: [(PairedItems.name, "difference")]
    case .minimumCosine: [(EmbeddingAgreement.name, "cosine")]
    }
  }

  /// The option that measures the figure.
  var needs: String {
    switch self {
    case .maximumPerplexity, .maximumBitsPerByte: "--text"
    case .maximumKL, .maximumJS, .maximumPerplexityRise, .minimumSameTop: "compare with --text"
    case .minimumAccuracy: "--choices or --labels"
    case .minimumNormalizedAccuracy: "--choices"
    case .minimumExactMatch: "--answers"
    case .maximumAccuracyDrop: "compare with --choices, --answers or --labels"
    case .minimumCosine: "compare with --sentences"
    }
  }

  var allowsPercent: Bool {
    switch self {
    case .maximumKL, .maximumJS, .maximumPerplexity, .maximumBitsPerByte, .minimumCosine: false
    default: true
    }
  }

  var range: ClosedRange<Double> {
    switch self {
    case .maximumKL, .maximumPerplexity, .maximumBitsPerByte: 0...Double.greatestFiniteMagnitude
    case .maximumPerplexityRise: -1...10
    case .maximumAccuracyDrop, .minimumCosine: -1...1
    case .maximumJS, .minimumSameTop, .minimumAccuracy, .minimumNormalizedAccuracy, .minimumExactMatch: 0...1
    }
  }

  var example: String {
    switch self {
    case .maximumKL, .maximumJS: "0.05"
    case .maximumPerplexity: "12.5"
    case .maximumBitsPerByte: "1.2"
    case .maximumPerplexityRise, .maximumAccuracyDrop: "2%"
    case .minimumCosine: "0.98"
    default: "75%"
    }
  }
}
