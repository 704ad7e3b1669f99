import EspalierBasics
import TestSupport
import Testing

@testable import EspalierTokenizers

/// What is said of patterns and vocabularies that cannot be used.
@Suite struct ProblemTests {
  @Test(arguments: [
    ("a)", "has a ')' too many"), (String(repeating: "(", count: 70), "is nested too deep"),
    ("a{3,2}", "has a repeat count out of range"), ("a{100001}", "has a repeat count out of range"),
    ("*", "repeats nothing"), ("(?<n", "has a group name without its '>'"), ("(a", "has a '(' without its ')'"),
    ("(?<=a+)b", "looks behind for something of no bounded length, which is not supported"),
    ("(?i", "has a '(' without its ')'"), ("(?x)a", "uses (?x, which is not supported"),
    ("[a", "has a '[' without its ']'"), ("[z-a]", "has a range that ends before it begins"),
    ("a\\", "ends with a backslash"), ("\\x{41", "has an escape without its '}'"),
    ("\\x{110000}", "has an escape that is no scalar"), ("\\p", "has a \\p without its '{'"),
    ("[[:odd:]]", "uses the class [:odd:], which is not supported"),
  ])
  func patterns(_ pattern: String, _ message: String) {
    let found = problem { try Pattern(regularExpression: pattern) }
    #expect(found?.code == .tokenizerPattern && found?.message.hasSuffix(message) == true, "\(found?.message ?? "")")
  }

  @Test(arguments: [
    ("[]", "the tokenizer is no JSON object"), ("{}", "the tokenizer has no model"),
    (#"{"model": 3}"#, "the model is no object"),
    (#"{"model": {"type": "BPE", "vocab": 3, "merges": []}}"#, "the vocabulary of the model is no object"),
    (#"{"model": {"type": "Unigram", "vocab": {}}}"#, "the vocabulary of the model is no list"),
    (
      #"{"model": {"type": "Unigram", "vocab": [["a"]]}}"#,
      #"entry 0 of the vocabulary is no piece with a score: ["a"]"#
    ),
    (#"{"model": {"type": "WordLevel", "vocab": {"a": 0}}, "added_tokens": {}}"#, "added_tokens is no list"),
    (
      #"{"model": {"type": "WordLevel", "vocab": {"a": 0}}, "added_tokens": [{"id": 1}]}"#,
      #"an entry of added_tokens has no id or content: {"id":1}"#
    ),
    (
      #"{"version": "2.0", "model": {"type": "WordLevel", "vocab": {"a": 0}}}"#,
      "the tokenizer's version is 2.0; version 1.0 is read"
    ),
  ])
  func files(_ json: String, _ message: String) {
    #expect(problem { try Tokenizer(json: JSON(parsing: json)) }?.message == message)
  }

  private func vocabulary(_ model: String, _ tokens: [String]) -> GGUFVocabulary {
    GGUFVocabulary(model: model, tokens: tokens.map { Array($0.utf8) })
  }

  @Test func vocabulariesOfGGUF() {
    func message(_ vocabulary: GGUFVocabulary) -> String? { problem { try Tokenizer(gguf: vocabulary) }?.message }
    #expect(message(vocabulary("llama", ["a", "a"])) == "the GGUF vocabulary has the token \"a\" at 0 and at 1")
    var short = vocabulary("llama", ["<unk>", "<s>", "</s>"])
    short.scores = [0]
    #expect(message(short) == "the GGUF vocabulary has fewer scores or types than tokens")
    #expect(message(vocabulary("odd", ["a"]))?.contains("is of the kind \"odd\"") == true)
    var odd = vocabulary("gpt2", ["a", "b", "ab"])
    odd.preTokenizer = "odd"
    #expect(message(odd)?.hasPrefix("the pre-tokenizer \"odd\" (tokenizer.ggml.pre) of the GGUF file") == true)
  }
}
