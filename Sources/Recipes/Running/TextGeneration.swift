public import EspalierBasics
public import EspalierNetworks
internal import EspalierTokenizers

/// A text that a model continued, and how long it took.
public struct TextGeneration: Sendable {
  public enum Ending: String, Sendable {
    case endToken = "end token"
    case stopString = "stop string"
    case length
    case stopped
  }

  public var promptTokens: Int
  public var tokens: [Int32]
  public var text: String
  public var ending: Ending
  /// From the beginning to the logits of the first new token.
  public var promptSeconds: Double
  /// From the first new token to the end.
  public var decodingSeconds: Double

  public var promptTokensPerSecond: Double { Double(promptTokens) / max(promptSeconds, 1e-9) }
  /// The first token comes with the prompt, so it is not counted; 0 if there is no other.
  public var decodedTokensPerSecond: Double { Double(max(0, tokens.count - 1)) / max(decodingSeconds, 1e-9) }
}

extension TextModel {
  /// Continues `prompt` in `session`.
  ///
  /// - Parameters:
  ///   - generator: how tokens are chosen and how many; its end tokens are taken as they are, its stop strings end the
  ///     text and are not part of it.
  ///   - receive: gets the text as it grows, never half a character and nothing of a stop string; false stops.
  public func generate(
    _ prompt: [Int32], in session: Session, generator: Generator,
    receive: @escaping (String) -> Bool = { _ in true }
  ) throws(Problem) -> TextGeneration {
    let began = Machine.monotonicSeconds
    return try vocabulary.generate(
      after: prompt, in: session, promptTokens: prompt.count, began: began, generator: generator, receive: receive)
  }
}

extension TextRewritingModel {
  /// Reads `source` and writes a text of its own, from the model's start token on.
  ///
  /// - Parameters:
  ///   - source: with the special tokens that the tokenizer puts around it.
  ///   - generator, receive: as in ``TextModel/generate(_:in:generator:receive:)``.
  public func generate(
    _ source: [Int32], generator: Generator, receive: @escaping (String) -> Bool = { _ in true }
  ) throws(Problem) -> TextGeneration {
    let began = Machine.monotonicSeconds
    let session = try EncoderDecoderSession(model, source: source)
    return try vocabulary.generate(
      after: [model.startToken], in: session, promptTokens: source.count, began: began, generator: generator,
      receive: receive)
  }
}

extension ModelTokenizer {
  /// Continues what `session` reads after `tokens`, and shows it as text.
  ///
  /// - Parameters:
  ///   - promptTokens: what reports count as read.
  ///   - began: when the work on the prompt began.
  fileprivate func generate(
    after tokens: [Int32], in session: some TokenSession, promptTokens: Int, began: Double, generator: Generator,
    receive: @escaping (String) -> Bool
  ) throws(Problem) -> TextGeneration {
    var plain = generator
    plain.stopStrings = []
    var decoder = tokenizer.streamingDecoder()
    var stops = StopStrings(generator.stopStrings)
    var text = ""
    var continues = true
    func show(_ piece: String) {
      guard !piece.isEmpty else { return }
      text += piece
      if !receive(piece) { continues = false }
    }
    var firstToken: Double?
    let (new, ending) = try plain.continuation(
      of: tokens, in: session,
      receive: { (token) throws(Problem) in
        if firstToken == nil { firstToken = Machine.monotonicSeconds }
        show(stops.append(try decoder.append(token)))
        return continues && !stops.found
      })
    let ended = Machine.monotonicSeconds
    show(stops.append(try decoder.finish()))
    show(stops.finish())
    return TextGeneration(
      promptTokens: promptTokens, tokens: new, text: text,
      ending: stops.found ? .stopString : !continues ? .stopped : ending == .endToken ? .endToken : .length,
      promptSeconds: (firstToken ?? ended) - began, decodingSeconds: ended - (firstToken ?? ended))
  }
}
