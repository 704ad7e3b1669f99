import EspalierBasics
import TestSupport
import Testing

/// `quantize --method` as a stranger uses it, on a real small model.
@Suite struct CalibratedQuantizationUsageTests {
  private static let model = "\(packageFolder)/Models/base"
  private static let text = [
    "--text", "\(packageFolder)/Models/text/calib/prose.txt", "--sequences", "4", "--length", "64",
  ]

  @Test func aFolderOfCodesIsAModel() throws {
    try withTemporaryFolder { folder in
      let output = "\(folder)/out"
      let arguments =
        ["quantize", Self.model, "--method", "gptq", "--bits", "3", "--group", "32", "--asymmetric", "-o", output]
        + Self.text
      let planned = try Program.run(arguments + ["--dry-run"])
      #expect(planned.code == 0 && planned.output.contains("3 bits with zero points, groups of 32"), "\(planned)")
      #expect(try FileSystem.list(folder).isEmpty)
      let outcome = try Program.run(
        arguments + [
          "--test", "\(packageFolder)/Models/text/test/prose.txt", "--test-window", "64", "--test-limit", "2",
          "--max-kl", "5",
        ])
      #expect(outcome.code == 0 && outcome.output.contains("gptq_v2, 3."), "\(outcome)")
      let verified = try Program.run("verify", output)
      #expect(verified.code == 0 && verified.output.contains("all as written"), "\(verified)")
      let inspected = try Program.run("inspect", output)
      #expect(inspected.code == 0 && inspected.output.contains("GPTQ 3-bit"), "\(inspected)")
      let files = try FileSystem.list(output)
      #expect(Set(files).isSuperset(of: ["config.json", "tokenizer.json", "report.json", "REPORT.md"]))
      let generated = try Program.run("generate", output, "--prompt", "Once", "--max-tokens", "4")
      #expect(generated.code == 0 && !generated.output.isEmpty, "\(generated)")
    }
  }

  @Test(
    arguments: [
      (["--method", "gptq", "--type", "Q4_0", "-o", "OUT"], "--type is of GGUF files"),
      (["--method", "gptq", "-o", "OUT.gguf"], "needs --type, --size or --bits"),
      (["--method", "gptq", "--max-kl", "0.1", "--effect-text", "t", "-o", "OUT.gguf"], "met by plain encoding"),
      (["--method", "rtn", "--type", "Q4_0", "-o", "OUT.gguf"], "leave --method rtn out"),
      (["--method", "awq", "--type", "Q4_0", "-o", "OUT.gguf"], "makes no blocks of GGUF"),
      (["--method", "gptq", "--type", "Q4_0", "--group", "32", "-o", "OUT.gguf"], "--group is of folders"),
      (["--method", "gptq", "--type", "Q4_0", "--set", "bits=3", "-o", "OUT.gguf"], "only `damp`"),
      (["--type", "Q4_0", "-o", "OUT"], "model.gguf"),
      (["--type", "Q4_0", "--group", "64", "-o", "OUT.gguf"], "--group goes with --method"),
      (["--method", "wanda", "-o", "OUT"], "is none of rtn, gptq"),
      (["--method", "fp8", "--bits", "8", "-o", "OUT"], "has no --bits"),
      (["--method", "rtn", "--group", "none", "-o", "OUT"], "neither a number"),
      (["--method", "rtn", "--store", "dense", "--format", "gptq", "-o", "OUT"], "no --format"),
      (["--method", "rtn", "--format", "exl2", "-o", "OUT"], "is none of gptq"),
    ] as [([String], String)])
  func refusesBadUsage(_ arguments: [String], _ message: String) throws {
    try withTemporaryFolder { folder in
      let named = arguments.map { $0.hasPrefix("OUT") ? "\(folder)/\($0)" : $0 }
      let outcome = try Program.run(["quantize", Self.model] + named)
      #expect(outcome.code == 2 && outcome.errors.contains(message), "\(outcome)")
      #expect(try FileSystem.list(folder).isEmpty)
    }
  }

  @Test func aFileOfBlocksIsAModel() throws {
    try withTemporaryFolder { folder in
      let output = "\(folder)/m.gguf"
      let arguments = ["quantize", Self.model, "--method", "gptq", "--type", "Q2_K", "-o", output] + Self.text
      let planned = try Program.run(arguments + ["--dry-run"])
      #expect(planned.code == 0 && planned.output.contains("gptq: 56 matrices"), "\(planned)")
      #expect(try FileSystem.list(folder).isEmpty)
      let outcome = try Program.run(
        arguments + [
          "--test", "\(packageFolder)/Models/text/test/prose.txt", "--test-window", "64", "--test-limit", "2",
          "--max-kl", "5",
        ])
      #expect(outcome.code == 0 && outcome.output.contains("of plain encoding"), "\(outcome)")
      let verified = try Program.run("verify", output)
      #expect(verified.code == 0 && verified.output.contains("all as written"), "\(verified)")
      #expect(try FileSystem.list(folder).sorted() == ["m.gguf", "m.report"])
      let generated = try Program.run("generate", output, "--prompt", "Once", "--max-tokens", "4")
      #expect(generated.code == 0 && !generated.output.isEmpty, "\(generated)")
    }
  }

  @Test func refusesWhatNeedsTextWithout() throws {
    try withTemporaryFolder { folder in
      let outcome = try Program.run("quantize", Self.model, "--method", "gptq", "-o", "\(folder)/out")
      #expect(outcome.code == 1 && outcome.errors.contains("needs to know what reaches"), "\(outcome)")
      let awq = try Program.run(
        "quantize", Self.model, "--method", "awq", "--bits", "3", "-o", "\(folder)/out", "--format", "awq")
      #expect(awq.code == 1 && awq.errors.contains("codes of 3 bits"), "\(awq)")
      #expect(try FileSystem.list(folder).isEmpty)
    }
  }
}
