public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNetworks
public import EspalierTokenizers

/// A language model with its tokenizer: text in, text out.
public struct TextModel: Sendable {
  public let model: CausalLanguageModel
  let vocabulary: ModelTokenizer
  private let location: String

  public var tokenizer: Tokenizer { vocabulary.tokenizer }
  /// Tokens that end what the model says.
  public var endTokens: Set<Int32> { vocabulary.endTokens }

  /// - Parameter bytesBeside: memory that the caller needs for itself under the ceiling of `options`.
  /// - Throws: what is missing or not understood: the network, the tokenizer.
  public init(_ checkpoint: any Checkpoint, options: RunOptions, beside bytesBeside: Int = 0) throws(Problem) {
    location = checkpoint.location
    model = try CausalLanguageModel(try options.network(of: checkpoint, beside: bytesBeside))
    vocabulary = try ModelTokenizer(of: checkpoint)
  }

  /// The prompt of a conversation by the model's chat template.
  ///
  /// - Parameters:
  ///   - messages: roles and what they say.
  ///   - addGenerationPrompt: whether the text ends where the model is to speak.
  /// - Throws: `chat-template.missing` if the model has none; what the template refuses.
  public func prompt(
    _ messages: [(role: String, content: String)], addGenerationPrompt: Bool = true
  ) throws(Problem) -> String {
    let conversation = messages.map { JSON.object([("role", .string($0.role)), ("content", .string($0.content))]) }
    do throws(Problem) {
      return try vocabulary.chatTemplate().render(
        messages: .array(conversation), addGenerationPrompt: addGenerationPrompt,
        specialTokens: vocabulary.specialTokens)
    } catch { throw error.at(file: location) }
  }

  /// The ids of a prompt that spells out its special tokens, as chat templates do: nothing is put around it.
  public func ids(ofRenderedPrompt text: String) throws(Problem) -> [Int32] {
    try tokenizer.ids(text, addSpecialTokens: false)
  }

  /// Brings the weights into memory, if they stay there, by running one token: what follows is timed without that.
  ///
  /// - Returns: the seconds it took.
  public func warmUp() throws(Problem) -> Double {
    guard model.network.residency == .resident else { return 0 }
    let began = Machine.monotonicSeconds
    _ = try Session(model).read([0])
    return Machine.monotonicSeconds - began
  }
}
