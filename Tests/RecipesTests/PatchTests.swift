import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierRecipes

/// Patches that are taken out again.
@Suite struct PatchTests {
  private func apply(_ model: String, _ delta: String, _ scale: Double, to output: String) throws -> PatchReport {
    try PatchApplication(
      of: model, delta: delta, scale: scale, options: PatchOptions(output: output), families: Architecture.builtIn()
    ).run(listener: SilentListener())
  }

  private func remove(_ model: String, to output: String) throws -> PatchRemovalReport {
    try PatchRemoval(of: model, options: PatchOptions(output: output)).run()
  }

  /// Paths and bytes of everything in a folder.
  private func contents(_ folder: String) throws -> [String: [UInt8]] {
    var found: [String: [UInt8]] = [:]
    for name in try FileSystem.list(folder) {
      if FileSystem.isFolder("\(folder)/\(name)") {
        for (inner, bytes) in try contents("\(folder)/\(name)") { found["\(name)/\(inner)"] = bytes }
      } else {
        found[name] = try FileSystem.read("\(folder)/\(name)")
      }
    }
    return found
  }

  @Test(arguments: [ElementType.bf16, .f16, .f32, .f64], [1, 0.37, -25])
  func removingRestoresEveryByte(type: ElementType, scale: Double) throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder, count: 2, type: type)
      try FileSystem.createFolder("\(folder)/base/deep")
      try FileSystem.write([1, 2, 3], to: "\(folder)/base/deep/file")
      try DeltaModels.make(folder, "ft0", to: "d0") { $0.method = .topk }
      try DeltaModels.make(folder, "ft1", to: "d1") { $0.method = .int8 }
      let first = try apply("\(folder)/base", "\(folder)/d0.safetensors", scale, to: "\(folder)/p1")
      #expect(first.changed > 200 && first.patches == 1)
      let second = try apply("\(folder)/p1", "\(folder)/d1.safetensors", scale, to: "\(folder)/p2")
      #expect(second.changed > first.changed && second.patches == 2)
      // In reverse order.
      #expect(try remove("\(folder)/p2", to: "\(folder)/r1").left == 1)
      #expect(try contents("\(folder)/r1") == contents("\(folder)/p1"))
      #expect(try remove("\(folder)/r1", to: "\(folder)/r0").left == 0)
      #expect(try contents("\(folder)/r0") == contents("\(folder)/base"))
      #expect(problem { try remove("\(folder)/r0", to: "\(folder)/r") }?.code == .patch)
    }
  }

  /// At a scale of 1 the patched model is the base with its delta.
  @Test func aPatchedModelHasTheValues() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder, type: .f32)
      try DeltaModels.make(folder)
      _ = try apply("\(folder)/base", "\(folder)/d.safetensors", 1, to: "\(folder)/p")
      let patched = try DeltaModels.values("\(folder)/p")
      #expect(try patched == DeltaModels.values("\(folder)/base+\(folder)/d.safetensors"))
    }
  }

  @Test func aSingleFileKeepsItsPaddingAndOrder() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder)
      // A header with odd spaces, as other programs write them.
      let header =
        #"{"norm.weight":{"shape":[40], "dtype":"BF16","data_offsets":[0,80]},"#
        + #" "b.weight":{"dtype":"BF16","shape":[48,50],"data_offsets":[80,4880]},"#
        + #"    "a.weight":{"dtype":"BF16","shape":[40,60],"data_offsets":[4880,9680]}}   "#
      var generator = SeededGenerator(seed: 9)
      let length = header.utf8.count
      let data = ElementType.bf16.bytes(of: generator.floats(4840))
      let bytes = (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) } + Array(header.utf8) + data
      try FileSystem.remove("\(folder)/base")
      try FileSystem.write(bytes, to: "\(folder)/base")
      try DeltaModels.make(folder)
      _ = try apply("\(folder)/base", "\(folder)/d.safetensors", 0.5, to: "\(folder)/p")
      #expect(try FileSystem.read("\(folder)/p") != bytes)
      #expect(FileSystem.isFile("\(folder)/p.patches/0001.safetensors"))
      _ = try remove("\(folder)/p", to: "\(folder)/r")
      #expect(try FileSystem.read("\(folder)/r") == bytes)
      #expect(FileSystem.kind("\(folder)/r.patches") == nil)
    }
  }

  @Test func whatDoesNotFitIsRefused() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder)
      try DeltaModels.make(folder)
      let delta = "\(folder)/d.safetensors"
      #expect(problem { try apply("\(folder)/ft0", delta, 1, to: "\(folder)/p") }?.code == .deltaBase)
      #expect(problem { try apply("\(folder)/base", delta, 1, to: "\(folder)/base/p") }?.code == .outputOverlap)
      _ = try apply("\(folder)/base", delta, 1, to: "\(folder)/p")
      #expect(problem { try apply("\(folder)/base", delta, 1, to: "\(folder)/p") }?.code == .outputExists)
      #expect(FileSystem.kind("\(folder)/p.partial") == nil)
      // Changed since, and a damaged record.
      let weights = "\(folder)/p/model.safetensors"
      let size = try File.reading(weights).size()
      try flip(weights, at: size - 1)
      #expect(problem { try remove("\(folder)/p", to: "\(folder)/r") }?.code == .patchDamaged)
      try flip(weights, at: size - 1)
      let record = "\(folder)/p/patches/0001.safetensors"
      try flip(record, at: try File.reading(record).size() - 1)
      #expect(problem { try remove("\(folder)/p", to: "\(folder)/r") }?.code == .patchDamaged)
      #expect(FileSystem.kind("\(folder)/r") == nil)
    }
  }
}

/// Fine-tunes as a few shared tensors.
@Suite struct ModelBasisTests {
  private func make(_ folder: String, rank: Int, _ type: ElementType = .f32) throws -> BasisReport {
    var options = BasisOptions(output: "\(folder)/basis.safetensors", rank: rank)
    (options.elementType, options.policy.force, options.threads) = (type, true, 2)
    return try ModelBasis(
      of: ["\(folder)/ft0", "\(folder)/ft1", "\(folder)/ft2"], from: "\(folder)/base", options: options,
      families: Architecture.builtIn()
    ).run(listener: SilentListener())
  }

  private func get(_ model: String, _ folder: String, to output: String) throws {
    var options = MergeOptions(output: output)
    options.threads = 2
    _ = try Conversion.run(
      try ModelBasis.rebuilding(model, from: "\(folder)/basis.safetensors", base: nil, options: options),
      listener: SilentListener())
  }

  /// As many tensors as models lose nothing but rounding: the bfloat16 models come back to the last bit.
  @Test func fullRankIsExact() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder, count: 3)
      let report = try make(folder, rank: 3)
      #expect(report.errors.allSatisfy { $0 < 1e-6 })
      for (index, name) in ["ft0", "\(folder)/ft1", "3"].enumerated() {
        try get(name, folder, to: "\(folder)/out\(index)")
        #expect(try DeltaModels.values("\(folder)/out\(index)") == DeltaModels.values("\(folder)/ft\(index)"))
      }
      #expect(problem { try get("4", folder, to: "\(folder)/no") }?.message == "the basis has no model 4")
    }
  }

  /// The error that the Gram matrix tells is the one that is measured, and the least of its rank.
  @Test func errorsAreThoseOfTheTruncatedDecomposition() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder, count: 3, type: .f32)
      for rank in 1...2 {
        let report = try make(folder, rank: rank)
        for model in 0..<3 {
          #expect(abs(report.errors[model] - report.errorsByRank[rank - 1][model]) < 1e-5)
          try get("\(model + 1)", folder, to: "\(folder)/out\(rank)\(model)")
        }
        var (lost, tail) = (0.0, 0.0)
        for (name, shape) in DeltaModels.shapes {
          let changes = try (0..<3).map { try DeltaModels.change(folder, name, of: "ft\($0)").map { Double($0) } }
          let rebuilt = try (0..<3).map {
            try DeltaModels.change(folder, name, of: "out\(rank)\($0)").map { Double($0) }
          }
          for model in 0..<3 {
            for i in changes[model].indices {
              lost += (changes[model][i] - rebuilt[model][i]) * (changes[model][i] - rebuilt[model][i])
            }
          }
          let matrix = try Matrix(rows: 3, columns: shape.reduce(1, *), elements: changes.flatMap { $0 })
          tail += try LinearAlgebra.singularValues(matrix).dropFirst(rank).reduce(0) { $0 + $1 * $1 }
        }
        #expect(abs(lost - tail) < 1e-4 * tail)
      }
    }
  }

  @Test func equalModelsTakeOneTensor() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder, count: 3)
      for name in ["ft1", "ft2"] {
        let bytes = try FileSystem.read("\(folder)/ft0/model.safetensors")
        try FileSystem.write(bytes, to: "\(folder)/\(name)/model.safetensors")
      }
      let report = try make(folder, rank: 3)
      #expect(report.errors.allSatisfy { $0 < 1e-6 })
      #expect(report.fileBytes < 4 * 4840 + 3000)
    }
  }
}
