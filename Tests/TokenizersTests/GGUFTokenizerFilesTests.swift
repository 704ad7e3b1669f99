import EspalierBasics
import Testing

@testable import EspalierTokenizers

/// The tokenizer.json that is written for a GGUF vocabulary gives the ids that the vocabulary gives.
@Suite struct GGUFTokenizerFilesTests {
  private func vocabulary(_ name: String) throws -> (vocabulary: GGUFVocabulary, texts: [String]) {
    let golden = try JSON(parsing: fixture("gguf/\(name).json"))
    var texts = (golden["cases"]?.array ?? []).compactMap { $0["string"]?.string }
    for folder in Goldens.tokenizers {
      texts += (try Goldens.json(folder + "/vectors.json")["cases"]?.array ?? []).compactMap { $0["text"]?.string }
    }
    var seen: Set<ExactString> = []
    texts = texts.filter { seen.insert(ExactString($0)).inserted }
    #expect(texts.count > 100)
    return (try GGUFVocabulary(Keys(try #require(golden["vocabulary"]))), texts)
  }

  /// Tokenizers of a vocabulary and of the file that is written for it.
  private func pair(
    _ vocabulary: GGUFVocabulary
  ) throws -> (source: Tokenizer, written: Tokenizer, warnings: [Problem]) {
    let (files, warnings) = try vocabulary.tokenizerFiles()
    // By way of the bytes, as it is read again.
    let bytes = try #require(files.contents["tokenizer.json"])
    return (try Tokenizer(gguf: vocabulary), try Tokenizer(json: try JSON(parsing: bytes)), warnings)
  }

  private func expectSameIDs(_ text: String, _ pair: (source: Tokenizer, written: Tokenizer, warnings: [Problem]))
    throws
  {
    for special in [true, false] {
      let ids = try pair.source.ids(text, addSpecialTokens: special)
      #expect(try pair.written.ids(text, addSpecialTokens: special) == ids, "\(text.debugDescription)")
    }
  }

  @Test(arguments: [
    "llama_spm", "gemma2_spm", "llama3_rope_spm", "gpt2_bpe", "qwen2_bpe", "unigram-plain", "line-breaks",
  ])
  func idsAreThoseOfTheVocabulary(name: String) throws {
    let (vocabulary, texts) = try vocabulary(name)
    let pair = try pair(vocabulary)
    #expect(pair.warnings.isEmpty)
    for text in texts { try expectSameIDs(text, pair) }
  }

  @Test(arguments: ["llama_spm", "gemma2_spm", "llama3_rope_spm", "qwen2_bpe"])
  func decodedTextIsThatOfTheVocabulary(name: String) throws {
    let (vocabulary, texts) = try vocabulary(name)
    let pair = try pair(vocabulary)
    for text in texts {
      let ids = try pair.source.ids(text)
      for skips in [true, false] {
        let decoded = try pair.written.decode(ids, skipSpecialTokens: skips)
        #expect(same(decoded, try pair.source.decode(ids, skipSpecialTokens: skips)), "\(text.debugDescription)")
      }
    }
  }

  /// The character map is applied character by character, so that stacked marks may be left out of it.
  @Test func unigramDiffersByTheCharacterMapAlone() throws {
    let (vocabulary, texts) = try vocabulary("unigram")
    let pair = try pair(vocabulary)
    #expect(pair.warnings.map(\.code) == [.tokenizerInexact])
    let isStacked = { (text: String) in
      zip(text.unicodeScalars, text.unicodeScalars.dropFirst())
        .contains {
          $0.properties.generalCategory == .nonspacingMark && $1.properties.generalCategory == .nonspacingMark
        }
    }
    #expect(texts.count(where: isStacked) < 6)
    for text in texts where !isStacked(text) { try expectSameIDs(text, pair) }
  }

  /// BERT takes text apart in other ways than llama.cpp where a warning says so, and nowhere else.
  @Test(arguments: ["wordpiece", "wordpiece-cased"])
  func wordPieceDiffersWhereItSays(name: String) throws {
    let (vocabulary, texts) = try vocabulary(name)
    let pair = try pair(vocabulary)
    #expect(pair.warnings.map(\.code) == [.tokenizerInexact])
    #expect(texts.count(where: Self.isCleanedOtherwise) < 30)
    for text in texts where !Self.isCleanedOtherwise(text) { try expectSameIDs(text, pair) }
  }

  /// Whether BERT takes a text apart in another way than llama.cpp does, as far as that is known.
  private static func isCleanedOtherwise(_ text: String) -> Bool {
    text.unicodeScalars.contains {
      // U+2581 itself is what GGUF marks words by.
      (0xAC00...0xD7A3).contains($0.value) || [0x0B, 0x0C, 0x85, 0x2581].contains($0.value)
        || $0.properties.generalCategory == .spacingMark
    } || text.split(whereSeparator: \.isWhitespace).contains { $0.unicodeScalars.count > 100 }
  }

  private static let vendors = FileSystem.environment("ESPALIER_GGUF_VOCABULARIES")

  /// Vocabularies that belong to their vendors, as for ``GGUFTests/publishedVocabularies()``.
  @Test(.enabled(if: vendors != nil, "needs ESPALIER_GGUF_VOCABULARIES, the folder of the vendors' vocabularies"))
  func publishedVocabularies() throws {
    let folder = try #require(Self.vendors)
    for name in try FileSystem.list(folder) where name.hasSuffix(".json") {
      let golden = try JSON(parsing: FileSystem.read("\(folder)/\(name)"))
      let vocabulary = try GGUFVocabulary(Keys(try #require(golden["vocabulary"])))
      let pair = try pair(vocabulary)
      let isBert = vocabulary.model == "bert"
      // Llama 2 has 15 tokens that share scores; no text here shows it.
      let isTold = isBert || name == "llama-spm.json"
      #expect(pair.warnings.map(\.code) == (isTold ? [.tokenizerInexact] : []), "\(name): \(pair.warnings)")
      for text in try #require(golden["cases"]?.array).compactMap({ $0["string"]?.string })
      where !isBert || !Self.isCleanedOtherwise(text) {
        try expectSameIDs(text, pair)
      }
    }
  }

  @Test func everyPreTokenizerIsWritten() throws {
    let golden = try JSON(parsing: fixture("gguf/pre-tokenizers.json"))
    var vocabulary = try GGUFVocabulary(Keys(try #require(golden["vocabulary"])))
    let texts = try #require(golden["texts"]?.array).compactMap(\.string)
    for name in try #require(golden["expected"]?.members).keys {
      vocabulary.preTokenizer = name
      let pair = try pair(vocabulary)
      #expect(pair.warnings.isEmpty)
      for text in texts { try expectSameIDs(text, pair) }
    }
  }

  // MARK: By hand

  private func scored(_ tokens: [String], _ scores: [Float]) -> GGUFVocabulary {
    let specials = ["<unk>", "<s>", "</s>"]
    var vocabulary = GGUFVocabulary(model: "llama", tokens: (specials + tokens).map { Array($0.utf8) })
    vocabulary.scores = [0, 0, 0] + scores
    vocabulary.kinds = [.unknown, .control, .control] + tokens.map { _ in .normal }
    return vocabulary
  }

  /// "abc" is "ab" and "c" or "a" and "bc"; of both, the longer left part comes first.
  @Test func mergesComeInTheOrderOfScores() throws {
    let vocabulary = scored(["a", "b", "c", "ab", "bc", "abc"], [-9, -9, -9, -3, -2, -5])
    let (files, warnings) = try vocabulary.tokenizerFiles()
    #expect(files.tokenizer?["model"]?["merges"] == [["b", "c"], ["a", "b"], ["ab", "c"], ["a", "bc"]])
    #expect(warnings.isEmpty)
    let tied = try scored(["a", "b", "c", "ab", "bc", "abc"], [-9, -9, -9, -2, -2, -5]).tokenizerFiles()
    #expect(tied.warnings.map(\.code) == [.tokenizerInexact] && tied.warnings[0].message.hasPrefix("2 tokens"))
  }

  @Test func settingsGoWithIt() throws {
    var vocabulary = scored(["a"], [-1])
    vocabulary.chatTemplates = ["default": "{{ messages }}"]
    var configuration = try #require(try vocabulary.tokenizerFiles().files.configuration)
    #expect(configuration["bos_token"] == "<s>" && configuration["eos_token"] == "</s>")
    #expect(configuration["unk_token"] == "<unk>" && configuration["pad_token"] == nil)
    #expect(configuration["chat_template"] == "{{ messages }}")
    #expect(configuration["model_input_names"] == ["input_ids", "attention_mask"])
    #expect(vocabulary.generationConfiguration == ["bos_token_id": 1, "eos_token_id": 2])
    vocabulary.chatTemplates["tool_use"] = "tools"
    configuration = try #require(try vocabulary.tokenizerFiles().files.configuration)
    #expect(configuration["chat_template"]?[1] == ["name": "tool_use", "template": "tools"])
    // What a kind implies is no special token unless it is one.
    var plain = GGUFVocabulary(model: "gpt2", tokens: (0..<20).map { [UInt8(ascii: "a") + UInt8($0)] })
    #expect(try plain.tokenizerFiles().files.configuration?["bos_token"] == nil)
    #expect(plain.generationConfiguration?["bos_token_id"] == nil)
    plain.ids[.beginning] = 11
    #expect(try plain.tokenizerFiles().files.configuration?["bos_token"] == "l")
  }

  @Test func whatJSONCannotHoldIsRefused() throws {
    var vocabulary = scored(["a", "b"], [-1, -2])
    vocabulary.tokens[4] = [0xFF]
    #expect { try vocabulary.tokenizerFiles() } throws: { ($0 as? Problem)?.code == .tokenizerUnsupported }
    #expect { try self.scored(["a", "b", "ab"], [-1, -2, .nan]).tokenizerFiles() } throws: {
      ($0 as? Problem)?.code == .tokenizerUnsupported
    }
    #expect { try GGUFVocabulary(model: "rwkv", tokens: [[97]]).tokenizerFiles() } throws: {
      ($0 as? Problem)?.code == .tokenizerUnsupported
    }
  }

  @Test func base64() {
    for count in 0..<70 {
      let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 41 &+ count) }
      #expect(Base64.decode(Base64.encode(bytes).utf8) == bytes)
    }
    #expect(Base64.encode(Array("Ma".utf8)) == "TWE=")
  }
}
