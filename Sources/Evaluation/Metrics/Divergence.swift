internal import CKernels
public import EspalierBasics
internal import EspalierNetworks
public import EspalierNumerics

/// How far a candidate's next-token distributions are from a reference's on the same text, in nats; the two are run
/// side by side, nothing is stored but three numbers a token.
public struct Divergence: Metric {
  public static let name = "divergence"
  public static let title = "Divergence"

  /// The sums of one sequence of the protocol.
  public struct Window: Sendable, Hashable {
    public var tokens = 0
    /// Kullback-Leibler divergence of the candidate Q from the reference P: `sum p (log p - log q)`.
    public var kl = 0.0
    /// Jensen-Shannon divergence, 0 ... ln 2 a token.
    public var js = 0.0
    /// Tokens before which both have the same most probable one.
    public var sameTop = 0
    /// Candidate's less reference's probability of the token that came.
    public var probabilityChange = 0.0
    public var squaredProbabilityChange = 0.0
  }

  /// One document's figures.
  public struct Document: Sendable, Hashable {
    public var name: String
    public var tokens: Int
    public var kl: Double
    public var js: Double
    public var sameTop: Double
  }

  /// How single tokens are spread: percentiles between order statistics, and the greatest.
  public struct Spread: Sendable, Hashable {
    public var median: Double
    public var p90: Double
    public var p95: Double
    public var p99: Double
    public var p999: Double
    public var maximum: Double

    init(_ values: [Double]) {
      let sorted = values.sorted()
      func percentile(_ share: Double) -> Double {
        let position = share * Double(sorted.count - 1)
        let index = Int(position)
        let next = min(index + 1, sorted.count - 1)
        return sorted[index] + (position - Double(index)) * (sorted[next] - sorted[index])
      }
      (median, p90, p95, p99, p999) = (
        percentile(0.5), percentile(0.9), percentile(0.95), percentile(0.99), percentile(0.999)
      )
      maximum = sorted.last ?? 0
    }
  }

  public let header: MetricHeader
  public let windows: [Window]
  public let documents: [Document]
  /// Means over tokens.
  public let kl: Estimate
  public let js: Estimate
  public let sameTop: Estimate
  public let probabilityChange: Estimate
  /// Root of the mean square.
  public let probabilityChangeRMS: Estimate
  /// Means over documents of their means; nil for a single document.
  public let macroKL: Estimate?
  public let macroJS: Estimate?
  public let klSpread: Spread
  public let jsSpread: Spread

  /// Runs both models over a text and returns how far they are apart, and both perplexities.
  ///
  /// - Throws: `evaluation.pair` if vocabularies or encodings of the text differ; `evaluation.data` if the text does not
  ///   fit the protocol or the models; what the models throw. Keeps 16 bytes a token scored.
  public static func measure(
    _ candidate: EvaluatedModel, against reference: EvaluatedModel, on text: TextSet, cut: TextProtocol,
    options: EvaluationOptions
  ) throws(Problem) -> (divergence: Divergence, perplexity: PerplexityChange) {
    let scorer = try Scorer([reference, candidate], options: options)
    let scored = try ScoredText(text, codec: reference.codec, cut: cut)
    guard try ScoredText(text, codec: candidate.codec, cut: cut).sequences == scored.sequences else {
      throw Problem(
        .evaluationPair, "\(candidate.name) and \(reference.name) encode the text differently",
        remedy: "Distributions are compared token by token, which needs one tokenizer; compare bits per byte.",
        file: text.name)
    }
    var windows: [Window] = []
    var sides: (reference: [Perplexity.Window], candidate: [Perplexity.Window]) = ([], [])
    var (kls, jss): ([Double], [Double]) = ([], [])
    try scorer.compareTokens(of: scored.sequences, stage: "divergence") { index, tokens in
      var window = Window()
      var (ofReference, ofCandidate) = (Perplexity.Window(), Perplexity.Window())
      for (token, target) in zip(tokens, scored.sequences[index].targets) {
        window.add(token)
        ofReference.add(token.reference_log_probability, isHit: token.reference_top == target)
        ofCandidate.add(token.candidate_log_probability, isHit: token.candidate_top == target)
        kls.append(token.kl)
        jss.append(token.js)
      }
      windows.append(window)
      sides.reference.append(ofReference)
      sides.candidate.append(ofCandidate)
    }
    let bootstrap = options.bootstrap
    return (
      Divergence(
        of: candidate, against: reference, on: scored, windows: windows, spreads: (Spread(kls), Spread(jss)),
        bootstrap: bootstrap),
      try PerplexityChange(
        candidate: Perplexity(
          of: candidate, subject: .model, on: scored, windows: sides.candidate, bootstrap: bootstrap),
        reference: Perplexity(
          of: reference, subject: .reference, on: scored, windows: sides.reference, bootstrap: bootstrap))
    )
  }

  private init(
    of candidate: EvaluatedModel, against reference: EvaluatedModel, on text: ScoredText, windows: [Window],
    spreads: (kl: Spread, js: Spread), bootstrap: Bootstrap
  ) {
    header = MetricHeader(
      subject: .pair, models: [candidate.name, reference.name], modes: [candidate.model.mode, reference.model.mode],
      data: text.name, protocolText: text.cut.text, counts: text.counts,
      sampling: Sampling(units: text.units, bootstrap: bootstrap))
    self.windows = windows
    (klSpread, jsSpread) = spreads
    let tokens = text.unitSums(windows.map { Double($0.tokens) })
    func mean(_ sum: (Window) -> Double) -> Estimate { bootstrap.ratio(text.unitSums(windows.map(sum)), tokens) }
    kl = mean(\.kl)
    js = mean(\.js)
    sameTop = mean { Double($0.sameTop) }
    probabilityChange = mean(\.probabilityChange)
    probabilityChangeRMS = mean(\.squaredProbabilityChange).mapped { max(0, $0).squareRoot() }
    documents = text.scoredDocuments.map { Document($0.name, windows[$0.sequences]) }
    let several = documents.count > 1
    macroKL = several ? bootstrap.mean(documents.map(\.kl)) : nil
    macroJS = several ? bootstrap.mean(documents.map(\.js)) : nil
  }
}

extension Divergence.Window {
  mutating func add(_ token: es_token_divergence) {
    tokens += 1
    kl += token.kl
    js += token.js
    sameTop += token.reference_top == token.candidate_top ? 1 : 0
    probabilityChange += token.probability_change
    squaredProbabilityChange += token.probability_change * token.probability_change
  }
}

extension Divergence.Document {
  fileprivate init(_ name: String, _ windows: ArraySlice<Divergence.Window>) {
    let tokens = windows.reduce(0) { $0 + $1.tokens }
    let count = Double(tokens)
    self.init(
      name: name, tokens: tokens, kl: windows.reduce(0) { $0 + $1.kl } / count,
      js: windows.reduce(0) { $0 + $1.js } / count,
      sameTop: Double(windows.reduce(0) { $0 + $1.sameTop }) / count)
  }
}
