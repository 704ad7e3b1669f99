import EspalierBasics
import TestSupport
import Testing

/// `--memory` is a promise about everything resident, whatever the size of the models.
@Suite(.serialized) struct MemoryTests {
  private static let recipe = """
    merge_method: ties
    base_model: base
    models:
      - model: one
        parameters: {weight: 0.5, density: 0.5}
      - model: two
        parameters: {weight: 0.5, density: 0.5}
    dtype: bfloat16
    """

  private func withSparseModels(layers: Int, width: Int, _ body: (String) throws -> Void) throws {
    try withTemporaryFolder { folder in
      for name in ["base", "one", "two"] {
        try TestModel.layers(layers, width: width).writeSparse(to: "\(folder)/\(name)")
      }
      try write(Self.recipe, to: "\(folder)/recipe.yml")
      try body(folder)
    }
  }

  /// 2.6 GB of inputs, two threads, 256 MiB.
  @Test func aMergeStaysUnderItsCeiling() throws {
    try withSparseModels(layers: 13, width: 4096) { folder in
      let run = try Program([
        "merge", "\(folder)/recipe.yml", "-o", "\(folder)/merged", "--memory", "256M", "--threads", "2", "--json",
      ])
      var watched = 0
      run.wait {
        watched = max(watched, run.peakResidentBytes ?? 0)
        return false
      }
      let outcome = try run.wait()
      #expect(outcome.code == 0, "\(outcome)")
      let report = try #require(try outcome.events.last)
      let planned = try #require(report["predicted_peak_bytes"]?.integer)
      let reported = try #require(report["peak_bytes"]?.integer)
      let bytes = try #require(report["bytes_written"]?.integer)
      print("--memory 256M: at most \(planned) bytes planned, \(reported) measured, \(watched) seen from outside")
      #expect(bytes > 800_000_000)
      #expect(max(watched, reported) <= planned, "\(watched) watched, \(reported) reported, \(planned) planned")
      #expect(planned <= 256 << 20)
      #expect(reported > 4 << 20)
    }
  }

  /// Continual merging holds one model at a time: a further one costs its reader and its buffers (1.2 MB were seen), not
  /// its matrix, which takes 5 MB in float64 alone.
  @Test func continualMergingTakesTheMemoryOfTwo() throws {
    try withTemporaryFolder { folder in
      let names = ["base"] + (1...8).map { "tuned\($0)" }
      for (index, name) in names.enumerated() {
        try TestModel.layers(1, width: 768).write(to: "\(folder)/\(name)", seed: UInt64(index))
      }
      func peak(_ models: Int) throws -> (measured: Int, planned: Int) {
        let list = names[1...models].map { "  - model: \($0)\n" }.joined()
        try write("merge_method: opcm\nbase_model: base\nmodels:\n\(list)", to: "\(folder)/recipe.yml")
        let merge = try Program.run(
          "merge", "\(folder)/recipe.yml", "-o", "\(folder)/merged", "--threads", "1", "--force", "--json")
        #expect(merge.code == 0, "\(merge)")
        let report = try #require(try merge.events.last)
        return (
          try #require(report["peak_bytes"]?.integer), try #require(report["predicted_peak_bytes"]?.integer)
        )
      }
      let (two, eight) = (try peak(2), try peak(8))
      print("opcm: \(two.measured) bytes with two models, \(eight.measured) with eight")
      #expect(eight.measured <= two.measured + 6 * (2 << 20))
      #expect(eight.planned <= two.planned + 6 * (2 << 20))
      #expect(two.measured <= two.planned && eight.measured <= eight.planned, "\(two) \(eight)")
    }
  }

  /// Planning reads headers alone: 32 GB are planned in the time and the memory of a few kilobytes.
  @Test func planningReadsHeadersOnly() throws {
    try withSparseModels(layers: 80, width: 5760) { folder in
      let run = try Program(["merge", "\(folder)/recipe.yml", "-o", "\(folder)/merged", "--plan", "--json"])
      var watched = 0
      run.wait {
        watched = max(watched, run.peakResidentBytes ?? 0)
        return false
      }
      let outcome = try run.wait()
      let plan = try #require(try outcome.events.last)
      #expect(try #require(plan["moved_bytes"]?.integer) > 32_000_000_000)
      #expect(watched < 64 << 20)
      #expect(!FileSystem.isFolder("\(folder)/merged.partial"))
    }
  }

  /// 32 GB of inputs: the ceiling holds whatever the size. The merge is watched for some seconds, in the largest
  /// tensors, which come first, and then stopped.
  @Test func theCeilingHoldsWhateverTheSize() throws {
    try withSparseModels(layers: 80, width: 5760) { folder in
      let room = FileSystem.freeBytes(at: folder) ?? 0
      guard room > 14_000_000_000 else {
        print("NOT RUN: theCeilingHoldsWhateverTheSize needs 14 GB of room for its output, here are \(room) bytes")
        return
      }
      let run = try Program(["merge", "\(folder)/recipe.yml", "-o", "\(folder)/merged", "--memory", "256M", "--quiet"])
      let end = Machine.monotonicSeconds + 5
      var watched = 0
      run.wait {
        watched = max(watched, run.peakResidentBytes ?? 0)
        return Machine.monotonicSeconds > end
      }
      run.killAtOnce()
      _ = try run.wait()
      print("--memory 256M on 32 GB of inputs: \(watched) bytes at most in 5 s")
      #expect(FileSystem.isFolder("\(folder)/merged.partial"), "it was at work")
      #expect(watched > 4 << 20 && watched <= 256 << 20)
    }
  }

  @Test func aCeilingTooLowNamesTheTensorAndTheLeastThatWouldDo() throws {
    try withSparseModels(layers: 1, width: 512) { folder in
      let arguments = ["merge", "\(folder)/recipe.yml", "-o", "\(folder)/merged", "--threads", "1", "--memory"]
      let refused = try Program.run(arguments + ["8M"])
      #expect(refused.code == 1 && refused.errors.contains("memory.ceiling"), "\(refused)")
      #expect(refused.errors.contains("tensor model.layers.0."), "\(refused)")
      let least = try #require(refused.errors.split(separator: "Give --memory ").last?.split(separator: " ").first)
      let accepted = try Program.run(arguments + [String(least)])
      #expect(accepted.code == 0, "\(least): \(accepted)")
    }
  }
}
