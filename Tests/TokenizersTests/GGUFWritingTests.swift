import EspalierBasics
import Foundation
import Testing

@testable import EspalierTokenizers

/// Tokenizers as vocabularies of GGUF files: against the files of llama.cpp's converter, and against what the
/// tokenizers' own library says of texts.
@Suite struct GGUFWritingTests {
  static func source(_ folder: String) throws -> GGUFVocabulary.Source {
    var contents: [String: [UInt8]] = [:]
    for file in TokenizerFiles.names + ["config.json"] where FileSystem.isFile("\(folder)/\(file)") {
      contents[file] = try FileSystem.read("\(folder)/\(file)")
    }
    var source = GGUFVocabulary.Source(files: try TokenizerFiles(files: contents))
    source.configuration = try contents["config.json"].map { bytes in try JSON(parsing: bytes) }
    source.rows = source.configuration?["vocab_size"]?.integer
    return source
  }

  static func json(_ value: GGUFVocabularyValue) -> JSON {
    switch value {
    case .text(let text): .string(text)
    case .truth(let truth): .bool(truth)
    case .u32(let number): .number(Int(number))
    case .strings(let strings): .array(strings.map { .string(String(decoding: $0, as: UTF8.self)) })
    case .f32s(let numbers): .array(numbers.map { .number(Double($0)) })
    case .i32s(let numbers): .array(numbers.map { .number(Int($0)) })
    case .u8s(let bytes): .string(Base64.encode(bytes))
    }
  }

  static func json(_ vocabulary: GGUFVocabulary) -> JSON {
    .object(vocabulary.keys.map { ($0.key, json($0.value)) })
  }

  // MARK: Against the converter

  /// Every key of the converter's files, and one more: it finds the token for the unknown in `tokenizer.json` alone, so
  /// that its files leave programs with id 0, which is the padding of gemma's.
  @Test(arguments: [
    ("llama_spm", 0), ("llama3_rope_spm", 0), ("gemma2_spm", 3), ("gpt2_bpe", nil), ("qwen2_bpe", nil),
  ])
  func keysAreTheConverters(name: String, unknown: Int?) throws {
    let (vocabulary, warnings) = try GGUFVocabulary.describing(
      Self.source("\(Goldens.fixtures.path)/gguf/sources/\(name)"))
    #expect(warnings.isEmpty, "\(warnings)")
    var keys = try #require(Self.json(vocabulary).members).pairs.map { ($0.key, $0.value) }
    if let unknown {
      #expect(keys.contains { $0.0 == "tokenizer.ggml.unknown_token_id" && $0.1 == .number(unknown) })
      keys.removeAll { $0.0 == "tokenizer.ggml.unknown_token_id" }
    }
    let golden = try #require(try JSON(parsing: fixture("gguf/\(name).json"))["vocabulary"]?.members)
    #expect(keys.map(\.0).sorted() == golden.keys.filter { $0.hasPrefix("tokenizer.") }.sorted())
    for (key, value) in keys { #expect(value == golden[key], "\(key)") }
  }

  // MARK: Against the tokenizers' own library

  /// Kinds, names of pre-tokenizers, what is told, and the texts that come out otherwise for the reasons told.
  private struct Expectation {
    var model: String
    var preTokenizer = "default"
    var warnings: [String] = []
    var differing: Set<String> = []
  }

  private static let marks = "programs that run the GGUF file do"
  private static let joins = "tokens can be joined in ways that are no merges"
  private static let probes = "probing texts get other ids"
  private static let added = "added tokens are found otherwise"
  private static let stacked = "a\u{300}\u{301}\u{302}\u{303} stacked"
  private static let separators = "\u{2028}line sep\u{2029}para sep\u{85}nel"

  private static let expectations: [String: Expectation] = [
    "bbpe_deepseek3": Expectation(model: "gpt2", preTokenizer: "deepseek-v3"),
    "bbpe_digits": Expectation(model: "gpt2", preTokenizer: "smollm"),
    "bbpe_gpt2": Expectation(model: "gpt2", preTokenizer: "gpt-2"),
    "bbpe_llama3": Expectation(model: "gpt2", preTokenizer: "llama-bpe"),
    "bbpe_qwen2": Expectation(
      model: "gpt2", preTokenizer: "qwen2", warnings: ["normal form C", added, "1 of 21 \(probes)"],
      differing: ["e\u{301} combining a\u{30A} o\u{308} n\u{303}", stacked, "special_word special_wordy"]),
    "bbpe_roberta": Expectation(
      model: "gpt2", preTokenizer: "gpt-2", warnings: [added],
      differing: ["<unk> <pad> <mask>", "<mask>no space<mask> spaced <mask> end"]),
    "spbpe_gemma": Expectation(model: "llama", warnings: ["155 \(joins)"]),
    "spbpe_llama2_legacy": Expectation(model: "llama", warnings: ["155 \(joins)"]),
    "spbpe_metaspace_first": Expectation(
      model: "llama", warnings: [marks, "156 \(joins)", "2 of 21 \(probes)"],
      differing: [
        " ", "  ", " leading space", "   three leading", "<s>hello</s>", "<unk> <pad> <mask>",
        "\u{2581}meta\u{2581}space \u{2581} x",
      ]),
    "spbpe_metaspace_split": Expectation(
      model: "llama", warnings: [marks, "155 \(joins)", "2 of 21 \(probes)"],
      differing: [
        " ", "  ", " leading space", "   three leading", "<unk> <pad> <mask>", "\u{2581}meta\u{2581}space \u{2581} x",
      ]),
    "unigram_t5_precompiled": Expectation(
      model: "t5", warnings: ["character by character"], differing: [stacked, separators]),
    "wordpiece_cased": Expectation(
      model: "bert", warnings: ["clean texts otherwise than BERT"],
      differing: [
        separators, String(repeating: "supercalifragilisticexpialidocious", count: 4),
        String(repeating: "ab", count: 120),
      ]),
  ]

  private static let refusals = [
    "bpe_eow_suffix": "its tokens have \"</w>\" at word ends (`end_of_word_suffix`)",
    "unigram_bytefallback": "it is a Unigram model that falls back on bytes",
    "unigram_xlm": "it normalizes texts (nmt)",
    "wordlevel": "there is no kind of vocabulary for whole words (WordLevel)",
    "wordpiece_sequence": "it does not clean texts as BERT does (BertNormalizer)",
  ]

  @Test(arguments: Goldens.tokenizers)
  func idsAreTheTokenizers(folder: String) throws {
    let name = String(try #require(folder.split(separator: "/").last))
    let source = try Self.source(folder)
    guard let expected = Self.expectations[name] else {
      let reason = try #require(Self.refusals[name], "\(name) is expected nowhere")
      #expect {
        try GGUFVocabulary.describing(source)
      } throws: {
        ($0 as? Problem)?.message == "the tokenizer cannot be written to a GGUF file: " + reason
          && ($0 as? Problem)?.code == .tokenizerUnsupported
      }
      return
    }
    let (vocabulary, warnings) = try GGUFVocabulary.describing(source)
    #expect(vocabulary.model == expected.model && vocabulary.preTokenizer == expected.preTokenizer)
    #expect(warnings.count == expected.warnings.count, "\(warnings.map(\.message))")
    for (warning, part) in zip(warnings, expected.warnings) {
      #expect(warning.message.contains(part) && warning.severity == .warning)
    }
    // By way of the keys, as it is read again.
    let written = try Tokenizer(gguf: try GGUFVocabulary(Keys(Self.json(vocabulary))))
    let cases = try #require(try Goldens.json(folder + "/vectors.json")["cases"]?.array)
    #expect(cases.count > 50)
    var differing: Set<ExactString> = []
    for golden in cases {
      let text = try #require(golden["text"]?.string)
      let plain = try written.ids(text, addSpecialTokens: false) == golden["ids_no_special"]?.integers
      let special = try written.ids(text) == golden["ids"]?.integers
      #expect(plain == special, "\(text.debugDescription)")
      if !plain { differing.insert(ExactString(text)) }
    }
    #expect(differing == Set(expected.differing.map { ExactString($0) }))
  }

  @Test func everyGoldenTokenizerIsExpected() {
    let names = Set(Goldens.tokenizers.compactMap { $0.split(separator: "/").last.map(String.init) })
    #expect(names == Set(Self.expectations.keys).union(Self.refusals.keys))
  }

  @Test(
    .enabled(if: Goldens.folder != nil, "needs ESPALIER_GOLDENS, the folder of expected results"))
  func vendorsAndLargeFiles() throws {
    let folder = "\(try #require(Goldens.folder))/tokenizers/hf"
    // BERT's own vocabulary.
    let (bert, _) = try GGUFVocabulary.describing(Self.source("\(folder)/wordpiece_bert_real"))
    let tokenizer = try Tokenizer(gguf: bert)
    var differing = 0
    for golden in try #require(try Goldens.json("\(folder)/wordpiece_bert_real/vectors.json")["cases"]?.array) {
      let text = try #require(golden["text"]?.string)
      if try tokenizer.ids(text) != golden["ids"]?.integers { differing += 1 }
    }
    // Hangul, vowel signs, odd white space, a word of more than 100 characters.
    #expect(differing == 5)
    // SentencePiece's file says what tokenizer.json says.
    let fast = try GGUFVocabulary.describing(Self.source("\(folder)/unigram_t5_precompiled")).vocabulary
    var source = GGUFVocabulary.Source(
      files: try TokenizerFiles(
        files: ["spiece.model": FileSystem.read("\(folder)/unigram_t5_precompiled/spiece.model")]))
    source.rows = 701
    let slow = try GGUFVocabulary.describing(source).vocabulary
    #expect(slow.model == "t5" && slow.tokens.dropLast() == fast.tokens.dropLast())
    #expect(slow.scores.dropLast() == fast.scores.dropLast() && slow.characterMap == fast.characterMap)
    #expect(slow.addsSpacePrefix == fast.addsSpacePrefix && slow.removesExtraSpaces == fast.removesExtraSpaces)
    #expect(slow.kinds.dropLast() == fast.kinds.dropLast())
    #expect(slow.tokens.last == Array("[PAD700]".utf8) && fast.tokens.last == Array("<extra_id_0>".utf8))
  }

  // MARK: Back and forth

  /// A vocabulary written as tokenizer.json and read from there gives the ids that it gave.
  @Test(arguments: ["llama_spm", "gemma2_spm", "llama3_rope_spm", "gpt2_bpe", "qwen2_bpe", "unigram-plain"])
  func vocabulariesComeBack(name: String) throws {
    let golden = try JSON(parsing: fixture("gguf/\(name).json"))
    let original = try GGUFVocabulary(Keys(try #require(golden["vocabulary"])))
    let files = try original.tokenizerFiles().files
    var source = GGUFVocabulary.Source(files: try TokenizerFiles(files: files.contents))
    source.rows = original.tokens.count
    let (vocabulary, warnings) = try GGUFVocabulary.describing(source)
    #expect(warnings.isEmpty, "\(warnings)")
    #expect(vocabulary.tokens == original.tokens && vocabulary.merges == original.merges)
    let (a, b) = (try Tokenizer(gguf: original), try Tokenizer(gguf: vocabulary))
    let texts = try #require(golden["cases"]?.array).compactMap { $0["string"]?.string }
    #expect(texts.count > 30)
    for text in texts { #expect(try a.ids(text) == b.ids(text), "\(text.debugDescription)") }
  }

  /// Every pre-tokenizer that is written as expressions is found again: under its name, or one that cuts alike.
  @Test func preTokenizersComeBack() throws {
    let golden = try JSON(parsing: fixture("gguf/pre-tokenizers.json"))
    var original = try GGUFVocabulary(Keys(try #require(golden["vocabulary"])))
    var same = 0
    for (names, preTokenizer) in GGUFPreTokenizer.table where preTokenizer.spelling == .byteLevel {
      for name in names {
        original.preTokenizer = name
        let files = try original.tokenizerFiles().files
        let found = try GGUFVocabulary.describing(GGUFVocabulary.Source(files: files)).vocabulary
        let other = try GGUFPreTokenizer.named(found.preTokenizer)
        #expect(other.patterns == preTokenizer.patterns && other.ignoresMerges == preTokenizer.ignoresMerges, "\(name)")
        #expect(other.cleansSpaces == preTokenizer.cleansSpaces, "\(name)")
        if found.preTokenizer == name { same += 1 }
      }
    }
    #expect(same >= 30)
  }
}
