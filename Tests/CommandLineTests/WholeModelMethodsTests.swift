import EspalierBasics
import TestSupport
import Testing

/// Methods that take blocks or models whole, as a stranger uses them.
@Suite(.serialized) struct WholeModelMethodsTests {
  private static let model = "\(packageFolder)/Models/base"
  private static let calibration = [
    "--text", "\(packageFolder)/Models/text/calib/prose.txt", "--sequences", "4", "--length", "64",
  ]

  @Test func aSplitIsDenseUnlessToldOtherwise() throws {
    try withTemporaryFolder { folder in
      let output = "\(folder)/split"
      let split =
        ["factorize", Self.model, "--method", "ffsplit", "--parameters", "0.8", "--set", "light=awsvd", "-o", output]
        + Self.calibration
      let refused = try Program.run(split + ["--store", "factors"])
      #expect(refused.code == 1 && refused.errors.contains("Give --store dense."), "\(refused)")
      let done = try Program.run(split + ["--json"])
      #expect(done.code == 0, "\(done)")
      let report = try #require(try done.events.last)
      #expect(report["matrices"]?.array?.count == 24)
      let (before, after) = (report["model"]?["matrix_numbers_before"], report["model"]?["matrix_numbers_after"])
      let share = (after?.number ?? 0) / (before?.number ?? 1)
      #expect(share <= 0.8 && share > 0.79)
      #expect(report["model"]?["bytes_after"] == report["model"]?["bytes_before"])
      #expect(try Program.run("verify", output).code == 0)
      for wrong in [["--rank", "8"], ["--size", "9MB"], ["--parameters", "0.5", "--allocate"]] {
        let outcome = try Program.run(["factorize", Self.model, "--method", "ffsplit", "-o", "\(folder)/none"] + wrong)
        #expect(outcome.code == 2 && outcome.errors.contains("--method ffsplit takes --parameters"), "\(outcome)")
      }
    }
  }

  @Test func oneThresholdForTheModel() throws {
    try withTemporaryFolder { folder in
      let prune = ["prune", Self.model, "--method", "magnitude", "--set", "scope=model"]
      let (one, two) = ("\(folder)/one", "\(folder)/two")
      let done = try Program.run(prune + ["--sparsity", "0.5", "-o", one, "--threads", "1", "--json"])
      #expect(done.code == 0, "\(done)")
      #expect(try Program.run(prune + ["--sparsity", "0.5", "-o", two, "--memory", "160M"]).code == 0)
      #expect(try FileSystem.read("\(one)/model.safetensors") == FileSystem.read("\(two)/model.safetensors"))
      let model = try #require(try done.events.last?["model"])
      let (before, after) = (model["matrix_numbers_before"]?.integer ?? 0, model["matrix_numbers_after"]?.integer ?? 0)
      #expect(before > 0 && after <= before - before / 2)
      let report = String(decoding: try FileSystem.read("\(one)/REPORT.md"), as: UTF8.self)
      #expect(report.contains(" zero ("), "\(report)")
      let plan = try Program.run(prune + ["--sparsity", "0.5", "-o", "\(folder)/three", "--plan"])
      #expect(plan.output.contains("its part of sparsity 0.5"), "\(plan)")
      let wrong = [
        ["--pattern", "2:4"], ["--size", "9MB", "--store", "sparse"], ["--sparsity", "0.5", "--allocate"],
        ["--parameters", "0.5"], ["--max-error", "0.1"],
      ]
      for budget in wrong {
        let outcome = try Program.run(prune + budget + ["-o", "\(folder)/none"])
        #expect(outcome.code == 1 && outcome.errors.contains("Give --sparsity alone"), "\(budget): \(outcome)")
        #expect(FileSystem.kind("\(folder)/none") == nil)
      }
    }
  }
}
