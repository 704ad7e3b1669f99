public import EspalierBasics
public import EspalierCheckpoints
public import EspalierTokenizers

extension GGUFMetadata: GGUFValues {}

/// The tokenizer of a model with what goes with it, from the files of its folder or from its GGUF file.
public struct ModelTokenizer: Sendable {
  public let tokenizer: Tokenizer
  /// Special tokens by their role, as in `bos_token`.
  public let specialTokens: [String: String]
  /// Tokens that end a text.
  public let endTokens: Set<Int32>
  private let template: @Sendable () throws(Problem) -> ChatTemplate

  /// A `tokenizer.json` in the folder goes before the vocabulary of a GGUF file.
  ///
  /// - Throws: `tokenizer.missing` if there is neither; what is not understood.
  public init(of checkpoint: any Checkpoint) throws(Problem) {
    do throws(Problem) {
      let files = try TokenizerPlanner.files(of: checkpoint)
      if let json = files.tokenizer {
        tokenizer = try Tokenizer(json: json)
        specialTokens = files.specialTokenVariables
        template = { () throws(Problem) in try files.chatTemplate() }
      } else if let gguf = checkpoint as? GGUFCheckpoint {
        let vocabulary = try GGUFVocabulary(gguf.metadata)
        tokenizer = try Tokenizer(gguf: vocabulary)
        specialTokens = vocabulary.specialTokenVariables
        template = { () throws(Problem) in try vocabulary.chatTemplate() }
      } else {
        throw Problem(
          .tokenizerMissing, "the model has no tokenizer.json",
          remedy: "Copy the tokenizer of its base beside the weights.")
      }
      endTokens = Self.endTokens(of: checkpoint, specialTokens: specialTokens, tokenizer: tokenizer)
    } catch { throw error.at(file: checkpoint.location) }
  }

  /// - Throws: `chat-template.missing` if the model has none.
  public func chatTemplate() throws(Problem) -> ChatTemplate { try template() }

  /// What `generation_config.json`, the config, the tokenizer's files or the GGUF file say ends a text or a turn.
  private static func endTokens(
    of checkpoint: any Checkpoint, specialTokens: [String: String], tokenizer: Tokenizer
  ) -> Set<Int32> {
    var tokens: Set<Int32> = []
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
    if let gguf = checkpoint as? GGUFCheckpoint, let vocabulary = try? GGUFVocabulary(gguf.metadata) {
      tokens.formUnion(vocabulary.endOfGenerationIDs)
    }
    if let id = specialTokens["eos_token"].flatMap({ tokenizer.id(of: $0) }) { tokens.insert(id) }
    return tokens
  }
}
