import EspalierBasics
import TestSupport
import Testing

/// Verbs on models that read a text whole: those that write another, and encoders.
@Suite struct RewritingTests {
  private static let fixtures =
    "\(FileSystem.parent(of: FileSystem.parent(of: #filePath)))/NetworksTests/Fixtures"

  /// A golden model with a tokenizer whose tokens are the words w0, w1 ...; the prompt's end is token 1.
  private func withModel(_ name: String, _ body: (String) throws -> Void) throws {
    try withTemporaryFolder { folder in
      for file in ["config.json", "model.safetensors"] {
        try FileSystem.write(try FileSystem.read("\(Self.fixtures)/\(name)/\(file)"), to: "\(folder)/\(file)")
      }
      let vocabulary = JSON.object((0..<150).map { ($0 == 1 ? "</s>" : "w\($0)", .number($0)) })
      let end: JSON = ["id": 1, "content": "</s>", "special": true, "normalized": false]
      let template: JSON = [["Sequence": ["id": "A", "type_id": 0]], ["SpecialToken": ["id": "</s>", "type_id": 0]]]
      let tokenizer: JSON = [
        "added_tokens": [end], "pre_tokenizer": ["type": "WhitespaceSplit"],
        "post_processor": [
          "type": "TemplateProcessing", "single": template, "pair": template,
          "special_tokens": ["</s>": ["id": "</s>", "ids": [1], "tokens": ["</s>"]]],
        ], "model": ["type": "WordLevel", "vocab": vocabulary, "unk_token": "w2"],
      ]
      try write(tokenizer.text(), to: "\(folder)/tokenizer.json")
      try body(folder)
    }
  }

  private static func words(_ ids: [Int]) -> String { ids.map { "w\($0)" }.joined(separator: " ") }

  /// Greedy tokens of transformers 5.23 in float64, which differ from the next best by 0.016 and more. The end token is
  /// not ignored: it ends the second text of each model.
  @Test(arguments: [
    (
      "t5_relu_tied", [5, 90, 33, 2, 149, 7, 7, 61],
      [127, 127, 127, 127, 127, 127, 28, 28, 28, 28, 28, 71, 71, 71, 71, 71], "length"
    ),
    ("t5_relu_tied", [42, 12, 79, 9, 70, 123], [67, 74, 74, 74, 74, 74], "end token"),
    (
      "t5_gated_untied", [5, 90, 33, 2, 149, 7, 7, 61],
      [118, 40, 6, 40, 19, 8, 6, 40, 6, 40, 19, 8, 94, 30, 19, 127], "length"
    ),
    ("t5_gated_untied", [62, 141, 35, 96, 123, 18], [92, 134, 89, 80, 40, 80, 129, 134, 109], "end token"),
  ])
  func greedyTextIsThatOfTransformers(model: String, prompt: [Int], expected: [Int], ending: String) throws {
    try withModel(model) { folder in
      let arguments = [
        "generate", folder, "--prompt", Self.words(prompt), "--max-tokens", "16", "--mode", "exact",
      ]
      let outcome = try Program.run(arguments + ["--json"])
      let result = try JSON(parsing: Array(outcome.output.utf8))
      #expect(result["tokens"]?.array?.compactMap(\.integer) == expected, "\(outcome)")
      #expect(result["ending"]?.string == ending && result["text"]?.string == Self.words(expected))
      #expect(result["prompt_tokens"]?.integer == prompt.count + 1)
      #expect(try Program.run(arguments).output == Self.words(expected) + "\n")
    }
  }

  /// Of encoders, too.
  @Test func weightsThatNothingReadsAreNamed() throws {
    try withModel("bert_base") { whole in
      try withTemporaryFolder { folder in
        let (model, unread) = try copyWithoutLastLayer(of: whole, in: folder, layers: "layer")
        try write("w5 w90\nw7 w61\n", to: "\(folder)/sentences.txt")
        for command in [["evaluate", model], ["compare", model, "--against", whole]] {
          let outcome = try Program.run(command + ["--sentences", "\(folder)/sentences.txt"])
          let warnings = outcome.errors.split(separator: "\n").filter { $0.contains("are read by nothing") }
          #expect(outcome.code == 0 && warnings.count == 1 && warnings[0].contains(unread), "\(outcome)")
        }
      }
    }
  }

  @Test func samplingAndStopStringsAreAsForOtherModels() throws {
    try withModel("t5_gated_untied") { folder in
      func text(_ options: String...) throws -> String {
        let outcome = try Program.run(
          ["generate", folder, "--prompt", "w5 w90 w33", "--max-tokens", "12", "--mode", "exact"] + options)
        #expect(outcome.code == 0, "\(outcome)")
        return outcome.output
      }
      let drawn = try text("--temperature", "1.5", "--seed", "3")
      #expect(try text("--temperature", "1.5", "--seed", "3") == drawn)
      #expect(try text("--temperature", "1.5", "--seed", "4") != drawn)
      let greedy = try text()
      #expect(try text("--memory", "70M") == greedy)
      let second = try #require(greedy.split(separator: " ").dropFirst().first)
      let stopped = try text("--stop", String(second))
      #expect(greedy.hasPrefix(stopped.dropLast()) && stopped.count < greedy.count && !stopped.contains(second))
    }
  }

  /// Answers are what the decoder writes until it ends; texts and choices have no probability here.
  @Test func answersAreMeasured() throws {
    try withModel("t5_gated_untied") { folder in
      let right = Self.words([92, 134, 89, 80, 40, 80, 129, 134, 109])
      let items = [("w62 w141 w35 w96 w123 w18", right), ("w62 w141 w35 w96 w123 w18", "w92"), ("w5", "w1 w2")]
      let lines = items.map { JSON.object([("prompt", .string($0.0)), ("answer", .string($0.1))]).text() }
      try write(lines.joined(separator: "\n"), to: "\(folder)/answers.jsonl")
      let outcome = try Program.run("evaluate", folder, "--answers", "\(folder)/answers.jsonl", "--json")
      #expect(try outcome.figure("exact_match") == 1.0 / 3, "\(outcome)")
      let compared = try Program.run(
        "compare", folder, "--against", folder, "--answers", "\(folder)/answers.jsonl")
      #expect(compared.code == 0, "\(compared)")
      try write("w1 w2 w3\n", to: "\(folder)/text.txt")
      let text = try Program.run("evaluate", folder, "--text", "\(folder)/text.txt")
      #expect(text.code == 1 && text.errors.contains("--answers"), "\(text)")
    }
  }
}
