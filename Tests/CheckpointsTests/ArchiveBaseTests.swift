import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

/// Files that are packed against another.
@Suite("Files packed against a base") struct ArchiveBaseTests {
  private static let base = "base.safetensors"
  private static let tuned = "tuned.safetensors"

  /// A base and a fine-tune of it: a tensor that is equal, one that is near, integers, one of another type.
  private func withModels(_ body: (_ folder: String) throws -> Void) throws {
    try withTemporaryFolder { folder in
      var generator = SeededGenerator(seed: 2)
      let (equal, near) = (generator.floats(9000), generator.floats(9000))
      let integers = generator.bytes(9000)
      func tensors(_ step: Float, _ type: ElementType) -> [TestTensor] {
        [
          TestTensor("equal", [9000], equal, .bf16),
          TestTensor("near", [90, 100], near.map { $0 * (1 + step) }, .bf16),
          TestTensor("integers", [9000], bytes: integers.map { $0 ^ (step == 0 ? 0 : $0 & 1) }, .u8),
          TestTensor("other", [10], [Float](repeating: 1, count: 10), type),
        ]
      }
      try TestTensor.write(tensors(0, .f32), to: "\(folder)/\(Self.base)")
      // Its tensors lie elsewhere.
      try TestTensor.write(
        [TestTensor("first", [3], [1, 2, 3])] + tensors(1e-2, .bf16).reversed(), to: "\(folder)/\(Self.tuned)")
      try body(folder)
    }
  }

  @Test("Tensors that are equal take nearly nothing, those that are near less than alone")
  func sizes() throws {
    try withModels { folder in
      let (path, packed) = ("\(folder)/\(Self.tuned)", "\(folder)/\(Self.tuned).packed")
      let alone = try Packing.pack(path)
      let against = try Packing.pack(path, base: [Self.base])
      let names = against.header.parts.map(\.name)
      func bytes(_ name: String, _ outcome: ArchiveWriter.Outcome) throws -> Int {
        outcome.partBytes[try #require(names.firstIndex(of: name))]
      }
      #expect(try bytes("equal", against) < 400)
      #expect(try 10 * bytes("near", against) < 8 * bytes("near", alone))
      #expect(try 2 * bytes("integers", against) < bytes("integers", alone))
      #expect(try bytes("other", against) == bytes("other", alone))
      let isEqual = try Packing.bytes(of: packed) == FileSystem.read(path)
      #expect(isEqual)
      let piece = try ArchivedFile(at: packed).read(5000, at: 9999)
      #expect(try piece == File.reading(path).read(5000, at: 9999))
    }
  }

  @Test("A base that is gone, was cut or changed is said to be, by the packed file's name")
  func changedBases() throws {
    try withModels { folder in
      let (path, packed, base) = ("\(folder)/\(Self.tuned)", "\(folder)/\(Self.tuned).packed", "\(folder)/\(Self.base)")
      let original = try FileSystem.read(base)
      let whole = try FileSystem.read(path)
      try Packing.pack(path, base: [Self.base])
      func expectRefusal(_ part: String) {
        let found = problem { try Packing.bytes(of: packed) }
        #expect(found?.code == .archiveBase && found?.context.file == packed, "\(found.map { "\($0)" } ?? "none")")
        #expect(found?.message.contains(part) == true, "\(found.map { "\($0)" } ?? "none")")
      }
      try FileSystem.remove(base)
      expectRefusal("not there")
      try FileSystem.write(original.dropLast(), to: base)
      expectRefusal("another length")
      // Whatever bytes of it are changed: an error, or the change does not matter.
      var generator = SeededGenerator(seed: 4)
      var refused = 0
      for _ in 0..<60 {
        var changed = original
        for _ in 0..<20 { changed[Int.random(in: 400..<changed.count, using: &generator)] ^= 0x41 }
        try FileSystem.write(changed, to: base)
        do {
          let isEqual = try Packing.bytes(of: packed) == whole
          #expect(isEqual)
        } catch {
          #expect((error as? Problem)?.code == .archiveBase, "\(error)")
          refused += 1
        }
      }
      #expect(refused > 50)
      try FileSystem.write(generator.bytes(original.count), to: base)
      expectRefusal("not the one")
      try FileSystem.write(original, to: base)
      #expect(try Packing.bytes(of: packed) == whole)
    }
  }

  @Test("A base may be packed itself, and moved")
  func packedBases() throws {
    try withModels { folder in
      let (path, packed, base) = ("\(folder)/\(Self.tuned)", "\(folder)/\(Self.tuned).packed", "\(folder)/\(Self.base)")
      let whole = try FileSystem.read(path)
      try Packing.pack(path, base: [Self.base])
      try Packing.pack(base, chunk: 8192)
      try FileSystem.remove(base)
      #expect(try Packing.bytes(of: packed) == whole)
      #expect(try WeightFile.bases(of: path + ".packed") == [FileSystem.resolved(folder)! + "/" + Self.base])
      for place in ["elsewhere", "deeper/elsewhere"] {
        let moved = "\(folder)/\(place)"
        try FileSystem.createParents(of: "\(moved)/x")
        try FileSystem.write(try FileSystem.read(base + ".packed"), to: "\(moved)/\(Self.base).packed")
        let file = try ArchivedFile(at: packed, baseFolder: moved)
        #expect(try file.read(whole.count, at: 0) == whole)
        let named = try ArchivedFile(at: packed, baseFolder: "\(moved)/\(Self.base)")
        #expect(try named.read(whole.count, at: 0) == whole)
      }
      // Damage of the base is the base's.
      let size = try File.reading(base + ".packed").size()
      try flip(base + ".packed", at: size / 2)
      let found = problem { try Packing.bytes(of: packed) }
      #expect(found?.code == .archiveDamaged && found?.context.file == base + ".packed")
    }
  }

  @Test("Files that were packed against each other end in an error")
  func circles() throws {
    try withModels { folder in
      let (path, base) = ("\(folder)/\(Self.tuned)", "\(folder)/\(Self.base)")
      try Packing.pack(path, base: [Self.base])
      try Packing.pack(base, base: [Self.tuned])
      try FileSystem.remove(path)
      try FileSystem.remove(base)
      for file in [path, base] {
        let found = problem { try Packing.bytes(of: file + ".packed") }
        #expect(found?.code == .archiveBase && found?.message.contains("each against the next") == true)
      }
      #expect(try WeightFile.bases(of: path).count == 2)
    }
  }

  @Test("Files of the base that nothing is packed against are not named")
  func unusedBases() throws {
    try withModels { folder in
      try TestTensor.write([TestTensor("stranger", [5], [1, 2, 3, 4, 5])], to: "\(folder)/stranger.safetensors")
      let outcome = try Packing.pack(
        "\(folder)/\(Self.tuned)", base: ["stranger.safetensors", Self.base, "stranger.safetensors"])
      #expect(outcome.header.base.map(\.path) == [Self.base])
      #expect(outcome.header.parts.compactMap(\.base).allSatisfy { $0.file == 0 })
    }
  }

  /// Every header is read once: files that name themselves, or others, again and again are planned for in no time.
  @Test("Bases that are named again and again", .timeLimit(.minutes(1)))
  func manyBases() throws {
    try withTemporaryFolder { folder in
      let workers = WorkerPool(threads: 1)
      defer { workers.stop() }
      for level in 0..<8 {
        let path = "\(folder)/\(level).safetensors"
        try TestTensor.write([TestTensor("a", [5], [1, 2, 3, 4, 5])], to: path)
        var header = try ArchiveHeader(describing: try File.reading(path), chunkBytes: 4096)
        // The next one and itself, fifty times.
        header.base = (0..<100).map {
          ArchiveHeader.BaseFile(path: "\($0 % 2 == 0 ? level + 1 : level).safetensors", byteCount: 1)
        }
        let writer = try ArchiveWriter(try File.reading(path), header, to: path + ".packed", workers: workers)
        _ = try writer.write(resume: false, fingerprint: Packing.fingerprint)
        try FileSystem.remove(path)
      }
      let bytes = try WeightFile.readingBytes(of: ["\(folder)/0.safetensors"], threads: 2)
      #expect(
        bytes
          == ArchivedFile.readingBytes(chunkBytes: 4096, levels: ArchivedFile.mostBases + 1, threads: 2))
    }
  }
}
