internal import EspalierBasics
internal import EspalierEvaluation
internal import EspalierNumerics
internal import EspalierReduction

/// A cut that was tried.
public struct CutTrial: Sendable {
  public var matrix: String
  /// `[outputs, inputs]`.
  public var shape: [Int]
  /// Of the singular values that stay.
  public var share: Double
  public var rank: Int
  /// The higher the better, with how it compares with the model as it was: `figures` of ``CutMeasurement``.
  public var score: RecipeScore
  /// Whether an earlier run, or another share that is the same rank, gave the score.
  public var isKnown: Bool

  static let variables = ["matrix", "rank"]

  /// As the log of a search knows it.
  static func candidate(_ matrix: String, rank: Int) -> RecipeSearch.Candidate {
    let text = "\(matrix) to rank \(rank)"
    return RecipeSearch.Candidate(choice: [], values: [matrix, "\(rank)"], text: text, digest: Digest(of: text))
  }

  func figure(_ name: String) -> Double? { score.figures.first { $0.name == name }?.value }
}

/// The one set of answers, or the one text, that decides.
struct CutData {
  let digest: Digest

  /// - Throws: `reduction` for anything else.
  init(_ data: EvaluationData) throws(Problem) {
    var parts: [String] = []
    for set in data.answers { parts += ["answers"] + set.items.flatMap { [$0.prompt, $0.answer] } }
    for set in data.texts { parts += ["text"] + set.documents.map(\.text) }
    guard data.answers.count + data.texts.count == 1, data.choices.isEmpty, !data.needsEncoder else {
      throw Problem(.reduction, "a cut is judged by one set of answers or one text")
    }
    digest = Digest(of: JSON.array(parts.map { .string($0) }).text())
  }
}

/// What a model is worth on the data that decide.
enum CutMeasurement {
  case answers(ExactMatch)
  case text(Perplexity)

  init(_ report: EvaluationReport) throws(Problem) {
    switch report.metrics.first {
    case let match as ExactMatch: self = .answers(match)
    case let perplexity as Perplexity: self = .text(perplexity)
    default: throw Problem(.reduction, "a cut is judged by one set of answers or one text")
    }
  }

  /// The higher the better: the share of right answers, or the mean log-likelihood of a token.
  var score: Double {
    switch self {
    case .answers(let match): match.accuracy.value
    case .text(let perplexity): -perplexity.negativeLogLikelihood.value
    }
  }

  var header: MetricHeader {
    switch self {
    case .answers(let match): match.header
    case .text(let perplexity): perplexity.header
    }
  }

  /// What the figures are about.
  var label: String {
    switch self {
    case .answers: "right"
    case .text: "perplexity"
    }
  }

  /// Right answers in percent, or perplexity, with the interval.
  var text: String {
    switch self {
    case .answers(let match):
      let range = match.accuracy.interval.map {
        " (\(Figures.percent($0.lower)) to \(Figures.percent($0.upper)))"
      }
      return "\(Figures.percent(match.accuracy.value)) right of \(match.items.count)" + (range ?? "")
    case .text(let perplexity):
      let range = perplexity.perplexity.interval.map {
        " (\(Figures.text($0.lower, significant: 5)) to \(Figures.text($0.upper, significant: 5)))"
      }
      return "perplexity \(Figures.text(perplexity.perplexity.value, significant: 5))" + (range ?? "")
    }
  }

  /// `value`, the share right or the perplexity; `change` from the original, a difference of shares or a relative one of
  /// perplexity, with `lower` and `upper` of its interval; of answers McNemar's `p`, and those that only one has right.
  func figures(against original: CutMeasurement) throws(Problem) -> [RecipeScore.Figure] {
    let (value, change): (Double, Estimate)
    var tests: [RecipeScore.Figure] = []
    switch (self, original) {
    case (.answers(let candidate), .answers(let reference)):
      let pair = try PairedItems(candidate, reference)
      (value, change) = (candidate.accuracy.value, pair.difference)
      tests = [
        .init("p", pair.pValue), .init("gained", Double(pair.onlyCandidate)),
        .init("lost", Double(pair.onlyReference)),
      ]
    case (.text(let candidate), .text(let reference)):
      let pair = try PerplexityChange(candidate: candidate, reference: reference)
      (value, change) = (candidate.perplexity.value, pair.rise)
    default: throw Problem(.evaluationPair, "answers and a text cannot be compared")
    }
    var figures: [RecipeScore.Figure] = [.init("value", value), .init("change", change.value)]
    if let range = change.interval { figures += [.init("lower", range.lower), .init("upper", range.upper)] }
    return figures + tests
  }
}
