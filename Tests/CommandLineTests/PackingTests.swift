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

  /// Killed wherever it was, `--replace` leaves the model or what it was packed to, and never less.
  @Test func killedWhileReplacing() throws {
    let seed = UInt64.random(in: 0 ..< .max)
    var generator = SeededGenerator(seed: seed)
    try withTemporaryFolder { folder in
      let (original, model) = ("\(folder)/original", "\(folder)/model")
      try TestModel.layers(6, width: 512).write(to: original, seed: 1)
      func expectWhole(_ place: Comment) throws {
        guard FileSystem.isFile("\(model)/espalier-packed.json") else {
          return #expect(try differences(model, original) == [], place)
        }
        let unpacked = try Program.run("unpack", model, "-o", "\(folder)/back", "--quiet")
        #expect(unpacked.code == 0, "\(unpacked) \(place)")
        #expect(try differences("\(folder)/back", original) == [], place)
        try FileSystem.remove("\(folder)/back")
      }
      let (partial, attempts) = (model + ".partial", 24)
      var killed = 0
      for attempt in 0..<attempts {
        let place: Comment = "seed \(seed), attempt \(attempt)"
        #expect(try Program.shell("cp -r '\(original)' '\(model)'").code == 0)
        let run = try Program(["pack", model, "--replace", "--threads", "2", "--quiet"])
        run.wait {
          switch attempt % 3 {
          case 0: FileSystem.isFile(partial + ".run")
          case 1: FileSystem.isFile("\(partial)/espalier-packed.json")
          default: FileSystem.isFile("\(model)/espalier-packed.json")
          }
        }
        run.pause(forMicroseconds: UInt32.random(in: 0...[30_000, 3000, 300][attempt % 3], using: &generator))
        run.killAtOnce()
        killed += try run.wait().code == nil ? 1 : 0
        try expectWhole(place)
        if !FileSystem.isFile("\(model)/espalier-packed.json") {
          // At the last moment nothing tells the finished folder to be ours any more.
          if !FileSystem.isFile(partial + ".run"), FileSystem.kind(partial) != nil { try FileSystem.remove(partial) }
          let again = try Program.run("pack", model, "--replace", "--force", "--quiet")
          #expect(again.code == 0, "\(again) \(place)")
          try expectWhole(place)
        }
        for name in try FileSystem.list(folder) where name.hasPrefix("model") {
          try FileSystem.remove("\(folder)/\(name)")
        }
      }
      print("killed \(killed) of \(attempts) times while replacing (seed \(seed))")
      #expect(killed >= attempts / 3, "seed \(seed)")
    }
  }

  @Test func aPackedModelIsWorthWhatTheModelIs() throws {
    try withTemporaryFolder { folder in
      let (model, packed) = ("\(packageFolder)/Models/base", "\(folder)/packed")
      let text = "\(packageFolder)/Models/text/test/docs.txt"
      #expect(try Program.run("pack", model, "-o", packed, "--quiet").code == 0)
      let figures = try [model, packed].map { model in
        let outcome = try Program.run("evaluate", model, "--text", text, "--limit", "8", "--json")
        #expect(outcome.code == 0, "\(outcome)")
        return try outcome.figure("perplexity")
      }
      #expect(figures[0] != nil && figures[0] == figures[1])
      let compared = try Program.run("compare", packed, "--against", model, "--text", text, "--limit", "4", "--json")
      #expect(try compared.figure("kl") == 0 && compared.figure("same_top") == 1, "\(compared)")
    }
  }
}
