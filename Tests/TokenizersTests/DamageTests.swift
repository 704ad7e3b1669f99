import EspalierBasics
import EspalierTokenizers
import Foundation
import TestSupport
import Testing

/// Tokenizers that are not as they should be: an error that names what is wrong, and never a trap.
@Suite struct DamageTests {
  private static let model: JSON = ["type": "WordLevel", "vocab": ["a": 0, "[UNK]": 1], "unk_token": "[UNK]"]

  private func problem(_ json: JSON) -> Problem? {
    do throws(Problem) {
      _ = try Tokenizer(json: json)
      return nil
    } catch { return error }
  }

  @Test func unsupportedComponentsAreNamed() {
    for (key, role) in [
      ("normalizer", "normalizer"), ("pre_tokenizer", "pre-tokenizer"), ("post_processor", "post-processor"),
      ("decoder", "decoder"),
    ] {
      let component: JSON = ["type": "Imaginary"]
      let found = problem(.object([("model", Self.model), (key, component)]))
      #expect(found?.code == .tokenizerUnsupported)
      #expect(found?.message == "the \(role) Imaginary is not supported")
    }
    #expect(problem(["model": ["type": "Neural", "vocab": [:]]])?.code == .tokenizerUnsupported)
    let dropout: JSON = ["type": "BPE", "vocab": ["a": 0], "merges": [], "dropout": .number(0.1)]
    #expect(problem(["model": dropout])?.code == .tokenizerUnsupported)
    #expect(problem(["version": "2.0", "model": Self.model])?.code == .tokenizerUnsupported)
  }

  @Test func malformed() {
    let cases: [(JSON, Problem.Code)] = [
      ([], .tokenizerMalformed), ([:], .tokenizerMalformed), (["model": 3], .tokenizerMalformed),
      (["model": ["type": "BPE", "vocab": ["a": 0], "merges": [["a", "b"]]]], .tokenizerMalformed),
      (["model": ["type": "BPE", "vocab": ["a": 0], "merges": ["a b c"]]], .tokenizerMalformed),
      (["model": ["type": "BPE", "vocab": ["a": 0]]], .tokenizerMalformed),
      (["model": ["type": "BPE", "vocab": ["a": -1], "merges": []]], .tokenizerMalformed),
      (["model": ["type": "BPE", "vocab": ["a": 99_999_999_999], "merges": []]], .tokenizerMalformed),
      (["model": ["type": "WordLevel", "vocab": ["a": 0, "b": 0], "unk_token": "a"]], .tokenizerDuplicate),
      (["model": ["type": "Unigram", "vocab": [["a", 0]], "unk_id": 7]], .tokenizerMalformed),
      (["model": ["type": "Unigram", "vocab": [["a"]], "unk_id": 0]], .tokenizerMalformed),
      (["model": Self.model, "added_tokens": [["content": "x"]]], .tokenizerMalformed),
      (
        ["model": Self.model, "normalizer": ["type": "Precompiled", "precompiled_charsmap": "AAAA"]],
        .tokenizerMalformed
      ),
      (
        ["model": Self.model, "normalizer": ["type": "Precompiled", "precompiled_charsmap": "!"]], .tokenizerMalformed
      ),
      (
        ["model": Self.model, "pre_tokenizer": ["type": "Split", "pattern": ["Regex": "("], "behavior": "Removed"]],
        .tokenizerPattern
      ),
      (
        ["model": Self.model, "pre_tokenizer": ["type": "Split", "pattern": ["String": "x"], "behavior": "Odd"]],
        .tokenizerMalformed
      ),
      (["model": Self.model, "pre_tokenizer": ["type": "FixedLength", "length": 0]], .tokenizerMalformed),
      (["model": Self.model, "pre_tokenizer": ["type": "Metaspace", "replacement": "ab"]], .tokenizerMalformed),
      (
        [
          "model": Self.model,
          "post_processor": [
            "type": "TemplateProcessing", "single": [["SpecialToken": ["id": "x"]]],
            "pair": [], "special_tokens": [:],
          ],
        ], .tokenizerMalformed
      ),
      (["model": Self.model, "truncation": ["max_length": -1]], .tokenizerMalformed),
      (["model": Self.model, "padding": ["strategy": ["Fixed": 99_999_999_999]]], .tokenizerMalformed),
    ]
    for (json, code) in cases { #expect(problem(json)?.code == code, Comment(rawValue: json.text())) }
  }

  @Test func missingFile() {
    let found = #expect(throws: Problem.self) { try Tokenizer(at: "/nonexistent/folder") }
    #expect(found?.code == .tokenizerMissing)
  }

  /// Values exchanged at random: read or refused, and what is read encodes or refuses, without a trap.
  @Test(arguments: Goldens.tokenizers) func changedValues(folder: String) throws {
    let whole = try Goldens.json(FileSystem.join(folder, "tokenizer.json"))
    var random = SeededGenerator(seed: 7)
    var read = 0
    for _ in 0..<150 {
      var damaged = whole
      for key in ["normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens", "truncation", "padding"] {
        if let part = damaged[key] { damaged[key] = changed(part, &random) }
      }
      for (key, value) in damaged["model"]?.members?.pairs ?? [] where Int.random(in: 0..<20, using: &random) == 0 {
        damaged["model"]?[key] = changed(value, &random, always: true)
      }
      guard let tokenizer = try? Tokenizer(json: damaged) else { continue }
      read += 1
      guard let encoding = try? tokenizer.encode("Hello wörld 日本 <s> 12\n", pair: "x") else { continue }
      #expect(encoding.ids.count == encoding.offsets.count)
      _ = try? tokenizer.decode(encoding.ids)
    }
    #expect(read > 0)
  }

  /// The value, or another one in some places of it.
  private func changed(_ json: JSON, _ random: inout SeededGenerator, always: Bool = false) -> JSON {
    if always || Int.random(in: 0..<25, using: &random) == 0 {
      let others: [JSON] = [
        .null, 0, -1, 2_147_483_647, "", "▁", "a", true, [], [:], ["a", 1], "(?<=x*)", .literal("1e400"),
      ]
      return others.randomElement(using: &random) ?? .null
    }
    if let elements = json.array { return .array(elements.map { changed($0, &random) }) }
    if let members = json.members { return .object(members.pairs.map { ($0.key, changed($0.value, &random)) }) }
    return json
  }

  /// Bytes changed at random.
  @Test(arguments: Goldens.tokenizers) func changedBytes(folder: String) throws {
    let bytes = try FileSystem.read(FileSystem.join(folder, "tokenizer.json"))
    var random = SeededGenerator(seed: 7)
    for _ in 0..<60 {
      var damaged = bytes
      damaged[Int.random(in: damaged.indices, using: &random)] = UInt8.random(in: 0x20...0x7E, using: &random)
      do throws(Problem) {
        let encoding = try Tokenizer(json: try JSON(parsing: damaged)).encode("Hello wörld 日本 <s> 12\n")
        #expect(encoding.ids.count == encoding.offsets.count)
      } catch {
        #expect(!error.message.isEmpty)
      }
    }
  }

  /// A character map whose units point anywhere.
  @Test func hostileCharacterMaps() throws {
    var random = SeededGenerator(seed: 11)
    for _ in 0..<200 {
      let count = Int.random(in: 0...63, using: &random)
      var bytes: [UInt8] = [UInt8(4 * count), 0, 0, 0]
      for _ in 0..<4 * count { bytes.append(UInt8.random(in: 0...255, using: &random)) }
      bytes += Array("a\0b\0".utf8)
      let normalizer = Normalizer.precompiled(try CharacterMap(bytes: bytes))
      var parts = try Tokenizer(json: ["model": Self.model]).parts
      parts.normalizer = normalizer
      #expect(try Tokenizer(parts).encode("abc é 日本\r\n").count <= 1)
    }
  }

  @Test func unknownWithoutToken() throws {
    let json: JSON = ["model": ["type": "WordLevel", "vocab": ["a": 0], "unk_token": "[UNK]"]]
    let found = #expect(throws: Problem.self) { try Tokenizer(json: json).encode("b") }
    #expect(found?.code == .tokenizerUnknown)
  }

  @Test func truncationThatCannotBe() throws {
    var parts = try Tokenizer(json: ["model": Self.model, "pre_tokenizer": ["type": "WhitespaceSplit"]]).parts
    parts.truncation = Truncation(maximumLength: 2, stride: 2)
    let found = #expect(throws: Problem.self) { try Tokenizer(parts).encode("a a a a") }
    #expect(found?.code == .tokenizerTruncation)
  }
}
