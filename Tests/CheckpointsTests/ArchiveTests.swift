import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

/// What was packed comes back, every byte of it, from anywhere.
@Suite("Packed files") struct ArchiveTests {
  /// Bit patterns with what floats have beside numbers: NaN with payloads, negative zero, denormals, infinity.
  private func special(_ type: ElementType, _ count: Int, _ generator: inout SeededGenerator) -> [UInt8] {
    let (width, mantissa) =
      switch type {
      case .f64: (8, 52)
      case .f32: (4, 23)
      case .f16: (2, 10)
      case .bf16: (2, 7)
      case .f8e4m3: (1, 3)
      default: (1, 2)
      }
    let sign = UInt64(1) << (8 * width - 1)
    let infinity = ((sign - 1) >> mantissa) << mantissa
    let fraction = (UInt64(1) << mantissa) - 1
    let patterns = [
      0, sign, infinity, infinity | sign, infinity | 1, infinity | fraction, sign | infinity | 2, 1, sign | fraction,
    ]
    return (0..<count).flatMap { _ in
      let pattern = patterns.randomElement(using: &generator) ?? 0
      return (0..<width).map { UInt8(truncatingIfNeeded: pattern >> (8 * $0)) }
    }
  }

  @Test(
    "Every type: random bits, special values, one value, normal weights; empty and scalar tensors",
    arguments: ElementType.allCases)
  func types(type: ElementType) throws {
    try withTemporaryFolder { folder in
      var generator = SeededGenerator(seed: UInt64(type.byteWidth))
      var tensors: [TestTensor] = []
      func add(_ name: String, _ shape: [Int], _ bytes: [UInt8]) {
        tensors.append(TestTensor(name, shape, bytes: bytes, type))
      }
      let count = 3 * 4096 / type.byteWidth + 7
      add("noise", [count], generator.bytes(count * type.byteWidth))
      add("empty", [0, 3], [])
      add("scalar", [], generator.bytes(type.byteWidth))
      add("one", [1], generator.bytes(type.byteWidth))
      add("constant", [count], [UInt8](repeating: 0x3F, count: count * type.byteWidth))
      add("again", [count], tensors[0].bytes)
      if [.f64, .f32, .f16, .bf16, .f8e4m3, .f8e5m2].contains(type) {
        add("special", [count], special(type, count, &generator))
        add("weights", [count], type.bytes(of: generator.floats(count, scale: 0.02)))
      }
      add("last", [3], generator.bytes(3 * type.byteWidth))
      let path = "\(folder)/model.safetensors"
      try TestTensor.write(tensors, to: path)
      try Packing.expectRoundTrip(of: path)
      try Packing.expectRoundTrip(of: path, chunk: 1 << 16)
      let outcome = try Packing.pack(path)
      // The repeated tensor takes nothing, the constant one next to nothing.
      let bytes = Dictionary(uniqueKeysWithValues: zip(outcome.header.parts, outcome.partBytes).map { ($0.name, $1) })
      let constant = try #require(bytes["constant"])
      #expect(bytes["again"] == 0)
      #expect(constant <= 5 * ArchiveChunk.recordBytes + 4 * (2 + 2 * type.byteWidth))
    }
  }

  @Test("Headers of other writers: without metadata, of odd length, in another order, with spaces")
  func headers() throws {
    try withTemporaryFolder { folder in
      var generator = SeededGenerator(seed: 3)
      let data = generator.bytes(9001)
      let late = #""late":{"dtype":"BF16","shape":[1500],"data_offsets":[6001,9001]}"#
      let early = #""early":{"shape":[6001],"dtype":"U8","data_offsets":[0,6001]}"#
      for (index, text) in ["{\(late),\(early)}", "{ \(late) ,\n\(early)}   ", "{\(early),\(late)}\n "].enumerated() {
        let path = "\(folder)/\(index).safetensors"
        try Packing.write(header: text, data, to: path)
        try Packing.expectRoundTrip(of: path)
        #expect(try ArchivedFile(at: path + ".packed").header.parts.map(\.name) == ["espalier.head", "early", "late"])
      }
      // Names that the container has itself, and one that is there as a tail.
      let own = ["espalier.check", "espalier.head", "__metadata__x"].map { TestTensor($0, [4], [1, 2, 3, 4]) }
      try TestTensor.write(own, to: "\(folder)/own.safetensors")
      try Packing.expectRoundTrip(of: "\(folder)/own.safetensors")
    }
  }

  @Test(
    "Fixtures of both formats, most of them broken: what is no file of weights is bytes",
    arguments: ["safetensors", "gguf"])
  func fixtures(kind: String) throws {
    let source = kind == "gguf" ? Fixtures.gguf : Fixtures.safetensors
    try withTemporaryFolder { folder in
      let names = try FileSystem.list(source).filter { $0.hasSuffix(kind) }
      try #require(names.count > 20)
      for name in names {
        try FileSystem.write(try FileSystem.read("\(source)/\(name)"), to: "\(folder)/\(name)")
        try Packing.expectRoundTrip(of: "\(folder)/\(name)")
      }
    }
  }

  @Test("Tensors of a GGUF file are parts by their names")
  func gguf() throws {
    try withTemporaryFolder { folder in
      var generator = SeededGenerator(seed: 5)
      var file = TestGGUF()
      file.add("general.architecture", "llama")
      file.add("a", shape: [40, 50], generator.floats(2000))
      file.tensors.append(("blocks", [32, 9], 8, generator.bytes(9 * 34)))
      file.add("odd", shape: [3], [1, 2, 3])
      let path = "\(folder)/model.gguf"
      try file.write(to: path)
      try Packing.expectRoundTrip(of: path)
      let parts = try ArchivedFile(at: path + ".packed").header.parts
      #expect(parts.map(\.name) == ["espalier.head", "a", "blocks", "espalier.gap", "odd", "espalier.tail"])
      #expect(parts.map(\.type) == [.u8, .f32, .u8, .u8, .f32, .u8])
      try FileSystem.remove(path)
      #expect(GGUFFiles.isModel(path) && GGUFFiles.isModel(path + ".packed"))
      #expect(try GGUFHeader(reading: try WeightFile.open(path)).tensors.count == 3)
    }
  }

  @Test("A packed file opens as the checkpoint that it was")
  func checkpoint() throws {
    try withTemporaryFolder { folder in
      var generator = SeededGenerator(seed: 8)
      let values = generator.floats(5000)
      let path = "\(folder)/model.safetensors"
      try TestTensor.write(
        [TestTensor("a", [5, 1000], values), TestTensor("b", [1000], [Float](repeating: 1, count: 1000))], to: path)
      try Packing.pack(path)
      try FileSystem.remove(path)
      for place in [folder, path, path + ".packed"] {
        let parameters = try SafetensorsCheckpoint(at: place).parameters
        #expect(parameters.map(\.name) == ["a", "b"])
        let recipe = try #require(parameters.first).recipe
        #expect(try recipe.values() == values)
        #expect(try recipe.values(990..<2011) == Array(values[990..<2011]))
      }
    }
  }

  @Test("What is asked for beyond the end is an error")
  func ends() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/a.safetensors"
      try TestTensor.write([TestTensor("a", [3], [1, 2, 3])], to: path)
      try Packing.pack(path)
      let file = try ArchivedFile(at: path + ".packed")
      let size = try file.size()
      #expect(try file.read(0, at: size) == [])
      for (count, offset) in [(1, size), (2, size - 1), (0, size + 1), (1, -1), (1, .max)] {
        #expect(problem { try file.read(count, at: offset) }?.code == .fileTruncated)
      }
    }
  }

  @Test("The same bytes whatever the threads; tables and tensors in a header that tools can list")
  func threads() throws {
    try withTemporaryFolder { folder in
      var generator = SeededGenerator(seed: 9)
      let path = "\(folder)/a.safetensors"
      try TestTensor.write(
        (0..<7).map { TestTensor("t\($0)", [9000 + $0], generator.floats(9000 + $0), .bf16) }, to: path)
      var packed: [[UInt8]] = []
      for threads in [1, 2, 5] {
        try Packing.pack(path, threads: threads, sha256: true, to: "\(folder)/\(threads)")
        packed.append(try FileSystem.read("\(folder)/\(threads)"))
      }
      #expect(packed[0] == packed[1] && packed[0] == packed[2])
      let header = try SafetensorsHeader(reading: try File.reading("\(folder)/1"))
      #expect(header.tensors.map(\.name) == ["espalier.check", "espalier.head"] + (0..<7).map { "t\($0)" })
      #expect(try ArchivedFile(at: "\(folder)/1").header.sha256 == FileHash.sha256(of: try FileSystem.read(path)))
    }
  }

  @Test("A run that was ended, whatever of it reached the disk, goes on to the same bytes")
  func resume() throws {
    try withTemporaryFolder { folder in
      var generator = SeededGenerator(seed: 10)
      let path = "\(folder)/a.safetensors"
      try TestTensor.write((0..<5).map { TestTensor("t\($0)", [30_000], generator.floats(30_000)) }, to: path)
      try Packing.pack(path)
      let expected = try FileSystem.read(path + ".packed")
      let (target, source) = ("\(folder)/b.packed", try File.reading(path))
      let journal = target + ".journal"
      let header = try ArchiveHeader(describing: source, chunkBytes: 4096)
      let workers = WorkerPool(threads: 2)
      defer { workers.stop() }
      var begun = 0
      for _ in 0..<40 {
        for file in [target, journal] where FileSystem.isFile(file) { try FileSystem.remove(file) }
        // Reading the beginnings of parts takes some, all of it about 160.
        let failing = FailingSource(source, reads: Int.random(in: 10..<150, using: &generator))
        let found = problem {
          try ArchiveWriter(failing, header, to: target, workers: workers)
            .write(resume: false, fingerprint: Packing.fingerprint)
        }
        #expect(found?.message == "the test ends here")
        for file in [target, journal] where FileSystem.isFile(file) && Bool.random(using: &generator) {
          let whole = try File.writing(file)
          try whole.resize(to: Int.random(in: 0...(try whole.size()), using: &generator))
        }
        let size = FileSystem.isFile(target) ? try File.reading(target).size() : 0
        if size > 0, Bool.random(using: &generator) {
          try flip(target, at: Int.random(in: 0..<size, using: &generator))
        }
        let noted = FileSystem.isFile(journal) ? try File.reading(journal).size() : 0
        // Behind the digest of what it belongs to: also of chunks alone, whose coded bytes are as they were.
        if noted > 16, Bool.random(using: &generator) {
          try flip(journal, at: Int.random(in: 16..<noted, using: &generator))
        }
        if noted > 72 { begun += 1 }
        _ = try ArchiveWriter(source, header, to: target, workers: workers)
          .write(resume: true, fingerprint: Packing.fingerprint)
        let isEqual = try FileSystem.read(target) == expected
        #expect(isEqual)
        #expect(!FileSystem.isFile(journal))
      }
      #expect(begun > 5)
      // Another run's journal is not gone on with.
      try FileSystem.write([UInt8](repeating: 1, count: 56), to: journal)
      let found = problem {
        try ArchiveWriter(source, header, to: target, workers: workers)
          .write(resume: true, fingerprint: Packing.fingerprint)
      }
      #expect(found?.code.rawValue == "journal.mismatch")
    }
  }

  @Test("Tensors of types that are not known are bytes; all others stay what they are")
  func unknownTypes() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/a.safetensors"
      var generator = SeededGenerator(seed: 8)
      let header =
        #"{"scales":{"dtype":"F8_E8M0","shape":[300],"data_offsets":[0,300]},"#
        + #""halves":{"dtype":"F4","shape":[200],"data_offsets":[300,400]},"#
        + #""weights":{"dtype":"BF16","shape":[1000],"data_offsets":[400,2400]}}"#
      let weights = TestTensor("w", [1000], generator.floats(1000), .bf16)
      try Packing.write(header: header, generator.bytes(400) + weights.bytes, to: path)
      let parts = try ArchiveHeader(describing: try File.reading(path)).parts
      #expect(parts.map(\.name) == ["espalier.head", "scales", "halves", "weights"])
      #expect(parts.map(\.type) == [.u8, .u8, .u8, .bf16])
      try Packing.expectRoundTrip(of: path)
    }
  }

  @Test("Memory is that of the chunks in flight: under 256 MB, whatever the threads")
  func plannedMemory() {
    for threads in [1, 2, 10, 16, 64, 512] {
      for chunk in [1 << 16, 1 << 19, 1 << 21, 1 << 24] {
        #expect(ArchiveWriter.workingBytes(chunkBytes: chunk, threads: threads) < 256_000_000, "\(threads) \(chunk)")
      }
    }
    #expect(ArchiveWriter.chunksInFlight(of: 1 << 19, threads: 2) == 16)
    #expect(ArchiveWriter.chunksInFlight(of: 1 << 24, threads: 64) == 1)
  }
}
