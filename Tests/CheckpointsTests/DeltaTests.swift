import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

/// A base of one matrix and a delta file of one change, written by hand.
private struct DeltaCase {
  var shape: [Int]
  var base: [Float]
  /// `form`, and what else its entry has but shape, scale and digests.
  var entry: [(String, JSON)]
  var scale: Double
  var parts: [TestTensor]

  static let name = "m.weight"

  /// Twelve tens, to which signs times a half are added.
  static let ternary = DeltaCase(
    shape: [3, 4], base: [Float](repeating: 10, count: 12), entry: [("form", "ternary")], scale: 0.5,
    // + 0 - 0 0: 1 + 2 * 9; 0 + + - 0: 3 + 9 + 2 * 27; - +: 2 + 3.
    parts: [TestTensor("\(name).trits", [3], bytes: [19, 66, 5], .u8)])

  func write(to folder: String) throws {
    try FileSystem.createFolder("\(folder)/base")
    try TestTensor.write([TestTensor(Self.name, shape, base)], to: "\(folder)/base/model.safetensors")
    let opened = try SafetensorsCheckpoint(at: "\(folder)/base")
    let pool = WorkerPool(threads: 1)
    defer { pool.stop() }
    let digests = parts.filter { $0.name.hasPrefix(Self.name) }.map { part in
      part.bytes.withUnsafeBytes { ChunkedDigest.digest(of: $0).description }
    }
    let change = JSON.object(
      entry + [
        ("shape", .array(shape.map { .number($0) })), ("scale", .number(scale)),
        ("xxh3", .array(digests.map { .string($0) })),
      ])
    let record: JSON = [
      "version": 1, "kind": "model",
      "base": .object([("name", "base")] + (try BaseIdentity(of: opened, workers: pool)).members),
      "tensors": .object([(Self.name, change)]),
    ]
    let header = SafetensorsHeader.bytes(
      for: parts.map { ($0.name, $0.type, $0.shape) }, metadata: [(DeltaFile.key, record.text())])
    try FileSystem.write(header + parts.flatMap(\.bytes), to: "\(folder)/d.safetensors")
  }

  func with<T>(_ body: (_ folder: String, Parameter) throws -> T) throws -> T {
    try withTemporaryFolder { folder in
      try write(to: folder)
      let model = try DeltaCheckpoint(
        base: try SafetensorsCheckpoint(at: "\(folder)/base"), deltaAt: "\(folder)/d.safetensors")
      return try body(folder, try #require(model.parameters.first))
    }
  }

  func values() throws -> [Float] { try with { try $1.recipe.values() } }

  /// The problems of opening and reading it after a change of the folder.
  func found(after damage: (String) throws -> Void) throws -> [Problem] {
    try withTemporaryFolder { folder in
      try write(to: folder)
      try damage(folder)
      return problems {
        let model = try DeltaCheckpoint(
          base: try SafetensorsCheckpoint(at: "\(folder)/base"), deltaAt: "\(folder)/d.safetensors")
        _ = try model.parameters[0].recipe.values()
      }
    }
  }
}

@Suite struct DeltaTests {
  @Test func tritsAreFiveAByte() throws {
    #expect(
      try DeltaCase.ternary.values() == [10.5, 10, 9.5, 10, 10, 10, 10.5, 10.5, 9.5, 10, 9.5, 10.5])
  }

  @Test func keptValuesLieWhereTheBitmapHasOnes() throws {
    let test = DeltaCase(
      shape: [2, 5], base: [Float](repeating: 1, count: 10), entry: [("form", "bitmap")], scale: 2,
      parts: [
        TestTensor("m.weight.mask", [2], bytes: [0b1001, 0b10], .u8),
        TestTensor("m.weight.values", [3], [1, -2, 0.5], .f16),
      ])
    #expect(try test.values() == [3, 1, 1, -3, 1, 1, 1, 1, 1, 2])
  }

  @Test func rowsOfCodesHaveScales() throws {
    let test = DeltaCase(
      shape: [2, 3], base: [0, 0, 0, 1, 1, 1], entry: [("form", "rows8")], scale: 1,
      parts: [
        TestTensor("m.weight.codes", [2, 3], bytes: [127, 0, 129, 1, 2, 254], .i8),
        TestTensor("m.weight.scales", [2], [0.5, 2]),
      ])
    #expect(try test.values() == [63.5, 0, -63.5, 3, 5, -3])
  }

  @Test func factorsAreMultiplied() throws {
    let test = DeltaCase(
      shape: [2, 3], base: [Float](repeating: 1, count: 6), entry: [("form", "low_rank")], scale: 3,
      parts: [TestTensor("m.weight.B", [2, 1], [1, -2], .f16), TestTensor("m.weight.A", [1, 3], [1, 2, 3], .f16)])
    #expect(try test.values() == [4, 7, 10, -5, -11, -17])
  }

  @Test func randomChoicesAreMadeAgain() throws {
    let (count, seed) = (9000, UInt64(7))
    var kept = [Float](repeating: 1, count: count)
    KeyedRandom(seed: seed, name: "m.weight").keep(&kept, startingAt: 0, count: count, probability: 0.1)
    let places = kept.indices.filter { kept[$0] != 0 }
    #expect(places.count > 800 && places.count < 1000)
    let test = DeltaCase(
      shape: [3, 3000], base: [Float](repeating: 0, count: count),
      entry: [("form", "random"), ("seed", 7), ("density", 0.1)], scale: 10,
      parts: [TestTensor("m.weight.values", [places.count], places.map { Float($0 % 100) }, .f16)])
    let values = try test.values()
    for index in values.indices { #expect(values[index] == (kept[index] == 0 ? 0 : Float(10 * (index % 100)))) }
  }

  /// A value is the same whatever range it is read in.
  @Test(arguments: ["ternary", "bitmap", "random", "rows8", "dense", "low_rank"])
  func rangesAgree(form: String) throws {
    let (rows, columns) = (3, 4111)
    let count = rows * columns
    var generator = SeededGenerator(seed: 5)
    var entry: [(String, JSON)] = [("form", .string(form))]
    var parts: [TestTensor]
    func random(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) } }
    func values(_ suffix: String, _ shape: [Int]) -> TestTensor {
      TestTensor("m.weight.\(suffix)", shape, generator.floats(shape.reduce(1, *)), .f16)
    }
    switch form {
    case "ternary":
      parts = [TestTensor("m.weight.trits", [(count + 4) / 5], bytes: random((count + 4) / 5).map { $0 % 243 }, .u8)]
    case "bitmap":
      var mask = random((count + 7) / 8)
      mask[mask.count - 1] &= UInt8((1 << (count % 8)) - 1)
      let kept = mask.reduce(0) { $0 + $1.nonzeroBitCount }
      parts = [TestTensor("m.weight.mask", [mask.count], bytes: mask, .u8), values("values", [kept])]
    case "random":
      entry += [("seed", 3), ("density", 0.4)]
      var kept = [Float](repeating: 1, count: count)
      KeyedRandom(seed: 3, name: "m.weight").keep(&kept, startingAt: 0, count: count, probability: 0.4)
      parts = [values("values", [kept.count { $0 != 0 }])]
    case "rows8":
      parts = [
        TestTensor("m.weight.codes", [rows, columns], bytes: random(count), .i8),
        TestTensor("m.weight.scales", [rows], [1, 2, 3]),
      ]
    case "dense": parts = [values("values", [count])]
    default: parts = [values("B", [rows, 2]), values("A", [2, columns])]
    }
    let test = DeltaCase(
      shape: [rows, columns], base: generator.floats(count), entry: entry, scale: 0.3, parts: parts)
    try test.with { _, parameter in
      let reader = try parameter.recipe.reader(files: FilePool())
      #expect(reader.residentBytes == parameter.recipe.residentBytes && reader.residentBytes > 0)
      #expect(reader.scratchBytes(for: 100) == parameter.recipe.scratchBytes(for: 100))
      let whole = try reader.values(0..<count)
      #expect(whole != test.base)
      for range in [0..<1, 4095..<4097, 4094..<8200, 4111..<8222, 17..<12000, (count - 1)..<count, 6..<6] {
        #expect(try reader.values(range) == Array(whole[range]), "\(range)")
      }
    }
  }

  // MARK: - Coded files

  /// A coded file under the delta's own name, and that packed again, are read as what was coded.
  @Test func codedFilesAreReadAsTheyWere() throws {
    try withTemporaryFolder { folder in
      try DeltaCase.ternary.write(to: folder)
      let (plain, path) = ("\(folder)/plain.safetensors", "\(folder)/d.safetensors")
      try FileSystem.rename(path, to: plain)
      let workers = WorkerPool(threads: 1)
      defer { workers.stop() }
      let base = try SafetensorsCheckpoint(at: "\(folder)/base")
      func code(_ source: String, to path: String) throws {
        let writer = try ArchiveWriter(codingAlike: try File.reading(source), to: path, workers: workers)
        _ = try writer.write(resume: false, fingerprint: Digest(of: "a test"))
      }
      func expectRead() throws {
        #expect(DeltaFile.isDelta(path))
        let model = try DeltaCheckpoint(base: base, deltaAt: path)
        #expect(try model.parameters[0].recipe.values() == DeltaCase.ternary.values())
      }
      try code(plain, to: path)
      #expect(WeightFile.isPacked(path) && !WeightFile.isPacked(plain))
      #expect(try WeightFile.open(path).read(10, at: 5) == File.reading(plain).read(10, at: 5))
      #expect(try WeightFile.bytes(of: path).size() == File.reading(path).size())
      try expectRead()
      try Packing.expectRoundTrip(of: path)
      try FileSystem.remove(path)
      try expectRead()
      // Every flipped byte is found before a value is read.
      try FileSystem.remove(path + ".packed")
      try code(plain, to: path)
      for offset in try FileSystem.read(path).indices {
        try flip(path, at: offset)
        let found = problems {
          _ = try DeltaCheckpoint(base: base, deltaAt: path).parameters[0].recipe.values()
        }
        #expect(!found.isEmpty, "byte \(offset)")
        try flip(path, at: offset)
      }
    }
  }

  // MARK: - Damage

  /// A random choice stores no mask, so nothing but the number of its values bounds its shape.
  @Test func shapesThatStoredValuesCannotHaveAreRefused() throws {
    for (shape, density) in [([1 << 24, 1 << 24], 0.5), ([1 << 20, 1 << 20], 1e-3), ([1, 800], 0.5)] {
      let test = DeltaCase(
        shape: [2, 50], base: [Float](repeating: 1, count: 100),
        entry: [("form", "random"), ("seed", 7), ("density", .number(density))], scale: 1,
        parts: [TestTensor("m.weight.values", [50], [Float](repeating: 1, count: 50), .f16)])
      let found = try test.found { folder in
        let path = "\(folder)/d.safetensors"
        let header = try SafetensorsHeader(reading: try File.reading(path))
        let metadata = header.metadata.map {
          ($0.key, $0.value.replacing("\"shape\":[2,50]", with: "\"shape\":[\(shape[0]),\(shape[1])]"))
        }
        let head = SafetensorsHeader.bytes(
          for: header.tensors.map { ($0.name, $0.elementType, $0.shape) }, metadata: metadata)
        try FileSystem.write(head + test.parts.flatMap(\.bytes), to: path)
      }
      #expect(found.map(\.code) == [.deltaFormat], "\(shape)")
      #expect(found.first?.message.contains("no random choice") == true, "\(found)")
    }
  }

  @Test func changedBytesAreNamed() throws {
    let found = try DeltaCase.ternary.found { folder in
      let path = "\(folder)/d.safetensors"
      try flip(path, at: try File.reading(path).size() - 2)
    }
    #expect(found.map(\.code) == [.deltaDamaged])
    #expect(found.first?.context.tensor == "m.weight")
    #expect(found.first?.message == "the bytes of m.weight.trits are not those that were written")
  }

  @Test func everyFlippedByteOfTheFileIsFound() throws {
    try withTemporaryFolder { folder in
      try DeltaCase.ternary.write(to: folder)
      let path = "\(folder)/d.safetensors"
      let base = try SafetensorsCheckpoint(at: "\(folder)/base")
      let text = try FileSystem.read(path)
      let record = try DeltaFile(at: path)
      let expected = try DeltaCase.ternary.values()
      var unnoticed = 0
      for offset in text.indices {
        try flip(path, at: offset)
        let found = problems {
          let model = try DeltaCheckpoint(base: base, deltaAt: path)
          let (values, scale) = (try model.parameters[0].recipe.values(), try DeltaFile(at: path).tensors[0].scale)
          // What is left is a name nobody computes with.
          #expect(values == expected || scale != 0.5, "byte \(offset)")
        }
        unnoticed += found.isEmpty ? 1 : 0
        try flip(path, at: offset)
      }
      // The name of the base (4), digests of its files (64), and scale and padding.
      #expect(unnoticed < 120, "\(unnoticed) of \(text.count)")
      #expect(record.tensors.count == 1)
    }
  }

  @Test func partsThatDoNotFitAreNamed() throws {
    var test = DeltaCase.ternary
    test.parts = [TestTensor("m.weight.trits", [2], bytes: [19, 66], .u8)]
    #expect(
      try test.found { _ in }.map(\.message) == [
        "the part trits is U8 of the shape [2], which a ternary change of the shape [3, 4] has not"
      ])
    test = DeltaCase.ternary
    test.entry = [("form", "quaternary")]
    #expect(try test.found { _ in }.first?.message == "the form \"quaternary\" is not known")
    test = DeltaCase.ternary
    test.parts.append(TestTensor("stranger", [1], [1]))
    #expect(try test.found { _ in }.first?.message == "the tensor belongs to no change")
    test = DeltaCase(
      shape: [2, 5], base: [Float](repeating: 1, count: 10), entry: [("form", "bitmap")], scale: 2,
      parts: [
        TestTensor("m.weight.mask", [2], bytes: [0b1001, 0b10], .u8), TestTensor("m.weight.values", [2], [1, -2]),
      ])
    #expect(try test.found { _ in }.first?.message == "there are 2 values and 3 places for them")
  }

  @Test func anotherBaseIsRefused() throws {
    let found = try DeltaCase.ternary.found { folder in
      try TestTensor.write(
        [TestTensor(DeltaCase.name, [3, 4], [Float](repeating: 11, count: 12))], to: "\(folder)/base/model.safetensors")
    }
    #expect(found.map(\.code) == [.deltaBase])
    #expect(found.first?.message == "the delta was made of another base: base")
  }

  @Test func aDeltaIsNoModel() throws {
    try withTemporaryFolder { folder in
      try DeltaCase.ternary.write(to: folder)
      let found = problems { try SafetensorsCheckpoint(at: "\(folder)/d.safetensors") }
      #expect(found.map(\.message) == ["the file holds a delta, not a model"])
      #expect(DeltaFile.isDelta("\(folder)/d.safetensors") && !DeltaFile.isDelta("\(folder)/base/model.safetensors"))
    }
  }
}
