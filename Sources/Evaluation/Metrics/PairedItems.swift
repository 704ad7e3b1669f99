public import EspalierBasics
internal import EspalierLinearMaps
public import EspalierNumerics

/// Two models on the same items: how many more one has right, how sure that is, and whether they err alike (McNemar's
/// exact test, which looks only at the items where one is right and the other wrong).
public struct PairedItems: Metric {
  public static let name = "paired_items"
  public static let title = "Right answers, difference"

  public let header: MetricHeader
  /// Which of the items count as right, and how they were judged: `acc_norm`, `exact match`.
  public let measure: String
  public let bothRight: Int
  public let onlyCandidate: Int
  public let onlyReference: Int
  public let bothWrong: Int
  /// Candidate's share right less the reference's; bootstrap over items, both drawn together.
  public let difference: Estimate
  /// McNemar's exact two-sided p.
  public let pValue: Double

  /// - Parameters:
  ///   - candidate: whether each item was right.
  ///   - reference: the same of the reference, as many items in the same order.
  ///   - header: of the candidate's own result, and of the reference's.
  /// - Throws: `evaluation.pair` if the items are not as many.
  public init(
    measure: String, candidate: [Bool], reference: [Bool], headers: (candidate: MetricHeader, reference: MetricHeader)
  ) throws(Problem) {
    guard candidate.count == reference.count, headers.candidate.protocolText == headers.reference.protocolText else {
      throw Problem(
        .evaluationPair,
        "\(candidate.count) and \(reference.count) items, or items judged by different rules, cannot be paired")
    }
    self.measure = measure
    header = MetricHeader(
      subject: .pair, models: headers.candidate.models + headers.reference.models,
      modes: headers.candidate.modes + headers.reference.modes, data: headers.candidate.data,
      protocolText: "\(measure): \(headers.candidate.protocolText)", counts: [Count("items", candidate.count)],
      sampling: headers.candidate.sampling)
    let pairs = zip(candidate, reference)
    bothRight = pairs.count { $0 && $1 }
    onlyCandidate = pairs.count { $0 && !$1 }
    onlyReference = pairs.count { !$0 && $1 }
    bothWrong = pairs.count { !$0 && !$1 }
    difference = headers.candidate.sampling.bootstrap.mean(pairs.map { ($0 ? 1 : 0) - ($1 ? 1 : 0) })
    pValue = Proportion.mcNemar(onlyFirst: onlyCandidate, onlySecond: onlyReference)
  }

  /// The three figures of multiple choice, paired: acc, acc_norm, acc_bytes.
  public static func pairs(_ candidate: MultipleChoice, _ reference: MultipleChoice) throws(Problem) -> [PairedItems] {
    let choices: [(String, (MultipleChoice.Item) -> Int)] = [
      ("acc", \.choice), ("acc_norm", \.normalizedChoice), ("acc_bytes", \.byteChoice),
    ]
    var pairs: [PairedItems] = []
    for (measure, choice) in choices {
      pairs.append(
        try PairedItems(
          measure: measure, candidate: candidate.items.map { choice($0) == $0.answer },
          reference: reference.items.map { choice($0) == $0.answer }, headers: (candidate.header, reference.header)))
    }
    return pairs
  }

  /// Whether the items are those of multiple choice, judged in proportion to length.
  var isByLength: Bool { measure == "acc_norm" || measure == "acc_bytes" }

  public init(_ candidate: ExactMatch, _ reference: ExactMatch) throws(Problem) {
    try self.init(
      measure: "exact match", candidate: candidate.items.map(\.isRight), reference: reference.items.map(\.isRight),
      headers: (candidate.header, reference.header))
  }

  public init(_ candidate: Classification, _ reference: Classification) throws(Problem) {
    try self.init(
      measure: "accuracy", candidate: candidate.items.map(\.isRight), reference: reference.items.map(\.isRight),
      headers: (candidate.header, reference.header))
  }

  public var figures: [Figure] {
    let count = Double(bothRight + onlyCandidate + onlyReference + bothWrong)
    return [
      Figure("difference", "difference", difference, .points),
      Figure("candidate", "candidate right", Double(bothRight + onlyCandidate) / count, .share),
      Figure("reference", "reference right", Double(bothRight + onlyReference) / count, .share),
      Figure("only_candidate", "right by the candidate alone", Double(onlyCandidate), .count),
      Figure("only_reference", "right by the reference alone", Double(onlyReference), .count),
      Figure("mcnemar_p", "McNemar's exact p", pValue),
    ]
  }

  public var sentences: [String] { [sentence] }

  /// `B answers 12 more of 500 right than A (+2.40 points, 95 % interval +0.60 to +4.20); McNemar p = 0.01`.
  public var sentence: String {
    let count = bothRight + onlyCandidate + onlyReference + bothWrong
    let more = onlyCandidate - onlyReference
    let (candidate, reference) = (header.models[0], header.models[1])
    guard onlyCandidate + onlyReference > 0 else {
      return "\(candidate) and \(reference) are right on the same \(bothRight) of \(count)."
    }
    let verdict =
      more == 0
      ? "\(candidate) and \(reference) answer equally many of \(count) right"
      : "\(candidate) answers \(abs(more)) \(more > 0 ? "more" : "fewer") of \(count) right than \(reference)"
    let points = "\(FigureStyle.signed(100 * difference.value, 2)) points"
    let range = difference.interval.map {
      ", \(Decimals.text(100 * $0.level, 0)) % interval \(FigureStyle.signed(100 * $0.lower, 2)) to "
        + FigureStyle.signed(100 * $0.upper, 2)
    }
    return "\(verdict) (\(points)\(range ?? "")); McNemar p = \(Figures.text(pValue, significant: 2))."
  }
}
