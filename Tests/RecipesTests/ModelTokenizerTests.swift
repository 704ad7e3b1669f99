import EspalierBasics
import EspalierCheckpoints
import EspalierRecipes
import EspalierTokenizers
import TestSupport
import Testing

/// What a model's files say of its tokenizer.
@Suite struct ModelTokenizerTests {
  /// Whatever a GGUF file names as the end of a text, a token that ends a turn ends the answer, as in llama.cpp.
  @Test func aTurnEndsWhereItsVocabularySaysSo() throws {
    var file = TestGGUF()
    file.add("general.architecture", "llama")
    file.add("tokenizer.ggml.model", "gpt2")
    file.add("tokenizer.ggml.pre", "gpt-2")
    file.add("tokenizer.ggml.tokens", ["a", "b", "<|endoftext|>", "<|im_end|>", "ab"])
    file.add("tokenizer.ggml.merges", ["a b"])
    file.add("tokenizer.ggml.eos_token_id", 4)
    file.add("output_norm.weight", shape: [2], [1, 1])
    try withTemporaryFolder { folder in
      try file.write(to: "\(folder)/model.gguf")
      let tokenizer = try ModelTokenizer(of: GGUFCheckpoint(unmappedAt: "\(folder)/model.gguf"))
      #expect(tokenizer.endTokens == [2, 3, 4])
      #expect(tokenizer.specialTokens["eos_token"] == "ab")
    }
  }

  /// What a file says of cutting and filling up texts is for batches in training: a model reads a text as it is.
  @Test func textsAreNeitherCutNorFilledUp() throws {
    let json: JSON = [
      "model": ["type": "WordLevel", "unk_token": "a", "vocab": ["a": 0, "b": 1]],
      "pre_tokenizer": ["type": "WhitespaceSplit"],
      "truncation": ["max_length": 2, "stride": 0, "strategy": "LongestFirst", "direction": "Right"],
      "padding": [
        "strategy": ["Fixed": 8], "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "a",
      ],
    ]
    let texts = ["b a b b a", "b", ""]
    let ids: [[Int32]] = [[1, 0, 1, 1, 0], [1], []]
    try withTemporaryFolder { folder in
      try TinyLlama().write(to: "\(folder)/model")
      try FileSystem.write(json.bytes(), to: "\(folder)/model/tokenizer.json")
      // The file itself asks for 2 tokens of a text, filled up to 8.
      #expect(try Tokenizer(at: "\(folder)/model").ids(texts[0]) == [1, 0, 0, 0, 0, 0, 0, 0])
      let model = try ModelTokenizer(of: SafetensorsCheckpoint(at: "\(folder)/model"))
      for (text, ids) in zip(texts, ids) {
        #expect(try model.tokenizer.ids(text) == ids, "\(text.debugDescription)")
        #expect(try model.tokenizer.ids(text, addSpecialTokens: false) == ids, "\(text.debugDescription)")
        #expect(try model.tokenizer.encode(text).ids == ids, "\(text.debugDescription)")
      }
    }
  }
}
