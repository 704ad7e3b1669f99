import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport
import Testing

/// `espalier materialize` and `espalier extract-lora`, as a stranger runs them.
@Suite struct ReductionVerbsTests {
  private static let peft = "\(packageFolder)/Tests/CheckpointsTests/Fixtures/peft"
  private static let base = "\(peft)/base_llama"

  /// The first line of standard output that says `event`.
  private func event(_ name: String, in outcome: Program.Outcome) throws -> JSON {
    try #require(try outcome.events.first { $0["event"]?.string == name }, "\(outcome)")
  }

  @Test func aFineTuneBecomesAnAdapterAndAModelAgain() throws {
    try withTemporaryFolder { folder in
      let fineTune = "\(Self.base)+\(Self.peft)/lora_all"
      let adapter = "\(folder)/adapter"
      let arguments = ["extract-lora", fineTune, "--base", Self.base, "--rank", "8", "-o", adapter]
      let outcome = try Program.run(arguments)
      #expect(outcome.code == 0, "\(outcome)")
      #expect(outcome.output.contains("matrices of rank 8") && outcome.output.contains("largest errors"), "\(outcome)")
      let verified = try Program.run("verify", adapter)
      #expect(verified.code == 0 && verified.output.contains("all as written"), "\(verified)")

      let again = try Program.run(arguments)
      #expect(again.code == 1 && again.errors.contains("output.exists"), "\(again)")
      let forced = try Program.run(arguments + ["--force", "--json"])
      let report = try event("extracted", in: forced)
      #expect(try #require(report["error"]?.number) < 1e-3 && report["uncaptured"] == .array([]), "\(forced)")
      #expect(try event("began", in: forced)["stage"] == "diff")

      let converted = try Program.run("convert", "\(Self.base)+\(adapter)", "-o", "\(folder)/merged", "--dtype", "f32")
      #expect(converted.code == 0, "\(converted)")
      let original = try Program.run("convert", fineTune, "-o", "\(folder)/original", "--dtype", "f32")
      #expect(original.code == 0, "\(original)")
      let difference = try Program.run("diff", "\(folder)/original", "\(folder)/merged", "--json")
      let total = try #require(try difference.events.last?["total"], "\(difference)")
      let relative = try #require(total["relative_change"]?.number, "\(difference)")
      #expect(relative < 1e-5)
    }
  }

  @Test(
    arguments: [
      ([], "Give --rank"), (["--rank", "0"], "at least 1"), (["--energy", "1.5"], "at most 1"),
      (["--rank", "4", "--dtype", "q8"], "is not one of"),
      (["--rank", "4", "--target", "nothing"], "names no linear map"),
    ] as [([String], String)])
  func extractionRefusesBadUsage(_ arguments: [String], _ message: String) throws {
    try withTemporaryFolder { folder in
      let outcome = try Program.run(
        ["extract-lora", "\(Self.base)+\(Self.peft)/lora_all", "--base", Self.base, "-o", "\(folder)/out"] + arguments)
      #expect(outcome.code == 2 && outcome.errors.contains(message), "\(outcome)")
      #expect(try FileSystem.list(folder).isEmpty)
    }
  }

  @Test func modelsThatAreEqualHaveNoAdapter() throws {
    try withTemporaryFolder { folder in
      let outcome = try Program.run(
        "extract-lora", Self.base, "--base", Self.base, "--rank", "4", "-o", "\(folder)/out")
      #expect(outcome.code == 1 && outcome.errors.contains("adapter.nothing"), "\(outcome)")
      #expect(try FileSystem.list(folder).isEmpty)
    }
  }

  /// What `try` stores in a reduced form is a model that `inspect` explains and `materialize` writes out.
  @Test func aReducedMatrixIsMaterialized() throws {
    try withTemporaryFolder { folder in
      let bench = "\(packageFolder)/Tests/ReductionTests/Fixtures/compression/p64x96.safetensors"
      let reduced = "\(folder)/reduced.safetensors"
      let tried = try Program.run(
        "try", "wanda", "--weight", "\(bench):W", "--inputs", "\(bench):X", "--pattern", "2:4", "--store", "reduced",
        "-o", reduced, "--quiet")
      #expect(tried.code == 0 && tried.output.isEmpty && tried.errors.isEmpty, "\(tried)")

      let inspected = try Program.run("inspect", reduced)
      #expect(inspected.output.contains("2:4 f32") && inspected.output.contains("50.00 %"), "\(inspected)")

      let planned = try Program.run("materialize", reduced, "-o", "\(folder)/plain", "--dry-run")
      #expect(planned.output.contains("2:4 F32 to F32: 1 tensor"), "\(planned)")
      #expect(try FileSystem.list(folder) == ["reduced.safetensors"])

      let materialized = try Program.run("materialize", reduced, "-o", "\(folder)/plain", "--json")
      let report = try event("materialized", in: materialized)
      #expect(report["forms"]?[0]?["from"] == "2:4 F32" && report["forms"]?[0]?["bytes_after"]?.integer == 64 * 96 * 4)
      let plain = try SafetensorsCheckpoint(at: "\(folder)/plain")
      let stored = try #require(plain.parameters.first?.recipe.storedTensors.first)
      #expect(plain.parameters.count == 1 && stored.name == "W" && stored.shape == [64, 96])
      let values = ElementType.f32.values(of: try File.reading(stored.file).read(stored.byteCount, at: stored.offset))
      #expect(values.count { $0 != 0 } == 64 * 48)

      let again = try Program.run("materialize", "\(folder)/plain", "-o", "\(folder)/again")
      #expect(again.code == 1 && again.errors.contains("it is plain already"), "\(again)")
      let allowed = try Program.run("materialize", "\(folder)/plain", "-o", "\(folder)/again", "--allow-plain")
      #expect(allowed.code == 0 && allowed.output.contains("nothing was in a reduced form"), "\(allowed)")
    }
  }
}
