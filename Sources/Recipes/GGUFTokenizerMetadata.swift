public import EspalierBasics
public import EspalierCheckpoints
public import EspalierTokenizers

// The tokenizer of a model in the metadata of a GGUF file.
extension GGUFMetadata {
  /// Sets all that a GGUF file says of a model's tokenizer.
  ///
  /// The keys of a model that is a GGUF file itself are taken over as they are, unless a `tokenizer.json` lies beside it;
  /// other models' are made from the files of their folder, see ``GGUFVocabulary/describing(_:)``. `general.name`, if it
  /// is to be set, is set before.
  ///
  /// - Parameters:
  ///   - rows: of the embedding that is written; nil: as many as there are tokens.
  ///   - preTokenizer: the name of the pre-tokenizer, if it is not to be found by its expressions.
  ///   - carriesTokenizerJSON: whether `tokenizer.json` comes along as it is.
  /// - Returns: warnings of where texts may come out otherwise.
  /// - Throws: `tokenizer.missing` if there is no tokenizer; `tokenizer.unsupported` for one that no GGUF file can hold.
  public mutating func setTokenizer(
    of checkpoint: any Checkpoint, rows: Int?, preTokenizer: String? = nil, carriesTokenizerJSON: Bool = false
  ) throws(Problem) -> [Problem] {
    let hasFile = checkpoint.folder.map { FileSystem.isFile("\($0)/tokenizer.json") } ?? false
    if !hasFile, let gguf = checkpoint as? GGUFCheckpoint, gguf.metadata.text("tokenizer.ggml.model") != nil {
      copyTokenizer(from: gguf.metadata)
      if let preTokenizer { set("tokenizer.ggml.pre", to: .text(preTokenizer)) }
      return []
    }
    do throws(Problem) {
      var source = GGUFVocabulary.Source(
        files: try TokenizerPlanner.files(of: checkpoint), configuration: checkpoint.config, rows: rows)
      source.preTokenizer = preTokenizer
      source.carriesTokenizerJSON = carriesTokenizerJSON
      source.modelName = text("general.name") ?? ""
      if let folder = checkpoint.folder, FileSystem.isFile("\(folder)/generation_config.json") {
        source.generationConfiguration = try JSON(
          parsing: try FileSystem.read("\(folder)/generation_config.json", limit: 16 << 20))
      }
      let (vocabulary, warnings) = try GGUFVocabulary.describing(source)
      set(vocabulary)
      return warnings.map { $0.at(file: checkpoint.location) }
    } catch { throw error.at(file: checkpoint.location) }
  }

  /// Sets the keys of a vocabulary, each in the type that programs for GGUF files expect.
  public mutating func set(_ vocabulary: GGUFVocabulary) {
    for (key, value) in vocabulary.keys {
      let typed: GGUFTypedValue =
        switch value {
        case .text(let text): .text(text)
        case .truth(let truth): .truth(truth)
        case .u32(let number): .u32(number)
        case .strings(let strings): .strings(strings)
        case .f32s(let numbers): .f32s(numbers)
        case .i32s(let numbers): .i32s(numbers)
        case .u8s(let bytes): .u8s(bytes)
        }
      set(key, to: typed)
    }
  }

  /// Takes over all that another file says of its tokenizer, as it is.
  public mutating func copyTokenizer(from other: GGUFMetadata) {
    copyKeys(beginningWith: "tokenizer.", from: other)
  }
}
