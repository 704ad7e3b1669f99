public import EspalierBasics
internal import EspalierLinearMaps
internal import EspalierNetworks
public import EspalierNumerics

/// How well a candidate's embeddings agree with a reference's: text by text, and in what they say of pairs of texts.
public struct EmbeddingAgreement: Metric {
  public static let name = "embedding_agreement"
  public static let title = "Embedding agreement"

  /// Pairs are taken among the first of the texts.
  public static let pairedTexts = 200

  public let header: MetricHeader
  /// Cosine of the two embeddings of each text; nil if the models' widths differ.
  public let cosines: [Double]?
  public let cosine: Estimate?
  /// Mean over texts of the mean absolute difference of the text's cosines with the others; nil for one text.
  public let similarityError: Estimate?
  /// Greatest absolute difference of a pair's cosines.
  public let greatestSimilarityError: Double?
  /// Pearson's correlation of the two models' cosines of pairs; nil if one of them says the same of all.
  public let similarityCorrelation: Double?

  /// - Throws: what ``Embeddings`` throws; `evaluation.data` if there are no texts.
  public static func measure(
    _ candidate: EvaluatedEncoder, against reference: EvaluatedEncoder, on texts: [String], data: String,
    options: EvaluationOptions
  ) throws(Problem) -> EmbeddingAgreement {
    guard !texts.isEmpty else { throw Problem(.evaluationData, "there are no texts", file: data) }
    let a = try Embeddings(of: texts, by: candidate, options: options)
    let b = try Embeddings(of: texts, by: reference, options: options)
    let paired = min(texts.count, pairedTexts)
    return EmbeddingAgreement(
      a, b, paired: paired,
      header: MetricHeader(
        subject: .pair, models: [candidate.name, reference.name], modes: [candidate.model.mode, reference.model.mode],
        data: data, protocolText: "last layer's states, mean over all tokens, normalized",
        counts: [Count("texts", texts.count), Count("pairs", paired * (paired - 1) / 2)],
        sampling: Sampling(units: .texts, bootstrap: options.bootstrap)))
  }

  private init(_ a: Embeddings, _ b: Embeddings, paired: Int, header: MetricHeader) {
    self.header = header
    let bootstrap = header.sampling.bootstrap
    let haveOneWidth = zip(a.vectors, b.vectors).allSatisfy { $0.count == $1.count }
    cosines = haveOneWidth ? zip(a.vectors, b.vectors).map { Embeddings.product($0, $1) } : nil
    cosine = cosines.map { bootstrap.mean($0) }
    var pairs: [(a: Double, b: Double)] = []
    var errors = [Double](repeating: 0, count: paired)
    for i in 0..<paired {
      for j in 0..<i {
        let pair = (a: a.cosine(i, j), b: b.cosine(i, j))
        pairs.append(pair)
        errors[i] += abs(pair.a - pair.b)
        errors[j] += abs(pair.a - pair.b)
      }
    }
    similarityError = paired > 1 ? bootstrap.mean(errors.map { $0 / Double(paired - 1) }) : nil
    greatestSimilarityError = pairs.map { abs($0.a - $0.b) }.max()
    similarityCorrelation = Self.correlation(pairs)
  }

  private static func correlation(_ pairs: [(a: Double, b: Double)]) -> Double? {
    guard pairs.count > 1 else { return nil }
    let count = Double(pairs.count)
    let means = (a: pairs.reduce(0) { $0 + $1.a } / count, b: pairs.reduce(0) { $0 + $1.b } / count)
    var (aa, bb, ab) = (0.0, 0.0, 0.0)
    for pair in pairs {
      let (a, b) = (pair.a - means.a, pair.b - means.b)
      aa += a * a
      bb += b * b
      ab += a * b
    }
    return aa > 0 && bb > 0 ? ab / (aa.squareRoot() * bb.squareRoot()) : nil
  }

  public var figures: [Figure] {
    var figures: [Figure] = []
    if let cosine, let cosines {
      figures.append(Figure("cosine", "cosine of the two embeddings of a text, mean", cosine))
      figures.append(Figure("cosine_min", "  least", cosines.min() ?? .nan))
    }
    if let similarityError, let greatestSimilarityError {
      figures.append(Figure("similarity_error", "difference of the cosines of pairs, mean", similarityError))
      figures.append(Figure("similarity_error_max", "  greatest", greatestSimilarityError))
    }
    if let similarityCorrelation {
      figures.append(Figure("similarity_correlation", "correlation of the cosines of pairs", similarityCorrelation))
    }
    return figures
  }
}
