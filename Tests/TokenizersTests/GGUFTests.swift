import EspalierBasics
import Foundation
import Testing

@testable import EspalierTokenizers

/// Tokenizers of GGUF vocabularies against llama.cpp's.
@Suite struct GGUFTests {
  /// Models and vocabularies of our own, in all kinds: ids and detokenized texts.
  @Test(arguments: [
    "llama_spm", "gemma2_spm", "llama3_rope_spm", "gpt2_bpe", "qwen2_bpe", "unigram", "unigram-plain", "wordpiece",
    "wordpiece-cased", "line-breaks",
  ])
  func vocabularies(name: String) throws {
    try check(JSON(parsing: fixture("gguf/\(name).json")), name)
  }

  /// Vocabularies that belong to their vendors, as `make_gguf.py --vendors` writes them to the folder that
  /// ESPALIER_GGUF_VOCABULARIES names.
  @Test(.enabled(if: vendors != nil, "needs ESPALIER_GGUF_VOCABULARIES, the folder of the vendors' vocabularies"))
  func publishedVocabularies() throws {
    let folder = try #require(vendors)
    let names = try FileSystem.list(folder).filter { $0.hasSuffix(".json") }
    #expect(!names.isEmpty)
    for name in names { try check(JSON(parsing: FileSystem.read(folder + "/" + name)), name) }
  }

  /// llama.cpp's own texts for the same vocabularies.
  @Test(
    .enabled(
      if: vendors != nil && goldens != nil,
      "needs ESPALIER_GGUF_VOCABULARIES and ESPALIER_GOLDENS, the folder of expected results"))
  func publishedVectors() throws {
    let (folder, goldens) = (try #require(vendors), try #require(goldens))
    for file in try FileSystem.list(folder) where file.hasSuffix(".json") {
      let name = String(file.dropLast(5))
      let vocabulary = try JSON(parsing: FileSystem.read(folder + "/" + file))["vocabulary"]
      let golden = try JSON(
        parsing: FileSystem.read("\(goldens)/tokenizers/ggml_vocab/\(name).vectors.json"))
      let tokenizers = try Pair(GGUFVocabulary(Keys(try #require(vocabulary))))
      for entry in try #require(golden["cases"]?.array) {
        let text = try #require(entry["text"]?.string)
        let comment = Comment(rawValue: "\(name): \(text.debugDescription)")
        let ids = (try ints(entry["ids"]), try ints(entry["ids_special"]))
        #expect(try tokenizers.plain.ids(text, addSpecialTokens: false) == ids.0, comment)
        #expect(try tokenizers.special.ids(text) == ids.1, comment)
        let hex = (entry["detok_hex"]?.string, entry["detok_special_hex"]?.string)
        #expect(try Self.hex(tokenizers.special.decode(ids.0, skipSpecialTokens: false)) == hex.0, comment)
        #expect(try Self.hex(tokenizers.special.decode(ids.1, skipSpecialTokens: false)) == hex.1, comment)
      }
    }
  }

  private static func hex(_ text: String) -> String {
    text.utf8.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  /// One vocabulary whose merges cross all boundaries, cut by every pre-tokenizer there is a name for.
  @Test func preTokenizers() throws {
    let golden = try JSON(parsing: fixture("gguf/pre-tokenizers.json"))
    var vocabulary = try GGUFVocabulary(Keys(try #require(golden["vocabulary"])))
    let texts = try #require(golden["texts"]?.array).compactMap(\.string)
    let expected = try #require(golden["expected"]?.members)
    #expect(expected.count > 40 && texts.count > 50)
    for (name, results) in expected.pairs {
      vocabulary.preTokenizer = name
      let tokenizer = try Tokenizer(gguf: vocabulary, parsesSpecialTokens: false)
      for (text, ids) in zip(texts, try #require(results.array)) {
        let found = try tokenizer.ids(text, addSpecialTokens: false)
        #expect(found == (try ints(ids)), "\(name): \(text.debugDescription)")
      }
    }
  }

  // MARK: Comparison

  private struct Pair {
    let plain: Tokenizer
    let special: Tokenizer

    init(_ vocabulary: GGUFVocabulary) throws {
      plain = try Tokenizer(gguf: vocabulary, parsesSpecialTokens: false)
      special = try Tokenizer(gguf: vocabulary)
    }
  }

  private func ints(_ json: JSON?) throws -> [Int32] {
    try #require(json?.array).compactMap { $0.integer.map { Int32($0) } }
  }

  private func check(_ golden: JSON, _ name: String) throws {
    let tokenizers = try Pair(GGUFVocabulary(Keys(try #require(golden["vocabulary"]))))
    for entry in try #require(golden["cases"]?.array) {
      let text = try #require(entry["string"]?.string)
      let comment = Comment(rawValue: "\(name): \(text.debugDescription)")
      let (plain, special) = (try ints(entry["plain"]), try ints(entry["special"]))
      let encoding = try tokenizers.plain.encode(text, addSpecialTokens: false, offsets: .bytes)
      #expect(encoding.ids == plain, comment)
      #expect(try tokenizers.plain.ids(text, addSpecialTokens: false) == plain, comment)
      #expect(try tokenizers.special.ids(text) == special, comment)
      // Offsets lie in the text, and do not go back.
      #expect(encoding.offsets.count == plain.count, comment)
      var last = 0
      for range in encoding.offsets {
        #expect(range.lowerBound >= last && range.upperBound <= text.utf8.count, comment)
        last = range.lowerBound
      }
      for (ids, expected) in [(plain, entry["text"]), (special, entry["specialText"])] {
        let decoded = try tokenizers.special.decode(ids, skipSpecialTokens: false)
        #expect(ExactString(decoded) == ExactString(expected?.string ?? "?"), comment)
        var decoder = tokenizers.special.streamingDecoder(skipSpecialTokens: false)
        var streamed = ""
        for id in ids { streamed += try decoder.append(id) }
        #expect(ExactString(streamed + (try decoder.finish())) == ExactString(decoded), comment)
      }
    }
  }
}

private let vendors = ProcessInfo.processInfo.environment["ESPALIER_GGUF_VOCABULARIES"]

/// Keys of a GGUF file as JSON; the character map is base64.
struct Keys: GGUFValues {
  let json: JSON

  init(_ json: JSON) { self.json = json }

  func text(_ key: String) -> String? { json[key]?.string }
  func integer(_ key: String) -> Int? { json[key]?.integer }
  func truth(_ key: String) -> Bool? { json[key]?.bool }
  func strings(_ key: String) -> [[UInt8]]? { json[key]?.array?.map { Array(($0.string ?? "").utf8) } }
  func floats(_ key: String) -> [Float]? { json[key]?.array?.map { Float($0.number ?? 0) } }
  func integers(_ key: String) -> [Int]? {
    if let text = json[key]?.string { return Data(base64Encoded: text).map { $0.map(Int.init) } }
    return json[key]?.array?.map { $0.integer ?? 0 }
  }
}
