public import EspalierBasics

/// WordPiece (Schuster and Nakajima 2012; BERT): from the left, always the longest token that fits; tokens that do not
/// begin a word carry a prefix. A word that cannot be cut this way is unknown as a whole.
public struct WordPieceModel: SubwordModel {
  public let tokens: TokenTable
  private let unknownToken: String
  private let maximumCharacters: Int
  private let trie: ByteTrie
  /// Where tokens that continue a word begin in the trie; nil if there is none.
  private let continuation: UInt32?

  /// - Parameters:
  ///   - unknownToken: stands for words that cannot be cut; asked for only when one comes.
  ///   - continuingPrefix: begins tokens inside a word: `##`.
  ///   - maximumCharacters: longer words are unknown, unlooked at; 100 is usual.
  /// - Throws: ``Problem/Code/tokenizerUnsupported`` if the vocabulary has 16 MiB or more.
  public init(tokens: TokenTable, unknownToken: String, continuingPrefix: String, maximumCharacters: Int)
    throws(Problem)
  {
    self.tokens = tokens
    self.unknownToken = unknownToken
    self.maximumCharacters = maximumCharacters
    trie = try ByteTrie(tokens.entries.map { ($0.bytes, $0.id) })
    continuation = trie.node(along: Array(continuingPrefix.utf8))
  }

  public func tokenize(_ word: UnsafeBufferPointer<UInt8>, into tokens: inout [WordToken]) throws(Problem) {
    let first = tokens.count
    var position = 0
    // Counting is needed only where there are more bytes than characters allowed.
    let isTooLong = word.count > maximumCharacters && word.count(where: { $0 & 0xC0 != 0x80 }) > maximumCharacters
    while !isTooLong, position < word.count {
      var node = position == 0 ? 0 : continuation
      var best: (id: Int32, end: Int)?
      var end = position
      while let current = node, end < word.count {
        node = trie.child(of: current, word[end])
        end += 1
        if let node, trie.value(node) >= 0 { best = (trie.value(node), end) }
      }
      guard let best else { break }
      tokens.append(WordToken(id: best.id, start: position, end: best.end))
      position = best.end
    }
    if position < word.count {
      tokens.removeSubrange(first...)
      guard let id = self.tokens.id(of: unknownToken) else {
        throw Problem(
          .tokenizerUnknown,
          "the unknown token \(quoted(ExactString(unknownToken))) is not in the vocabulary, and is needed")
      }
      tokens.append(WordToken(id: id, start: 0, end: word.count))
    }
  }
}
