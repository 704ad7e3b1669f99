import EspalierBasics
import EspalierTokenizers
import TestSupport
import Testing

@Suite struct VocabularyTests {
  private func vocabulary(_ model: JSON, added: JSON = []) throws -> Vocabulary {
    try Vocabulary(files(["tokenizer.json": ["model": model, "added_tokens": added]]))
  }

  @Test func everyKindOfModelIsRead() throws {
    let mapping: JSON = ["x": 0, "y": 1]
    let cases: [(JSON, Vocabulary.Kind)] = [
      (["type": "BPE", "vocab": mapping, "merges": []], .bpe),
      (["type": "WordPiece", "vocab": mapping], .wordPiece),
      (["type": "WordLevel", "vocab": mapping], .wordLevel),
      (["type": "Unigram", "vocab": [["x", -1.5], ["y", -2]]], .unigram),
      (["vocab": mapping, "merges": []], .bpe),
      (["vocab": [["x", 0], ["y", 0]]], .unigram),
      (["vocab": mapping, "max_input_chars_per_word": 100], .wordPiece),
      (["vocab": mapping], .wordLevel),
    ]
    for (model, kind) in cases {
      let vocabulary = try vocabulary(model)
      #expect(vocabulary.kind == kind)
      #expect(vocabulary.ordered.map(\.token) == ["x", "y"])
      #expect(vocabulary.size == 2)
      #expect(vocabulary.id(of: "y") == 1)
      #expect(vocabulary.token(0) == "x")
      #expect(vocabulary.token(2) == nil)
    }
  }

  @Test func addedTokensComeWithTheirFlags() throws {
    let added: JSON = [
      [
        "id": 5, "content": "<s>", "single_word": false, "lstrip": true, "rstrip": false, "normalized": false,
        "special": true,
      ]
    ]
    let vocabulary = try vocabulary(["type": "WordLevel", "vocab": ["x": 0]], added: added)
    let token = try #require(vocabulary.added["<s>"])
    #expect(token.id == 5 && token.special && token.leftStrip && !token.rightStrip && !token.normalized)
    #expect(vocabulary.count == 2)
    #expect(vocabulary.size == 6)
    #expect(vocabulary.holes == [1..<5])
  }

  @Test func otherFilesAddTokens() throws {
    let files = try files([
      "vocab.json": ["x": 0],
      "added_tokens.json": ["<a>": 1],
      "tokenizer_config.json": ["added_tokens_decoder": ["2": ["content": "<b>", "special": true]]],
    ])
    let vocabulary = try Vocabulary(files)
    #expect(vocabulary.kind == .bpe)
    #expect(vocabulary.ordered.map(\.token) == ["x", "<a>", "<b>"])
    #expect(vocabulary.added["<b>"]?.special == true)
    #expect(vocabulary.added["<a>"]?.special == false)
    #expect(vocabulary.holes.isEmpty)
  }

  @Test func tokensThatOnlyLookAlikeAreDifferent() throws {
    let vocabulary = try vocabulary(["type": "BPE", "vocab": ["\u{E9}": 0, "e\u{301}": 1]])
    #expect(vocabulary.count == 2)
    #expect(vocabulary.id(of: "e\u{301}") == 1)
    #expect(vocabulary.id(of: "\u{E9}") == 0)
  }

  @Test(
    arguments: [
      (["type": "WordLevel", "vocab": ["x": 0, "y": 0]], [], .tokenizerDuplicate),
      (["type": "Unigram", "vocab": [["x", 0], ["x", 0]]], [], .tokenizerDuplicate),
      (["type": "WordLevel", "vocab": ["x": 0]], [["id": 1, "content": "x"]], .tokenizerDuplicate),
      (["type": "WordLevel", "vocab": ["x": 0]], [["id": 0, "content": "y"]], .tokenizerDuplicate),
      (["type": "WordLevel", "vocab": ["x": -1]], [], .tokenizerMalformed),
      (["type": "WordLevel", "vocab": ["x": 9_223_372_036_854_775_807]], [], .tokenizerMalformed),
      (["type": "WordLevel", "vocab": ["x": 0.5]], [], .tokenizerMalformed),
      (["type": "WordLevel", "vocab": ["x"]], [], .tokenizerMalformed),
      (["type": "Unigram", "vocab": ["x": 0]], [], .tokenizerMalformed),
      (["type": "Unigram", "vocab": [[0, 0]]], [], .tokenizerMalformed),
      (["type": "WordLevel", "vocab": ["x": 0]], [["content": "x"]], .tokenizerMalformed),
      (["type": "WordLevel"], [], .tokenizerMalformed),
      (["type": "Morse", "vocab": ["x": 0]], [], .tokenizerUnsupported),
    ] as [(JSON, JSON, Problem.Code)])
  func damageIsNamed(model: JSON, added: JSON, code: Problem.Code) {
    let found = problems { try vocabulary(model, added: added) }
    #expect(found.map(\.code) == [code])
    #expect(found.first?.context.file == "tokenizer.json")
  }

  @Test func formsThatAreNotReadAreNamed() throws {
    let sentencePiece = try TokenizerFiles(files: ["tokenizer.model": [1, 2, 3]])
    let found = problems { try Vocabulary(sentencePiece) }
    #expect(found.map(\.code) == [.tokenizerUnsupported])
    #expect(found.first?.message == "the vocabulary of tokenizer.model is not read")
    #expect(problems { try Vocabulary(TokenizerFiles(files: [:])) }.map(\.code) == [.tokenizerMissing])
  }

  @Test func aDamagedFileIsNamed() {
    let found = problems { try TokenizerFiles(files: ["tokenizer_config.json": Array("{".utf8)]) }
    #expect(found.map(\.code) == [.json])
    #expect(found.first?.context.file == "tokenizer_config.json")
  }
}
