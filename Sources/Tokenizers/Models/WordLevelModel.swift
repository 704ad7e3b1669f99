public import EspalierBasics

/// A word is a token or unknown.
public struct WordLevelModel: SubwordModel {
  public let tokens: TokenTable
  private let unknownToken: String

  /// `unknownToken` is asked for only when an unknown word comes.
  public init(tokens: TokenTable, unknownToken: String) {
    self.tokens = tokens
    self.unknownToken = unknownToken
  }

  public func tokenize(_ word: UnsafeBufferPointer<UInt8>, into tokens: inout [WordToken]) throws(Problem) {
    guard let id = self.tokens.id(of: word) ?? self.tokens.id(of: unknownToken) else {
      throw Problem(
        .tokenizerUnknown,
        "the unknown token \(quoted(ExactString(unknownToken))) is not in the vocabulary, and is needed")
    }
    tokens.append(WordToken(id: id, start: 0, end: word.count))
  }
}
