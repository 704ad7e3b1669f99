import EspalierBasics
import TestSupport
import Testing

/// What a user sees: help, exit codes, messages, and the forms of output.
@Suite struct UsageTests {
  static let verbs = [
    "merge", "inspect", "diff", "verify", "methods", "calibrate", "convert", "materialize", "extract-lora", "try",
    "prune", "factorize", "sensitivity", "search-cut",
  ]
  private static let models = "\(packageFolder)/Tests/RecipesTests/Fixtures/merge/models"

  /// Runs `body` with a folder that holds `recipe.yml`: a TIES merge of two small llamas.
  private func withRecipe(_ text: String? = nil, _ body: (String) throws -> Void) throws {
    try withTemporaryFolder { folder in
      let ties = """
        merge_method: ties
        base_model: \(Self.models)/nanof-base
        models:
          - model: \(Self.models)/nanof-ft1
            parameters: {weight: 0.5, density: 0.5}
          - model: \(Self.models)/nanof-ft2
            parameters: {weight: 0.5, density: 0.5}
        """
      try write(text ?? ties, to: "\(folder)/recipe.yml")
      try body(folder)
    }
  }

  // MARK: - Help and usage

  @Test(arguments: verbs) func helpHasAnExample(_ verb: String) throws {
    let help = try Program.run(verb, "--help")
    #expect(help.code == 0 && help.errors.isEmpty)
    #expect(help.output.contains("USAGE: espalier \(verb)") && help.output.contains("EXAMPLES\n"), "\(help)")
  }

  @Test func helpNamesEveryVerb() throws {
    let help = try Program.run("--help")
    #expect(help.code == 0)
    for verb in Self.verbs { #expect(help.output.contains("\n  \(verb) "), "\(help)") }
    // What help recommends must exist.
    for line in help.output.split(separator: "\n") where line.hasPrefix("  espalier ") {
      let verb = String(line.split(separator: " ")[1])
      #expect(try Program.run(verb, "--help").output.contains("USAGE: espalier \(verb)"), "help recommends \(line)")
    }
    #expect(try Program.run("--version").output == "0.1.0\n")
  }

  @Test(arguments: [
    ["merge", "recipe.yml", "-o", "out", "--frobnicate"], ["merge"], ["merge", "recipe.yml"], ["frobnicate"],
    ["merge", "recipe.yml", "-o", "out", "--threads", "0"], ["merge", "recipe.yml", "-o", "out", "--memory", "much"],
    ["merge", "recipe.yml", "-o", "out", "--memory", "nan"], ["merge", "recipe.yml", "-o", "out", "--seed", "-1"],
    ["merge", "recipe.yml", "-o", "out", "--shard-size", "1kB"], ["merge", "recipe.yml", "-o", ""],
    ["merge", "recipe.yml", "-o", ".."], ["merge", "recipe.yml", "-o", "out/./"], ["merge", "recipe.yml", "-o", "/"],
    ["methods", "tie"], ["verify"], ["prune", "model", "-o", "out"],
    ["prune", "model", "--sparsity", "0.5", "--pattern", "2:4", "-o", "out"],
    ["prune", "model", "--sparsity", "1.5", "-o", "out"], ["prune", "model", "--pattern", "5:4", "-o", "out"],
    ["prune", "model", "--method", "svd", "--sparsity", "0.5", "-o", "out"],
    ["prune", "model", "--sparsity", "0.5", "--text", "a", "--statistics", "b", "-o", "out"],
    ["factorize", "model", "--rank", "0", "-o", "out"], ["factorize", "model", "--parameters", "0", "-o", "out"],
    ["factorize", "model", "--rank", "4", "--allocate", "-o", "out"],
    ["sensitivity", "model", "--method", "wandaa", "-o", "out"],
    ["prune", "model", "--sparsity", "0.5", "--max-kl", "0.1", "-o", "out"],
    ["prune", "model", "--pattern", "2:4", "--allocate", "-o", "out"],
    ["quantize", "model", "-o", "m.gguf"], ["quantize", "model", "--type", "Q9_K", "-o", "m.gguf"],
    ["quantize", "model", "--type", "Q4_0", "-o", "folder"], ["quantize", "model", "--type", "Q4_0", "-o", ".gguf"],
    ["quantize", "model", "--type", "Q4_0", "--size", "1GB", "-o", "m.gguf"],
    ["quantize", "model", "--size", "1GB", "--bits", "4", "--effect-text", "a", "-o", "m.gguf"],
    ["quantize", "model", "--size", "1GB", "-o", "m.gguf"], ["quantize", "model", "--max-kl", "0.1", "-o", "m.gguf"],
    ["quantize", "model", "--type", "Q4_0", "--max-kl", "0.1", "-o", "m.gguf"],
    ["quantize", "model", "--type", "Q4_0", "--imatrix", "a", "--statistics", "b", "-o", "m.gguf"],
    ["quantize", "model", "--bits", "4", "--effect-text", "a", "--dry-run", "-o", "m.gguf"],
    ["search-cut", "model", "-o", "out"],
    ["search-cut", "model", "--text", "a", "--answers", "b", "-o", "out"],
    ["search-cut", "model", "--text", "a", "--held-out-answers", "b", "-o", "out"],
    ["search-cut", "model", "--text", "a", "--shares", "0.1,1.5", "-o", "out"],
    ["search-cut", "model", "--text", "a", "--layers", "7-4", "-o", "out"],
  ])
  func badUsageExitsWith2(_ arguments: [String]) throws {
    let outcome = try Program.run(arguments)
    #expect(outcome.code == 2, "\(outcome)")
    #expect(outcome.output.isEmpty && !outcome.errors.isEmpty, "\(outcome)")
  }

  @Test func missingFiles() throws {
    try withTemporaryFolder { folder in
      let missing = "\(folder)/no-such-recipe.yml"
      let merge = try Program.run("merge", missing, "-o", "\(folder)/out")
      #expect(merge.code == 2 && merge.errors.contains("There is no recipe \(missing)"), "\(merge)")
      let verify = try Program.run("verify", folder)
      #expect(verify.code == 1 && verify.errors.contains("manifest.missing"), "\(verify)")
    }
  }

  // MARK: - Recipes

  @Test func everyProblemOfARecipeIsPrintedWithItsLine() throws {
    let recipe = """
      merge_method: ties
      base_model: \(Self.models)/nanof-base
      models:
        - model: \(Self.models)/nanof-ft1
          parameters: {weight: 0.5, density: 1.5}
        - model: no/such-model
          parameters: {weight: 0.5, dencity: 0.5}
      dtype: float31
      """
    try withRecipe(recipe) { folder in
      let outcome = try Program.run("merge", "\(folder)/recipe.yml", "-o", "\(folder)/out")
      #expect(outcome.code == 2 && outcome.output.isEmpty)
      for line in [5, 7, 8] { #expect(outcome.errors.contains("recipe line \(line)"), "line \(line): \(outcome)") }
      #expect(outcome.errors.contains("density?"), "\(outcome)")
      #expect(outcome.errors.contains("errors\n"), "\(outcome)")
      #expect(try FileSystem.list(folder) == ["recipe.yml"])
    }
  }

  @Test func aModelThatIsNotThereIsNamed() throws {
    try withRecipe("merge_method: passthrough\nmodels:\n  - model: no/such-model\n") { folder in
      let outcome = try Program.run("merge", "\(folder)/recipe.yml", "-o", "\(folder)/out")
      #expect(outcome.code == 2, "\(outcome)")
      #expect(outcome.errors.contains("no/such-model") && outcome.errors.contains("recipe line 3"), "\(outcome)")
    }
  }

  // MARK: - Output

  @Test func whatIsNotOursIsNotReplaced() throws {
    try withRecipe { folder in
      try FileSystem.createFolder("\(folder)/photographs")
      try write("dear", to: "\(folder)/photographs/one")
      for path in ["\(folder)/photographs", "\(folder)/photographs/one"] {
        let outcome = try Program.run("merge", "\(folder)/recipe.yml", "-o", path, "--force")
        #expect(outcome.code == 1 && outcome.errors.contains("not written by espalier"), "\(outcome)")
      }
      #expect(try FileSystem.read("\(folder)/photographs/one") == Array("dear".utf8))
    }
  }

  @Test func planTouchesNothing() throws {
    try withRecipe { folder in
      let outcome = try Program.run("merge", "\(folder)/recipe.yml", "-o", "\(folder)/deep/out", "--plan")
      #expect(outcome.code == 0 && outcome.errors.isEmpty, "\(outcome)")
      for word in ["ties", "nanof-ft2", "memory", "seed", "model.safetensors"] {
        #expect(outcome.output.contains(word), "\(outcome)")
      }
      #expect(try FileSystem.list(folder) == ["recipe.yml"])
      let json = try Program.run("merge", "\(folder)/recipe.yml", "-o", "\(folder)/out", "--plan", "--json")
      #expect(try json.events.map { $0["event"]?.string } == ["plan"])
    }
  }

  @Test func mergeAndVerify() throws {
    try withRecipe { folder in
      let merged = "\(folder)/merged"
      let outcome = try Program.run("merge", "\(folder)/recipe.yml", "-o", merged)
      #expect(outcome.code == 0 && outcome.output.contains("peak memory"), "\(outcome)")
      #expect(try FileSystem.list(folder) == ["merged", "recipe.yml"])
      for name in ["config.json", "model.safetensors", "README.md", "mergekit_config.yml", "espalier-manifest.json"] {
        #expect(FileSystem.isFile("\(merged)/\(name)"), "\(name)")
      }
      #expect(try Program.run("verify", merged).code == 0)
      try flip("\(merged)/model.safetensors", at: 20_000, mask: 0x10)
      let damaged = try Program.run("verify", merged)
      #expect(damaged.code == 1 && damaged.errors.contains("verify.mismatch"), "\(damaged)")
      #expect(damaged.errors.contains("tensor "), "\(damaged)")

      let again = try Program.run("merge", "\(folder)/recipe.yml", "-o", merged)
      #expect(again.code == 1 && again.errors.contains("--force"), "\(again)")
    }
  }

  @Test func quietPrintsNothing() throws {
    try withRecipe { folder in
      let merge = try Program.run("merge", "\(folder)/recipe.yml", "-o", "\(folder)/out", "--quiet")
      #expect(merge.code == 0 && merge.output.isEmpty && merge.errors.isEmpty, "\(merge)")
      let verify = try Program.run("verify", "\(folder)/out", "--quiet")
      #expect(verify.code == 0 && verify.output.isEmpty && verify.errors.isEmpty, "\(verify)")
    }
  }

  @Test func jsonIsOneObjectALine() throws {
    try withRecipe { folder in
      let merge = try Program.run("merge", "\(folder)/recipe.yml", "-o", "\(folder)/out", "--json")
      #expect(merge.code == 0 && merge.errors.isEmpty, "\(merge)")
      let kinds = try merge.events.compactMap { $0["event"]?.string }
      #expect(kinds.first == "began" && kinds.suffix(2) == ["ended", "merged"], "\(kinds)")
      #expect(try merge.events.last?["tensors"]?.integer == 30)
      let verify = try Program.run("verify", "\(folder)/out", "--json")
      #expect(try verify.events.last?["event"]?.string == "verified")
      let failed = try Program.run("merge", "\(folder)/recipe.yml", "-o", "\(folder)/out", "--json")
      #expect(failed.code == 1 && failed.errors.isEmpty, "\(failed)")
      let problem = try #require(try failed.events.last)
      #expect(problem["event"]?.string == "problem" && problem["code"]?.string == "output.exists")
      #expect(problem["file"]?.string == "\(folder)/out")
    }
  }

  /// A log gets plain lines: no bar, no escape sequences.
  @Test func withoutATerminalNothingIsDrawn() throws {
    try withRecipe { folder in
      let merge = try Program.run("merge", "\(folder)/recipe.yml", "-o", "\(folder)/out")
      #expect(merge.code == 0 && !(merge.output + merge.errors).contains("\u{1B}"), "\(merge)")
      #expect(!(merge.output + merge.errors).contains("\r") && merge.errors.hasPrefix("ties: 3 models"), "\(merge)")
    }
  }

  /// `espalier methods | head -1` must end quietly.
  @Test func aClosedPipeIsNoCrash() throws {
    let outcome = try Program.shell("{ \"$espalier\" methods --markdown; echo $? >&2; } | head -n 1")
    #expect(outcome.output.split(separator: "\n").count == 1, "\(outcome)")
    #expect(["0\n", "1\n"].contains(outcome.errors), "\(outcome)")
  }
}
