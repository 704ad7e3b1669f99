import EspalierBasics
import EspalierCheckpoints
import TestSupport
import Testing

/// `delta`, `patch` and `basis` as they are run.
@Suite(.serialized) struct DeltaUsageTests {
  /// A base and two others of its shapes.
  private func withModels(_ body: (String) throws -> Void) throws {
    try withTemporaryFolder { folder in
      for (seed, name) in ["base", "one", "two"].enumerated() {
        try TestModel.layers(2, width: 64).write(to: "\(folder)/\(name)", seed: UInt64(seed))
      }
      try body(folder)
    }
  }

  private func succeed(_ arguments: String...) throws -> Program.Outcome {
    let outcome = try Program.run(arguments)
    #expect(outcome.code == 0, "\(arguments): \(outcome)")
    return outcome
  }

  private func expect(_ message: String, _ arguments: String..., code: Int32 = 1) throws {
    let outcome = try Program.run(arguments)
    #expect(outcome.code == code && outcome.errors.contains(message), "\(arguments): \(outcome)")
  }

  /// Values of all tensors of a model as it is named.
  private func values(of model: String, in folder: String) throws -> [UInt8] {
    _ = try succeed("convert", model, "--dtype", "f32", "--force", "-o", "\(folder)/values")
    return try FileSystem.read("\(folder)/values/model.safetensors")
  }

  // MARK: - Usual paths

  @Test func aDeltaIsMadeAndUsed() throws {
    try withModels { folder in
      let (base, one, delta) = ("\(folder)/base", "\(folder)/one", "\(folder)/d.safetensors")
      let plan = try succeed("delta", "make", one, "--base", base, "-o", delta, "--plan", "--json")
      #expect(try plan.events.first?["tensors"]?.integer == 6)
      #expect(try FileSystem.list(folder) == ["base", "one", "two"])
      let made = try succeed("delta", "make", one, "--base", base, "--density", "0.3", "-o", delta, "--json")
      let event = try #require(try made.events.last)
      #expect(event["event"] == "delta" && event["made"]?["density"] == 0.3)
      #expect(try event["file_bytes"]?.integer == File.reading(delta).size())
      #expect(try FileSystem.list(folder) == ["base", "d.safetensors", "one", "two"])
      #expect(try values(of: "\(base)+\(delta)", in: folder) != values(of: base, in: folder))
      let replaced = try succeed("delta", "make", one, "--base", base, "-o", delta, "--force")
      #expect(replaced.output.contains("6 tensors by ternary"))
    }
  }

  @Test func aPatchComesAndGoes() throws {
    try withModels { folder in
      let (base, delta) = ("\(folder)/base", "\(folder)/d.safetensors")
      _ = try succeed("delta", "make", "\(folder)/one", "--base", base, "-o", delta)
      let applied = try succeed("patch", "apply", base, delta, "--scale", "0.5", "-o", "\(folder)/p/", "--json")
      #expect(try applied.events.last?["event"] == "patched" && applied.events.last?["patches"] == 1)
      let removed = try succeed("patch", "remove", "\(folder)/p", "-o", "\(folder)/again", "--json")
      #expect(try removed.events.last?["event"] == "restored" && removed.events.last?["patches"] == 0)
      #expect(try differences("\(folder)/again", base) == [])
      try expect("no patch that could be removed", "patch", "remove", "\(folder)/again", "-o", "\(folder)/x")
    }
  }

  @Test func aBasisGivesItsModelsBack() throws {
    try withModels { folder in
      let basis = "\(folder)/b.safetensors"
      let made = try succeed(
        "basis", "make", "\(folder)/one", "\(folder)/two", "--base", "\(folder)/base", "--rank", "2", "--dtype", "f32",
        "-o", basis, "--json")
      #expect(try made.events.last?["models"]?.array?.count == 2)
      _ = try succeed("basis", "get", basis, "--model", "two", "-o", "\(folder)/again")
      let (again, two) = (
        try FileSystem.read("\(folder)/again/model.safetensors"), try values(of: "\(folder)/two", in: folder)
      )
      #expect(try values(of: "\(folder)/again", in: folder) == two && !again.isEmpty)
      try expect("the basis has no model three", "basis", "get", basis, "--model", "three", "-o", "\(folder)/x")
      try expect("no model -9223372036854775808", "basis", "get", basis, "--model=-9223372036854775808", "-o", "x")
    }
  }

  /// Packed, deltas and bases come back byte for byte, and are read as they are.
  @Test(arguments: [["--method", "dare", "--rate", "0.8"], ["--density", "0.2"], ["--method", "int8"]])
  func packedDeltasAreRead(method: [String]) throws {
    try withModels { folder in
      let (base, delta) = ("\(folder)/base", "\(folder)/d.delta.safetensors")
      let made = try Program.run(["delta", "make", "\(folder)/one", "--base", base, "-o", delta] + method)
      #expect(made.code == 0, "\(made)")
      _ = try succeed(
        "basis", "make", "\(folder)/one", "\(folder)/two", "--base", base, "--rank", "1", "-o",
        "\(folder)/b.safetensors")
      let expected = try values(of: "\(base)+\(delta)", in: folder)
      _ = try succeed("basis", "get", "\(folder)/b.safetensors", "--model", "one", "-o", "\(folder)/one-again")
      for file in [delta, "\(folder)/b.safetensors"] {
        _ = try succeed("pack", file, "-o", "\(file).packed")
        _ = try succeed("unpack", "\(file).packed", "-o", "\(folder)/back.safetensors", "--force")
        #expect(try FileSystem.read("\(folder)/back.safetensors") == FileSystem.read(file))
        try FileSystem.remove(file)
      }
      for name in [delta, "\(delta).packed"] {
        #expect(try values(of: "\(base)+\(name)", in: folder) == expected, "\(name)")
        _ = try succeed("patch", "apply", base, name, "-o", "\(folder)/p", "--force")
      }
      for (index, name) in ["b.safetensors", "b.safetensors.packed"].enumerated() {
        _ = try succeed("basis", "get", "\(folder)/\(name)", "--model", "one", "-o", "\(folder)/packed-\(index)")
        #expect(
          try FileSystem.read("\(folder)/packed-\(index)/model.safetensors")
            == FileSystem.read("\(folder)/one-again/model.safetensors"))
      }
      // A packed base is the same base; but its files cannot be patched as they lie there.
      _ = try succeed("pack", base, "-o", "\(folder)/base-packed")
      _ = try succeed(
        "delta", "make", "\(folder)/one", "--base", "\(folder)/base-packed", "-o", "\(folder)/e.safetensors")
      #expect(try DeltaFile(at: "\(folder)/e.safetensors").base == DeltaFile(at: delta).base)
      try expect("`espalier unpack`", "patch", "apply", "\(folder)/base-packed", delta, "-o", "\(folder)/q")
      #expect(FileSystem.kind("\(folder)/q") == nil)
    }
  }

  // MARK: - Bad input

  @Test func whatIsNoDeltaIsNamed() throws {
    try withModels { folder in
      let (base, delta, out) = ("\(folder)/base", "\(folder)/d.safetensors", "\(folder)/out")
      let model = "\(base)/model.safetensors"
      try expect("the file is no delta", "patch", "apply", base, model, "-o", out)
      try expect("the file is no basis", "basis", "get", model, "--model", "1", "-o", out)
      try expect("is not on this machine", "delta", "make", "\(folder)/nothing", "--base", base, "-o", out)
      _ = try succeed("delta", "make", "\(folder)/one", "--base", base, "-o", delta)
      try expect("another base", "patch", "apply", "\(folder)/two", delta, "-o", out)
      try expect("another base", "convert", "\(folder)/two+\(delta)", "-o", out)
      try expect("holds a delta, not a model", "inspect", delta)
      // Cut short.
      let bytes = try FileSystem.read(delta)
      try FileSystem.write(Array(bytes.dropLast(5)), to: delta)
      try expect("d.safetensors", "patch", "apply", base, delta, "-o", out)
      try FileSystem.write(Array(bytes.prefix(100)), to: delta)
      try expect("cut short", "patch", "apply", base, delta, "-o", out)
      let problem = try Program.run("patch", "apply", base, delta, "-o", out, "--json")
      #expect(problem.code == 1 && (problem.output + problem.errors).contains("\"event\""), "\(problem)")
      #expect(FileSystem.kind(out) == nil && FileSystem.kind("\(out).partial") == nil)
    }
  }

  @Test func otherParametersAreRefused() throws {
    try withModels { folder in
      try TestModel.layers(1, width: 64).write(to: "\(folder)/short", seed: 3)
      let out = "\(folder)/out.safetensors"
      try expect(
        "the fine-tune has no such parameter", "delta", "make", "\(folder)/short", "--base", "\(folder)/base", "-o", out
      )
      try expect(
        "the base has no such parameter", "basis", "make", "\(folder)/one", "--base", "\(folder)/short", "--rank", "1",
        "-o", out)
      #expect(FileSystem.kind("\(out).partial") == nil)
    }
  }

  @Test func outputsThatExistStay() throws {
    try withModels { folder in
      let out = "\(folder)/out.safetensors"
      try write("mine", to: out)
      let (one, base) = ("\(folder)/one", "\(folder)/base")
      for options in [[], ["--force"], ["--force", "--resume"]] {
        for verb in [["delta", "make", one], ["basis", "make", one, "--rank", "1"]] {
          let outcome = try Program.run(verb + ["--base", base, "-o", out] + options)
          #expect(outcome.code == 1 && outcome.errors.contains("output.exists"), "\(outcome)")
        }
      }
      #expect(try FileSystem.read(out) == Array("mine".utf8))
      _ = try succeed("delta", "make", one, "--base", base, "-o", "\(folder)/d.safetensors")
      try write("mine", to: "\(folder)/p.partial")
      try expect(
        "not written by espalier", "patch", "apply", base, "\(folder)/d.safetensors", "-o", "\(folder)/p", "--force")
      #expect(try FileSystem.read("\(folder)/p.partial") == Array("mine".utf8))
    }
  }

  @Test(arguments: [
    ("delta make a --base b -o x.safetensors.packed", "`espalier pack` writes packed files"),
    ("delta make a --base b --rank 3 -o x", "--rank and --energy go with --method lowrank."),
    ("basis make a --base b --rank 2 -o x", "--rank must be from 1 to the number of models, 1."),
    ("patch apply a b --scale inf -o x", "--scale must be a number."),
    ("patch remove a -o ..", "--output needs a name."),
  ])
  func usageIsChecked(line: String, message: String) throws {
    let outcome = try Program.run(line.split(separator: " ").map(String.init))
    #expect(outcome.code == 2 && outcome.errors.contains(message), "\(outcome)")
  }

  // MARK: - Interruption

  /// Killed wherever it was, a run comes to the bytes of an undisturbed one.
  @Test(arguments: [["delta", "make"], ["basis", "make"]])
  func aKilledRunGoesOn(verb: [String]) throws {
    try withTemporaryFolder { folder in
      for (seed, name) in ["base", "one"].enumerated() {
        try TestModel.layers(8, width: 1024).write(to: "\(folder)/\(name)", seed: UInt64(seed))
      }
      func arguments(_ output: String, _ further: String...) -> [String] {
        verb + ["\(folder)/one", "--base", "\(folder)/base", "-o", output, "--threads", "1"] + further
          + (verb[0] == "delta" ? ["--method", "auto"] : ["--rank", "1"])
      }
      let (reference, output) = ("\(folder)/reference", "\(folder)/out")
      let whole = try Program.run(arguments(reference))
      #expect(whole.code == 0, "\(whole)")
      let wanted = try FileSystem.read(reference)
      let journal = "\(output).partial/journal.jsonl"
      func lines() -> Int { (try? FileSystem.read(journal).count { $0 == UInt8(ascii: "\n") }) ?? 0 }
      var inTheMiddle = 0
      for count in [1, 4, 9, 16] {
        let run = try Program(arguments(output, "--resume"))
        run.wait { lines() >= count }
        run.killAtOnce()
        let killed = try run.wait().code == nil
        inTheMiddle += killed && lines() > 1 ? 1 : 0
        if FileSystem.kind(output) != nil { break }
      }
      #expect(inTheMiddle >= 2)
      #expect(FileSystem.kind(output) == nil)
      let before = lines()
      let refused = try Program.run(arguments(output))
      #expect(refused.code == 1 && refused.errors.contains("--resume"), "\(refused)")
      let other = try Program.run(
        arguments(output, "--resume") + (verb[0] == "delta" ? ["--density", "0.5"] : ["--dtype", "f32"]))
      #expect(other.code == 1 && other.errors.contains("belongs to another run"), "\(other)")
      #expect(lines() == before)
      // Bytes that changed meanwhile are made again.
      try flip("\(output).partial/parts", at: 1000)
      let last = try Program.run(arguments(output, "--resume"))
      #expect(last.code == 0, "\(last)")
      #expect(try FileSystem.read(output) == wanted)
      #expect(try FileSystem.list(folder) == ["base", "one", "out", "reference"])
    }
  }
}
