internal import CKernels
public import EspalierBasics
internal import EspalierNetworks
public import EspalierNumerics

/// Which choice a model finds likeliest, by the rules of EleutherAI's evaluation harness: the log-likelihood of each
/// choice after the context, as it is and in proportion to the choice's length.
public struct MultipleChoice: Metric {
  public static let name = "multiple_choice"
  public static let title = "Multiple choice"

  /// What one item gave.
  public struct Item: Sendable, Hashable {
    public var answer: Int
    /// Sum of ln p over the tokens of each choice.
    public var logLikelihoods: [Double]
    /// Whether each token of the choice was the most probable one.
    public var isGreedy: [Bool]
    /// Lengths of the choices in Unicode code points and in UTF-8 bytes, without the delimiter before them.
    public var characters: [Int]
    public var bytes: [Int]

    /// The likeliest choice, the first of equals.
    public var choice: Int { Self.greatest(logLikelihoods) }
    /// By log-likelihood a code point.
    public var normalizedChoice: Int { Self.greatest(zip(logLikelihoods, characters).map { $0 / Double($1) }) }
    /// By log-likelihood a byte.
    public var byteChoice: Int { Self.greatest(zip(logLikelihoods, bytes).map { $0 / Double($1) }) }

    private static func greatest(_ values: [Double]) -> Int {
      values.indices.reduce(0) { values[$1] > values[$0] ? $1 : $0 }
    }
  }

  public let header: MetricHeader
  public let items: [Item]
  /// Shares right, each with Wilson's interval.
  public let accuracy: Estimate
  public let normalizedAccuracy: Estimate
  public let byteAccuracy: Estimate

  /// - Parameters:
  ///   - data: what reports call the items.
  ///   - delimiter: what is put between context and choice.
  /// - Throws: `evaluation.data` naming items that cannot be encoded or do not fit the model; what the model throws.
  public static func measure(
    _ model: EvaluatedModel, on items: [ChoiceItem], data: String, delimiter: String = " ",
    subject: MetricHeader.Subject = .model, options: EvaluationOptions
  ) throws(Problem) -> MultipleChoice {
    var sequences: [ScoredSequence] = []
    for (index, item) in items.enumerated() {
      for choice in item.choices {
        do throws(Problem) {
          let encoding = try ContinuationEncoding(
            context: item.context, continuation: delimiter + choice, codec: model.codec)
          sequences.append(try encoding.sequence(limit: model.model.contextLength))
        } catch { throw error.of("item \(index + 1)", file: data) }
      }
    }
    var likelihoods: [(sum: Double, isGreedy: Bool)] = []
    try Scorer([model], options: options).scoreTokens(of: sequences, stage: "multiple choice") { index, scores in
      var (sum, isGreedy) = (0.0, true)
      for (score, target) in zip(scores, sequences[index].targets) {
        sum += score.log_probability
        isGreedy = isGreedy && score.top == target
      }
      likelihoods.append((sum, isGreedy))
    }
    var first = 0
    let results = items.map { item in
      let ofItem = likelihoods[first..<first + item.choices.count]
      first += item.choices.count
      return Item(
        answer: item.answer, logLikelihoods: ofItem.map(\.sum), isGreedy: ofItem.map(\.isGreedy),
        characters: item.choices.map(\.unicodeScalars.count), bytes: item.choices.map(\.utf8.count))
    }
    return MultipleChoice(
      results,
      header: MetricHeader(
        subject: subject, models: [model.name], modes: [model.model.mode], data: data,
        protocolText: "log-likelihood of each choice after its context and \(JSON.string(delimiter).text()), as in "
          + "lm-evaluation-harness; no examples before, nothing added",
        counts: [Count("items", items.count), Count("choices", sequences.count)],
        sampling: Sampling(units: .items, bootstrap: options.bootstrap)))
  }

  init(_ items: [Item], header: MetricHeader) {
    self.items = items
    self.header = header
    let level = header.sampling.bootstrap.level
    func share(_ choice: (Item) -> Int) -> Estimate {
      Proportion.wilson(items.count { choice($0) == $0.answer }, of: items.count, level: level)
    }
    accuracy = share(\.choice)
    normalizedAccuracy = share(\.normalizedChoice)
    byteAccuracy = share(\.byteChoice)
  }

  /// The harness's standard error of a share: the items' sample standard deviation over the root of their number.
  public static func standardError(of share: Estimate, items: Int) -> Double {
    (share.value * (1 - share.value) / Double(items - 1)).squareRoot()
  }

  public var figures: [Figure] {
    let rows = [
      ("acc", "right", accuracy), ("acc_norm", "right, likelihood by characters", normalizedAccuracy),
      ("acc_bytes", "right, likelihood by bytes", byteAccuracy),
    ]
    return rows.flatMap { key, label, share in
      [
        Figure(key, label, share, .share),
        Figure("\(key)_stderr", "  standard error", Self.standardError(of: share, items: items.count), .share),
      ]
    }
  }

  public var details: [(String, JSON)] {
    [
      (
        "items",
        .array(
          items.map {
            [
              "answer": .number($0.answer), "log_likelihoods": .array($0.logLikelihoods.map { .number($0) }),
              "is_greedy": .array($0.isGreedy.map { .bool($0) }),
            ]
          })
      )
    ]
  }
}
