import EspalierBasics
import Foundation
import Testing

@testable import EspalierTokenizers

/// Parts of writing a vocabulary, by hand; and files that are broken.
@Suite struct GGUFWritingPartsTests {
  private func byteLevel(
    _ tokens: [String], merges: [JSON] = [], added: [JSON] = [], splits: [JSON] = [], ignoresMerges: Bool = false,
    processor: JSON = .null
  ) -> JSON {
    let isPlain = splits.isEmpty
    return [
      "added_tokens": .array(added), "normalizer": .null, "post_processor": processor,
      "pre_tokenizer": [
        "type": "Sequence",
        "pretokenizers": .array(
          splits + [["type": "ByteLevel", "add_prefix_space": false, "use_regex": .bool(isPlain)]]),
      ],
      "model": [
        "type": "BPE", "vocab": .object(tokens.enumerated().map { ($0.element, .number($0.offset)) }),
        "merges": .array(merges), "ignore_merges": .bool(ignoresMerges),
      ],
    ]
  }

  private func added(_ content: String, _ id: Int, special: Bool = true) -> JSON {
    ["id": .number(id), "content": .string(content), "special": .bool(special), "normalized": false]
  }

  private func source(_ tokenizer: JSON, _ configuration: JSON = [:]) throws -> GGUFVocabulary.Source {
    GGUFVocabulary.Source(
      files: try files(["tokenizer.json": tokenizer, "tokenizer_config.json": configuration]))
  }

  private func split(_ expression: String) -> JSON {
    ["type": "Split", "pattern": ["Regex": .string(expression)], "behavior": "Isolated", "invert": false]
  }

  // MARK: Names of pre-tokenizers

  /// As the models' own files have them.
  @Test(
    arguments: [
      (["gpt2"], nil, false, "gpt-2"), (["digits", "gpt2"], nil, false, "smollm"),
      (["digits", "gpt2"], "starcoder2", false, "starcoder"), (["digits", "gpt2"], "cohere", false, "command-r"),
      (["cl100k3"], nil, true, "llama-bpe"), (["cl100k3"], "olmo2", false, "dbrx"), (["cl100k3"], "glm4", true, "glm4"),
      (["cl100k1"], "qwen3", false, "qwen2"), (["cl100k1"], "stablelm", false, "stablelm2"),
      (["o200k"], "gpt_oss", false, "gpt-4o"), (["o200k"], "llama4_text", false, "llama4"),
      (["numbers3", "ideographs", "signed"], "deepseek_v3", false, "deepseek-v3"),
      (["punctuation", "gpt2", "runs", "threes"], "falcon", false, "falcon"),
    ] as [([String], String?, Bool, String)])
  func namesOfPreTokenizers(steps: [String], family: String?, ignoresMerges: Bool, name: String) throws {
    let contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    func cl100k(_ digits: String) -> String {
      contraction + #"|[^\r\n\p{L}\p{N}]?\p{L}+|"# + digits
        + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    }
    let known: [String: JSON] = [
      "gpt2": ["type": "ByteLevel", "add_prefix_space": false, "use_regex": true],
      "digits": ["type": "Digits", "individual_digits": true], "runs": ["type": "Digits", "individual_digits": false],
      "punctuation": ["type": "Punctuation", "behavior": "Contiguous"], "threes": split("[0-9][0-9][0-9]"),
      "cl100k3": split(cl100k(#"\p{N}{1,3}"#)), "cl100k1": split(cl100k(#"\p{N}"#)),
      "o200k": split(
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"# + contraction + "?|"
          + #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"# + contraction + "?|"
          + #"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#), "numbers3": split(#"\p{N}{1,3}"#),
      "ideographs": split("[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+"),
      "signed": split(
        ##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##
          + #"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#),
    ]
    let parts = try steps.map { try PreTokenizer(json: try #require(known[$0])) }
    #expect(
      try PreTokenizerName.name(of: parts, ignoresMerges: ignoresMerges, cleansSpaces: nil, family: family) == name)
  }

  @Test func anUnknownPreTokenizerNeedsAName() throws {
    var own = try source(byteLevel(["a", "b"], splits: [split("[ab]+")]))
    #expect {
      try GGUFVocabulary.describing(own)
    } throws: { error in
      guard let problem = error as? Problem else { return false }
      return problem.code == .tokenizerUnsupported && problem.message.contains("llama.cpp would cut text otherwise")
        && problem.remedy?.contains("gpt-2, ") == true && problem.context.file == "tokenizer.json"
    }
    own.preTokenizer = "qwen2"
    #expect(try GGUFVocabulary.describing(own).vocabulary.preTokenizer == "qwen2")
    own.preTokenizer = "gemma4"
    #expect(throws: Problem.self) { try GGUFVocabulary.describing(own) }
    own.preTokenizer = "none"
    #expect(throws: Problem.self) { try GGUFVocabulary.describing(own) }
  }

  // MARK: Tokens

  @Test func tokensAndRows() throws {
    var own = try source(
      byteLevel(
        ["a", "b", "ab", "c ", "c d", "d"], merges: [["a", "b"], "a b", ["c ", "d"]],
        added: [
          added("<s>", 6), added("\u{2581}x", 7, special: false), added("<|y|>", 9, special: false),
        ]))
    // The library numbers added tokens one after the other, files may not: id 8 has no token.
    own.rows = 12
    let (vocabulary, _) = try GGUFVocabulary.describing(own)
    #expect(
      vocabulary.tokens.map { String(decoding: $0, as: UTF8.self) } == [
        "a", "b", "ab", "c ", "c d", "d", "<s>", " x", "[PAD8]", "<|y|>", "[PAD10]", "[PAD11]",
      ])
    #expect(
      vocabulary.kinds == [
        .normal, .normal, .normal, .normal, .normal, .normal, .control, .userDefined, .unused, .control, .unused,
        .unused,
      ])
    #expect(vocabulary.merges.map { String(decoding: $0, as: UTF8.self) } == ["a b", "a b"])
    own.rows = 6
    let short = try GGUFVocabulary.describing(own)
    #expect(short.vocabulary.tokens.count == 6)
    #expect(short.warnings.contains { $0.code == .tokenizerBeyondEmbedding })
    for rows in [0, -1, 1 << 40] {
      own.rows = rows
      #expect { try GGUFVocabulary.describing(own) } throws: { ($0 as? Problem)?.code == .tokenizerMalformed }
    }
    let far = byteLevel(["a"], added: [added("<far>", Int(Int32.max) - 1)])
    #expect(throws: Problem.self) { try GGUFVocabulary.describing(source(far)) }
  }

  @Test func typesOfKeys() throws {
    var vocabulary = GGUFVocabulary(model: "t5", tokens: [[97]])
    vocabulary.preTokenizer = "default"
    vocabulary.scores = [-1]
    vocabulary.kinds = [.normal]
    vocabulary.merges = [[97, 32, 97]]
    vocabulary.ids = [.separator: 0, .beginning: 0, .end: -1]
    (vocabulary.addsBeginning, vocabulary.addsEnd, vocabulary.addsSeparator) = (true, false, true)
    (vocabulary.lowercases, vocabulary.stripsAccents) = (true, false)
    (vocabulary.addsSpacePrefix, vocabulary.removesExtraSpaces) = (true, false)
    vocabulary.characterMap = [1, 2]
    vocabulary.chatTemplates = ["default": "d", "tool use": "t", "rag": "r"]
    vocabulary.tokenizerJSON = "{}"
    let expected: [(String, GGUFVocabularyValue)] = [
      ("ggml.model", .text("t5")), ("ggml.pre", .text("default")), ("ggml.tokens", .strings([[97]])),
      ("ggml.scores", .f32s([-1])), ("ggml.token_type", .i32s([1])), ("ggml.merges", .strings([[97, 32, 97]])),
      ("ggml.bos_token_id", .u32(0)), ("ggml.seperator_token_id", .u32(0)), ("ggml.add_bos_token", .truth(true)),
      ("ggml.add_eos_token", .truth(false)), ("ggml.add_sep_token", .truth(true)), ("chat_template.rag", .text("r")),
      ("chat_template.tool_use", .text("t")),
      ("chat_templates", .strings([Array("rag".utf8), Array("tool_use".utf8)])), ("chat_template", .text("d")),
      ("ggml.normalizer.lowercase", .truth(true)), ("ggml.normalizer.strip_accents", .truth(false)),
      ("ggml.add_space_prefix", .truth(true)), ("ggml.remove_extra_whitespaces", .truth(false)),
      ("ggml.precompiled_charsmap", .u8s([1, 2])), ("huggingface.json", .text("{}")),
    ]
    #expect(vocabulary.keys.map(\.key) == expected.map { "tokenizer." + $0.0 })
    #expect(vocabulary.keys.map(\.value) == expected.map(\.1))
  }

  @Test func theWholeTokenizerIsCarriedIfAskedFor() throws {
    let tokenizer = byteLevel(["a"])
    var own = try source(tokenizer)
    #expect(try GGUFVocabulary.describing(own).vocabulary.tokenizerJSON == nil)
    own.carriesTokenizerJSON = true
    let json = try #require(try GGUFVocabulary.describing(own).vocabulary.tokenizerJSON)
    #expect(json == tokenizer.text())
  }

  // MARK: Scores

  /// Merges "bc", "ab", "a"+"bc", "ab"+"c": scores fall with the tokens as they are made.
  @Test func scoresFallInTheOrderOfMerges() {
    let tokens = ["a", "b", "c", "ab", "bc", "abc"]
    let table = TokenTable(pieces: tokens)
    func scores(_ merges: [(String, String)]) -> MergeScores {
      MergeScores(tokens: table, isNormal: tokens.map { _ in true }, merges: merges)
    }
    let whole = scores([("b", "c"), ("a", "b"), ("a", "bc"), ("ab", "c")])
    #expect(whole.scores == [-3, -3, -3, -1, 0, -2])
    #expect(whole.incompleteTokens == 0 && whole.scatteredTokens == 0)
    let incomplete = scores([("b", "c"), ("a", "b"), ("a", "bc")])
    #expect(incomplete.incompleteTokens == 1 && incomplete.scatteredTokens == 0)
    let scattered = scores([("b", "c"), ("a", "bc"), ("a", "b"), ("ab", "c"), ("x", "y")])
    #expect(scattered.scores == [-3, -3, -3, -2, 0, -1])
    #expect(scattered.incompleteTokens == 0 && scattered.scatteredTokens == 1)
  }

  // MARK: Roles

  @Test func rolesAndEnds() throws {
    let tokenizer = byteLevel(
      ["a"], added: [added("<s>", 1), added("</s>", 2), added("<end>", 3), added("<unk>", 4)],
      processor: [
        "type": "TemplateProcessing",
        "single": [
          ["SpecialToken": ["id": "<s>", "type_id": 0]], ["Sequence": ["id": "A", "type_id": 0]],
          ["SpecialToken": ["id": "<end>", "type_id": 0]],
        ],
        "pair": [
          ["SpecialToken": ["id": "<s>", "type_id": 0]], ["Sequence": ["id": "A", "type_id": 0]],
          ["SpecialToken": ["id": "<end>", "type_id": 0]], ["SpecialToken": ["id": "<end>", "type_id": 0]],
          ["Sequence": ["id": "B", "type_id": 1]], ["SpecialToken": ["id": "<end>", "type_id": 1]],
        ],
        "special_tokens": [
          "<s>": ["id": "<s>", "ids": [1], "tokens": ["<s>"]],
          "<end>": ["id": "<end>", "ids": [3], "tokens": ["<end>"]],
        ],
      ])
    // The token that the template ends with is the end; what was called so ends a turn.
    var own = try source(tokenizer, ["eos_token": ["content": "</s>"], "unk_token": "<unk>", "add_bos_token": false])
    own.configuration = ["eos_token_id": 0, "pad_token_id": 4, "sep_token_id": 99]
    own.generationConfiguration = ["mask_token_id": [3, 1], "pad_token_id": 0]
    let (vocabulary, warnings) = try GGUFVocabulary.describing(own)
    #expect(
      vocabulary.ids
        == [
          .beginning: 1, .end: 3, .endOfTurn: 2, .unknown: 4, .padding: 4, .mask: 3, .separator: 3, .classification: 1,
        ].filter { $0.key != .classification })
    #expect(vocabulary.addsBeginning == true && vocabulary.addsEnd == true && vocabulary.addsSeparator == true)
    #expect(warnings.isEmpty, "\(warnings)")
    #expect(try Tokenizer(gguf: vocabulary).ids("a") == [1, 0, 3])
  }

  /// A name that implies a beginning is told that there is none.
  @Test func impliedEndsAreDenied() throws {
    let expression =
      #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    let own = try source(byteLevel(["a", "b"], splits: [split(expression)], ignoresMerges: true))
    let (vocabulary, _) = try GGUFVocabulary.describing(own)
    #expect(vocabulary.preTokenizer == "llama-bpe" && vocabulary.addsBeginning == false)
    #expect(try Tokenizer(gguf: vocabulary).ids("ab") == [0, 1])
  }

  @Test func chatTemplatesComeAlong() throws {
    let own = try source(
      byteLevel(["a"]), ["chat_template": [["name": "default", "template": "d"], ["name": "rag", "template": "r"]]])
    #expect(try GGUFVocabulary.describing(own).vocabulary.chatTemplates == ["default": "d", "rag": "r"])
  }

  // MARK: SentencePiece's files

  @Test func pieces() throws {
    let file = try SentencePieceFile(bytes: fixture("gguf/sources/gemma2_spm/tokenizer.model"))
    #expect(file.model == .bytePair && !file.addsPrefix && file.pieces.count == 384)
    #expect(file.pieces[3].text == Array("<unk>".utf8) && file.pieces[3].kind == .unknown)
    #expect(file.pieces[4].kind == .byte && file.pieces[2].kind == .control)
    // One piece "ab" of score 1.5, user-defined; model BPE; spaces at word ends.
    let bytes: [UInt8] = [0x0A, 11, 0x0A, 2, 97, 98, 0x15, 0, 0, 0xC0, 0x3F, 0x18, 4, 0x12, 5, 0x18, 2, 0xC0, 0x01, 1]
    let tiny = try SentencePieceFile(bytes: bytes)
    #expect(tiny.pieces.count == 1 && tiny.pieces[0].score == 1.5 && tiny.pieces[0].kind == .userDefined)
    #expect(tiny.model == .bytePair && tiny.spacesEndWords)
  }

  /// Added tokens replace pieces and come after them.
  @Test func addedTokensOfSentencePiece() throws {
    var contents = ["tokenizer.model": try fixture("gguf/sources/llama_spm/tokenizer.model")]
    contents["added_tokens.json"] = Array(#"{"<new>": 385}"#.utf8)
    contents["tokenizer_config.json"] = Array(
      #"{"added_tokens_decoder": {"384": {"content": "<|user|>", "special": false}}}"#.utf8)
    let (vocabulary, _) = try GGUFVocabulary.describing(
      GGUFVocabulary.Source(files: try TokenizerFiles(files: contents)))
    #expect(vocabulary.tokens.count == 386 && vocabulary.kinds.suffix(2) == [.control, .userDefined])
    #expect(vocabulary.scores.suffix(2) == [-1000, -1000])
    let tokenizer = try Tokenizer(gguf: vocabulary)
    #expect(try tokenizer.ids("<new>", addSpecialTokens: false) == [385])
  }

  // MARK: Damage

  @Test func brokenFilesAreProblems() throws {
    var state: UInt64 = 7
    func random(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    var outcomes: [String: Int] = [:]
    func attempt(_ contents: [String: [UInt8]]) {
      do throws(Problem) {
        var source = GGUFVocabulary.Source(files: try TokenizerFiles(files: contents))
        source.rows = [nil, 0, 5, 500][random(4)]
        source.configuration = ["bos_token_id": .number(random(1000) - 500), "eos_token_id": [.number(random(1000))]]
        _ = try GGUFVocabulary.describing(source)
        outcomes["made", default: 0] += 1
      } catch { outcomes[error.code.rawValue, default: 0] += 1 }
    }
    let model = try fixture("gguf/sources/llama_spm/tokenizer.model")
    for _ in 0..<150 {
      var broken = model
      if random(2) == 0 { broken.removeLast(random(broken.count)) }
      for _ in 0..<random(4) where !broken.isEmpty { broken[random(broken.count)] = UInt8(random(256)) }
      attempt(["tokenizer.model": broken])
    }
    for name in ["spbpe_gemma", "bbpe_llama3", "wordpiece_cased", "unigram_xlm"] {
      let text = try fixture("tokenizers/\(name)/tokenizer.json")
      for _ in 0..<15 {
        var broken = text
        for _ in 0..<1 + random(3) {
          let place = random(broken.count)
          if broken[place] > 0x20 { broken[place] = [0x30, 0x31, 0x61, 0x2D, broken[place]][random(5)] }
        }
        attempt(["tokenizer.json": broken, "tokenizer.model": model])
      }
    }
    #expect((outcomes["made"] ?? 0) > 0 && outcomes.count > 2, "\(outcomes)")
  }

  @Test func noTokenizerIsAProblem() throws {
    #expect {
      try GGUFVocabulary.describing(
        GGUFVocabulary.Source(files: try TokenizerFiles(files: ["merges.txt": Array("a b".utf8)])))
    } throws: { ($0 as? Problem)?.code == .tokenizerMissing }
  }
}
