public import EspalierBasics
public import EspalierCheckpoints
public import EspalierTokenizers

/// The tokenizer of a model, from the files of its folder or from its GGUF file.
public enum ModelTokenizer {
  /// - Throws: `tokenizer.missing` if the model has none that can be read.
  public static func tokenizer(of checkpoint: any Checkpoint) throws(Problem) -> Tokenizer {
    do throws(Problem) {
      if let folder = checkpoint.folder, FileSystem.isFile("\(folder)/tokenizer.json") {
        return try Tokenizer(at: folder)
      }
    } catch { throw error.at(file: checkpoint.location) }
    throw Problem(
      .tokenizerMissing, "the model has no tokenizer.json", remedy: "Copy the tokenizer of its base beside the weights.",
      file: checkpoint.location)
  }

  /// The tokenizer's files, for chat templates and special tokens; those of a GGUF file are made from its metadata.
  static func files(of checkpoint: any Checkpoint) throws(Problem) -> TokenizerFiles {
    return try TokenizerPlanner.files(in: checkpoint.folder)
  }

  /// Every token that `generation_config.json`, the config or the tokenizer's files say ends a text.
  static func endTokens(
    of checkpoint: any Checkpoint, files: TokenizerFiles, tokenizer: Tokenizer
  ) -> Set<Int32> {
    var tokens: Set<Int32> = []
    func add(_ value: JSON?) {
      for id in value?.array ?? [value].compactMap({ $0 }) {
        if let id = id.integer, let token = Int32(exactly: id) { tokens.insert(token) }
      }
    }
    add(checkpoint.config?["eos_token_id"])
    if let folder = checkpoint.folder, let bytes = try? FileSystem.read("\(folder)/generation_config.json"),
      let generation = try? JSON(parsing: bytes)
    {
      add(generation["eos_token_id"])
    }
    for name in ["eos_token", "eot_token"] {
      if let text = files.specialTokenVariables[name], let id = tokenizer.id(of: text) { tokens.insert(id) }
    }
    return tokens
  }
}
