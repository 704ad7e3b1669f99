import EspalierBasics
import EspalierNumerics
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

  /// A model with the widths of SmolLM2-135M and fewer layers.
  private func wideModel(in folder: String) throws -> String {
    let path = "\(folder)/wide"
    try FileSystem.createFolder(path)
    for file in try FileSystem.list(Self.model) where file.hasPrefix("tokenizer") {
      try FileSystem.write(try FileSystem.read("\(Self.model)/\(file)"), to: "\(path)/\(file)")
    }
    var config = try JSON(parsing: try FileSystem.read("\(Self.model)/config.json"))
    let sizes = [
      "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 2, "num_attention_heads": 9,
      "num_key_value_heads": 3, "head_dim": 64, "vocab_size": 2048,
    ]
    for (key, value) in sizes { config[key] = .number(Double(value)) }
    try FileSystem.write(config.bytes(pretty: true), to: "\(path)/config.json")
    var shapes = [("model.embed_tokens", [2048, 576]), ("model.norm", [576])]
    for layer in 0..<2 {
      let own = [
        ("input_layernorm", [576]), ("post_attention_layernorm", [576]), ("self_attn.q_proj", [576, 576]),
        ("self_attn.k_proj", [192, 576]), ("self_attn.v_proj", [192, 576]), ("self_attn.o_proj", [576, 576]),
        ("mlp.gate_proj", [1536, 576]), ("mlp.up_proj", [1536, 576]), ("mlp.down_proj", [576, 1536]),
      ]
      shapes += own.map { ("model.layers.\(layer).\($0.0)", $0.1) }
    }
    var random = SeededGenerator(seed: 5)
    let tensors = shapes.map { name, shape in
      let count = shape.reduce(1, *)
      let values = (0..<count).map { _ in
        shape.count == 1 ? 1 : (Float(random.next() % 2001) / 1000 - 1) / 24
      }
      return TestTensor("\(name).weight", shape, values, .bf16)
    }
    try TestTensor.write(tensors, to: "\(path)/model.safetensors")
    return path
  }

  /// What is planned is never less than what is taken, and not much more.
  @Test(arguments: ["gptq", "awq"]) func memoryIsAsPlanned(method: String) throws {
    try withTemporaryFolder { folder in
      let model = try wideModel(in: folder)
      let outcome = try Program.run(
        ["quantize", model, "--method", method, "--bits", "3", "--group", "64", "-o", "\(folder)/out", "--json"]
          + ["--memory", "400M", "--threads", "2"] + Self.text)
      #expect(outcome.code == 0, "\(outcome)")
      let report = try #require(try outcome.events.last)
      let (peak, planned) = (report["peak_bytes"]?.integer ?? 0, report["planned_peak_bytes"]?.integer ?? 0)
      #expect(peak > 0 && peak <= planned && planned <= 400 << 20, "\(peak) measured, \(planned) planned")
      // 96 MiB of the plan are for the program and a tokenizer larger than this one.
      #expect(2 * planned <= 5 * peak, "\(peak) measured, \(planned) planned")
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
      let told = try JSON(parsing: Array(try Program.run(arguments + ["--plan", "--json"]).output.utf8))
      #expect(told["calibration"]?["matrices"]?.array?.count == 56)
      #expect(
        told["calibration"]?["matrices"]?.array?.allSatisfy { $0["budget"]?.string?.hasPrefix("Q") == true } == true)
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
