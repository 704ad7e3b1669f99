import EspalierBasics
import TestSupport
import Testing

/// `pack`, `unpack`, and what the other verbs make of packed files.
@Suite(.serialized) struct PackingTests {
  @Test func aFileGoesThereAndBack() throws {
    try withTemporaryFolder { folder in
      try TestModel.layers(2, width: 64).write(to: "\(folder)/model", seed: 1)
      let file = "\(folder)/model/model.safetensors"
      let packed = try Program.run("pack", file, "-o", "\(folder)/m.safetensors.packed", "--sha256", "--json")
      #expect(packed.code == 0, "\(packed)")
      let report = try #require(try packed.events.last)
      #expect(report["event"]?.string == "packed")
      #expect(try report["bytes"]?.integer == FileSystem.read("\(folder)/m.safetensors.packed").count)
      let verified = try Program.run("verify", "\(folder)/m.safetensors.packed")
      #expect(verified.code == 0, "\(verified)")
      // By its own name and by the packed file's.
      for name in ["m.safetensors", "m.safetensors.packed"] {
        let inspected = try Program.run("inspect", "\(folder)/\(name)", "--detail", "tensors", "--norms", "--json")
        let expected = try Program.run("inspect", file, "--detail", "tensors", "--norms", "--json")
        #expect(inspected.code == 0, "\(inspected)")
        #expect(try inspected.events.last?["tensors"] == expected.events.last?["tensors"])
      }
      let unpacked = try Program.run("unpack", "\(folder)/m.safetensors.packed", "-o", "\(folder)/back.safetensors")
      #expect(unpacked.code == 0 && unpacked.output.contains("every byte as it was"), "\(unpacked)")
      #expect(try FileSystem.read("\(folder)/back.safetensors") == FileSystem.read(file))
      try flip("\(folder)/m.safetensors.packed", at: 5000)
      let damaged = try Program.run("verify", "\(folder)/m.safetensors.packed")
      #expect(damaged.code == 1 && damaged.errors.contains("m.safetensors.packed"), "\(damaged)")
    }
  }

  @Test(arguments: ["63KiB", "17MiB", "100001", "much", "-1", "0"])
  func sizesOfChunksAreChecked(size: String) throws {
    let outcome = try Program.run("pack", "nowhere", "-o", "out", "--chunk=\(size)")
    #expect(outcome.code == 2 && outcome.errors.contains("64 KiB to 16 MiB"), "\(outcome)")
  }

  @Test func anOutputIsNeededOnce() throws {
    for arguments in [["pack", "a"], ["pack", "a", "-o", "b", "--replace"]] {
      #expect(try Program.run(arguments).errors.contains("Give --output or --replace"))
    }
  }

  /// Killed again and again, wherever it was, a run comes to the bytes of an undisturbed one.
  @Test func aKilledRunGoesOn() throws {
    try withTemporaryFolder { folder in
      let (model, packed) = ("\(folder)/model", "\(folder)/packed")
      try TestModel.layers(8, width: 1024).write(to: model, seed: 1)
      let options = ["--chunk", "64KiB", "--threads", "1"]
      let whole = try Program.run(["pack", model, "-o", "\(folder)/reference"] + options)
      #expect(whole.code == 0, "\(whole)")
      for bytes in [1, 6 << 20, 12 << 20, 16 << 20] {
        let run = try Program(["pack", model, "-o", packed, "--resume"] + options)
        run.wait { (try? File.reading("\(packed).partial/model.safetensors.packed.part").size() >= bytes) ?? false }
        run.killAtOnce()
        try run.wait()
        #expect(try contents(of: model)?.count == 2)
      }
      let refused = try Program.run(["pack", model, "-o", packed] + options)
      #expect(refused.code == 1 && refused.errors.contains("--resume"), "\(refused)")
      let last = try Program.run(["pack", model, "-o", packed, "--resume"] + options)
      #expect(last.code == 0, "\(last)")
      #expect(try differences(packed, "\(folder)/reference") == [])
    }
  }
}
