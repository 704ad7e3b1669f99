import EspalierBasics
import TestSupport
import Testing

/// The verbs that run models, on the tiny family.
@Suite struct RunningTests {
  private static let models = "\(packageFolder)/Models"
  private static let texts = "\(packageFolder)/Models/text/test"

  /// Values of transformers 5.23 in float32 on the same windows.
  @Test(arguments: [("base", "docs", 36.137878), ("expert-prose", "prose", 35.390), ("expert-code", "code", 32.853)])
  func perplexityIsThatOfTransformers(model: String, text: String, expected: Double) throws {
    let outcome = try Program.run(
      "evaluate", "\(Self.models)/\(model)", "--text", "\(Self.texts)/\(text).txt", "--window", "256", "--json")
    let perplexity = try #require(try outcome.figure("perplexity"), "\(outcome)")
    #expect(abs(perplexity - expected) < 1e-4 * expected, "\(perplexity), expected \(expected)")
  }

  @Test func figuresDependNeitherOnThreadsNorOnMemory() throws {
    func figures(_ options: String...) throws -> String {
      let outcome = try Program.run(
        ["evaluate", "\(Self.models)/base", "--text", "\(Self.texts)/arith.txt", "--limit", "20", "--json"] + options)
      #expect(outcome.code == 0, "\(outcome)")
      return outcome.output
    }
    let usual = try figures("--threads", "2")
    #expect(try figures("--threads", "1") == usual)
    #expect(try figures("--threads", "3", "--memory", "70M") == usual)
  }

  @Test func anExpertAnswersItsSums() throws {
    let outcome = try Program.run(
      "evaluate", "\(Self.models)/expert-arithmetic", "--answers", "\(Self.texts)/arith_problems.jsonl",
      "--answer-tokens", "5", "--json")
    #expect(try outcome.figure("exact_match") == 456.0 / 500, "\(outcome.output.prefix(600))")
  }

  @Test func aModelDoesNotDifferFromItself() throws {
    let outcome = try Program.run(
      "compare", "\(Self.models)/base", "--against", "\(Self.models)/base", "--text", "\(Self.texts)/arith.txt",
      "--limit", "4", "--max-kl", "0", "--max-perplexity-rise", "0%", "--min-same-top", "100%", "--json")
    #expect(outcome.code == 0, "\(outcome)")
    #expect(try outcome.figure("kl") == 0 && outcome.figure("js") == 0, "\(outcome)")
  }

  @Test func aGateThatDoesNotHoldIsTheExitCode() throws {
    let outcome = try Program.run(
      "compare", "\(Self.models)/expert-prose", "--against", "\(Self.models)/base", "--text", "\(Self.texts)/code.txt",
      "--limit", "4", "--max-kl", "0.001")
    #expect(outcome.code == 3 && outcome.output.contains("max-kl"), "\(outcome)")
  }

  /// Below a table it is said which gate it was.
  @Test func aTableSaysWhatBecameOfItsGates() throws {
    let outcome = try Program.run(
      "evaluate", "\(Self.models)/base", "\(Self.models)/expert-prose", "--table", "--text", "\(Self.texts)/prose.txt",
      "--limit", "2", "--max-perplexity", "1")
    #expect(outcome.code == 3, "\(outcome)")
    for model in ["base", "expert-prose"] {
      #expect(outcome.output.contains("\(model): max-perplexity 1.0 fails on prose.txt: "), "\(outcome)")
    }
  }

  @Test func tokensComeBackAsText() throws {
    let text = "\"def add(a, b):\\n    return a + b  # naïve 😀\""
    let outcome = try Program.shell(
      """
      printf '%s\\n' '\(text)' | "$espalier" tokenize '\(Self.models)/base' --jsonl > ids.jsonl &&
      "$espalier" tokenize '\(Self.models)/base' --decode < ids.jsonl && rm ids.jsonl
      """)
    #expect(outcome.output == text + "\n", "\(outcome)")
  }

  @Test func generationIsReproducible() throws {
    func text(_ options: String...) throws -> String {
      let outcome = try Program.run(
        ["generate", "\(Self.models)/expert-prose", "--prompt", "She was", "--max-tokens", "24"] + options)
      #expect(outcome.code == 0, "\(outcome)")
      return outcome.output
    }
    let greedy = try text("--mode", "exact", "--threads", "1")
    #expect(try text("--mode", "exact", "--threads", "2") == greedy)
    let drawn = try text("--mode", "exact", "--temperature", "0.9", "--seed", "5")
    #expect(try text("--mode", "exact", "--temperature", "0.9", "--seed", "5") == drawn && drawn != greedy)
  }

  @Test func aStopStringEndsTheText() throws {
    let outcome = try Program.run(
      "generate", "\(Self.models)/expert-arithmetic", "--prompt", "17+25=", "--stop", "\n", "--mode", "exact")
    #expect(outcome.output == "42\n", "\(outcome)")
  }

  /// Every verb that runs a model tells of a config that asks for less than there is, on standard error.
  @Test func weightsThatNothingReadsAreNamed() throws {
    let base = "\(Self.models)/base"
    let text = ["--text", "\(Self.texts)/arith.txt", "--limit", "1"]
    try withTemporaryFolder { folder in
      let (model, unread) = try copyWithoutLastLayer(of: base, in: folder)
      let commands = [
        ["evaluate", model] + text, ["evaluate", model, "--json", "--quiet"] + text,
        ["compare", model, "--against", base] + text, ["compare", base, "--against", model] + text,
        ["generate", model, "--prompt", "a", "--max-tokens", "1"], ["chat", model],
      ]
      for command in commands {
        let outcome = try Program.run(command)
        #expect(outcome.code == 0, "\(outcome)")
        let warnings = outcome.errors.split(separator: "\n").filter { $0.contains("are read by nothing") }
        #expect(warnings.count == 1 && warnings[0].contains(unread), "\(outcome)")
      }
    }
    for command in [["evaluate", base] + text, ["compare", base, "--against", base] + text, ["chat", base]] {
      let outcome = try Program.run(command)
      #expect(outcome.code == 0 && !outcome.errors.contains("warning"), "\(outcome)")
    }
  }

  /// Keys and values of 30,000 tokens take 123 MB in this model.
  @Test func aPromptThatDoesNotFitIsRefused() throws {
    let base = "\(Self.models)/base"
    try withTemporaryFolder { folder in
      let prompt = String(repeating: "a ", count: 30_000)
      try write(prompt, to: "\(folder)/prompt")
      func generate(_ options: String...) throws -> Program.Outcome {
        try Program.run(["generate", base, "--memory", "100M"] + options)
      }
      for outcome in [
        try generate("--prompt-file", "\(folder)/prompt", "--max-tokens", "1"),
        try generate("--prompt", "a", "--max-tokens", "\(Int.max)"),
      ] {
        #expect(outcome.code == 1 && outcome.errors.contains("memory.ceiling"), "\(outcome)")
        #expect(outcome.errors.contains("for the prompt and its answer of"), "\(outcome)")
      }
      let short = try generate("--prompt", "a", "--max-tokens", "1")
      #expect(short.code == 0, "\(short)")
      // A chat goes on.
      try write(prompt + "\na\n", to: "\(folder)/messages")
      let chat = try Program.shell(
        "\"$espalier\" chat '\(base)' --memory 100M --max-tokens 1 < '\(folder)/messages'")
      #expect(chat.code == 0 && chat.errors.contains("memory.ceiling") && !chat.output.isEmpty, "\(chat)")
    }
  }

  @Test func badInputIsSaidSo() throws {
    try withTemporaryFolder { folder in
      try write("{\"context\": 1}\n{}\n", to: "\(folder)/bad.jsonl")
      let evaluate = try Program.run("evaluate", "\(Self.models)/base", "--choices", "\(folder)/bad.jsonl")
      #expect(
        evaluate.code == 1 && evaluate.errors.contains("line 1") && evaluate.errors.contains("line 2"), "\(evaluate)")
      let nothing = try Program.run("evaluate", "\(Self.models)/base")
      #expect(nothing.code == 2 && nothing.errors.contains("--text"), "\(nothing)")
      let missing = try Program.run("generate", "\(folder)/nowhere", "--prompt", "x")
      #expect(missing.code == 1 && missing.errors.contains("not on this machine"), "\(missing)")
    }
  }
}
