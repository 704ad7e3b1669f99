import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierRecipes

/// Models packed with loss.
@Suite("Packing with loss") struct LossyPackingTests {
  @discardableResult
  private func pack(
    _ model: String, to output: String, _ goal: LossyGoal, threads: Int = 2, memory: Int = 1 << 30
  ) throws -> PackingReport {
    var options = PackingOptions(output: output, chunkBytes: 1 << 18, threads: threads, memory: memory)
    options.lossy = LossyOptions(goal: goal)
    return try PackingRun.execute(try PackingPlan(of: model, options), listener: SilentListener())
  }

  private func unpack(_ model: String, to output: String) throws {
    _ = try UnpackingRun.execute(model, UnpackingRun.Options(output: output, threads: 2), listener: SilentListener())
  }

  private func normals(_ count: Int, _ random: inout SeededGenerator, scale: Double = 0.02) -> [Float] {
    (0..<count).map { _ in
      Float(scale * (0..<12).reduce(-6) { sum, _ in sum + Double(random.next() >> 11) * 0x1p-53 })
    }
  }

  /// Matrices of several sizes and scales, a vector, something small, and one matrix twice.
  private func write(_ path: String, type: ElementType = .bf16, bad: Float? = nil) throws {
    var random = SeededGenerator(seed: 1)
    var large = normals(512 * 300, &random)
    if let bad { large[700] = bad }
    let twice = normals(256 * 128, &random, scale: 0.1)
    try TestTensor.write(
      [
        TestTensor("a.weight", [512, 300], large, type), TestTensor("a.bias", [512], normals(512, &random), type),
        TestTensor("b.weight", [64, 4, 100], normals(64 * 400, &random, scale: 3), type),
        TestTensor("c.weight", [256, 128], twice, type), TestTensor("d.weight", [256, 128], twice, type),
        TestTensor("e.weight", [20, 20], normals(400, &random), type),
        TestTensor("f.zeros", [128, 128], [Float](repeating: 0, count: 128 * 128), type),
      ], to: path)
  }

  @Test("The size is within 5 % of what was asked for", arguments: [ElementType.bf16, .f32])
  func ratios(type: ElementType) throws {
    try withTemporaryFolder { folder in
      let model = "\(folder)/model.safetensors"
      try write(model, type: type)
      let original = try FileSystem.read(model).count
      var errors: [Double] = []
      for ratio in [4.0, 10, 20] {
        let packed = "\(folder)/\(Int(ratio)).safetensors.packed"
        let report = try pack(model, to: packed, .ratio(ratio))
        let size = try FileSystem.read(packed).count
        #expect(report.bytesAfter == size)
        #expect(abs(Double(size) * ratio / Double(original) - 1) <= 0.05, "\(type) \(ratio): \(size)")
        errors.append(try #require(report.loss.files.first?.tensors.first).weightError)
      }
      #expect(errors == errors.sorted() && errors[0] > 0 && errors[2] < 1)
      try pack(model, to: "\(folder)/size.safetensors.packed", .bytes(50_000))
      #expect(abs(Double(try FileSystem.read("\(folder)/size.safetensors.packed").count) / 50_000 - 1) <= 0.05)
      // Nothing is left of the way there.
      #expect(try FileSystem.list(folder).allSatisfy { $0.hasSuffix(".packed") || $0 == "model.safetensors" })
    }
  }

  @Test("What comes back: vectors and small matrices to the bit, all else rounded as the header says")
  func values() throws {
    try withTemporaryFolder { folder in
      let (model, packed) = ("\(folder)/model.safetensors", "\(folder)/small.safetensors.packed")
      try write(model)
      try pack(model, to: packed, .ratio(6))
      try unpack(packed, to: "\(folder)/back.safetensors")
      let (before, after) = (try File.reading(model), try File.reading("\(folder)/back.safetensors"))
      let tensors = try SafetensorsHeader(reading: before).tensors
      #expect(try SafetensorsHeader(reading: after).tensors.map(\.name) == tensors.map(\.name))
      let archive = try ArchivedFile(at: packed)
      let loss = try #require(archive.header.loss)
      #expect(
        loss.parts.map { archive.header.parts[$0.part].name } == [
          "a.weight", "b.weight", "c.weight", "c.weight", "f.zeros",
        ])
      func values(_ file: File, _ tensor: StoredTensor) throws -> [Float] {
        let bytes = try file.read(tensor.byteCount, at: tensor.offset)
        return bytes.withUnsafeBytes { bytes in
          [Float](unsafeUninitializedCapacity: tensor.elementCount) { target, count in
            tensor.elementType.decode(bytes.baseAddress!, into: target.baseAddress!, count: tensor.elementCount)
            count = tensor.elementCount
          }
        }
      }
      for tensor in tensors {
        let (old, new) = (try values(before, tensor), try values(after, tensor))
        if ["a.bias", "e.weight", "f.zeros"].contains(tensor.name) {
          #expect(old == new)
          continue
        }
        let error = zip(old, new).reduce(0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
        let whole = old.reduce(0) { $0 + Double($1 * $1) }
        // The second of two that are alike has the name of the first.
        let name = tensor.name == "d.weight" ? "c.weight" : tensor.name
        let named = try #require(loss.parts.first { archive.header.parts[$0.part].name == name })
        #expect(abs((error / whole).squareRoot() - named.weightError) < 2e-6, "\(tensor.name)")
        #expect(Set(new.map { abs($0) }).count < 200, "\(tensor.name)")
        #expect(named.outputError == nil)
      }
      let places = tensors.filter { ["c.weight", "d.weight"].contains($0.name) }
      #expect(try values(after, places[0]) == values(after, places[1]))
      // Packed again, without loss this time, it is what it is.
      let summary = try #require(PackedLoss(at: packed)?.summary)
      #expect(summary.hasPrefix("lossy: 4 tensors are not as they were"), "\(summary)")
      #expect(PackedLoss(at: model) == nil)
    }
  }

  /// Tensors of equal bytes that are not the same matrices.
  private enum Twins: CaseIterable {
    case turned, otherType, keptFirst

    var tensors: [TestTensor] {
      let bits = TestTensor("bits", [64, 1024], (0..<65_536).map { Float($0 % 251 - 125) / 256 }, .f16).bytes
      switch self {
      case .turned:
        let values = [Float](repeating: 0.123, count: 65_536)
        return [TestTensor("a", [64, 1024], values, .bf16), TestTensor("b", [1024, 64], values, .bf16)]
      case .otherType, .keptFirst:
        let first: ElementType = self == .otherType ? .bf16 : .u16
        return [TestTensor("a", [64, 1024], bytes: bits, first), TestTensor("b", [64, 1024], bytes: bits, .f16)]
      }
    }
  }

  @Test(
    "Equal bytes of other shapes and types are rounded by themselves; what follows them is untouched",
    arguments: Twins.allCases)
  private func twins(_ twins: Twins) throws {
    try withTemporaryFolder { folder in
      let (model, packed) = ("\(folder)/model.safetensors", "\(folder)/small.safetensors.packed")
      var random = SeededGenerator(seed: 3)
      let first = twins.tensors
      let kept = TestTensor("norm", [2000], normals(2000, &random), .bf16)
      let large = TestTensor("large", [512, 300], normals(512 * 300, &random), .bf16)
      try TestTensor.write(first + [kept, large], to: model)
      try pack(model, to: packed, .ratio(5))
      try unpack(packed, to: "\(folder)/back.safetensors")
      let file = try File.reading("\(folder)/back.safetensors")
      let tensors = try SafetensorsHeader(reading: file).tensors
      let loss = try #require(try ArchivedFile(at: packed).header.loss)
      for tensor in first + [kept, large] {
        let place = try #require(tensors.first { $0.name == tensor.name })
        let found = try file.read(place.byteCount, at: place.offset)
        if tensor.name == "norm" || tensor.type == .u16 {
          #expect(found == tensor.bytes, "\(tensor.name)")
          continue
        }
        let values = tensor.type.values(of: found)
        let error = zip(tensor.values, values).reduce(0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }
        let whole = tensor.values.reduce(0) { $0 + Double($1) * Double($1) }
        let relative = (error / whole).squareRoot()
        #expect(relative < 0.5, "\(tensor.name): \(relative)")
        #expect(loss.parts.contains { abs($0.weightError - relative) < 2e-6 }, "\(tensor.name): \(relative)")
        #expect(Set(values).count < 200, "\(tensor.name)")
      }
      #expect(loss.parts.count == first.count { $0.type != .u16 } + 1)
    }
  }

  @Test("Threads change no byte")
  func threads() throws {
    try withTemporaryFolder { folder in
      let model = "\(folder)/model.safetensors"
      try write(model)
      for threads in [1, 2, 5] {
        try pack(model, to: "\(folder)/\(threads).safetensors.packed", .ratio(8), threads: threads)
      }
      let first = try FileSystem.read("\(folder)/1.safetensors.packed")
      for threads in [2, 5] {
        let isEqual = try FileSystem.read("\(folder)/\(threads).safetensors.packed") == first
        #expect(isEqual, "\(threads) threads")
      }
    }
  }

  @Test("A folder has a report, which verify checks too")
  func folders() throws {
    try withTemporaryFolder { folder in
      let (model, packed) = ("\(folder)/model", "\(folder)/packed")
      try FileSystem.createFolder(model)
      try write("\(model)/model.safetensors")
      try FileSystem.write(Array("{}".utf8), to: "\(model)/config.json")
      try pack(model, to: packed, .ratio(5))
      #expect(
        try FileSystem.list(packed).sorted() == [
          "REPORT.md", "config.json", "espalier-packed.json", "model.safetensors.packed", "report.json",
        ])
      let report = String(decoding: try FileSystem.read("\(packed)/REPORT.md"), as: UTF8.self)
      #expect(report.contains("# Packed with loss") && report.contains("| a.weight | bf16 |"))
      func problems() throws -> [Problem] {
        try PackedVerification.verify(packed, threads: 2, listener: SilentListener()).problems
      }
      #expect(try problems().isEmpty)
      try flip("\(packed)/REPORT.md", at: 3)
      #expect(try problems().map(\.code) == [.verifyMismatch])
    }
  }

  @Test("Sizes that cannot be are refused by the least that can, and nothing is written")
  func unreachable() throws {
    try withTemporaryFolder { folder in
      let (model, packed) = ("\(folder)/model.safetensors", "\(folder)/x.safetensors.packed")
      try write(model)
      let small = problem { try pack(model, to: packed, .ratio(100_000)) }
      #expect(small?.code == .packingGoal && small?.message.contains("the least is") == true, "\(small as Any)")
      let large = problem { try pack(model, to: packed, .bytes(10_000_000)) }
      #expect(large?.code == .packingGoal && large?.remedy?.contains("nothing is lost") == true, "\(large as Any)")
      #expect(FileSystem.kind(packed) == nil)
      // What is left of the attempts stands in the way of no other.
      try pack(model, to: packed, .ratio(10))
      #expect(try FileSystem.list(folder).sorted() == ["model.safetensors", "x.safetensors.packed"])
    }
  }

  @Test("What cannot be rounded is named")
  func refusals() throws {
    try withTemporaryFolder { folder in
      let (model, packed) = ("\(folder)/model.safetensors", "\(folder)/x.safetensors.packed")
      try write(model, bad: .nan)
      let found = problem { try pack(model, to: packed, .ratio(4)) }
      #expect(
        found?.context.tensor == "a.weight" && found?.message.contains("row 2, column 100") == true, "\(found as Any)")
      try TestTensor.write([TestTensor("a", [70_000], [Float](repeating: 1, count: 70_000), .bf16)], to: model)
      let vectors = problems { try pack(model, to: "\(folder)/y.safetensors.packed", .ratio(4)) }
      #expect(vectors.map(\.message) == ["there is no matrix of floats that could be rounded"], "\(vectors)")
      try write("\(folder)/good.safetensors")
      let crowded = problems {
        try pack("\(folder)/good.safetensors", to: "\(folder)/z.safetensors.packed", .ratio(4), memory: 1 << 20)
      }
      #expect(crowded.map(\.code) == [.memoryCeiling], "\(crowded)")
      #expect(["x", "y", "z"].allSatisfy { FileSystem.kind("\(folder)/\($0).safetensors.packed") == nil })
    }
  }

  @Test("Between measured settings bytes go steadily with the price")
  func curves() {
    let settings = (0...8).map { level in
      LossyCurve.Setting(
        logarithm: Double(level), offset: 0.5, bytes: 1000 - 100 * Double(level), cost: Double(1 << (2 * level)))
    }
    let poor = LossyCurve.Setting(logarithm: 20, offset: 0.3, bytes: 700, cost: 1e9)
    let curve = LossyCurve(settings.shuffled() + [poor])
    #expect(curve.settings.map(\.bytes) == settings.map(\.bytes))
    #expect(curve.mostBytes == 1000 && curve.leastBytes == 200)
    var last = Double.infinity
    for exponent in stride(from: -20.0, through: 20, by: 0.25) {
      let bytes = curve.setting(atPrice: LossyCurve.power(exponent)).bytes
      #expect(bytes <= last && last - bytes < 60 || last == .infinity)
      last = bytes
    }
    for wanted in [250.0, 500, 777, 990] {
      let found = LossyCurve.settings(of: [curve, curve], bytes: 2 * wanted)
      #expect(abs(found[0].bytes + found[1].bytes - 2 * wanted) < 1e-3)
    }
    #expect(LossyCurve.settings(of: [curve], bytes: 1)[0].bytes == 200)
    #expect(LossyCurve.settings(of: [curve], bytes: 1e9)[0].bytes == 1000)
    for value in [0.001, 0.5, 1, 3, 1000] {
      #expect(abs(LossyCurve.power(LossyCurve.logarithm(value)) / value - 1) < 1e-12)
    }
  }
}
