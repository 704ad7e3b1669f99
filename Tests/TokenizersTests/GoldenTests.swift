import EspalierBasics
import EspalierTokenizers
import Foundation
import Testing

/// Whole tokenizers against what the `tokenizers` library says of the same strings, exactly.
@Suite struct GoldenTests {
  /// Everything the library reports of one text.
  private func check(_ encoding: Encoding, _ golden: JSON, _ note: Comment) {
    #expect(encoding.ids == golden["ids"]?.integers, note)
    #expect(same(encoding.tokens, golden["tokens"]?.strings ?? []), note)
    if let offsets = golden["offsets"]?.ranges { #expect(encoding.offsets == offsets, note) }
    #expect(encoding.typeIDs == golden["type_ids"]?.integers, note)
    if let mask = golden["special_tokens_mask"]?.integers {
      #expect(encoding.specialTokensMask.map(Int32.init) == mask, note)
    }
    if let words = golden["word_ids"]?.array {
      #expect(encoding.wordIDs == words.map { $0.integer.map(Int32.init) }, note)
    }
  }

  private func checkAll(_ tokenizer: Tokenizer, _ vectors: JSON) throws {
    let cases = try #require(vectors["cases"]?.array)
    #expect(cases.count > 50)
    for golden in cases {
      let text = try #require(golden["text"]?.string)
      let note = Comment(rawValue: golden["text"]?.text() ?? "")
      let encoding = try tokenizer.encode(text)
      check(encoding, golden, note)
      #expect(try tokenizer.ids(text) == encoding.ids, note)
      let plain = golden["ids_no_special"]?.integers
      #expect(try tokenizer.encode(text, addSpecialTokens: false).ids == plain, note)
      #expect(try tokenizer.ids(text, addSpecialTokens: false) == plain, note)
      let skipped = try tokenizer.decode(encoding.ids)
      #expect(same(skipped, golden["decode_skip_special"]?.string ?? "missing"), note)
      let kept = try tokenizer.decode(encoding.ids, skipSpecialTokens: false)
      #expect(same(kept, golden["decode_keep_special"]?.string ?? "missing"), note)
      for skips in [true, false] { try checkStream(tokenizer, encoding.ids, skips, skips ? skipped : kept, note) }
    }
    for golden in vectors["pairs"]?.array ?? [] {
      let note = Comment(rawValue: golden["text"]?.text() ?? "")
      let (text, pair) = (try #require(golden["text"]?.string), try #require(golden["pair"]?.string))
      check(try tokenizer.encode(text, pair: pair), golden, note)
    }
  }

  /// Joined parts of a stream are the whole text, and no part holds a piece of a character.
  private func checkStream(_ tokenizer: Tokenizer, _ ids: [Int32], _ skips: Bool, _ whole: String, _ note: Comment)
    throws
  {
    var decoder = tokenizer.streamingDecoder(skipSpecialTokens: skips)
    var parts: [String] = []
    for id in ids { parts.append(try decoder.append(id)) }
    parts.append(try decoder.finish())
    #expect(same(parts.joined(), whole), note)
    // A replacement character in a part would be half a character, unless the whole text has as many.
    let replaced = parts.reduce(0) { $0 + $1.unicodeScalars.count { $0 == "\u{FFFD}" } }
    #expect(replaced == whole.unicodeScalars.count { $0 == "\u{FFFD}" }, note)
  }

  @Test(arguments: Goldens.tokenizers) func vectors(folder: String) throws {
    let vectors = try Goldens.json(FileSystem.join(folder, "vectors.json"))
    try checkAll(try Tokenizer(at: folder), vectors)
    let legacy = FileSystem.join(folder, "tokenizer.legacy.json")
    if FileSystem.isFile(legacy) { try checkAll(try Tokenizer(at: legacy), vectors) }
  }

  @Test(arguments: Goldens.tokenizers) func truncationAndPadding(folder: String) throws {
    let json = try Goldens.json(FileSystem.join(folder, "tokenizer.json"))
    let cases = try #require(Goldens.json(FileSystem.join(folder, "vectors.json"))["truncation_padding"]?.array)
    #expect(!cases.isEmpty)
    for golden in cases {
      var parts = try Tokenizer(json: json).parts
      let note = Comment(rawValue: golden.text())
      if let setting = golden["truncation"] {
        parts.truncation = Truncation(
          maximumLength: try #require(setting["max_length"]?.integer), stride: setting["stride"]?.integer ?? 0,
          direction: setting["direction"]?.string == "left" ? .left : .right)
        let encoding = try Tokenizer(parts).encode(try #require(golden["text"]?.string))
        #expect(encoding.ids == golden["ids"]?.integers, note)
        #expect(encoding.overflowing.map(\.ids) == golden["overflowing"]?.array?.map(\.integers), note)
      } else {
        let setting = try #require(golden["padding"])
        parts.padding = Padding(
          length: setting["length"]?.integer, direction: setting["direction"]?.string == "left" ? .left : .right,
          multiple: setting["pad_to_multiple_of"]?.integer, id: Int32(setting["pad_id"]?.integer ?? 0),
          token: setting["pad_token"]?.string ?? "")
        let encodings = try Tokenizer(parts).encode(batch: golden["batch"]?.strings ?? [])
        #expect(encodings.map(\.ids) == golden["ids"]?.array?.map(\.integers), note)
        #expect(
          encodings.map(\.attentionMask) == golden["attention_mask"]?.array?.map { $0.integers.map(UInt8.init) }, note)
        #expect(encodings.map(\.typeIDs) == golden["type_ids"]?.array?.map(\.integers), note)
      }
    }
  }

  @Test(.enabled(if: Goldens.folder != nil, "set ESPALIER_GOLDENS to the folder of goldens to run it"))
  func wholeCollection() throws {
    let folder = FileSystem.join(try #require(Goldens.folder), "tokenizers/hf")
    let names = try FileSystem.list(folder)
    #expect(names.count >= 18)
    for name in names { try vectors(folder: FileSystem.join(folder, name)) }
    for name in names { try truncationAndPadding(folder: FileSystem.join(folder, name)) }
  }
}
