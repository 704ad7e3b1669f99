public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNetworks
public import EspalierTokenizers

/// A language model with its tokenizer: text in, text out.
public struct TextModel: Sendable {
  public let model: CausalLanguageModel
  public let vocabulary: ModelTokenizer

  public var tokenizer: Tokenizer { vocabulary.tokenizer }
  /// Tokens that end what the model says.
  public var endTokens: Set<Int32> { vocabulary.endTokens }

  /// - Parameter bytesBeside: memory that the caller needs for itself under the ceiling of `options`.
  /// - Throws: what is missing or not understood: the network, the tokenizer.
  public init(_ checkpoint: any Checkpoint, options: RunOptions, beside bytesBeside: Int = 0) throws(Problem) {
    try self.init(
      try options.network(of: checkpoint, beside: bytesBeside), vocabulary: try ModelTokenizer(of: checkpoint))
  }

  /// - Throws: `network.input` if the network does not continue texts.
  init(_ network: Network, vocabulary: ModelTokenizer) throws(Problem) {
    model = try CausalLanguageModel(network)
    self.vocabulary = vocabulary
  }
}

extension Generator {
  /// How many tokens a prompt and what follows it have at the most.
  public func tokens(afterPrompt count: Int) -> Int {
    let (sum, overflow) = count.addingReportingOverflow(maxTokens)
    return overflow ? Int.max : sum
  }

  /// A warning if what follows a prompt may take it beyond what a model was made for.
  ///
  /// - Parameters:
  ///   - promptTokens: how many tokens the prompt has, with all that was read before it.
  ///   - contextLength: what the model was made for; nil if it says nothing.
  public func warning(promptTokens: Int, contextLength: Int?) -> Problem? {
    guard let contextLength, maxTokens > contextLength - promptTokens else { return nil }
    return Problem(
      .networkInput,
      "\(promptTokens) tokens of the prompt and at most \(maxTokens) new ones are more than the \(contextLength) the "
        + "model was made for: what it says beyond them may be worthless",
      remedy: "Shorten the prompt, or give a smaller --max-tokens.", severity: .warning)
  }
}

/// A model that reads one text and writes another, such as T5, with its tokenizer.
public struct TextRewritingModel: Sendable {
  public let model: EncoderDecoderModel
  public let vocabulary: ModelTokenizer

  /// - Throws: `network.input` if the network has no decoder over an encoder.
  init(_ network: Network, vocabulary: ModelTokenizer) throws(Problem) {
    model = try EncoderDecoderModel(network)
    self.vocabulary = vocabulary
  }
}

/// A model that says something to a prompt: it continues the prompt, or reads it whole and writes another text.
public enum SpeakingModel: Sendable {
  case continuing(TextModel)
  case rewriting(TextRewritingModel)

  /// - Throws: what is missing or not understood: the network, the tokenizer.
  public init(_ checkpoint: any Checkpoint, options: RunOptions, beside bytesBeside: Int = 0) throws(Problem) {
    try self.init(
      try options.network(of: checkpoint, beside: bytesBeside), vocabulary: try ModelTokenizer(of: checkpoint))
  }

  private init(_ network: Network, vocabulary: ModelTokenizer) throws(Problem) {
    if network.readsDecoderText {
      self = .rewriting(try TextRewritingModel(network, vocabulary: vocabulary))
    } else {
      self = .continuing(try TextModel(network, vocabulary: vocabulary))
    }
  }

  /// The same model with room for the keys and values of so many tokens: if they do not fit beside the weights, those
  /// are read block by block. No weights are read here.
  ///
  /// - Throws: `memory.ceiling` if they do not fit even so.
  public func keeping(
    tokens: Int, of checkpoint: any Checkpoint, options: RunOptions
  ) throws(Problem) -> SpeakingModel {
    try SpeakingModel(try options.network(of: checkpoint, keeping: tokens), vocabulary: vocabulary)
  }

  public var vocabulary: ModelTokenizer {
    switch self {
    case .continuing(let model): model.vocabulary
    case .rewriting(let model): model.vocabulary
    }
  }

  public var network: Network {
    switch self {
    case .continuing(let model): model.model.network
    case .rewriting(let model): model.model.network
    }
  }

  /// The longest that a prompt and its continuation may be together; nil where the two are apart or nothing is said.
  public var contextLength: Int? {
    switch self {
    case .continuing(let model): model.model.contextLength
    case .rewriting: nil
    }
  }

  /// What the model says to a prompt.
  ///
  /// - Parameters: as those of ``TextModel/generate(_:in:generator:receive:)``.
  public func generate(
    _ prompt: [Int32], generator: Generator, receive: @escaping (String) -> Bool = { _ in true }
  ) throws(Problem) -> TextGeneration {
    switch self {
    case .continuing(let model):
      try model.generate(prompt, in: Session(model.model), generator: generator, receive: receive)
    case .rewriting(let model): try model.generate(prompt, generator: generator, receive: receive)
    }
  }

  /// The tokens that the model says to a prompt.
  func continuation(of prompt: [Int32], generator: Generator) throws(Problem) -> [Int32] {
    let decode = { (ids: [Int32]) throws(Problem) in try vocabulary.tokenizer.decode(ids) }
    switch self {
    case .continuing(let model):
      return try generator.continuation(of: prompt, in: Session(model.model), decode: decode).tokens
    case .rewriting(let model):
      let session = try EncoderDecoderSession(model.model, source: prompt)
      return try generator.continuation(of: [model.model.startToken], in: session, decode: decode).tokens
    }
  }

  /// Brings the weights into memory, if they stay there, by running one token: what follows is timed without that.
  ///
  /// - Returns: the seconds it took.
  public func warmUp() throws(Problem) -> Double {
    guard network.residency == .resident else { return 0 }
    let began = Machine.monotonicSeconds
    switch self {
    case .continuing(let model): _ = try Session(model.model).read([0])
    case .rewriting(let model):
      _ = try EncoderDecoderSession(model.model, source: [0]).read([model.model.startToken])
    }
    return Machine.monotonicSeconds - began
  }
}
