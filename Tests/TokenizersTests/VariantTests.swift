import EspalierBasics
import EspalierTokenizers
import Foundation
import Testing

/// Tokenizers put together at random from the golden ones' parts, on random texts, against the `tokenizers` library.
@Suite struct VariantTests {
  @Test func variants() throws {
    let variants = try #require(
      Goldens.json(Goldens.fixtures.appendingPathComponent("variants.json").path)["variants"]?.array)
    #expect(variants.count > 40)
    for variant in variants {
      let base = try #require(variant["base"]?.string)
      var json = try Goldens.json(Goldens.fixtures.appendingPathComponent("tokenizers/\(base)/tokenizer.json").path)
      for (key, value) in variant["patch"]?.members?.pairs ?? [] { json[key] = value }
      for (key, value) in variant["model"]?.members?.pairs ?? [] { json["model"]?[key] = value }
      let tokenizer = try Tokenizer(json: json)
      for golden in variant["cases"]?.array ?? [] {
        let note = Comment(rawValue: "\(base) \(variant["patch"]?.text() ?? "") \(golden["text"]?.text() ?? "")")
        let encoding = try tokenizer.encode(try #require(golden["text"]?.string))
        #expect(encoding.ids == golden["ids"]?.integers, note)
        #expect(same(encoding.tokens, golden["tokens"]?.strings ?? []), note)
        #expect(encoding.offsets == golden["offsets"]?.ranges, note)
        #expect(encoding.typeIDs == golden["type_ids"]?.integers, note)
        #expect(encoding.specialTokensMask.map(Int32.init) == golden["special_tokens_mask"]?.integers, note)
        #expect(encoding.wordIDs == golden["word_ids"]?.array?.map { $0.integer.map(Int32.init) }, note)
        #expect(same(try tokenizer.decode(encoding.ids), golden["decoded"]?.string ?? "missing"), note)
      }
    }
  }

  /// Offsets in bytes are those in code points, in bytes; without offsets the rest is the same.
  @Test func offsetUnits() throws {
    for folder in Goldens.tokenizers {
      let tokenizer = try Tokenizer(at: folder)
      let text = "Añejo ﬁ 日本 e\u{301} 🙂, it's 12!"
      let points = try tokenizer.encode(text)
      let bytes = try tokenizer.encode(text, offsets: .bytes)
      let none = try tokenizer.encode(text, offsets: .none)
      #expect(points.ids == bytes.ids && points.ids == none.ids)
      #expect(!none.offsets.contains { !$0.isEmpty })
      let starts = Array(text.unicodeScalars.indices) + [text.unicodeScalars.endIndex]
      for (point, byte) in zip(points.offsets, bytes.offsets) where !point.isEmpty && !byte.isEmpty {
        let start = text.utf8.distance(from: text.startIndex, to: starts[point.lowerBound])
        // Trimming of white space counts scalars in either unit, and here trims single-byte spaces only.
        #expect(start == byte.lowerBound)
      }
    }
  }

  /// Many threads give what one gives.
  @Test func batches() throws {
    let pool = WorkerPool(threads: 4)
    defer { pool.stop() }
    let texts = (0..<200).map { "text \($0): the quick brown fox \(String(repeating: "é", count: $0 % 7))" }
    for folder in Goldens.tokenizers.prefix(6) {
      let tokenizer = try Tokenizer(at: folder)
      let expected = try texts.map { try tokenizer.encode($0) }
      #expect(try tokenizer.encode(batch: texts, pool: pool) == expected)
    }
  }

  /// The cache of words begins anew when it is full; nothing changes.
  @Test func manyWords() throws {
    let tokenizer = try Tokenizer(at: try #require(Goldens.tokenizers.first { $0.hasSuffix("bbpe_gpt2") }))
    let words = (0..<60_000).map { " w\($0 &* 2_654_435_761 % 1_000_003)" }
    let whole = try tokenizer.ids(words.joined())
    let parts = try words.flatMap { try tokenizer.ids($0) }
    #expect(whole == parts)
  }
}
