import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierRecipes

/// Models in fewer bytes and back, and used as they are.
@Suite("Packing models") struct PackingTests {
  private static let peft = "\(FileSystem.parent(of: FileSystem.parent(of: #filePath)))/CheckpointsTests/Fixtures/peft"

  // MARK: - The verbs

  @discardableResult
  private func pack(
    _ model: String, to output: String? = nil, base: String? = nil, threads: Int = 2,
    _ change: (inout PackingOptions) -> Void = { _ in }
  ) throws -> PackingReport {
    var options = PackingOptions(output: output ?? model, chunkBytes: 1 << 16, threads: threads, memory: 1 << 30)
    (options.base, options.replaces) = (base, output == nil)
    change(&options)
    return try PackingRun.execute(try PackingPlan(of: model, options), listener: SilentListener())
  }

  private func unpack(_ model: String, to output: String, base: String? = nil) throws {
    var options = UnpackingRun.Options(output: output, threads: 2)
    options.base = base
    _ = try UnpackingRun.execute(model, options, listener: SilentListener())
  }

  private func verify(_ path: String) throws -> [Problem] {
    try PackedVerification.verify(path, threads: 2, listener: SilentListener()).problems
  }

  /// Bytes of all files of a folder and the folders in it.
  private func tree(_ folder: String) throws -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    for (name, path) in try PackingPlan.files(of: folder) { files[name] = try FileSystem.read(path) }
    return files
  }

  /// A model with a folder in its folder: `value` in all its tensors but two, which are noise.
  private func write(_ folder: String, value: Float = 1, seed: UInt64 = 1, step: Float = 0) throws {
    var generator = SeededGenerator(seed: seed)
    func noise(_ name: String, _ count: Int) -> TestTensor {
      TestTensor(name, [count], generator.floats(count).map { $0 * (1 + step) }, .bf16)
    }
    try TinyLlama(value: value, extra: [noise("extra.a", 70_001), noise("extra.b", 33)]).write(to: folder)
    try FileSystem.createFolder("\(folder)/sub")
    try TestTensor.write([noise("c", 40_000)], to: "\(folder)/sub/more.safetensors")
    try FileSystem.write(Array("words".utf8), to: "\(folder)/sub/notes.txt")
    try FileSystem.write([], to: "\(folder)/empty")
    try FileSystem.write(generator.bytes(3 << 20), to: "\(folder)/other.bin")
  }

  // MARK: - Round trips

  @Test("A folder with folders in it, the same bytes whatever the threads; verify finds what was changed")
  func folders() throws {
    try withTemporaryFolder { folder in
      let (model, packed) = ("\(folder)/model", "\(folder)/packed")
      try write(model)
      let report = try pack(model, to: packed) { $0.hashes = true }
      #expect(report.bytesAfter < report.bytesBefore)
      try pack(model, to: "\(folder)/again", threads: 5) { $0.hashes = true }
      let files = try tree(packed)
      #expect(try tree("\(folder)/again") == files)
      #expect(
        files.keys.sorted() == [
          "config.json", "empty", "espalier-packed.json", "model.safetensors.packed", "other.bin",
          "sub/more.safetensors.packed", "sub/notes.txt",
        ])
      try unpack(packed, to: "\(folder)/unpacked")
      #expect(try tree("\(folder)/unpacked") == tree(model))
      #expect(try verify(packed).isEmpty)
      for (name, place) in [("sub/more.safetensors.packed", 3000), ("sub/notes.txt", 2), ("other.bin", 1 << 20)] {
        try flip("\(packed)/\(name)", at: place)
        #expect(try verify(packed).map(\.context.file) == ["\(packed)/\(name)"])
        try flip("\(packed)/\(name)", at: place)
      }
      try FileSystem.remove("\(packed)/empty")
      #expect(try verify(packed).map(\.code.rawValue) == ["verify.mismatch"])
      try FileSystem.write([], to: "\(packed)/empty")
      // What is damaged is not unpacked.
      try flip("\(packed)/sub/more.safetensors.packed", at: 3000)
      #expect(problem { try unpack(packed, to: "\(folder)/third") }?.code == .archiveDamaged)
      #expect(!FileSystem.isFolder("\(folder)/third"))
    }
  }

  @Test("A file alone, into a folder that is not there yet, against a base")
  func files() throws {
    try withTemporaryFolder { folder in
      try write("\(folder)/base")
      try write("\(folder)/tuned", step: 0.01)
      let (file, packed) = ("\(folder)/tuned/model.safetensors", "\(folder)/new/deep/model.safetensors.packed")
      try pack(file, to: "\(folder)/new/deep/model.safetensors", base: "\(folder)/base")
      #expect(try FileSystem.isFile(packed) && verify(packed).isEmpty)
      let names = try FileSystem.list("\(folder)/new/deep")
      #expect(names == ["model.safetensors.packed"])
      try unpack(packed, to: "\(folder)/back.safetensors")
      #expect(try FileSystem.read("\(folder)/back.safetensors") == FileSystem.read(file))
    }
  }

  @Test("The packed model in the place of the model")
  func replacing() throws {
    try withTemporaryFolder { folder in
      let (model, file) = ("\(folder)/model", "\(folder)/tiny.safetensors")
      try write(model)
      let files = try tree(model)
      try FileSystem.write(try FileSystem.read("\(model)/model.safetensors"), to: file)
      try pack(model)
      #expect(!FileSystem.isFile("\(model)/model.safetensors"))
      #expect(try FileSystem.list(folder) == ["model", "tiny.safetensors"])
      try unpack(model, to: "\(folder)/unpacked")
      #expect(try tree("\(folder)/unpacked") == files)
      // Another file of that name stays.
      try FileSystem.write([1, 2, 3], to: file + ".packed")
      #expect(problem { try pack(file) }?.code == .outputExists)
      try FileSystem.remove(file + ".packed")
      try pack(file)
      #expect(!FileSystem.isFile(file))
      #expect(try WeightFile.open(file).size() == files["model.safetensors"]?.count)
      #expect(problem { try pack(model) }?.message == "this is packed already")
    }
  }

  // MARK: - Bases

  @Test("Against a base, which may be moved")
  func movedBases() throws {
    try withTemporaryFolder { folder in
      let (base, tuned, packed) = ("\(folder)/base", "\(folder)/tuned", "\(folder)/out/packed")
      try write(base)
      try write(tuned, step: 0.01)
      let alone = try pack(tuned, to: "\(folder)/alone")
      let report = try pack(tuned, to: packed, base: base)
      #expect(10 * report.bytesAfter < 9 * alone.bytesAfter)
      try FileSystem.createFolder("\(folder)/there")
      try FileSystem.rename(base, to: "\(folder)/there/base")
      #expect(problem { try unpack(packed, to: "\(folder)/unpacked") }?.code == .archiveBase)
      #expect(problem { try unpack(packed, to: "\(folder)/other", base: "\(folder)/nowhere") }?.code == .archiveBase)
      #expect(try Set(verify(packed).map(\.code)) == [.archiveBase])
      let verified = try PackedVerification.verify(
        packed, base: "\(folder)/there/base", threads: 2, listener: SilentListener())
      #expect(verified.problems == [] && verified.tensors > 0)
      try unpack(packed, to: "\(folder)/back", base: "\(folder)/there/base")
      #expect(try tree("\(folder)/back") == tree(tuned))
    }
  }

  @Test("Nothing takes the place of what it is read with")
  func basesInTheWay() throws {
    try withTemporaryFolder { folder in
      let (a, b) = ("\(folder)/a", "\(folder)/b")
      try write(a)
      try write(b, step: 0.01)
      let before = try tree(a)
      func expectRefusal(_ body: () throws -> Void) throws {
        let found = problems(body)
        #expect(found.map(\.code) == [.archiveBase], "\(found)")
        #expect(found.first?.message.contains("take the place of") == true)
        #expect(try tree(a) == before)
      }
      try expectRefusal { try pack(a, base: a) }
      try expectRefusal { try pack("\(a)/model.safetensors", base: a) }
      try pack(b, base: a)
      try expectRefusal { try pack(a, base: b) }
      try expectRefusal { try pack("\(a)/model.safetensors", base: "\(b)/model.safetensors") }
      try pack("\(a)/model.safetensors", to: "\(folder)/c.safetensors.packed", base: b)
      try expectRefusal { try pack("\(a)/model.safetensors", base: "\(folder)/c.safetensors") }
      // The base packed by itself is the same base.
      try pack(a)
      try unpack(b, to: "\(folder)/back")
      try write("\(folder)/expected", step: 0.01)
      #expect(try tree("\(folder)/back") == tree("\(folder)/expected"))
    }
  }

  @Test("What cannot be packed is said before anything is written")
  func refusals() throws {
    try withTemporaryFolder { folder in
      let model = "\(folder)/model"
      try write(model)
      try FileSystem.createFolder("\(folder)/none")
      try TestTensor.write([TestTensor("stranger", [2], [1, 2])], to: "\(folder)/stranger.safetensors")
      let out = "\(folder)/out"
      #expect(problem { try pack("\(folder)/none", to: out) }?.code.rawValue == "checkpoint.missing")
      #expect(problem { try pack("\(folder)/nowhere", to: out) }?.code.rawValue == "checkpoint.missing")
      #expect(problem { try pack("\(model)/config.json", to: out) }?.code.rawValue == "checkpoint.missing")
      #expect(problem { try pack(model, to: out, base: "\(folder)/none") }?.code.rawValue == "checkpoint.missing")
      #expect(problem { try pack(model, to: out, base: "\(folder)/stranger.safetensors") }?.code == .archiveBase)
      #expect(problem { try pack(model, to: out) { $0.memory = 1 << 20 } }?.code.rawValue == "memory.ceiling")
      #expect(problem { try pack("\(model)/model.safetensors", to: "\(folder)/weights") }?.code == .archiveFormat)
      #expect(problem { try pack(model, to: "\(folder)/none/../model") }?.code == .outputExists)
      #expect(problem { try unpack(model, to: out) }?.code == .archiveFormat)
      #expect(try FileSystem.list(folder) == ["model", "none", "stranger.safetensors"])
    }
  }

  @Test("A finished folder that did not get its name is gone on with; of a file, only a mark may be left")
  func resuming() throws {
    try withTemporaryFolder { folder in
      let (model, packed) = ("\(folder)/model", "\(folder)/packed")
      try write(model)
      try pack(model, to: packed)
      let expected = try tree(packed)
      // A folder that is found in the way is no unfinished one of ours.
      try FileSystem.rename(packed, to: packed + ".partial")
      #expect(problem { try pack(model, to: packed) { $0.policy.resume = true } }?.code == .outputPartial)
      try FileSystem.remove(packed + ".partial")
      // A mark of another run, and nothing else.
      let file = "\(model)/model.safetensors"
      try FileSystem.write(Array("{}".utf8), to: "\(folder)/m.safetensors.packed.partial.run")
      try pack(file, to: "\(folder)/m.safetensors")
      #expect(try FileSystem.read("\(folder)/m.safetensors.packed") == expected["model.safetensors.packed"])
      #expect(try FileSystem.list(folder) == ["m.safetensors.packed", "model"])
    }
  }

  // MARK: - Used as they are

  @Test("Packed models merge to the same bytes")
  func merging() throws {
    try Workplace.with { place in
      for (index, name) in ["a", "b"].enumerated() {
        try write(place.path(name), value: Float(index), seed: UInt64(index))
        try FileSystem.remove(place.path("\(name)/sub/more.safetensors"))
        try pack(place.path(name), to: place.path("\(name)-packed"))
      }
      func merge(_ suffix: String) throws -> [UInt8] {
        place.options.policy = .init(force: true)
        try place.run(
          """
          merge_method: ties
          base_model: a\(suffix)
          models: [{model: b\(suffix), parameters: {weight: 0.5, density: 0.5}}]
          dtype: bfloat16
          """)
        return try FileSystem.read(place.path("out/model.safetensors"))
      }
      #expect(try merge("") == merge("-packed"))
    }
  }

  @Test("A packed base with a packed adapter is the model that it was", arguments: ["lora_all", "dora_all", "ia3"])
  func adapters(name: String) throws {
    try Workplace.with { place in
      try pack("\(Self.peft)/base_llama", to: place.path("base"))
      try pack("\(Self.peft)/\(name)", to: place.path("adapter"))
      func merge(_ model: String) throws -> [UInt8] {
        place.options.policy = .init(force: true)
        try place.run("merge_method: passthrough\nmodels: [{model: \"\(model)\"}]\n")
        return try FileSystem.read(place.path("out/model.safetensors"))
      }
      #expect(try merge("base+adapter") == merge("\(Self.peft)/base_llama+\(Self.peft)/\(name)"))
    }
  }

  @Test("A packed model is quantized to the same file, which packed is found by its name and requantized")
  func quantizing() throws {
    try withTemporaryFolder { folder in
      let families = Architecture.builtIn()
      func quantize(_ model: String, _ mix: String, to output: String) throws {
        var options = MergeOptions(output: "\(folder)/\(output)")
        (options.threads, options.shardBytes) = (2, .max)
        var request = QuantizationRequest(mix: try #require(QuantizationMix.named(mix)))
        request.allowsRequantizing = true
        let path = try ModelLocator(recipeFolder: folder).locate(model, revision: nil, line: 0)
        let plan = try QuantizationPlan(
          request, of: path, checkpoint: try Architecture.openCheckpoint(at: path, families: families),
          families: families,
          options: options)
        _ = try QuantizationRun.execute(plan, listener: SilentListener())
      }
      try pack("\(packageFolder)/Models/base", to: "\(folder)/base")
      try quantize("\(packageFolder)/Models/base", "Q8_0", to: "a.gguf")
      try quantize("base", "Q8_0", to: "b.gguf")
      #expect(try FileSystem.read("\(folder)/a.gguf") == FileSystem.read("\(folder)/b.gguf"))
      try pack("\(folder)/b.gguf")
      #expect(!FileSystem.isFile("\(folder)/b.gguf"))
      for (index, name) in ["a.gguf", "b.gguf", "b.gguf.packed"].enumerated() {
        try quantize(name, "Q4_0", to: "\(index).gguf")
        #expect(try FileSystem.read("\(folder)/\(index).gguf") == FileSystem.read("\(folder)/0.gguf"))
      }
    }
  }

  // MARK: - What files claim

  @Test("Unpacking and checking are refused where they take more memory than is allowed")
  func memoryIsPlanned() throws {
    try withTemporaryFolder { folder in
      try write("\(folder)/model")
      try pack("\(folder)/model", to: "\(folder)/packed")
      var options = UnpackingRun.Options(output: "\(folder)/out", threads: 2, memory: 1 << 20)
      let found = problem { try UnpackingRun.execute("\(folder)/packed", options, listener: SilentListener()) }
      #expect(found?.code == .memoryCeiling && FileSystem.kind("\(folder)/out.partial") == nil)
      let verified = try PackedVerification.verify(
        "\(folder)/packed", threads: 2, memory: 1 << 20, listener: SilentListener())
      #expect(Set(verified.problems.map(\.code)) == [.memoryCeiling])
      options.memory = 64 << 20
      _ = try UnpackingRun.execute("\(folder)/packed", options, listener: SilentListener())
      #expect(try tree("\(folder)/out") == tree("\(folder)/model"))
    }
  }

  @Test("Files that claim more bytes than can be counted: no room, no crash")
  func endlessFiles() throws {
    try withTemporaryFolder { folder in
      try FileSystem.createFolder("\(folder)/packed")
      let claimed = 1 << 48
      let coded = JSON.string(
        #"{"version":1,"bytes":\#(claimed),"chunk":16777216,"parts":[["u8",\#(claimed)]]}"#)
      let table = 40 * (claimed >> 24)
      let text =
        #"{"__metadata__":{"espalier_archive":\#(coded.text())},"espalier.check":{"dtype":"U8","shape":[16],"#
        + #""data_offsets":[0,16]},"t":{"dtype":"U8","shape":[\#(table)],"data_offsets":[16,\#(16 + table)]}}"#
      let head = (0..<8).map { UInt8(truncatingIfNeeded: text.utf8.count >> (8 * $0)) } + Array(text.utf8)
      let digest = head.withUnsafeBytes { Digest(of: $0) }
      let check = [digest.low, digest.high].flatMap { word in
        (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * UInt64($0))) }
      }
      for index in 0..<3 {
        let file = try File.writing("\(folder)/packed/\(index).safetensors.packed")
        try file.write(head + check, at: 0)
        try file.resize(to: head.count + 16 + table)
      }
      let options = UnpackingRun.Options(output: "\(folder)/out", threads: 1)
      let found = problem { try UnpackingRun.execute("\(folder)/packed", options, listener: SilentListener()) }
      #expect(found?.code == .outputSpace, "\(found.map { "\($0)" } ?? "none")")
      #expect([Int.max, 1, .max].saturatingSum == .max && [3, 4].saturatingSum == 7)
    }
  }
}

extension SeededGenerator {
  fileprivate mutating func bytes(_ count: Int) -> [UInt8] {
    (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
  }
}
