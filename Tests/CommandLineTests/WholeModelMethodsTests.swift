import EspalierBasics
import TestSupport
import Testing

/// Methods that take blocks or models whole, as a stranger uses them.
@Suite(.serialized) struct WholeModelMethodsTests {
  private static let model = "\(packageFolder)/Models/base"
  private static let calibration = [
    "--text", "\(packageFolder)/Models/text/calib/prose.txt", "--sequences", "4", "--length", "64",
  ]

  @Test func aSplitIsStoredAndWrittenOut() throws {
    try withTemporaryFolder { folder in
      let output = "\(folder)/split"
      let split =
        ["factorize", Self.model, "--method", "ffsplit", "--parameters", "0.8", "--set", "light=awsvd", "-o", output]
        + Self.calibration
      let done = try Program.run(split + ["--json"])
      #expect(done.code == 0, "\(done)")
      let report = try #require(try done.events.last)
      #expect(report["matrices"]?.array?.count == 24)
      let (before, after) = (report["model"]?["matrix_numbers_before"], report["model"]?["matrix_numbers_after"])
      let share = (after?.number ?? 0) / (before?.number ?? 1)
      #expect(share <= 0.8 && share > 0.79)
      let bytes = report["model"]?["bytes_after"]?.integer ?? .max
      #expect(bytes < report["model"]?["bytes_before"]?.integer ?? 0)
      #expect(try Program.run("verify", output).code == 0)
      let inspected = try Program.run("inspect", output, "--json")
      let forms = try #require(try inspected.events.last?["reduced"]?["forms"]?.array)
      #expect(Set(forms.compactMap { $0["name"]?.string }) == ["split_rows", "split_columns"])
      let plain = "\(folder)/plain"
      #expect(try Program.run("materialize", output, "-o", plain).code == 0)
      #expect(
        try FileSystem.read("\(plain)/model.safetensors").count
          == FileSystem.read("\(Self.model)/model.safetensors").count)
      let text = "\(packageFolder)/Models/text/test/prose.txt"
      let compared = try Program.run(
        ["compare", output, "--against", plain, "--text", text, "--window", "64", "--limit", "1", "--json"])
      #expect(compared.code == 0, "\(compared)")
      let dense = try Program.run(split + ["--store", "dense", "--force", "--json"])
      let written = try #require(try dense.events.last?["model"])
      #expect(dense.code == 0 && written["bytes_after"] == written["bytes_before"], "\(dense)")
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

  @Test func theBestCutIsWrittenOnceAndFoundAgain() throws {
    try withTemporaryFolder { folder in
      let output = "\(folder)/cut"
      // What decides is repeated often enough that some cut of the last layer scores above the model.
      let search = [
        "search-cut", Self.model, "--text", "\(packageFolder)/Models/text/calib/arith.txt", "--held-out-text",
        "\(packageFolder)/Models/text/test/arith.txt", "--window", "64", "--limit", "2", "--layers", "4-7", "--only",
        "(down|o)_proj", "--shares", "0.5,0.9", "-o", output,
      ]
      let done = try Program.run(search + ["--json"])
      #expect(done.code == 0, "\(done)")
      let report = try #require(try done.events.last)
      #expect(report["search"]?["trials"]?.array?.count == 16, "\(report.text())")
      #expect(FileSystem.kind("\(output).search.jsonl") == nil)
      #expect(report["search"]?["best"]?.isNull == false)
      #expect(try Program.run("verify", output).code == 0)
      let refused = try Program.run(search)
      #expect(refused.code == 1 && refused.errors.contains("--force"), "\(refused)")
    }
  }

  @Test func budgetsByMeasuredEffects() throws {
    try withTemporaryFolder { folder in
      let (table, output) = ("\(folder)/wanda.json", "\(folder)/dealt")
      let text = "\(packageFolder)/Models/text/calib/prose.txt"
      let measured = try Program.run(
        [
          "sensitivity", Self.model, "--method", "wanda", "--level", "0.3", "--level", "0.6", "--level", "0.9",
          "--effect-text", text,
        ]
          + ["--effect-limit", "1", "--effect-window", "32", "-o", table, "--json"] + Self.calibration)
      #expect(measured.code == 0, "\(measured)")
      let json = try JSON(parsing: try FileSystem.read(table))
      #expect(json.text().contains("windows of 32 tokens"), "\(json.text().prefix(400))")
      let dealt = try Program.run(
        ["prune", Self.model, "--method", "wanda", "--sparsity", "0.6", "--allocate", "--table", table, "-o", output]
          + Self.calibration)
      #expect(dealt.code == 0, "\(dealt)")
      #expect(try Program.run("verify", output).code == 0)
    }
  }

  @Test func aLinkFittedToOutputs() throws {
    try withTemporaryFolder { folder in
      let factorize = ["factorize", Self.model, "--method", "cur", "--rank", "24", "--json"] + Self.calibration
      var errors: [Double] = []
      for link in ["weight", "outputs"] {
        let done = try Program.run(factorize + ["--set", "link=\(link)", "-o", "\(folder)/\(link)"])
        #expect(done.code == 0, "\(done)")
        errors.append(try done.events.last?["model"]?["mean_error"]?.number ?? .nan)
      }
      // What is fitted to outputs has the smaller error of outputs.
      #expect(errors[1] < errors[0])
    }
  }
}
