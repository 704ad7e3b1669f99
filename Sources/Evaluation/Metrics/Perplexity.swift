internal import CKernels
public import EspalierBasics
internal import EspalierNetworks
public import EspalierNumerics

/// How well a model predicts text: the exponential of the mean negative log-likelihood of the tokens scored, and bits
/// per byte of text, which models with different tokenizers share.
public struct Perplexity: Metric {
  public static let name = "perplexity"
  public static let title = "Perplexity"

  /// The sums of one sequence of the protocol.
  public struct Window: Sendable, Hashable {
    public var tokens = 0
    /// Nats.
    public var negativeLogLikelihood = 0.0
    /// Sum of squares over tokens.
    public var squares = 0.0
    /// Tokens that were the most probable.
    public var hits = 0
  }

  /// One document's figure.
  public struct Document: Sendable, Hashable {
    public var name: String
    public var tokens: Int
    public var perplexity: Double
  }

  public let header: MetricHeader
  public let windows: [Window]
  public let documents: [Document]
  /// Mean over tokens, in nats.
  public let negativeLogLikelihood: Estimate
  /// By tokens per byte of the documents scored (Gao et al., The Pile, 2020, arXiv:2101.00027, section 3.1):
  /// `mean nats / ln 2 * tokens / bytes`. With the rolling protocol these are the bits of the whole text.
  public let bitsPerByte: Estimate
  public let accuracy: Estimate
  let unitTokens: [Double]
  let unitSums: [Double]

  /// `exp` of the mean negative log-likelihood.
  public var perplexity: Estimate { negativeLogLikelihood.mapped(Elementary.exp) }

  /// llama.cpp's plus or minus: perplexity times the standard error of the mean over tokens, as if they were
  /// independent.
  public var tokenStandardError: Double {
    let count = Double(windows.reduce(0) { $0 + $1.tokens })
    let squares = windows.reduce(0) { $0 + $1.squares }
    let mean = negativeLogLikelihood.value
    let variance = squares / count - mean * mean
    // What is left of equal tokens is rounding.
    return variance > 1e-12 * mean * mean ? perplexity.value * (variance / (count - 1)).squareRoot() : 0
  }

  /// Perplexity of `model` on a text.
  ///
  /// - Throws: `evaluation.data` if the text does not fit the protocol or the model; what the model throws.
  public static func measure(
    _ model: EvaluatedModel, on text: TextSet, cut: TextProtocol, options: EvaluationOptions
  ) throws(Problem) -> Perplexity {
    let scored = try ScoredText(text, codec: model.codec, cut: cut)
    let scorer = try Scorer([model], options: options)
    var windows: [Window] = []
    try scorer.scoreTokens(of: scored.sequences, stage: "perplexity") { index, scores in
      var window = Window()
      for (score, target) in zip(scores, scored.sequences[index].targets) {
        window.add(score.log_probability, isHit: score.top == target)
      }
      windows.append(window)
    }
    return Perplexity(of: model, subject: .model, on: scored, windows: windows, bootstrap: options.bootstrap)
  }

  init(
    of model: EvaluatedModel, subject: MetricHeader.Subject, on text: ScoredText, windows: [Window],
    bootstrap: Bootstrap
  ) {
    header = MetricHeader(
      subject: subject, models: [model.name], modes: [model.model.mode], data: text.name,
      protocolText: text.cut.text, counts: text.counts, sampling: Sampling(units: text.units, bootstrap: bootstrap))
    self.windows = windows
    documents = text.scoredDocuments.map { document in
      let windows = windows[document.sequences]
      let tokens = windows.reduce(0) { $0 + $1.tokens }
      let sum = windows.reduce(0) { $0 + $1.negativeLogLikelihood }
      return Document(name: document.name, tokens: tokens, perplexity: Elementary.exp(sum / Double(tokens)))
    }
    unitTokens = text.unitSums(windows.map { Double($0.tokens) })
    unitSums = text.unitSums(windows.map(\.negativeLogLikelihood))
    negativeLogLikelihood = bootstrap.ratio(unitSums, unitTokens)
    accuracy = bootstrap.ratio(text.unitSums(windows.map { Double($0.hits) }), unitTokens)
    let tokensPerByte = Double(text.tokenCount) / Double(text.byteCount)
    bitsPerByte = negativeLogLikelihood.mapped { $0 / Elementary.ln2 * tokensPerByte }
  }

  public var figures: [Figure] {
    [
      Figure("perplexity", "perplexity", perplexity),
      Figure("negative_log_likelihood", "negative log-likelihood, nats a token", negativeLogLikelihood),
      Figure("bits_per_byte", "bits per byte", bitsPerByte),
      Figure("accuracy", "next token right", accuracy, .share),
      Figure("token_standard_error", "standard error, tokens as independent", tokenStandardError),
    ]
  }

  public var details: [(String, JSON)] {
    guard documents.count > 1 else { return [] }
    return [
      (
        "documents",
        .array(
          documents.map {
            ["name": .string($0.name), "tokens": .number($0.tokens), "perplexity": .number($0.perplexity)]
          })
      )
    ]
  }
}

extension Perplexity.Window {
  mutating func add(_ logProbability: Double, isHit: Bool) {
    tokens += 1
    negativeLogLikelihood -= logProbability
    squares += logProbability * logProbability
    hits += isHit ? 1 : 0
  }
}
