import EspalierBasics
import TestSupport
import Testing

/// `pack --lossy`, and what the other verbs say of what it wrote.
@Suite(.serialized) struct LossyUsageTests {
  @Test func aModelIsAsSmallAsWasAskedAndSaysWhatItLost() throws {
    try withTemporaryFolder { folder in
      try TestModel.layers(4, width: 256).write(to: "\(folder)/model", seed: 1)
      let size = try FileSystem.read("\(folder)/model/model.safetensors").count
      let packed = try Program.run(
        "pack", "\(folder)/model", "--lossy", "--ratio", "8", "-o", "\(folder)/small", "--json")
      #expect(packed.code == 0, "\(packed)")
      let report = try #require(try packed.events.last)
      let bytes = try FileSystem.read("\(folder)/small/model.safetensors.packed").count
      #expect(report["bytes"]?.integer == bytes)
      #expect(abs(Double(bytes) * 8 / Double(size) - 1) <= 0.05)
      #expect(report["lossy"]?.array?.first?["tensors"]?.array?.count == 8)
      for verb in [["verify", "\(folder)/small"], ["inspect", "\(folder)/small", "--detail", "tensors"]] {
        let outcome = try Program.run(verb)
        #expect(outcome.code == 0 && outcome.output.contains("lossy: 8 tensors are not as they were"), "\(outcome)")
      }
      let inspected = try Program.run("inspect", "\(folder)/small", "--json")
      #expect(try inspected.events.last?["lossy"] == report["lossy"])
      let unpacked = try Program.run("unpack", "\(folder)/small", "-o", "\(folder)/back")
      #expect(unpacked.code == 0 && unpacked.output.contains("every byte as it was after rounding"), "\(unpacked)")
      // The unpacked model is the packed one: packed without loss it has the same values.
      let differences = try Program.run("diff", "\(folder)/back", "\(folder)/small", "--json")
      #expect(differences.code == 0, "\(differences)")
      let norms = ["\(folder)/back", "\(folder)/small"].map { path in
        try? Program.run("inspect", path, "--detail", "tensors", "--norms", "--json").events.last?["tensors"]
      }
      #expect(norms[0] != nil && norms[0] == norms[1])
    }
  }

  @Test(arguments: [
    (["--ratio", "1"], "--ratio must be above 1"), (["--ratio", "0.5"], "--ratio must be above 1"),
    (["--ratio", "nan"], "--ratio must be above 1"), ([], "needs --ratio or --size"),
    (["--ratio", "4", "--size", "1MB"], "needs --ratio or --size"), (["--size", "small"], "is not a size"),
    (["--ratio", "4", "--text", "a", "--statistics", "b"], "not both"),
    (["--ratio", "4", "--base", "b"], "--lossy has no --base"),
  ])
  func whatIsAskedForIsChecked(arguments: [String], message: String) throws {
    let outcome = try Program.run(["pack", "nowhere", "-o", "out", "--lossy"] + arguments)
    #expect(outcome.code == 2 && outcome.errors.contains(message), "\(outcome)")
  }

  @Test func lossIsNeverByAccident() throws {
    let alone = try Program.run("pack", "nowhere", "-o", "out", "--ratio", "4")
    #expect(alone.code == 2 && alone.errors.contains("belong to --lossy"), "\(alone)")
    let replacing = try Program.run("pack", "nowhere", "--replace", "--lossy", "--ratio", "4")
    #expect(replacing.code == 2 && replacing.errors.contains("the model would be gone"), "\(replacing)")
  }

  @Test func aRatioThatCannotBeNamesTheLeast() throws {
    try withTemporaryFolder { folder in
      try TestModel.layers(2, width: 128).write(to: "\(folder)/model", seed: 1)
      let outcome = try Program.run("pack", "\(folder)/model", "--lossy", "--ratio", "5000", "-o", "\(folder)/small")
      #expect(outcome.code == 1 && outcome.errors.contains("cannot be reached: the least is"), "\(outcome)")
      #expect(FileSystem.kind("\(folder)/small") == nil)
    }
  }

  /// Killed while it measures, rounds and packs, a run comes to the bytes of an undisturbed one.
  @Test func aKilledRunGoesOn() throws {
    try withTemporaryFolder { folder in
      let (model, packed) = ("\(folder)/model", "\(folder)/packed")
      try TestModel.layers(6, width: 1024).write(to: model, seed: 1)
      let options = ["--lossy", "--ratio", "6", "--chunk", "64KiB", "--threads", "1"]
      let whole = try Program.run(["pack", model, "-o", "\(folder)/reference"] + options)
      #expect(whole.code == 0, "\(whole)")
      let partial = "\(packed).partial"
      let moments = [".run", ".rounded-1.scratch", ".rounding.scratch", "/model.safetensors.packed.part"]
      for name in moments {
        let run = try Program(["pack", model, "-o", packed, "--resume"] + options)
        run.wait { FileSystem.isFile(partial + name) }
        run.killAtOnce()
        try run.wait()
        #expect(FileSystem.kind(packed) == nil)
        // Rounded files that a loss of power has left with other bytes are made again.
        if name == ".rounding.scratch" { try flip("\(partial).rounded-1.scratch", at: 1 << 20) }
      }
      let refused = try Program.run(["pack", model, "-o", packed] + options)
      #expect(refused.code == 1 && refused.errors.contains("--resume"), "\(refused)")
      let last = try Program.run(["pack", model, "-o", packed, "--resume"] + options)
      #expect(last.code == 0, "\(last)")
      #expect(try differences(packed, "\(folder)/reference") == [])
    }
  }

  @Test func theCeilingHolds() throws {
    try withTemporaryFolder { folder in
      try TestModel.layers(12, width: 2048).write(to: "\(folder)/model", seed: 1)
      let run = try Program([
        "pack", "\(folder)/model", "--lossy", "--ratio", "10", "-o", "\(folder)/small", "--memory", "160M", "--threads",
        "2", "--chunk", "1MiB",
      ])
      var watched = 0
      run.wait {
        watched = max(watched, run.peakResidentBytes ?? 0)
        return false
      }
      let outcome = try run.wait()
      #expect(outcome.code == 0, "\(outcome)")
      #expect(watched <= 160 << 20, "\(watched)")
      let less = try Program.run(
        "pack", "\(folder)/model", "--lossy", "--ratio", "10", "-o", "\(folder)/less", "--memory", "30M")
      #expect(less.code == 1 && less.errors.contains("--memory"), "\(less)")
    }
  }
}
