import EspalierBasics
import TestSupport
import Testing

/// `espalier fit`, as a stranger runs it.
@Suite(.serialized) struct FitUsageTests {
  private static let models = "\(packageFolder)/Models"
  /// What the last six layers have stays as it is, so that little is measured.
  private static let arguments = [
    "fit", "\(models)/base", "--size", "10.5MB", "--text", "\(models)/text/calib/docs.txt", "--sequences", "2",
    "--length", "64", "--effect-limit", "1", "--effect-window", "64", "--keep", "layers\\.[2-7]\\.",
  ]

  @Test func aPlanTouchesNothing() throws {
    try withTemporaryFolder { folder in
      let plan = try Program.run(Self.arguments + ["-o", "\(folder)/out", "--plan"])
      #expect(plan.code == 0 && plan.output.contains("13.1 MB to 10.5 MB by bits, rank, sparsity, depth"), "\(plan)")
      let json = try Program.run(Self.arguments + ["-o", "\(folder)/out", "--plan", "--json", "--knobs", "bits"])
      let event = try #require(try json.events.last)
      #expect(event["knobs"] == ["bits"] && event["bytes_wanted"]?.integer == 10_500_000)
      #expect(try FileSystem.list(folder).isEmpty)
    }
  }

  @Test func aFitIsMeasuredBesideItsKnobs() throws {
    try withTemporaryFolder { folder in
      let run = try Program.run(
        Self.arguments + [
          "-o", "\(folder)/out", "--test", "\(Self.models)/text/test/docs.txt", "--test-window", "64",
          "--test-limit", "2", "--against-single-knobs", "--max-kl", "5", "--json",
        ])
      #expect(run.code == 0, "\(run)")
      let report = try #require(try run.events.last)
      #expect(try #require(report["bytes_after"]?.integer) <= 10_500_000)
      #expect(
        report["single_knobs"]?.array?.compactMap { $0["knob"]?.string } == ["bits", "rank", "sparsity", "depth"])
      #expect(report["evaluation"]?["results"]?[0]?["figures"]?["kl"]?["value"]?.number != nil)
      #expect(try FileSystem.list(folder) == ["out"])
      let verify = try Program.run("verify", "\(folder)/out")
      #expect(verify.code == 0 && verify.output.contains("all as written"), "\(verify)")
      let generate = try Program.run("generate", "\(folder)/out", "--prompt", "The", "--max-tokens", "4")
      #expect(generate.code == 0, "\(generate)")
      let failed = try Program.run(
        Self.arguments + [
          "-o", "\(folder)/gate", "--test", "\(Self.models)/text/test/docs.txt", "--test-window", "64",
          "--test-limit", "2", "--knobs", "bits", "--max-kl", "0.0000001", "--quiet",
        ])
      #expect(failed.code == 3, "\(failed)")
    }
  }

  @Test(
    arguments: [
      (["--size", "small"], 2, "is not a size"), (["--knobs", "bits,width"], 2, "width is none of"),
      (["--effect-window", "1"], 2, "at least 2"), (["--against-single-knobs"], 2, "needs --test"),
      (["--max-kl", "1"], 2, "Gates need --test"), (["--size", "20MB"], 1, "no more than"),
      (["--size", "1kB"], 1, "no choice takes less than"),
      (["--save-table", "nowhere/t.json"], 1, "there is no folder"),
    ] as [([String], Int32, String)])
  func badUsage(_ options: [String], _ code: Int32, _ message: String) throws {
    try withTemporaryFolder { folder in
      let outcome = try Program.run(Self.arguments + options + ["-o", "\(folder)/out"])
      #expect(outcome.code == code && outcome.errors.contains(message), "\(outcome)")
      #expect(try FileSystem.list(folder).isEmpty)
    }
  }

  @Test func killedAnywhereAndResumed() throws {
    try withTemporaryFolder { folder in
      let output = "\(folder)/out"
      let arguments = Self.arguments + ["--knobs", "bits,depth", "--quiet", "-o", output]
      #expect(try Program.run(arguments).code == 0)
      let wanted = try FileSystem.read("\(output)/model.safetensors")
      try FileSystem.remove(output)
      for name in ["pieces/curves.json", "pieces/layers.json", "pieces/00001.safetensors", "partial"] {
        let run = try Program(arguments)
        run.wait { FileSystem.kind("\(output).\(name)") != nil || FileSystem.kind(output) != nil }
        run.killAtOnce()
        let wasKilled = try run.wait().code == nil
        #expect(wasKilled && !FileSystem.isFolder(output), "\(name)")
        let resumed = try Program.run(arguments + ["--resume"])
        #expect(resumed.code == 0, "\(resumed), \(name)")
        #expect(try FileSystem.read("\(output)/model.safetensors") == wanted, "\(name)")
        #expect(try FileSystem.list(folder) == ["out"], "\(name)")
        try FileSystem.remove(output)
      }
    }
  }
}
