public import EspalierBasics

/// Text to token ids and back: the pipeline of a `tokenizer.json`.
///
/// A text is cut at added tokens, normalized, cut into words, and every word into tokens by the model; then special
/// tokens are put around. Results are those of the `tokenizers` library (0.23), id by id and offset by offset.
///
/// ```swift
/// let tokenizer = try Tokenizer(at: "models/llama")
/// let encoding = try tokenizer.encode("Hello, world!")
/// let text = try tokenizer.decode(encoding.ids)
/// ```
public struct Tokenizer: Sendable {
  /// What a tokenizer is put together from.
  public struct Parts: Sendable {
    public var model: any SubwordModel
    public var normalizer: Normalizer?
    public var preTokenizer: PreTokenizer?
    public var postProcessor: PostProcessor?
    /// Without one, tokens are joined with spaces.
    public var decoder: Decoder?
    /// With the ids they have.
    public var addedTokens: [AddedToken] = []
    public var truncation: Truncation?
    public var padding: Padding?
    /// What tokens are decoded as, if not as the model's table writes them.
    var pieces: TokenPieces?
    /// Of added tokens that overlap, the longest is found, not the leftmost.
    var matchesLongestFirst = false

    public init(model: any SubwordModel) { self.model = model }
  }

  let core: TokenizerCore

  /// - Throws: a ``Problem`` of the normalizer, which is applied to added tokens.
  public init(_ parts: Parts) throws(Problem) { core = try TokenizerCore(parts) }

  /// The parts it was put together from.
  public var parts: Parts { core.parts }

  /// The id of a token, added or the model's.
  public func id(of token: String) -> Int32? {
    core.added.ids[ExactString(token)] ?? core.parts.model.tokens.id(of: token)
  }

  /// The token with this id; an added token as it is found in normalized text.
  public func token(_ id: Int32) -> String? { core.token(id) }

  /// One more than the largest id.
  public var vocabularySize: Int { max(core.parts.model.tokens.size, core.added.size) }

  /// Encodes a text, or a pair of texts.
  ///
  /// - Parameters:
  ///   - addSpecialTokens: whether the post-processor puts in its tokens.
  ///   - offsets: the unit of ``Encoding/offsets``.
  /// - Throws: ``Problem/Code/tokenizerUnknown`` if something has no token, ``Problem/Code/tokenizerTruncation`` if
  ///   truncation cannot be done, ``Problem/Code/tokenizerPattern`` if a pattern takes too long,
  ///   ``Problem/Code/tokenizerTooLong`` for a text of 1 GiB or more.
  public func encode(
    _ text: String, pair: String? = nil, addSpecialTokens: Bool = true, offsets: OffsetUnit = .codePoints
  ) throws(Problem) -> Encoding {
    var encodings = [
      try core.finish(try encodings(text, pair, .all(offsets)), addSpecialTokens: addSpecialTokens)
    ]
    core.parts.padding?.apply(to: &encodings)
    return encodings[0]
  }

  /// Encodes texts one by one, and pads them to one length if padding is set.
  ///
  /// - Parameter pool: threads to share the texts; without it, the caller's alone.
  public func encode(
    batch texts: [String], addSpecialTokens: Bool = true, offsets: OffsetUnit = .codePoints, pool: WorkerPool? = nil
  ) throws(Problem) -> [Encoding] {
    var encodings = try Self.map(texts, pool) { (text) throws(Problem) in
      try core.finish(try self.encodings(text, nil, .all(offsets)), addSpecialTokens: addSpecialTokens)
    }
    core.parts.padding?.apply(to: &encodings)
    return encodings
  }

  /// The ids of a text alone, which is faster than ``encode(_:pair:addSpecialTokens:offsets:)``; truncated and padded
  /// like there.
  public func ids(_ text: String, addSpecialTokens: Bool = true) throws(Problem) -> [Int32] {
    guard core.parts.truncation == nil, core.parts.padding == nil else {
      return try encode(text, addSpecialTokens: addSpecialTokens, offsets: .none).ids
    }
    return try core.finish(try encodings(text, nil, .ids), addSpecialTokens: addSpecialTokens).ids
  }

  private func encodings(
    _ text: String, _ pair: String?, _ detail: TokenizerCore.Detail
  ) throws(Problem) -> [Encoding] {
    var encodings = [try core.encode(text, typeID: 0, detail)]
    if let pair { encodings.append(try core.encode(pair, typeID: 1, detail)) }
    return encodings
  }

  private static func map(
    _ texts: [String], _ pool: WorkerPool?, _ body: (String) throws(Problem) -> Encoding
  ) throws(Problem) -> [Encoding] {
    guard let pool, texts.count > 1 else {
      var result: [Encoding] = []
      for text in texts { result.append(try body(text)) }
      return result
    }
    var result = [Encoding](repeating: Encoding(), count: texts.count)
    let outcome: Result<Void, Problem> = result.withUnsafeMutableBufferPointer { slots in
      // Every index is written by one thread only.
      nonisolated(unsafe) let slots = slots
      do throws(Problem) {
        return .success(
          try pool.forEach(texts.count) { (index) throws(Problem) in slots[index] = try body(texts[index]) })
      } catch { return .failure(error) }
    }
    try outcome.get()
    return result
  }

  /// The text of ids; those that name no token are passed over.
  ///
  /// - Parameter skipSpecialTokens: whether special tokens are left out.
  /// - Throws: ``Problem/Code/tokenizerPattern`` if a pattern of the decoder takes too long.
  public func decode(_ ids: [Int32], skipSpecialTokens: Bool = true) throws(Problem) -> String {
    var decoder = streamingDecoder(skipSpecialTokens: skipSpecialTokens)
    var output: TokenText = []
    for id in ids { try decoder.append(id, to: &output) }
    let rest = try decoder.finish()
    return String(decoding: output, as: UTF8.self) + rest
  }

  /// Decodes ids as they come.
  public func streamingDecoder(skipSpecialTokens: Bool = true) -> StreamingDecoder {
    StreamingDecoder(self, skipsSpecialTokens: skipSpecialTokens, decoder: core.parts.decoder)
  }

  /// The bytes of a token for the decoder; nil if there is none or it is to be left out.
  func decodable(_ id: Int32, skippingSpecial: Bool) -> TokenText? {
    if let pieces = core.parts.pieces { return pieces.bytes(of: id, skippingSpecial: skippingSpecial) }
    if skippingSpecial, core.added.special.contains(id) { return nil }
    if let text = core.added.texts[id] { return Array(text.utf8) }
    return core.parts.model.tokens.bytes(id).map { Array($0) }
  }
}

extension Problem.Code {
  /// A text is too long for a tokenizer.
  public static let tokenizerTooLong = Problem.Code("tokenizer.too-long")
}
