import EspalierBasics
import TestSupport
import Testing

/// `espalier align` and `espalier barrier`, as a stranger runs them.
@Suite struct AlignmentVerbsTests {
  private static let models = "\(packageFolder)/Models"
  private static let base = "\(models)/base"
  private static let text = "\(models)/text/test/arith.txt"
  private static let pathFromBase = ["barrier", "\(models)/expert-arithmetic", "\(models)/expert-code"]

  /// A fine-tune lies in its base's order, and stays as it is to the byte.
  @Test func aFineTuneIsInOrderAlready() throws {
    try withTemporaryFolder { folder in
      let expert = "\(Self.models)/expert-code"
      let outcome = try Program.run(
        "align", expert, "--to", Self.base, "-o", "\(folder)/out", "--no-singular-vectors")
      #expect(outcome.code == 0 && outcome.output.contains("cosine of all weights"), "\(outcome)")
      let weights = try FileSystem.read("\(folder)/out/model.safetensors")
      let report = try JSON(parsing: try FileSystem.read("\(folder)/out/report.json"))
      #expect(report["axes"]?.array?.allSatisfy { $0["moved"]?.number == 0 } == true)
      #expect(report["singular_vectors"] == .null && report["before"] == report["after"])
      let converted = try Program.run("convert", expert, "-o", "\(folder)/same")
      #expect(converted.code == 0, "\(converted)")
      #expect(try FileSystem.read("\(folder)/same/model.safetensors") == weights)
      let verified = try Program.run("verify", "\(folder)/out")
      #expect(verified.code == 0 && verified.output.contains("all as written"), "\(verified)")
      let markdown = String(decoding: try FileSystem.read("\(folder)/out/REPORT.md"), as: UTF8.self)
      #expect(markdown.contains("| text/7/inner | 768 | 0 % |"))
    }
  }

  @Test func severalModelsGoIntoFoldersOfTheirNames() throws {
    try withTemporaryFolder { folder in
      let names = ["expert-code", "expert-prose"]
      let arguments = ["align"] + names.map { "\(Self.models)/\($0)" } + ["--to", Self.base, "-o", "\(folder)/out"]
      let plan = try Program.run(arguments + ["--plan", "--json"])
      let planned = try plan.events.count
      #expect(plan.code == 0 && planned == 2, "\(plan)")
      #expect(try FileSystem.list(folder).isEmpty)
      let outcome = try Program.run(arguments + ["--no-singular-vectors", "--quiet"])
      #expect(outcome.code == 0 && outcome.output.isEmpty, "\(outcome)")
      #expect(try FileSystem.list("\(folder)/out") == names)
    }
  }

  @Test func severalModelsGoIntoOneOrder() throws {
    try withTemporaryFolder { folder in
      let names = ["base", "expert-prose"]
      let arguments = ["align"] + names.map { "\(Self.models)/\($0)" } + ["--to-mean", "-o", "\(folder)/out"]
      let plan = try Program.run(arguments + ["--plan"])
      #expect(plan.code == 0 && plan.output.contains("base, expert-prose to their mean"), "\(plan)")
      #expect(try FileSystem.list(folder).isEmpty)
      let outcome = try Program.run(arguments + ["--quiet"])
      #expect(outcome.code == 0 && outcome.output.isEmpty, "\(outcome)")
      #expect(try FileSystem.list("\(folder)/out") == names)
    }
  }

  /// Of several outputs those that are whole stay, if they are of the same models and as they were written.
  @Test(arguments: [["--to", "base"], ["--to-mean"]])
  func severalModelsGoOn(_ order: [String]) throws {
    try withTemporaryFolder { folder in
      let names = ["expert-code", "expert-prose"]
      let reference = order.map { $0 == "base" ? Self.base : $0 }
      let arguments =
        ["align"] + names.map { "\(Self.models)/\($0)" } + reference + ["-o", "\(folder)/out", "--quiet"]
      #expect(try Program.run(arguments).code == 0)
      let first = "\(folder)/out/expert-code"
      let report = try FileSystem.read("\(first)/report.json")
      let wanted = try FileSystem.read("\(folder)/out/expert-prose/model.safetensors")
      try FileSystem.remove("\(folder)/out/expert-prose")
      let outcome = try Program.run(arguments + ["--resume"])
      #expect(outcome.code == 0, "\(outcome)")
      // It says how long finding the order took, so a second run would write another.
      #expect(try FileSystem.read("\(first)/report.json") == report)
      #expect(try FileSystem.read("\(folder)/out/expert-prose/model.safetensors") == wanted)
      // A damaged output is not taken for whole.
      var damaged = try FileSystem.read("\(first)/model.safetensors")
      damaged[damaged.count - 1] ^= 1
      try FileSystem.write(damaged, to: "\(first)/model.safetensors")
      let refused = try Program.run(arguments + ["--resume"])
      #expect(refused.code == 1 && refused.errors.contains("output.exists"), "\(refused)")
    }
  }

  @Test(
    arguments: [
      ([], "Give either --to, the model that sets the order, or --to-mean."),
      (["--to", "a", "--to-mean"], "Give either --to, the model that sets the order, or --to-mean."),
      (["--to-mean"], "--to-mean takes at least two models."),
      (["b", "--to-mean", "--restarts", "1"], "--restarts goes with --to alone."),
      (["b", "--to-mean", "--no-singular-vectors"], "--to-mean compares no singular vectors."),
      ([".", "--to", "a"], "give the name of the folder"),
    ])
  func whatSetsTheOrderIsSaidOnce(_ arguments: [String], _ message: String) throws {
    let outcome = try Program.run(["align", Self.base, "-o", "/nowhere/out"] + arguments)
    #expect(outcome.code == 2 && outcome.errors.contains(message), "\(outcome)")
  }

  @Test func everythingThatDoesNotFitIsTold() throws {
    try withTemporaryFolder { folder in
      let fixtures = "\(packageFolder)/Tests/NetworksTests/Fixtures"
      let other = try Program.run("align", Self.base, "--to", "\(fixtures)/gpt2", "-o", "\(folder)/out")
      #expect(other.code == 1 && other.errors.contains("two families, llama and gpt2"), "\(other)")
      let sizes = try Program.run("align", Self.base, "--to", "\(fixtures)/llama_gqa_untied", "-o", "\(folder)/out")
      #expect(sizes.code == 1, "\(sizes)")
      for word in ["`text` has 8 layers in the one, 2", "`hidden` has 256 entries in the one, 48", "8 errors"] {
        #expect(sizes.errors.contains(word), "\(sizes)")
      }
      #expect(try FileSystem.list(folder).isEmpty)
    }
  }

  @Test(
    arguments: [
      (["--restarts=-1"], "--restarts must be at least 0"), (["--weighing", "even"], "even"),
      (["--max-kl", "0.1"], "Gates need --test"), (["/x/base", "--plan"], "two models are called base"),
    ] as [([String], String)])
  func badUsageOfAlign(_ arguments: [String], _ message: String) throws {
    let outcome = try Program.run(["align", Self.base] + arguments + ["--to", Self.base, "-o", "/tmp/none"])
    #expect(outcome.code == 2 && outcome.errors.contains(message), "\(outcome)")
  }

  @Test func aBarrierIsMeasuredDrawnAndJudged() throws {
    try withTemporaryFolder { folder in
      let arguments =
        Self.pathFromBase + [
          "--text", Self.text, "--window", "128", "--limit", "4", "--points", "3", "--plot", "\(folder)/path.svg",
        ]
      let outcome = try Program.run(arguments)
      #expect(outcome.code == 0 && outcome.output.contains("barrier, nats a token"), "\(outcome)")
      let svg = String(decoding: try FileSystem.read("\(folder)/path.svg"), as: UTF8.self)
      #expect(svg.hasPrefix("<svg ") && svg.hasSuffix("</svg>\n") && svg.contains("expert-arithmetic to expert-code"))

      let failed = try Program.run(arguments + ["--max-barrier", "0.01", "--json"])
      #expect(failed.code == 3, "\(failed)")
      let report = try #require(try failed.events.last)
      #expect(report["passes"] == .bool(false) && report["max_barrier"]?.number == 0.01)
      let points = try #require(report["results"]?.array?.first?["points"]?.array)
      #expect(points.compactMap { $0["weight"]?.number } == [0, 0.5, 1])
      let rise = try #require(points[1]["rise"]?.number)
      #expect(rise > 0.01 && rise < 1, "\(rise)")
      let kept = try Program.run(arguments + ["--max-barrier", "1", "--strict", "--quiet"])
      #expect(kept.code == 0 && kept.output.isEmpty, "\(kept)")
    }
  }

  @Test(
    arguments: [
      ([], "Give --text"), (["--text", text, "--points", "2"], "--points must be from 3"),
      (["--text", text, "--strict"], "give --max-barrier"),
      (["--text", text, "--plot", "nowhere/b.svg"], "there is no such folder"),
      (["--text", text, "--max-barrier=-1"], "--max-barrier must be a number from 0"),
      (["--text", text, "--stride", "4"], "--stride needs --protocol sliding"),
    ] as [([String], String)])
  func badUsageOfBarrier(_ arguments: [String], _ message: String) throws {
    let outcome = try Program.run(Self.pathFromBase + arguments)
    #expect(outcome.code == 2 && outcome.errors.contains(message), "\(outcome)")
  }

  @Test func modelsThatDifferHaveNoLine() throws {
    let other = "\(packageFolder)/Tests/NetworksTests/Fixtures/llama_gqa_untied"
    let outcome = try Program.run("barrier", Self.base, other, "--text", Self.text)
    #expect(outcome.code == 1 && outcome.errors.contains("the models do not fit number by number"), "\(outcome)")
  }

  // MARK: - Renormalization and fairness

  @Test func activationsAreSetRight() throws {
    try withTemporaryFolder { folder in
      let calibration = "\(Self.models)/text/calib/code.txt"
      let arguments = [
        "renormalize", "\(Self.models)/expert-code", "--like", Self.base, "--like", "\(Self.models)/expert-prose",
        "--weights", "0.25,0.75", "--text", calibration, "--sequences", "2", "--length", "64", "-o", "\(folder)/out",
      ]
      let outcome = try Program.run(arguments)
      #expect(outcome.code == 0 && outcome.output.contains("have no bias that could take a shift"), "\(outcome)")
      #expect(try FileSystem.list(folder) == ["out"])
      let report = try JSON(parsing: try FileSystem.read("\(folder)/out/report.json"))
      let sites = try #require(report["sites"]?.array)
      let (before, after) = (sites.compactMap { $0["before"]?.number }, sites.compactMap { $0["after"]?.number })
      #expect(sites.count == 8 * 4 && after.reduce(0, +) < before.reduce(0, +))
      let verified = try Program.run("verify", "\(folder)/out")
      #expect(verified.code == 0 && verified.output.contains("all as written"), "\(verified)")
      let wrong = try Program.run(arguments + ["--weights", "1"])
      #expect(wrong.code == 2 && wrong.errors.contains("a share from 0 for each --like"), "\(wrong)")
    }
  }

  /// Sites have the numbers of their layers: of other layers they would be others.
  @Test func otherLayersAreNoMeasure() throws {
    try withTemporaryFolder { folder in
      let shallow = try Program.run(
        "restructure", Self.base, "--method", "drop-layers", "--set", "metric=last", "--parameters", "0.9", "-o",
        "\(folder)/shallow")
      #expect(shallow.code == 0, "\(shallow)")
      let outcome = try Program.run(
        "renormalize", "\(folder)/shallow", "--like", Self.base, "--text", Self.text, "--sequences", "1", "--length",
        "32", "--correct", "rescale", "--mode", "fast", "-o", "\(folder)/out")
      #expect(outcome.code == 1 && outcome.errors.contains("has other layers or blocks than"), "\(outcome)")
      #expect(try FileSystem.list(folder) == ["shallow"])
    }
  }

  @Test func biasedHeadsLeave() throws {
    try withTemporaryFolder { folder in
      let pairs = "\(folder)/pairs.jsonl"
      try write("{\"a\": \"She said that\", \"b\": \"He said that\"}\n", to: pairs)
      let arguments = [
        "restructure", Self.base, "--method", "fairness", "--parameters", "0.98", "--text",
        "\(Self.models)/text/calib/prose.txt", "--sequences", "1", "--length", "32", "-o", "\(folder)/out",
      ]
      let refused = try Program.run(arguments)
      #expect(refused.code == 2 && refused.errors.contains("--method fairness needs --pairs"), "\(refused)")
      let outcome = try Program.run(arguments + ["--pairs", pairs])
      #expect(outcome.code == 0 && outcome.output.contains("bias of the pairs: before"), "\(outcome)")
      let generated = try Program.run("generate", "\(folder)/out", "--prompt", "He", "--max-tokens", "2")
      #expect(generated.code == 0, "\(generated)")
      try write("{\"a\": \"She\"}\n{\"b\": 3}\n", to: pairs)
      let wrong = try Program.run(arguments + ["--pairs", pairs])
      #expect(wrong.code == 1 && wrong.errors.contains("line 1") && wrong.errors.contains("line 2"), "\(wrong)")
    }
  }
}
