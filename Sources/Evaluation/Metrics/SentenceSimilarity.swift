public import EspalierBasics
internal import EspalierNetworks
internal import EspalierNumerics

/// How alike an encoder finds sentences: cosines of their embeddings, every pair.
public struct SentenceSimilarity: Metric {
  public static let name = "sentence_similarity"
  public static let title = "Similarity of sentences"

  public let header: MetricHeader
  public let texts: [String]
  /// `cosines[i][j]`, from -1 to 1.
  public let cosines: [[Double]]

  /// - Throws: as ``Embeddings/init(of:by:options:)``; `evaluation.data` for more than 1,000 texts, whose table nobody
  ///   reads.
  public static func measure(
    _ encoder: EvaluatedEncoder, on texts: [String], data: String, options: EvaluationOptions
  ) throws(Problem) -> SentenceSimilarity {
    guard (2...1000).contains(texts.count) else {
      throw Problem(.evaluationData, "\(texts.count) sentences: a table needs from 2 to 1,000", file: data)
    }
    let embeddings = try Embeddings(of: texts, by: encoder, options: options)
    let header = MetricHeader(
      subject: .model, models: [encoder.name], modes: [encoder.model.mode], data: data,
      protocolText: "cosines of mean-pooled, normalized states of the last layer, special tokens included",
      counts: [Count("texts", texts.count)], sampling: Sampling(units: .texts, bootstrap: options.bootstrap))
    let cosines = texts.indices.map { i in texts.indices.map { j in embeddings.cosine(i, j) } }
    return SentenceSimilarity(header: header, texts: texts, cosines: cosines)
  }

  private var pairs: [(i: Int, j: Int, cosine: Double)] {
    texts.indices.flatMap { i in (i + 1..<texts.count).map { (i, $0, cosines[i][$0]) } }
  }

  public var figures: [Figure] {
    let sum = pairs.reduce(0) { $0 + $1.cosine }
    return [Figure("mean_cosine", "mean over pairs", sum / Double(pairs.count))]
  }

  /// The most alike first.
  public var sentences: [String] {
    pairs.sorted { ($1.cosine, $0.i, $0.j) < ($0.cosine, $1.i, $1.j) }.prefix(50)
      .map { "\(Decimals.text($0.cosine, 5))  \($0.i + 1)-\($0.j + 1)" }
  }

  public var details: [(String, JSON)] {
    [("cosines", .array(cosines.map { row in .array(row.map { .number($0) }) }))]
  }
}
