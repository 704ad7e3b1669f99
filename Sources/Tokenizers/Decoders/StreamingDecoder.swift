public import EspalierBasics

/// Decodes ids as they come: the texts it returns, joined, are what ``Tokenizer/decode(_:skipSpecialTokens:)`` returns
/// for all of them, and none ends inside a character.
///
/// ```swift
/// var decoder = tokenizer.streamingDecoder()
/// for id in ids { print(try decoder.append(id), terminator: "") }
/// print(try decoder.finish())
/// ```
/// A text is held back while a later token may change it: bytes of a character that is not whole, a run of byte tokens,
/// white space that would be stripped at the end.
public struct StreamingDecoder: Sendable {
  private let tokenizer: Tokenizer
  private let skipsSpecialTokens: Bool
  private var chain: DecodingChain

  init(_ tokenizer: Tokenizer, skipsSpecialTokens: Bool, decoder: Decoder?) {
    self.tokenizer = tokenizer
    self.skipsSpecialTokens = skipsSpecialTokens
    chain = DecodingChain(decoder)
  }

  /// The text that the next id makes certain; often one token behind. Ids that name no token are passed over.
  ///
  /// - Throws: ``Problem/Code/tokenizerPattern`` if a pattern of the decoder takes too long.
  public mutating func append(_ id: Int32) throws(Problem) -> String {
    var output: TokenText = []
    try append(id, to: &output)
    return String(decoding: output, as: UTF8.self)
  }

  mutating func append(_ id: Int32, to output: inout TokenText) throws(Problem) {
    guard let token = tokenizer.decodable(id, skippingSpecial: skipsSpecialTokens) else { return }
    try chain.take(token, &output)
  }

  /// What is left. After that the decoder is done.
  public mutating func finish() throws(Problem) -> String {
    var output: TokenText = []
    try chain.finish(&output)
    return String(decoding: output, as: UTF8.self)
  }
}
