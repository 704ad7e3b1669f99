import EspalierBasics
import TestSupport
import Testing

/// `espalier restructure` and `espalier groups`, as a stranger runs them.
@Suite(.serialized) struct RestructureUsageTests {
  private static let model = "\(packageFolder)/Models/base"
  private static let text = "\(packageFolder)/Models/text/calib/docs.txt"
  private static let test = "\(packageFolder)/Models/text/test/docs.txt"
  private static let shallow = ["restructure", model, "--method", "drop-layers"]
  private static let narrow = [
    "restructure", model, "--method", "width", "--parameters", "0.8", "--text", text, "--sequences", "4", "--length",
    "128",
  ]

  @Test func layersLeaveAndTheRestRuns() throws {
    try withTemporaryFolder { folder in
      let output = "\(folder)/out"
      let plan = try Program.run(
        Self.shallow + ["--set", "metric=last", "--parameters", "0.8", "-o", output, "--plan"])
      #expect(plan.code == 0 && plan.output.contains("6557952 parameters, at most 5246361 stay"), "\(plan)")
      let json = try Program.run(
        Self.shallow + ["--set", "metric=last", "--parameters", "5M", "-o", output, "--plan", "--json"])
      #expect(try #require(try json.events.last)["parameters_wanted"]?.integer == 5_000_000, "\(json)")
      #expect(try FileSystem.list(folder).isEmpty)

      let run = try Program.run(
        Self.shallow + [
          "--set", "metric=last", "--parameters", "0.8", "-o", output, "--test", Self.test, "--test-window", "64",
          "--test-limit", "2",
          "--max-kl", "20", "--json",
        ])
      #expect(run.code == 0, "\(run)")
      let report = try #require(try run.events.last)
      #expect(report["steps"]?.array?.count == 2 && report["parameters_before"]?.integer == 6_557_952)
      #expect(report["parameters_wanted"]?.integer == 5_246_361)
      #expect(try #require(report["parameters_after"]?.integer) <= 5_246_361)
      let config = try JSON(parsing: try FileSystem.read("\(output)/config.json"))
      #expect(config["num_hidden_layers"]?.integer == 6)
      let verify = try Program.run("verify", output)
      #expect(verify.code == 0 && verify.output.contains("all as written"), "\(verify)")
      let generate = try Program.run("generate", output, "--prompt", "The", "--max-tokens", "4")
      #expect(generate.code == 0, "\(generate)")

      let again = try Program.run(Self.shallow + ["--set", "metric=last", "--parameters", "0.8", "-o", output])
      #expect(again.code == 1 && again.errors.contains("output.exists"), "\(again)")
      let gate = try Program.run(
        Self.shallow + [
          "--set", "metric=last", "--parameters", "0.8", "-o", "\(folder)/gate", "--test", Self.test, "--test-window",
          "64", "--test-limit",
          "2", "--max-kl", "0.000001", "--quiet",
        ])
      #expect(gate.code == 3, "\(gate)")
    }
  }

  @Test(
    arguments: [
      (["--parameters", "all"], 2, "neither a share"),
      (["--parameters", "0.5", "--set", "metric"], 2, "not name=value"),
      (["--parameters", "0.5", "--sequences", "2"], 2, "--sequences is of calibration text"),
      (["--parameters", "0.5", "--moment-width", "2"], 2, "--moment-width has no use here"),
      (["--parameters", "0.5", "--set", "metric=last", "--base", model], 1, "has no use for a base"),
      (["--parameters", "0.5", "--text", text, "--length", "600"], 1, "longer than the model's context of 512"),
      (["--parameters", "0.5", "--effect-limit", "2"], 2, "--effect-limit goes with --text"),
      (["--parameters", "0.5", "--effect-limit", "0", "--text", text], 2, "must be at least 1"),
      (["--parameters", "0.5", "--max-kl", "1"], 2, "Gates need --test"),
      (["--parameters", "0.5", "--method", "widht"], 2, "is none of"),
      (["--parameters", "0.5", "--set", "metric=age"], 1, "metric"),
      (["--parameters", "100M"], 1, "no fewer"),
      (["--parameters", "0.01", "--set", "metric=last"], 1, "cannot be reached"),
      (["--parameters", "0.8", "--set", "metric=divergence"], 1, "--text"),
    ] as [([String], Int32, String)])
  func badUsage(_ options: [String], _ code: Int32, _ message: String) throws {
    try withTemporaryFolder { folder in
      let outcome = try Program.run(Self.shallow + options + ["-o", "\(folder)/out"])
      #expect(outcome.code == code && outcome.errors.contains(message), "\(outcome)")
      #expect(!FileSystem.isFolder("\(folder)/out"))
    }
  }

  /// What a change does is measured on the first windows alone, whatever statistics are gathered from.
  @Test func effectsAreMeasuredOnLessText() throws {
    try withTemporaryFolder { folder in
      func report(_ name: String, _ options: [String]) throws -> JSON {
        let run = try Program.run(
          Self.shallow + ["--set", "order=once", "--parameters", "0.8", "--text", Self.text, "--length", "64"] + options
            + ["-o", "\(folder)/\(name)", "--json"])
        #expect(run.code == 0, "\(run)")
        return try #require(try run.events.last)
      }
      let one = try report("one", ["--sequences", "1"])
      let limited = try report("limited", ["--sequences", "4", "--effect-limit", "1"])
      #expect(limited["request"]?.string?.contains("changes measured on 1 windows of each text") == true)
      #expect(limited["steps"] == one["steps"])
      #expect(try report("four", ["--sequences", "4"])["steps"] != one["steps"])
    }
  }

  /// Everything that would fail later is told with the plan, all at once.
  @Test func plansTellWhatWouldFailLater() throws {
    try withTemporaryFolder { folder in
      func plan(_ arguments: [String]) throws -> Program.Outcome {
        try Program.run(["restructure", Self.model, "-o", "\(folder)/out", "--plan"] + arguments)
      }
      let experts = try plan([
        "--method", "experts", "--set", "score=router-change", "--set", "merge=use", "--parameters", "0.8",
      ])
      #expect(experts.code == 1 && experts.errors.contains("3 errors"), "\(experts)")
      for text in ["what enters the model's matrices", "Give --base", "a llama has no experts"] {
        #expect(experts.errors.contains(text), "\(experts)")
      }
      let layers = try plan(["--method", "drop-layers", "--set", "metric=influence", "--parameters", "0.8"])
      #expect(layers.code == 1 && layers.errors.contains("runs the model on text"), "\(layers)")
      let narrow = try plan(["--method", "width", "--set", "score=magnitude", "--parameters", "0.1"])
      #expect(narrow.code == 1 && narrow.errors.contains("cannot be reached by `inner` alone"), "\(narrow)")
      let statistics = try plan(["--method", "width", "--parameters", "0.8", "--statistics", Self.text])
      #expect(statistics.code == 1, "\(statistics)")
      #expect(try FileSystem.list(folder).isEmpty)
    }
  }

  /// The second reconstruction keeps rows of all tokens: its plan refuses a ceiling below, and a run stays below one above.
  @Test func greedyOutputStaysUnderItsCeiling() throws {
    try withTemporaryFolder { folder in
      func arguments(_ sequences: Int) -> [String] {
        [
          "restructure", Self.model, "--method", "greedy-output", "--set", "reconstruct=2", "--parameters", "0.9",
          "--text", Self.text,
          "--length",
          "128", "--sequences", "\(sequences)", "--memory", "200M", "--threads", "2", "-o", "\(folder)/out",
        ]
      }
      let refused = try Program.run(arguments(128) + ["--plan"])
      #expect(refused.code == 1 && refused.errors.contains("memory.ceiling"), "\(refused)")
      #expect(refused.errors.contains("fewer or shorter windows"), "\(refused)")
      let run = try Program.run(arguments(8) + ["--json"])
      let report = try #require(try run.events.last)
      let peak = try #require(report["peak_bytes"]?.integer)
      #expect(run.code == 0 && peak <= 200_000_000, "\(run)")
    }
  }

  @Test func killedAnywhereAndResumed() throws {
    try withTemporaryFolder { folder in
      let output = "\(folder)/out"
      let arguments = Self.narrow + ["--quiet", "-o", output]
      let whole = try Program.run(arguments)
      #expect(whole.code == 0, "\(whole)")
      let wanted = try FileSystem.read("\(output)/model.safetensors")
      try FileSystem.remove(output)
      for name in ["pieces/run.json", "pieces/statistics.safetensors", "partial"] {
        let run = try Program(arguments)
        run.wait { FileSystem.kind("\(output).\(name)") != nil || FileSystem.kind(output) != nil }
        run.killAtOnce()
        let wasKilled = try run.wait().code == nil
        #expect(wasKilled && !FileSystem.isFolder(output), "\(name)")
        let refused = try Program.run(arguments)
        #expect(refused.code == 1 && refused.errors.contains("--resume"), "\(refused), \(name)")
        let resumed = try Program.run(arguments + ["--resume"])
        #expect(resumed.code == 0, "\(resumed), \(name)")
        #expect(try FileSystem.read("\(output)/model.safetensors") == wanted, "\(name)")
        #expect(try FileSystem.list(folder) == ["out"], "\(name)")
        try FileSystem.remove(output)
      }
    }
  }

  @Test func groupsAreListedFromHeaders() throws {
    let table = try Program.run("groups", Self.model)
    #expect(table.code == 0 && table.output.contains("may be permuted"), "\(table)")
    let hidden = table.output.split(separator: "\n").first { $0.hasPrefix("hidden") }
    #expect(hidden?.contains("256") == true && hidden?.contains("exact") == true, "\(table)")
    let named = try Program.run("groups", Self.model, "--parameters")
    #expect(named.code == 0 && named.output.contains("  model.embed_tokens.weight"), "\(named)")
    let json = try Program.run("groups", Self.model, "--json")
    let axes = try #require(try json.events.first?.array)
    #expect(axes.count == table.output.split(separator: "\n").count - 1, "\(json)")
    let wrong = try Program.run("groups", "\(packageFolder)/Models/nowhere")
    #expect(wrong.code != 0 && wrong.errors.contains("nowhere"), "\(wrong)")
    try withTemporaryFolder { folder in
      try TestModel.layers(1, width: 16).write(to: "\(folder)/odd", seed: 1)
      let unknown = try Program.run("groups", "\(folder)/odd")
      #expect(unknown.code == 1 && unknown.errors.contains("no family is known"), "\(unknown)")
    }
  }
}
