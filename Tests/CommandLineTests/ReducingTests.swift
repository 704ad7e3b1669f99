import EspalierBasics
import TestSupport
import Testing

/// `prune`, `factorize` and `sensitivity` as a stranger uses them, on a real small model.
@Suite(.serialized) struct ReducingTests {
  private static let model = "\(packageFolder)/Models/base"
  private static let calibration = [
    "--text", "\(packageFolder)/Models/text/calib/prose.txt", "--sequences", "8", "--length", "64",
  ]
  private static let test = "\(packageFolder)/Models/text/test/prose.txt"

  private func prune(_ output: String, _ arguments: String...) -> [String] {
    ["prune", Self.model, "--method", "sparsegpt", "--sparsity", "0.5", "-o", output] + Self.calibration + arguments
  }

  private func weights(_ folder: String) throws -> [UInt8] { try FileSystem.read("\(folder)/model.safetensors") }

  @Test func killedAndResumed() throws {
    try withTemporaryFolder { folder in
      let (reference, output) = ("\(folder)/reference", "\(folder)/out")
      #expect(try Program.run(prune(reference)).code == 0)
      var generator = SeededGenerator(seed: .random(in: 0 ..< .max))
      var kills = 0
      for _ in 0..<6 {
        let pieces = Int.random(in: 1...50, using: &generator)
        let run = try Program(prune(output, "--store", "dense"))
        run.wait { (try? FileSystem.list("\(output).pieces").count) ?? 0 > pieces }
        run.killAtOnce()
        kills += try run.wait().code == nil ? 1 : 0
        if FileSystem.kind(output) == nil {
          let refused = try Program.run(prune(output))
          #expect(refused.code == 1 && refused.errors.contains("--resume"), "\(refused)")
          let resumed = try Program.run(prune(output, "--resume", "--threads", "1"))
          #expect(resumed.code == 0, "\(resumed)")
        }
        #expect(try weights(output) == weights(reference))
        #expect(FileSystem.kind("\(output).pieces") == nil && FileSystem.kind("\(output).partial") == nil)
        #expect(try Program.run("verify", output).code == 0)
        try FileSystem.remove(output)
      }
      #expect(kills >= 3)
    }
  }

  @Test func memoryStaysUnderTheCeiling() throws {
    try withTemporaryFolder { folder in
      let wide = try Program.run(prune("\(folder)/wide", "--json"))
      let narrow = try Program.run(prune("\(folder)/narrow", "--memory", "160M", "--json"))
      #expect(narrow.code == 0, "\(narrow)")
      let report = try #require(try narrow.events.last)
      let (peak, planned) = (report["peak_bytes"]?.integer ?? 0, report["planned_peak_bytes"]?.integer ?? 0)
      #expect(peak > 0 && peak <= planned && planned <= 160 << 20, "\(peak) measured, \(planned) planned")
      #expect(wide.code == 0)
      #expect(try weights("\(folder)/wide") == weights("\(folder)/narrow"))

      let refused = try Program.run(prune("\(folder)/none", "--memory", "64M"))
      #expect(refused.code == 1 && refused.errors.contains("--memory"), "\(refused)")
      #expect(FileSystem.kind("\(folder)/none") == nil)
    }
  }

  @Test func aSparseModelIsSmallerAndTheSame() throws {
    try withTemporaryFolder { folder in
      let (dense, sparse, plain) = ("\(folder)/dense", "\(folder)/sparse", "\(folder)/plain")
      #expect(try Program.run(prune(dense)).code == 0)
      #expect(try Program.run(prune(sparse, "--store", "sparse")).code == 0)
      func perplexity(_ model: String) throws -> String {
        let outcome = try Program.run("evaluate", model, "--text", Self.test, "--limit", "2", "--json")
        return try #require(outcome.events.last?["results"]?[0]?["figures"]?["perplexity"]).text()
      }
      #expect(try perplexity(sparse) == perplexity(dense))
      #expect(try Program.run("materialize", sparse, "-o", plain).code == 0)
      let difference = try Program.run("diff", dense, plain, "--json")
      #expect(difference.code == 0, "\(difference)")
      #expect(try perplexity(plain) == perplexity(dense))
      #expect(try weights(sparse).count < weights(dense).count * 2 / 3)
      let text = try Program.run("inspect", sparse).output
      #expect(text.contains("bitmap"), "\(text)")
    }
  }

  @Test func budgetsOfSizeAndErrorAreKept() throws {
    try withTemporaryFolder { folder in
      let table = "\(folder)/table.json"
      let measured = try Program.run(
        ["sensitivity", Self.model, "--method", "whitened-svd", "-o", table] + Self.calibration)
      #expect(measured.code == 0 && measured.output.contains("model.layers.3.mlp.down_proj.weight"), "\(measured)")
      func factorize(_ name: String, _ arguments: String...) throws -> JSON {
        let outcome = try Program.run(
          ["factorize", Self.model, "--method", "whitened-svd", "--one-shot", "-o", "\(folder)/\(name)", "--json"]
            + Self.calibration + arguments)
        #expect(outcome.code == 0, "\(outcome)")
        return try #require(try outcome.events.last)
      }
      let exact = try factorize("exact", "--max-error", "0.05", "--table", table)
      for matrix in exact["matrices"]?.array ?? [] { #expect(matrix["error"]?.number ?? 1 <= 0.05, "\(matrix)") }
      #expect(try FileSystem.read("\(folder)/exact/sensitivity.json") == FileSystem.read(table))

      let limit = 10_000_000
      for arguments in [["--allocate", "--table", table], []] {
        let name = "small\(arguments.count)"
        let outcome = try Program.run(
          [
            "factorize", Self.model, "--method", "whitened-svd", "--one-shot", "--size", "10MB", "-o",
            "\(folder)/\(name)",
          ] + Self.calibration + arguments)
        #expect(outcome.code == 0, "\(outcome)")
        let tensors = try #require(
          try JSON(parsing: FileSystem.read("\(folder)/\(name)/espalier-manifest.json"))["files"])
        let bytes = tensors[0]?["bytes"]?.integer ?? .max
        // The header is not counted among the weights.
        #expect(bytes <= limit + 64 << 10 && bytes > limit * 9 / 10, "\(bytes)")
      }
      let other = try Program.run(
        [
          "prune", Self.model, "--method", "wanda", "--sparsity", "0.5", "--allocate", "--table", table, "-o",
          "\(folder)/other",
        ] + Self.calibration)
      #expect(other.code == 1 && other.errors.contains("method"), "\(other)")
    }
  }

  @Test func aPlanTouchesNothingAndAGateIsTheExitCode() throws {
    try withTemporaryFolder { folder in
      let output = "\(folder)/out"
      let plan = try Program.run(prune(output, "--plan"))
      #expect(plan.code == 0 && plan.output.contains("model.layers.0.self_attn.q_proj.weight"), "\(plan)")
      #expect(try FileSystem.list(folder).isEmpty)
      let gated = try Program.run(prune(output, "--test", Self.test, "--test-limit", "2", "--max-kl", "0.000001"))
      #expect(gated.code == 3, "\(gated)")
      let report = String(decoding: try FileSystem.read("\(output)/REPORT.md"), as: UTF8.self)
      #expect(report.contains("KL divergence") && report.contains("perplexity"))
    }
  }
}
