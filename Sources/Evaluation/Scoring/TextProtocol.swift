public import EspalierBasics

/// How a text is cut into sequences and which of their tokens are scored. Figures of different protocols are not
/// comparable, so every figure prints its own.
public struct TextProtocol: Sendable, Hashable {
  public enum Cut: Sendable, Hashable {
    /// Windows of `length` tokens that do not overlap, each by itself; all tokens but a window's first are scored.
    /// What is left at the end is dropped, and nothing is added.
    case windows(length: Int)
    /// Windows of `length` tokens that begin every `stride` tokens; each scores what no earlier one has. All tokens of
    /// the text but the first are scored, once. Nothing is added.
    case sliding(length: Int, stride: Int)
    /// llama.cpp's: the tokenizer's begin token before the text, chunks of `context` tokens that do not overlap, the
    /// first token of each replaced by the begin token, the later half scored. What is left is dropped.
    case llamaCpp(context: Int)
    /// The evaluation harness's rolling likelihood: all tokens are scored once, the first given the begin token (or
    /// end token); `length` tokens are scored at a time, each time after one token of context.
    case rolling(length: Int)

    /// Tokens of a window.
    var length: Int {
      switch self {
      case .windows(let length), .sliding(let length, _), .llamaCpp(let length), .rolling(let length): length
      }
    }
  }

  public var cut: Cut
  /// At most this many sequences of each document; nil for all.
  public var limit: Int?

  public init(_ cut: Cut, limit: Int? = nil) {
    self.cut = cut
    self.limit = limit
  }

  /// The protocol in words.
  public var text: String {
    let words =
      switch cut {
      case .windows(let length):
        "windows of \(length) tokens without overlap, each from position 0, tokens 2 to \(length) scored, the rest "
          + "dropped, nothing added"
      case .sliding(let length, let stride):
        "windows of \(length) tokens every \(stride), each token but the first scored once, nothing added"
      case .llamaCpp(let context):
        "llama.cpp's: chunks of \(context) tokens without overlap, the first replaced by the begin token if there is "
          + "one, the last \(context - 1 - context / 2) scored"
      case .rolling(let length):
        "rolling: every token scored once, the first after the begin token, \(length) at a time after one token"
      }
    return words + (limit.map { "; the first \($0) of each document" } ?? "")
  }

  /// The sequences of one document's tokens.
  ///
  /// - Returns: none if the document is too short for one.
  /// - Throws: `usage.protocol` for lengths that mean nothing; `evaluation.data` if a protocol needs a begin token and
  ///   the tokenizer has none.
  public func sequences(of tokens: [Int32], codec: any TextCodec) throws(Problem) -> [ScoredSequence] {
    // Beyond any model there is, and so that lengths can be added.
    try Self.require(cut.length <= 1 << 30, "a window has at most \(1 << 30) tokens")
    let all =
      switch cut {
      case .windows(let length): try Self.windows(tokens, length)
      case .sliding(let length, let stride): try Self.sliding(tokens, length, stride)
      case .llamaCpp(let context): try Self.llamaCpp(tokens, context, begin: codec.beginToken)
      case .rolling(let length): try Self.rolling(tokens, length, prefix: codec.prefixToken)
      }
    return limit.map { Array(all.prefix(max(0, $0))) } ?? all
  }

  private static func windows(_ tokens: [Int32], _ length: Int) throws(Problem) -> [ScoredSequence] {
    try require(length >= 2, "a window needs at least 2 tokens")
    return (0..<tokens.count / length).map {
      ScoredSequence(window: Array(tokens[$0 * length..<($0 + 1) * length]), scored: 1..<length)
    }
  }

  private static func sliding(_ tokens: [Int32], _ length: Int, _ stride: Int) throws(Problem) -> [ScoredSequence] {
    try require(length >= 2 && (1..<length).contains(stride), "a stride is from 1 to the window's length less 1")
    var sequences: [ScoredSequence] = []
    var start = 0
    var scored = 1
    while scored < tokens.count {
      let end = min(start + length, tokens.count)
      sequences.append(ScoredSequence(window: Array(tokens[start..<end]), scored: scored - start..<end - start))
      scored = end
      start += stride
    }
    return sequences
  }

  private static func llamaCpp(
    _ tokens: [Int32], _ context: Int, begin: Int32?
  ) throws(Problem) -> [ScoredSequence] {
    try require(context >= 4, "a context needs at least 4 tokens")
    let all = (begin.map { [$0] } ?? []) + tokens
    // llama.cpp refuses texts of less than two chunks.
    guard all.count >= 2 * context else { return [] }
    return (0..<all.count / context).map {
      var window = Array(all[$0 * context..<($0 + 1) * context])
      if let begin { window[0] = begin }
      return ScoredSequence(window: window, scored: context / 2 + 1..<context)
    }
  }

  private static func rolling(_ tokens: [Int32], _ length: Int, prefix: Int32?) throws(Problem) -> [ScoredSequence] {
    try require(length >= 1, "a length is at least 1")
    guard let prefix else {
      throw Problem(
        .evaluationData, "the rolling protocol begins with a begin or end token, and the tokenizer has neither",
        remedy: "Choose another protocol.")
    }
    return stride(from: 0, to: tokens.count, by: length).map { first in
      let targets = Array(tokens[first..<min(first + length, tokens.count)])
      // The last window reaches back, so that it is as long as the others and its tokens have more context.
      let begin = first == 0 ? 0 : max(0, first + targets.count - length)
      let before = begin == 0 ? [prefix] + tokens[0..<first] : Array(tokens[begin - 1..<first])
      return ScoredSequence(input: before + targets.dropLast(), firstRow: before.count - 1, targets: targets)
    }
  }

  private static func require(_ condition: Bool, _ message: String) throws(Problem) {
    guard condition else { throw Problem(.usageProtocol, message) }
  }
}

extension Problem.Code {
  /// A way to cut texts whose lengths mean nothing.
  public static let usageProtocol = Problem.Code("usage.protocol")
}
