public import EspalierBasics
internal import EspalierLinearMaps
public import EspalierNetworks
public import EspalierNumerics

/// A text, or two, and the class it belongs to.
public struct ClassifiedText: JSONLineItem, Sendable, Hashable {
  public enum Label: Sendable, Hashable {
    case index(Int)
    case name(String)
  }

  public var text: String
  public var pair: String?
  public var label: Label

  public init(text: String, pair: String? = nil, label: Label) {
    self.text = text
    self.pair = pair
    self.label = label
  }

  /// Reads `text`, `sentence` or `sentence1`, perhaps `text_pair` or `sentence2`, and `label`: the index of the class or
  /// its name.
  ///
  /// - Throws: `evaluation.data`.
  public init(json: JSON) throws(Problem) {
    text = try json.require(["text", "sentence", "sentence1"], "a text") { $0.string }
    pair = json.first(of: ["text_pair", "sentence2"])?.string
    label = try json.require(["label"], "a label") { value in
      if let index = value.integer { .index(index) } else { value.string.map { .name($0) } }
    }
  }
}

/// An encoder under a name, with the encoding it wants: special tokens around the text, cut to its length.
public struct EvaluatedEncoder: Sendable {
  public var name: String
  public var model: any EncoderModel
  public var encode: @Sendable (_ text: String, _ pair: String?) throws(Problem) -> [Int32]

  public init(
    name: String, model: any EncoderModel,
    encode: @escaping @Sendable (_ text: String, _ pair: String?) throws(Problem) -> [Int32]
  ) {
    self.name = name
    self.model = model
    self.encode = encode
  }

  /// The ids of a text, which the model must be able to read.
  func tokens(_ text: String, _ pair: String? = nil) throws(Problem) -> [Int32] {
    let tokens = try encode(text, pair)
    guard !tokens.isEmpty else { throw Problem(.evaluationData, "the text gives no tokens") }
    if let limit = model.contextLength, tokens.count > limit {
      throw Problem(.evaluationData, "the text has \(tokens.count) tokens and the model reads at most \(limit)")
    }
    return tokens
  }

  /// Runs sequences in groups of `groupTokens` and hands over each group with the index of its first sequence.
  func run(
    _ sequences: [[Int32]], groupTokens: Int, _ body: (Int, [[Int32]]) throws(Problem) -> Void
  ) throws(Problem) {
    var start = 0
    while start < sequences.count {
      var end = start + 1
      var tokens = sequences[start].count
      while end < sequences.count, tokens + sequences[end].count <= groupTokens {
        tokens += sequences[end].count
        end += 1
      }
      do throws(Problem) { try body(start, Array(sequences[start..<end])) } catch { throw error.at(file: name) }
      start = end
    }
  }
}

/// How often an encoder's head finds the right class.
public struct Classification: Metric {
  public static let name = "classification"
  public static let title = "Classification"

  public struct Item: Sendable, Hashable {
    public var label: Int
    /// The class of the greatest logit, the first of equals.
    public var found: Int
    public var isRight: Bool { label == found }
  }

  public let header: MetricHeader
  public let items: [Item]
  public let classNames: [String]
  public let accuracy: Estimate

  /// - Throws: `evaluation.data` if the model has no head, a label is none of its classes, or a text does not fit;
  ///   `evaluation.logits` for NaN; what the model throws.
  public static func measure(
    _ encoder: EvaluatedEncoder, on texts: [ClassifiedText], data: String, subject: MetricHeader.Subject = .model,
    options: EvaluationOptions
  ) throws(Problem) -> Classification {
    let names = encoder.model.classNames
    guard !names.isEmpty else {
      throw Problem(.evaluationData, "the model has no classification head", file: encoder.name)
    }
    var labels: [Int] = []
    var sequences: [[Int32]] = []
    for (index, text) in texts.enumerated() {
      do throws(Problem) {
        labels.append(try Self.index(of: text.label, in: names))
        sequences.append(try encoder.tokens(text.text, text.pair))
      } catch { throw error.of("item \(index + 1)", file: data) }
    }
    var items: [Item] = []
    try encoder.run(sequences, groupTokens: options.groupTokens) { (first, group) throws(Problem) in
      for (index, logits) in try encoder.model.classLogits(of: group).enumerated() {
        guard logits.allSatisfy(\.isFinite) else {
          throw Problem(
            .evaluationLogits, "the model gives logits that are NaN or infinite for item \(first + index + 1)")
        }
        let found = logits.indices.reduce(0) { logits[$1] > logits[$0] ? $1 : $0 }
        items.append(Item(label: labels[first + index], found: found))
      }
    }
    return Classification(
      items, classNames: names,
      header: MetricHeader(
        subject: subject, models: [encoder.name], modes: [encoder.model.mode], data: data,
        protocolText: "the class of the greatest logit",
        counts: [Count("items", items.count), Count("labels", names.count)],
        sampling: Sampling(units: .items, bootstrap: options.bootstrap)))
  }

  init(_ items: [Item], classNames: [String], header: MetricHeader) {
    self.items = items
    self.classNames = classNames
    self.header = header
    accuracy = Proportion.wilson(items.count(where: \.isRight), of: items.count, level: header.sampling.bootstrap.level)
  }

  private static func index(of label: ClassifiedText.Label, in names: [String]) throws(Problem) -> Int {
    let found =
      switch label {
      case .index(let index): names.indices.contains(index) ? index : nil
      case .name(let name): names.firstIndex { ExactString($0) == ExactString(name) }
      }
    guard let found else {
      let text =
        switch label {
        case .index(let index): "\(index)"
        case .name(let name): "\"\(name)\""
        }
      throw Problem(.evaluationData, "label \(text) is none of the model's classes (\(names.joined(separator: ", ")))")
    }
    return found
  }

  public var figures: [Figure] { [Figure("accuracy", "right", accuracy, .share)] }
  public var sentences: [String] { ["\(items.count(where: \.isRight)) of \(items.count) are right."] }

  public var details: [(String, JSON)] {
    let ofClasses = classNames.indices.map { index -> JSON in
      [
        "name": .string(classNames[index]), "items": .number(items.count { $0.label == index }),
        "found": .number(items.count { $0.found == index }),
        "right": .number(items.count { $0.label == index && $0.isRight }),
      ]
    }
    return [("classes", .array(ofClasses))]
  }
}
