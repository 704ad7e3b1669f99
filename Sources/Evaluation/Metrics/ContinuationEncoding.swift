internal import EspalierBasics

/// A context and what follows it as tokens, split as the evaluation harness splits them: spaces at the context's end
/// belong to what follows, the two are encoded as one text, and what follows begins after as many tokens as the
/// context has by itself.
struct ContinuationEncoding: Sendable, Hashable {
  var context: [Int32]
  var continuation: [Int32]

  /// - Throws: `evaluation.data` if nothing of the continuation is left as tokens of its own, or the context is empty
  ///   and the tokenizer has nothing to stand for it; what the tokenizer throws.
  init(context: String, continuation: String, codec: any TextCodec) throws(Problem) {
    let (context, spaces) = Self.splitTrailingSpaces(context)
    if context.isEmpty {
      guard let prefix = codec.prefixToken else {
        throw Problem(
          .evaluationData, "the context is empty, and the tokenizer has no begin or end token to stand for it")
      }
      self.context = [prefix]
      self.continuation = try codec.encode(spaces + continuation)
      // A tokenizer may put the token there itself.
      if self.continuation.first == prefix { self.continuation.removeFirst() }
    } else {
      let whole = try codec.encode(context + spaces + continuation)
      let before = try codec.encode(context)
      self.context = Array(whole.prefix(before.count))
      self.continuation = Array(whole.dropFirst(before.count))
    }
    guard !self.continuation.isEmpty, !self.context.isEmpty else {
      throw Problem(.evaluationData, "\"\(continuation)\" gives no tokens after its context")
    }
  }

  /// The tokens a model reads and is scored on; of a long context only the end is kept.
  ///
  /// - Parameter limit: the longest input; nil for any.
  /// - Throws: `evaluation.data` if the continuation alone is longer.
  func sequence(limit: Int?) throws(Problem) -> ScoredSequence {
    var input = context + continuation.dropLast()
    if let limit {
      guard continuation.count <= limit else {
        throw Problem(
          .evaluationData, "a choice has \(continuation.count) tokens and the model reads at most \(limit)")
      }
      input = Array(input.suffix(limit))
    }
    return ScoredSequence(input: input, firstRow: input.count - continuation.count, targets: continuation)
  }

  /// Spaces are what Python's `str.rstrip` takes: white space and the four separators of ASCII.
  private static func splitTrailingSpaces(_ text: String) -> (String, String) {
    let scalars = text.unicodeScalars
    var end = scalars.endIndex
    while end > scalars.startIndex {
      let before = scalars.index(before: end)
      let scalar = scalars[before]
      guard scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value) else { break }
      end = before
    }
    return (String(scalars[..<end]), String(scalars[end...]))
  }
}
