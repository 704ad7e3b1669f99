public import EspalierBasics
public import EspalierNumerics

/// What a candidate's perplexity is to a reference's on the same tokens, windows drawn together.
public struct PerplexityChange: Metric {
  public static let name = "perplexity_change"
  public static let title = "Perplexity, change"

  public let header: MetricHeader
  public let candidate: Perplexity
  public let reference: Perplexity
  /// Candidate over reference.
  public let ratio: Estimate

  /// - Throws: `evaluation.pair` if the two were not measured on the same tokens by the same protocol.
  public init(candidate: Perplexity, reference: Perplexity) throws(Problem) {
    guard candidate.header.protocolText == reference.header.protocolText,
      candidate.windows.map(\.tokens) == reference.windows.map(\.tokens)
    else {
      throw Problem(
        .evaluationPair, "the perplexities were not measured on the same tokens by the same protocol",
        remedy: "Models with different tokenizers are compared by bits per byte.")
    }
    self.candidate = candidate
    self.reference = reference
    header = MetricHeader(
      subject: .pair, models: candidate.header.models + reference.header.models,
      modes: candidate.header.modes + reference.header.modes, data: candidate.header.data,
      protocolText: candidate.header.protocolText, counts: candidate.header.counts,
      sampling: candidate.header.sampling)
    let differences = zip(candidate.unitSums, reference.unitSums).map { $0 - $1 }
    ratio = candidate.header.sampling.bootstrap.ratio(differences, candidate.unitTokens).mapped(Elementary.exp)
  }

  /// The relative rise: 0.02 is two per cent more.
  public var rise: Estimate { ratio.mapped { $0 - 1 } }

  public var figures: [Figure] {
    [
      Figure("candidate", "perplexity of the candidate", candidate.perplexity),
      Figure("reference", "perplexity of the reference", reference.perplexity),
      Figure("rise", "rise", rise, .change),
      Figure("ratio", "ratio", ratio),
      Figure("candidate_bits_per_byte", "bits per byte of the candidate", candidate.bitsPerByte),
      Figure("reference_bits_per_byte", "bits per byte of the reference", reference.bitsPerByte),
    ]
  }

  public var sentences: [String] {
    let names = header.models
    let value = rise.value
    guard value != 0 else { return ["\(names[0]) and \(names[1]) have the same perplexity."] }
    let change = Decimals.text(100 * abs(value), 2)
    let range = rise.interval.map {
      " (\(Decimals.text(100 * $0.level, 0)) % interval \(FigureStyle.change.text($0.lower)) to "
        + "\(FigureStyle.change.text($0.upper)))"
    }
    guard change != "0.00" else {
      return ["\(names[0]) and \(names[1]) have the same perplexity to 0.01 %\(range ?? "")."]
    }
    return ["\(names[0]) has \(change) % \(value > 0 ? "more" : "less") perplexity than \(names[1])\(range ?? "")."]
  }
}
