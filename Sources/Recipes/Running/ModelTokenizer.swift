public import EspalierBasics
public import EspalierCheckpoints
public import EspalierTokenizers

extension GGUFMetadata: GGUFValues {}

extension Tokenizer {
  /// The same tokenizer, but every text gives the tokens it has: none are cut off, and none are filled in.
  public func withoutCutsAndPadding() throws(Problem) -> Tokenizer {
    var whole = parts
    guard whole.truncation != nil || whole.padding != nil else { return self }
    whole.truncation = nil
    whole.padding = nil
    return try Tokenizer(whole)
  }
}

/// The tokenizer of a model with what goes with it, from the files of its folder or from its GGUF file.
///
/// A model reads texts as long as they are: what the tokenizer's file says of cutting and filling up texts is for the
/// batches of its training, and is not done.
public struct ModelTokenizer: Sendable {
  public let tokenizer: Tokenizer
  /// Special tokens by their role, as in `bos_token`.
  public let specialTokens: [String: String]
  /// Tokens that end a text.
  public let endTokens: Set<Int32>
  private let location: String
  private let template: @Sendable () throws(Problem) -> ChatTemplate

  /// A `tokenizer.json` in the folder goes before the vocabulary of a GGUF file.
  ///
  /// - Throws: `tokenizer.missing` if there is neither; what is not understood.
  public init(of checkpoint: any Checkpoint) throws(Problem) {
    location = checkpoint.location
    do throws(Problem) {
      let files = try TokenizerPlanner.files(of: checkpoint)
      var vocabulary: GGUFVocabulary?
      if let json = files.tokenizer {
        tokenizer = try Tokenizer(json: json).withoutCutsAndPadding()
        specialTokens = files.specialTokenVariables
        template = { () throws(Problem) in try files.chatTemplate() }
      } else if let gguf = checkpoint as? GGUFCheckpoint {
        let own = try GGUFVocabulary(gguf.metadata)
        vocabulary = own
        tokenizer = try Tokenizer(gguf: own)
        specialTokens = own.specialTokenVariables
        template = { () throws(Problem) in try own.chatTemplate() }
      } else {
        throw Problem(
          .tokenizerMissing, "the model has no tokenizer.json",
          remedy: "Copy the tokenizer of its base beside the weights.")
      }
      endTokens = Self.endTokens(
        of: checkpoint, specialTokens: specialTokens, tokenizer: tokenizer, vocabulary: vocabulary)
    } catch { throw error.at(file: checkpoint.location) }
  }

  /// - Throws: `chat-template.missing` if the model has none.
  public func chatTemplate() throws(Problem) -> ChatTemplate { try template() }

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
      return try chatTemplate().render(
        messages: .array(conversation), addGenerationPrompt: addGenerationPrompt, specialTokens: specialTokens)
    } catch { throw error.at(file: location) }
  }

  /// The ids of a prompt that spells out its special tokens, as chat templates do: nothing is put around it.
  public func ids(ofRenderedPrompt text: String) throws(Problem) -> [Int32] {
    try tokenizer.ids(text, addSpecialTokens: false)
  }

  /// What `generation_config.json`, the config, the tokenizer's files or the GGUF file say ends a text or a turn.
  ///
  /// - Parameter vocabulary: of a GGUF file; tokens that are known to end a turn do so whatever the file calls them.
  private static func endTokens(
    of checkpoint: any Checkpoint, specialTokens: [String: String], tokenizer: Tokenizer, vocabulary: GGUFVocabulary?
  ) -> Set<Int32> {
    var tokens: Set<Int32> = vocabulary?.endOfGenerationIDs ?? []
    func add(_ value: JSON?) {
      for id in value?.array ?? [value].compactMap({ $0 }) {
        if let id = id.integer.flatMap({ Int32(exactly: $0) }) { tokens.insert(id) }
      }
    }
    add(checkpoint.config?["eos_token_id"])
    if let folder = checkpoint.folder, let bytes = try? FileSystem.read("\(folder)/generation_config.json"),
      let generation = try? JSON(parsing: bytes)
    {
      add(generation["eos_token_id"])
    }
    if vocabulary == nil, let gguf = checkpoint as? GGUFCheckpoint, let own = try? GGUFVocabulary(gguf.metadata) {
      tokens.formUnion(own.endOfGenerationIDs)
    }
    if let id = specialTokens["eos_token"].flatMap({ tokenizer.id(of: $0) }) { tokens.insert(id) }
    return tokens
  }
}
