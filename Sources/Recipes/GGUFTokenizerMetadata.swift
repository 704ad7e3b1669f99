internal import EspalierBasics
public import EspalierCheckpoints
public import EspalierTokenizers

// The tokenizer of a model in the metadata of a GGUF file.
extension GGUFMetadata {
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
