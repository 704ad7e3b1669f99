public import EspalierBasics

/// Continues a text token by token.
public struct Generator: Sendable {
  public enum Ending: String, Sendable, Hashable, Codable {
    /// A token that ends texts.
    case endToken
    /// A string that was to end it.
    case stopString
    case length
  }

  public var sampler: Sampler
  public var maxTokens: Int
  /// Tokens that end the text; they are not part of the result.
  public var endTokens: Set<Int32>
  /// Strings that end the text. They may begin and end within tokens, so the text is looked at, not the tokens.
  public var stopStrings: [String]

  public init(
    sampler: Sampler = .greedy(), maxTokens: Int = 256, endTokens: Set<Int32> = [], stopStrings: [String] = []
  ) {
    self.sampler = sampler
    self.maxTokens = maxTokens
    self.endTokens = endTokens
    self.stopStrings = stopStrings
  }

  /// The tokens that follow `prompt` in `session`, which then holds both (without what ended them).
  ///
  /// - Parameters:
  ///   - decode: the text of all new tokens so far; asked for only where there are stop strings.
  ///   - receive: gets every token as it comes; false stops.
  /// - Throws: what reading the tokens throws.
  public func continuation(
    of prompt: [Int32], in session: some TokenSession, decode: (([Int32]) throws(Problem) -> String)? = nil,
    receive: ((Int32) throws(Problem) -> Bool)? = nil
  ) throws(Problem) -> (tokens: [Int32], ending: Ending) {
    var logits = try session.read(prompt)
    var tokens: [Int32] = []
    while tokens.count < maxTokens {
      let token = sampler.next(logits, context: session.tokens)
      if endTokens.contains(token) { return (tokens, .endToken) }
      tokens.append(token)
      if let receive, !(try receive(token)) { break }
      if !stopStrings.isEmpty, let text = try decode?(tokens), contains(stopStrings, in: text) {
        return (tokens, .stopString)
      }
      if tokens.count < maxTokens { logits = try session.read([token]) }
    }
    return (tokens, .length)
  }

  /// Compared by bytes: a character may still lack its accents.
  private func contains(_ strings: [String], in text: String) -> Bool {
    let text = Array(text.utf8)
    return strings.contains { string in
      let wanted = Array(string.utf8)
      guard !wanted.isEmpty, wanted.count <= text.count else { return false }
      return (0...text.count - wanted.count).contains { text[$0..<$0 + wanted.count].elementsEqual(wanted) }
    }
  }
}
