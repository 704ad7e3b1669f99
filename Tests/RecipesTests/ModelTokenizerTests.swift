import EspalierCheckpoints
import EspalierRecipes
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
}
