import EspalierBasics
import TestSupport
import Testing

/// `quantize` and `requantize` as a stranger uses them, on a real small model.
@Suite(.serialized) struct QuantizingTests {
  private static let model = "\(packageFolder)/Models/base"
  private static let text = "\(packageFolder)/Models/text/calib/prose.txt"
  private static let test = "\(packageFolder)/Models/text/test/prose.txt"

  @Test func aFileIsWrittenVerifiedMeasuredAndReadAgain() throws {
    try withTemporaryFolder { folder in
      let file = "\(folder)/m.gguf"
      let made = try Program.run(
        "quantize", Self.model, "--type", "q4_k_m", "--test", Self.test, "--test-limit", "2", "--test-window", "64",
        "--max-kl", "1", "-o", file, "--json")
      #expect(made.code == 0, "\(made)")
      let report = try #require(try made.events.last)
      #expect(report["bytes"]?.integer == (try FileSystem.read(file).count))
      #expect(report["evaluation"]?.isNull == false)
      let peak = try #require(report["peak_bytes"]?.integer)
      let planned = try #require(report["planned_peak_bytes"]?.integer)
      #expect(peak <= planned, "\(peak) measured, \(planned) planned")
      #expect(try Program.run("verify", file).code == 0)
      #expect(try FileSystem.list(folder).sorted() == ["m.gguf", "m.report"])
      let refused = try Program.run("quantize", Self.model, "--type", "Q8_0", "-o", file)
      #expect(refused.code == 1 && refused.errors.contains("--force"), "\(refused)")
      let again = try Program.run("requantize", file, "--type", "F16", "-o", "\(folder)/f16.gguf")
      #expect(again.code == 0, "\(again)")
      let compared = try Program.run(
        "compare", "\(folder)/f16.gguf", "--against", file, "--text", Self.test, "--limit", "2", "--window", "64",
        "--max-kl", "1e-5")
      #expect(compared.code == 0, "\(compared)")
      let failed = try Program.run(
        "quantize", Self.model, "--type", "Q2_K", "--test", Self.test, "--test-limit", "2", "--test-window", "64",
        "--max-kl", "1e-9", "-o", "\(folder)/bad.gguf")
      #expect(failed.code == 3, "\(failed)")
    }
  }

  @Test func inputsStayAndOldPartsGo() throws {
    try withTemporaryFolder { folder in
      let file = "\(folder)/m.gguf"
      let parts = ["--split-size", "2MB"]
      #expect(try Program.run(["quantize", Self.model, "--type", "Q8_0", "-o", file] + parts).code == 0)
      let written = try FileSystem.list(folder).filter { $0.hasSuffix(".gguf") }.sorted()
      #expect(written.count > 2)
      #expect(try Program.run("verify", "\(folder)/\(written[0])").code == 0)
      let itself = try Program.run(
        ["requantize", "\(folder)/\(written[0])", "--type", "Q4_0", "-o", file, "--force"] + ["--split-size", "3MB"])
      let kept = try FileSystem.list(folder).filter { $0.hasSuffix(".gguf") }.sorted()
      #expect(itself.code == 1 && kept == written, "\(itself)")
      #expect(try Program.run("quantize", Self.model, "--type", "Q8_0", "-o", file, "--force").code == 0)
      #expect(try FileSystem.list(folder).sorted() == ["m.gguf", "m.report"])
      let onto = try Program.run("requantize", file, "--type", "Q4_0", "-o", file, "--force")
      #expect(onto.code == 1 && onto.errors.contains("inputs are never written to"), "\(onto)")
      #expect(try Program.run("verify", file).code == 0)
    }
  }

  @Test func hostileMetadata() throws {
    try withTemporaryFolder { folder in
      let source = "\(packageFolder)/Tests/RecipesTests/Fixtures/quantization/source.gguf"
      var bytes = try FileSystem.read(source)
      // The number of blocks, a u32 behind its key.
      let key = Array("qwen2.block_count".utf8)
      let place = try #require(bytes.indices.first { bytes[$0...].starts(with: key) })
      for i in 0..<4 { bytes[place + key.count + 4 + i] = 0xFF }
      try FileSystem.write(bytes, to: "\(folder)/huge.gguf")
      let outcome = try Program.run(
        "quantize", "\(folder)/huge.gguf", "--type", "Q4_K_M", "--dry-run", "-o", "\(folder)/o.gguf")
      #expect(outcome.code == 1 && outcome.errors.contains("num_hidden_layers"), "\(outcome)")
    }
  }

  @Test func killedAndResumed() throws {
    try withTemporaryFolder { folder in
      func quantize(_ output: String, _ more: String...) -> [String] {
        ["quantize", Self.model, "--type", "Q3_K_M", "--refined", "--threads", "1", "-o", output] + more
      }
      let (reference, output) = ("\(folder)/reference.gguf", "\(folder)/out.gguf")
      #expect(try Program.run(quantize(reference)).code == 0)
      let expected = try FileSystem.read(reference)
      var generator = SeededGenerator(seed: .random(in: 0 ..< .max))
      var kills = 0
      for _ in 0..<6 {
        let lines = Int.random(in: 1...40, using: &generator)
        let run = try Program(quantize(output))
        let journal = "\(folder)/out.report.partial/journal.jsonl"
        run.wait { (try? FileSystem.read(journal).count { $0 == UInt8(ascii: "\n") }) ?? 0 > lines }
        run.killAtOnce()
        kills += try run.wait().code == nil ? 1 : 0
        if FileSystem.kind(output) == nil {
          let refused = try Program.run(quantize(output))
          #expect(refused.code == 1 && refused.errors.contains("--resume"), "\(refused)")
          let resumed = try Program.run(quantize(output, "--resume"))
          #expect(resumed.code == 0, "\(resumed)")
        }
        let bytes = try FileSystem.read(output)
        #expect(bytes == expected)
        #expect(FileSystem.kind("\(folder)/out.report.partial") == nil)
        #expect(try Program.run("verify", output).code == 0)
        try FileSystem.remove(output)
        try FileSystem.remove("\(folder)/out.report")
      }
      #expect(kills >= 3)
    }
  }

  @Test func typesForATarget() throws {
    try withTemporaryFolder { folder in
      let (file, table) = ("\(folder)/m.gguf", "\(folder)/table.json")
      let effects = ["--effect-text", Self.text, "--effect-limit", "1", "--effect-window", "32", "--mode", "fast"]
      let planned = try Program.run(
        ["quantize", Self.model, "--bits", "5", "--types", "q4_0,q8_0", "--save-table", table, "--plan", "-o", file]
          + effects)
      #expect(planned.code == 0 && planned.output.contains("foreseen"), "\(planned)")
      #expect(FileSystem.kind(file) == nil && FileSystem.isFile(table))
      let made = try Program.run(
        "quantize", Self.model, "--size", "5MB", "--table", table, "-o", file, "--json")
      #expect(made.code == 0, "\(made)")
      let bytes = try FileSystem.read(file).count
      #expect(bytes <= 5_000_000 && bytes > 4_500_000)
      #expect(try made.events.last?["fit"]?["bytes"]?.integer == bytes)
      let tooSmall = try Program.run(
        "quantize", Self.model, "--size", "1MB", "--table", table, "-o", "\(folder)/n.gguf")
      #expect(tooSmall.code == 1 && tooSmall.errors.contains("smallest types"), "\(tooSmall)")
      // Effects are those that were measured whatever types are allowed now (q4_0 was measured).
      let larger = try Program.run(
        "quantize", Self.model, "--size", "8MB", "--table", table, "--types", "q8_0", "--dry-run", "--json", "-o",
        "\(folder)/n.gguf")
      #expect(try larger.events.last?["fit"]?["predicted_kl"]?.number ?? 0 > 0, "\(larger)")
      // A folder of the user's at the place of what is only measured stays.
      try FileSystem.createFolder("\(folder)/n.fit")
      try write("mine", to: "\(folder)/n.fit/notes")
      let kept = try Program.run(
        ["quantize", Self.model, "--bits", "5", "--types", "q8_0", "--force", "-o", "\(folder)/n.gguf"] + effects)
      #expect(kept.code == 1 && kept.errors.contains("was not written by espalier"), "\(kept)")
      #expect(try Program.run("quantize", Self.model, "--type", "Q8_0", "-o", "\(folder)/n.gguf").code == 0)
      #expect(FileSystem.isFile("\(folder)/n.fit/notes"))
      for name in ["n.fit", "n.gguf", "n.report"] { try FileSystem.remove("\(folder)/\(name)") }
      // A rule holds within a target, and a table is of its own model.
      let ruled = try Program.run(
        "quantize", Self.model, "--size", "6MB", "--table", table, "--tensor-type", "ffn_down=Q8_0", "--dry-run",
        "--json",
        "-o", "\(folder)/n.gguf")
      let types = try #require(try ruled.events.last?["tensors"]?.array)
      let downs = types.filter { $0["name"]?.string?.contains("ffn_down") == true }
      #expect(downs.count == 8 && downs.allSatisfy { $0["to"]?.string == "Q8_0" }, "\(ruled)")
      let other = try Program.run(
        "quantize", "\(packageFolder)/Models/expert-code", "--size", "5MB", "--table", table, "-o", "\(folder)/n.gguf")
      #expect(other.code == 1 && other.errors.contains("another model"), "\(other)")
      #expect(try FileSystem.list(folder).sorted() == ["m.gguf", "m.report", "table.json"])
    }
  }

  @Test func typesByVarianceNeedNoText() throws {
    try withTemporaryFolder { folder in
      let output = "\(folder)/m.gguf"
      let arguments = ["quantize", Self.model, "--bits", "4.5", "--signal", "variance", "-o", output]
      let planned = try Program.run(arguments + ["--plan", "--json"])
      let plan = try JSON(parsing: Array(planned.output.utf8))
      #expect(planned.code == 0 && plan["fit"]?["signal"]?.string == "variance", "\(planned)")
      #expect(plan["fit"]?["predicted_kl"] == .null && plan["fit"]?["predicted_error"]?.number ?? 0 > 0)
      let outcome = try Program.run(arguments + ["--effect-text", Self.test, "--effect-limit", "1"])
      #expect(outcome.code == 0 && outcome.output.contains("of the weights' variance"), "\(outcome)")
      #expect(outcome.output.contains("divergence 0."), "\(outcome)")
      #expect(try FileSystem.list(folder).sorted() == ["m.gguf", "m.report"])
      for (more, message) in [
        (["--max-kl", "0.1"], "foresees no divergence"), (["--size", "5MB", "--table", "t.json"], "has its own"),
        (["--type", "Q4_0"], "are for targets"),
      ] {
        let refused = try Program.run(
          ["quantize", Self.model, "--signal", "variance", "-o", "\(folder)/x.gguf"] + more)
        #expect(refused.code == 2 && refused.errors.contains(message), "\(refused)")
      }
    }
  }

  @Test func aStepOfARecipe() throws {
    try withTemporaryFolder { folder in
      try write(
        """
        model: \(Self.model)
        steps:
          - prune: {method: magnitude, sparsity: 0.3}
          - quantize: {type: Q8_0, tensor_types: 'ffn_down=Q4_0'}
          - evaluate: {text: \(Self.test), against: original, window: 64, limit: 2, max_kl: 1}
        """, to: "\(folder)/r.yml")
      let plan = try Program.run("run", "\(folder)/r.yml", "-o", "\(folder)/out", "--plan")
      #expect(plan.code == 0 && plan.output.contains("Q4_0"), "\(plan)")
      let outcome = try Program.run("run", "\(folder)/r.yml", "-o", "\(folder)/out")
      #expect(outcome.code == 0, "\(outcome)")
      #expect(FileSystem.isFile("\(folder)/out/model.gguf"))
      #expect(try Program.run("verify", "\(folder)/out").code == 0)
      try write(
        "model: \(Self.model)\nsteps:\n  - quantize: {type: Q9}\n  - prune: {sparsity: 0.5}\n", to: "\(folder)/bad.yml")
      let bad = try Program.run("run", "\(folder)/bad.yml", "-o", "\(folder)/none")
      #expect(bad.code == 2 && bad.errors.contains("recipe line 3"), "\(bad)")
    }
  }

  @Test func stepsByMethodAndForATarget() throws {
    try withTemporaryFolder { folder in
      try write(
        """
        model: \(Self.model)
        steps:
          - quantize: {method: gptq, bits: 4, group: 32, text: \(Self.test), sequences: 4, length: 64}
          - evaluate: {text: \(Self.test), against: original, window: 64, limit: 2, max_kl: 1}
        """, to: "\(folder)/packed.yml")
      let packed = try Program.run("run", "\(folder)/packed.yml", "-o", "\(folder)/packed")
      #expect(packed.code == 0 && packed.output.contains("KL"), "\(packed)")
      let config = try JSON(parsing: try FileSystem.read("\(folder)/packed/config.json"))
      #expect(config["quantization_config"]?["quant_method"]?.string == "gptq")
      #expect(try Program.run("verify", "\(folder)/packed").code == 0)

      try write(
        """
        model: \(Self.model)
        steps:
          - quantize: {size: 6MB, effect_text: \(Self.test), effect_limit: 1, effect_window: 32, types: [q4_0, q8_0]}
        """, to: "\(folder)/fit.yml")
      let plan = try Program.run("run", "\(folder)/fit.yml", "-o", "\(folder)/fit", "--plan")
      #expect(plan.code == 0 && plan.output.contains("until their effects are known"), "\(plan)")
      let fit = try Program.run("run", "\(folder)/fit.yml", "-o", "\(folder)/fit")
      #expect(fit.code == 0 && fit.output.contains("foreseen divergence"), "\(fit)")
      #expect(try File.reading("\(folder)/fit/model.gguf").size() <= 6_000_000)
      #expect(FileSystem.kind("\(folder)/fit.stages") == nil)

      // GPTQ into blocks is a step too: its file is that of the verb.
      try write(
        """
        model: \(Self.model)
        steps:
          - quantize: {method: gptq, type: Q4_0, text: \(Self.test), sequences: 2, length: 64, baseline: false}
        """, to: "\(folder)/blocks.yml")
      let blocks = try Program.run("run", "\(folder)/blocks.yml", "-o", "\(folder)/blocks")
      #expect(blocks.code == 0 && blocks.output.contains("56 matrices by gptq"), "\(blocks)")
      #expect(blocks.output.contains("1 step, "), "\(blocks)")
      let verb = try Program.run(
        "quantize", Self.model, "--method", "gptq", "--type", "Q4_0", "--text", Self.test, "--sequences", "2",
        "--length",
        "64", "--no-baseline", "-o", "\(folder)/verb.gguf")
      #expect(verb.code == 0, "\(verb)")
      #expect(try FileSystem.read("\(folder)/blocks/model.gguf") == FileSystem.read("\(folder)/verb.gguf"))
      #expect(FileSystem.kind("\(folder)/blocks.stages") == nil)

      try write("model: \(Self.model)\nsteps:\n  - quantize: {size: 6MB, type: Q8_0}\n", to: "\(folder)/bad.yml")
      let bad = try Program.run("run", "\(folder)/bad.yml", "-o", "\(folder)/none")
      #expect(bad.code == 2 && bad.errors.contains("size is of targets"), "\(bad)")
    }
  }
}
