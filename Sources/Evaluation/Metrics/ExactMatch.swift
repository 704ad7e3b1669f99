public import EspalierBasics
public import EspalierLinearMaps
internal import EspalierNetworks
public import EspalierNumerics

/// A prompt and the text that should follow it on its line.
public struct AnswerItem: JSONLineItem, Sendable, Hashable {
  public var prompt: String
  public var answer: String

  public init(prompt: String, answer: String) {
    self.prompt = prompt
    self.answer = answer
  }

  /// Reads `prompt`, `question` or `input` and `answer`, `target` or `output`; a number is its digits as written.
  ///
  /// - Throws: `evaluation.data`.
  public init(json: JSON) throws(Problem) {
    prompt = try json.require(["prompt", "question", "input"], "a prompt") { $0.string }
    answer = try json.require(["answer", "target", "output"], "an answer") { value in
      if case .literal(let digits) = value { digits } else { value.string }
    }
    guard !prompt.isEmpty else { throw Problem(.evaluationData, "the prompt is empty") }
    guard !answer.utf8.contains(UInt8(ascii: "\n")) else {
      throw Problem(.evaluationData, "the answer has more than one line", remedy: "An answer is compared to one line.")
    }
  }
}

/// How often a model's greedy answer is the right one, letter by letter.
public struct ExactMatch: Metric {
  public static let name = "exact_match"
  public static let title = "Exact match of greedy answers"

  public struct Item: Sendable, Hashable {
    public var answer: String
    /// What the model wrote, whole.
    public var written: String
    public var isRight: Bool
  }

  /// Continues prompts greedily.
  ///
  /// - Parameters: the prompt's ids; how many tokens at most; texts after any of which it may stop (it may also write
  ///   on: only what is before them counts).
  public typealias Generate = (_ prompt: [Int32], _ maximumTokens: Int, _ stop: [String]) throws(Problem) -> [Int32]

  public let header: MetricHeader
  public let items: [Item]
  public let accuracy: Estimate

  /// Where an answer ends, and with it what makes it right.
  public enum Ending: Sendable {
    /// The model wrote a newline, and before the first of them exactly the answer: for models that continue texts.
    case newline
    /// All that the model wrote is the answer: for models that write a text of their own and end it.
    case text
  }

  /// Measures a model that continues texts, see ``measure(named:mode:codec:ending:on:data:maximumTokens:contextLength:addsBegin:subject:options:generate:)``.
  public static func measure(
    _ model: EvaluatedModel, on items: [AnswerItem], data: String, maximumTokens: Int = 32, addsBegin: Bool = false,
    subject: MetricHeader.Subject = .model, options: EvaluationOptions, generate: Generate
  ) throws(Problem) -> ExactMatch {
    try measure(
      named: model.name, mode: model.model.mode, codec: model.codec, on: items, data: data,
      maximumTokens: maximumTokens, contextLength: model.model.contextLength, addsBegin: addsBegin, subject: subject,
      options: options, generate: generate)
  }

  /// Lets a model answer prompts greedily.
  ///
  /// - Parameters:
  ///   - maximumTokens: how many tokens a model may write, a newline included.
  ///   - contextLength: the longest that a prompt and its answer may be together; nil for any length.
  ///   - addsBegin: whether the tokenizer's begin token is put before the prompt.
  /// - Throws: `evaluation.data` for a prompt without tokens, or one that leaves no room for an answer, before any is
  ///   given; what encoding and `generate` throw.
  public static func measure(
    named name: String, mode: NumericMode, codec: any TextCodec, ending: Ending = .newline, on items: [AnswerItem],
    data: String, maximumTokens: Int = 32, contextLength: Int? = nil, addsBegin: Bool = false,
    subject: MetricHeader.Subject = .model, options: EvaluationOptions, generate: Generate
  ) throws(Problem) -> ExactMatch {
    let begin = addsBegin ? codec.beginToken.map { [$0] } ?? [] : []
    var prompts: [[Int32]] = []
    for (index, item) in items.enumerated() {
      do throws(Problem) {
        let prompt = begin + (try codec.encode(item.prompt))
        try check(prompt, maximumTokens: maximumTokens, contextLength: contextLength)
        prompts.append(prompt)
      } catch { throw error.of("item \(index + 1)", file: data) }
    }
    var results: [Item] = []
    let began = Machine.monotonicSeconds
    let tokenBytes = MemoryLayout<Int32>.stride
    options.listener.receive(.began(stage: "answers", totalBytes: items.count * maximumTokens * tokenBytes))
    let stops = ending == .newline ? ["\n"] : []
    for (index, item) in items.enumerated() {
      do throws(Problem) {
        let written = try codec.decode(try generate(prompts[index], maximumTokens, stops))
        results.append(Item(answer: item.answer, written: written, isRight: isRight(written, item.answer, ending)))
      } catch { throw error.of("item \(index + 1)", file: data) }
      options.listener.receive(.advanced(bytes: maximumTokens * tokenBytes))
    }
    options.listener.receive(.ended(stage: "answers", seconds: Machine.monotonicSeconds - began))
    return ExactMatch(
      results,
      header: MetricHeader(
        subject: subject, models: [name], modes: [mode], data: data,
        protocolText: "greedy, at most \(maximumTokens) new tokens "
          + (ending == .newline
            ? "after the prompt alone\(addsBegin ? " and the begin token" : ""); "
              + "right if a newline was written and the text before it is the answer"
            : "by the decoder, with the prompt in the encoder; right if all that was written is the answer"),
        counts: [Count("items", items.count)], sampling: Sampling(units: .items, bootstrap: options.bootstrap)))
  }

  private static func check(_ prompt: [Int32], maximumTokens: Int, contextLength: Int?) throws(Problem) {
    guard !prompt.isEmpty else { throw Problem(.evaluationData, "the prompt gives no tokens") }
    guard let contextLength, maximumTokens > contextLength - prompt.count else { return }
    throw Problem(
      .evaluationData,
      "the prompt has \(prompt.count) tokens and the answer may take \(maximumTokens), and the model was made for at "
        + "most \(contextLength)", remedy: "Shorten the prompt, or allow fewer tokens with --answer-tokens.")
  }

  static func isRight(_ written: String, _ answer: String, _ ending: Ending = .newline) -> Bool {
    if ending == .text { return written.utf8.elementsEqual(answer.utf8) }
    guard let end = written.utf8.firstIndex(of: UInt8(ascii: "\n")) else { return false }
    return written.utf8[..<end].elementsEqual(answer.utf8)
  }

  init(_ items: [Item], header: MetricHeader) {
    self.items = items
    self.header = header
    accuracy = Proportion.wilson(
      items.count(where: \.isRight), of: items.count, level: header.sampling.bootstrap.level)
  }

  public var figures: [Figure] { [Figure("exact_match", "right", accuracy, .share)] }
  public var sentences: [String] { ["\(items.count(where: \.isRight)) of \(items.count) answers are right."] }

  public var details: [(String, JSON)] {
    let list = items.map { item -> JSON in
      ["answer": .string(item.answer), "written": .string(item.written), "right": .bool(item.isRight)]
    }
    return [("items", .array(list))]
  }
}
