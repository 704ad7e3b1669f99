import EspalierBasics
import Testing

@testable import EspalierTokenizers

/// Vocabularies small enough to work out by hand, and broken ones.
@Suite struct GGUFVocabularyTests {
  private func vocabulary(
    _ model: String, _ tokens: [String], scores: [Float] = [], kinds: [GGUFVocabulary.Kind] = []
  ) -> GGUFVocabulary {
    var vocabulary = GGUFVocabulary(model: model, tokens: tokens.map { Array($0.utf8) })
    vocabulary.scores = scores
    vocabulary.kinds = kinds
    return vocabulary
  }

  private func code(_ vocabulary: GGUFVocabulary) -> Problem.Code? {
    do throws(Problem) {
      _ = try Tokenizer(gguf: vocabulary)
      return nil
    } catch { return error.code }
  }

  /// "ab" and "bc" compete for the b of "abc": the larger score wins, the one further left if they are equal.
  @Test func scoresDecide() throws {
    let tokens = ["<unk>", "<s>", "</s>", "a", "b", "c", "ab", "bc", "\u{2581}"]
    for (scores, expected) in [(Float(-1), ["ab", "c"]), (-3, ["a", "bc"]), (-2, ["ab", "c"])].map({ score, pieces in
      ([0, 0, 0, -9, -9, -9, score, -2, -9] as [Float], pieces)
    }) {
      var vocabulary = vocabulary("llama", tokens, scores: scores, kinds: [.unknown, .control, .control])
      vocabulary.addsSpacePrefix = false
      let tokenizer = try Tokenizer(gguf: vocabulary)
      #expect(try tokenizer.encode("abc", addSpecialTokens: false).tokens == expected)
      vocabulary.addsSpacePrefix = nil
      vocabulary.addsEnd = true
      let encoding = try Tokenizer(gguf: vocabulary).encode("abc")
      #expect(encoding.tokens == ["<s>", "\u{2581}"] + expected + ["</s>"])
      #expect(encoding.specialTokensMask.first == 1)
      #expect(try Tokenizer(gguf: vocabulary).decode(encoding.ids) == "abc")
    }
  }

  /// A character without a token needs tokens for its bytes.
  @Test func bytesStandForTheUnknown() throws {
    let base = ["<unk>", "<s>", "</s>", "a"]
    let poor = try Tokenizer(gguf: vocabulary("llama", base))
    #expect { try poor.ids("é") } throws: { ($0 as? Problem)?.code == .tokenizerUnknown }
    let rich = vocabulary(
      "llama", base + ["<0xC3>", "<0xA9>", "\u{2581}"],
      kinds: [.unknown, .control, .control, .normal, .byte, .byte, .normal])
    let tokenizer = try Tokenizer(gguf: rich)
    #expect(try tokenizer.ids("aé") == [1, 6, 3, 4, 5])
    #expect(try tokenizer.encode("aé", offsets: .codePoints).offsets.suffix(2) == [1..<2, 1..<2])
    // Half a character is not shown before it is whole.
    var decoder = tokenizer.streamingDecoder()
    #expect(try [6, 3, 4, 5].map { try decoder.append($0) } == ["", "a", "", "é"])
  }

  /// Of special tokens that overlap, the longest is found, and only if control tokens are looked for.
  @Test func specialTokens() throws {
    let tokens = ["<unk>", "<s>", "</s>", "a", "b", "c", "d", "ab", "bcd", "\u{2581}"]
    var kinds = [GGUFVocabulary.Kind](repeating: .normal, count: tokens.count)
    (kinds[1], kinds[2], kinds[7], kinds[8]) = (.control, .control, .control, .userDefined)
    var vocabulary = vocabulary("llama", tokens, kinds: kinds)
    vocabulary.addsSpacePrefix = false
    let parsing = try Tokenizer(gguf: vocabulary)
    #expect(try parsing.ids("abcd", addSpecialTokens: false) == [3, 8])
    #expect(try parsing.ids("abab", addSpecialTokens: false) == [7, 7])
    let plain = try Tokenizer(gguf: vocabulary, parsesSpecialTokens: false)
    #expect(try plain.ids("abcd", addSpecialTokens: false) == [3, 8])
    #expect(try parsing.decode([1, 7, 8, 3]) == "bcda")
    #expect(try parsing.decode([1, 7, 8, 3], skipSpecialTokens: false) == "<s>abbcda")
  }

  @Test func cleaningOfSpaces() {
    let words = ["Hello", " ,", " it", " 's", " ' ", "x", " '", " y", " 're", " .", "  ?"]
    var stage = PieceStage(stripsFirstSpace: true, cleansSpaces: true)
    var output: [TokenText] = []
    for word in words { stage.take(Array(word.utf8), &output) }
    stage.finish(&output)
    #expect(String(decoding: output.joined(), as: UTF8.self) == "Hello, it's'x'y're. ?")
  }

  @Test func endingsAndRoles() {
    let tokens = ["a", "<|im_end|>", "<|endoftext|>", "<|channel|>", "</s>"]
    var vocabulary = vocabulary("gpt2", tokens)
    vocabulary.ids = [.end: 2, .beginning: 99]
    #expect(vocabulary.endOfGenerationIDs == [1, 2, 4])
    #expect(vocabulary.roles().kinds == [.normal, .control, .control, .userDefined, .control])
    #expect(vocabulary.specialTokenVariables == ["eos_token": "<|endoftext|>"])
  }

  @Test func chatTemplates() throws {
    var keys: JSON = ["tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>"]]
    let chat: JSON = [["role": "user", "content": "hi"]]
    #expect { try GGUFVocabulary(Keys(keys)).chatTemplate() } throws: {
      ($0 as? Problem)?.code == .chatTemplateMissing
    }
    keys["tokenizer.chat_template"] = "{{ bos_token }}{{ messages[0].content }}"
    keys["tokenizer.chat_templates"] = ["tool_use"]
    keys["tokenizer.chat_template.tool_use"] = "tools"
    let vocabulary = try GGUFVocabulary(Keys(keys))
    let variables = vocabulary.specialTokenVariables
    #expect(try vocabulary.chatTemplate().render(messages: chat, specialTokens: variables) == "<s>hi")
    #expect(try vocabulary.chatTemplate(forTools: true).render(messages: chat) == "tools")
  }

  @Test func brokenVocabularies() throws {
    #expect(code(vocabulary("rwkv", ["a"])) == .tokenizerUnsupported)
    var odd = vocabulary("gpt2", ["a", "b"])
    odd.preTokenizer = "something-new"
    #expect(code(odd) == .tokenizerUnsupported)
    #expect(code(vocabulary("llama", ["a", "b", "a"])) == .tokenizerDuplicate)
    #expect(code(vocabulary("llama", ["a", "b", "c"], scores: [1])) == .tokenizerMalformed)
    // No beginning, though one is to be added; no unknown token.
    #expect(code(vocabulary("llama", ["a"])) == .tokenizerMalformed)
    #expect(code(vocabulary("bert", ["a"])) == .tokenizerMalformed)
    var merges = vocabulary("gpt2", ["a", "b"])
    merges.merges = [Array("ab".utf8)]
    #expect(code(merges) == .tokenizerMalformed)
    merges.merges = [Array("a c".utf8)]
    #expect(code(merges) == .tokenizerMalformed)
    var map = vocabulary("t5", ["<pad>", "</s>", "<unk>"])
    map.characterMap = [200, 0, 0, 0, 1]
    #expect(code(map) == .tokenizerMalformed)
    #expect { try GGUFVocabulary(Keys(["tokenizer.ggml.model": "llama"])) } throws: {
      ($0 as? Problem)?.code == .tokenizerMissing
    }
    let short: JSON = [
      "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["a", "b"], "tokenizer.ggml.scores": [1.0],
    ]
    #expect { try GGUFVocabulary(Keys(short)) } throws: { ($0 as? Problem)?.code == .tokenizerMalformed }
  }

  /// Vocabularies with random faults give a tokenizer or a problem, and so does what is encoded with them.
  @Test(arguments: ["llama_spm", "qwen2_bpe", "unigram-plain", "wordpiece", "line-breaks"])
  func damagedVocabularies(name: String) throws {
    let golden = try JSON(parsing: fixture("gguf/\(name).json"))
    let whole = try GGUFVocabulary(Keys(try #require(golden["vocabulary"])))
    let texts = try #require(golden["cases"]?.array).compactMap { $0["string"]?.string }
    var state: UInt64 = 0x2545_F491_4F6C_DD1D
    func random(_ count: Int) -> Int {
      // xorshift64 (Marsaglia 2003).
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return Int(state % UInt64(max(count, 1)))
    }
    var outcomes: [String: Int] = [:]
    for _ in 0..<60 {
      var broken = whole
      for _ in 0...random(4) {
        switch random(7) {
        case 0: broken.tokens.removeLast(random(broken.tokens.count))
        case 1: broken.tokens[random(broken.tokens.count)] = (0..<random(5)).map { _ in UInt8(random(256)) }
        case 2:
          broken.kinds = (0..<broken.tokens.count).map { _ in GGUFVocabulary.Kind(rawValue: random(7)) ?? .normal }
        case 3: broken.kinds = Array(broken.kinds.prefix(random(10)))
        case 4: broken.scores = broken.scores.map { random(9) == 0 ? [.nan, .infinity, -.infinity][random(3)] : $0 }
        case 5: broken.ids[GGUFVocabulary.Role.allCases[random(12)]] = random(2000) - 500
        default: broken.merges = broken.merges.filter { _ in random(20) > 0 }
        }
      }
      do throws(Problem) {
        let tokenizer = try Tokenizer(gguf: broken)
        for _ in 0..<5 {
          let ids = try tokenizer.ids(texts[random(texts.count)])
          _ = try tokenizer.decode(ids + [Int32(random(5000)) - 100])
        }
        outcomes["made", default: 0] += 1
      } catch { outcomes[error.code.rawValue, default: 0] += 1 }
    }
    #expect((outcomes["made"] ?? 0) > 0, "\(outcomes)")
  }
}
