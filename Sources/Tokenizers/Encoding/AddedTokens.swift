internal import EspalierBasics

/// The added tokens of a tokenizer, by content and id, and what finds them.
struct AddedTokens: Sendable {
  private(set) var ids: [ExactString: Int32] = [:]
  /// How they are found in normalized text: their content, normalized if they are found after that.
  private(set) var texts: [Int32: String] = [:]
  /// Those to be left out when special tokens are.
  private(set) var special: Set<Int32> = []
  /// Finds those that are matched in the raw text.
  let raw: AddedTokenMatcher
  /// Finds those that are matched in the normalized text.
  let normalized: AddedTokenMatcher
  let size: Int

  init(_ tokens: [AddedToken], normalizer: Normalizer?, longestFirst: Bool = false) throws(Problem) {
    var raw: [(text: [UInt8], token: AddedToken)] = []
    var normalized: [(text: [UInt8], token: AddedToken)] = []
    var largest = -1
    // A token that is there twice counts as it is the last time.
    var last: [Int: Int] = [:]
    for (index, token) in tokens.enumerated() { last[token.id] = index }
    for (index, token) in tokens.enumerated() where last[token.id] == index && !token.content.text.isEmpty {
      guard let id = Int32(exactly: token.id), id >= 0, id < Int32.max else {
        throw Problem(.tokenizerMalformed, "the id \(token.id) of added token \(quoted(token.content)) is out of range")
      }
      largest = max(largest, token.id)
      ids[token.content] = id
      var text = AlignedText(original: Array(token.content.text.utf8))
      if token.normalized { try normalizer?.apply(to: &text) }
      let found = String(decoding: text.bytes, as: UTF8.self)
      texts[id] = found
      // A token that changes in normalization is not recognized as special when decoded, as in the reference.
      if token.special, ExactString(found) == token.content { special.insert(id) }
      if token.normalized { normalized.append((text.bytes, token)) } else { raw.append((text.bytes, token)) }
    }
    self.raw = try AddedTokenMatcher(raw, longestFirst: longestFirst)
    self.normalized = try AddedTokenMatcher(normalized, longestFirst: longestFirst)
    size = largest + 1
  }
}
