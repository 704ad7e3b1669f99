import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierRecipes

/// Nothing is replaced or removed by `delta`, `basis` and `patch` that they did not make.
@Suite struct DeltaSafetyTests {
  private func basis(_ folder: String, _ change: (inout BasisOptions) -> Void = { _ in }) throws {
    var options = BasisOptions(output: "\(folder)/out.safetensors", rank: 1)
    (options.threads, options.policy.force) = (2, true)
    change(&options)
    _ = try ModelBasis(
      of: ["\(folder)/ft0"], from: "\(folder)/base", options: options, families: Architecture.builtIn()
    ).run(listener: SilentListener())
  }

  private func apply(_ model: String, _ delta: String, to output: String, force: Bool = true) throws {
    var options = PatchOptions(output: output)
    (options.force, options.threads) = (force, 2)
    _ = try PatchApplication(
      of: model, delta: delta, scale: 1, options: options, families: Architecture.builtIn()
    ).run(listener: SilentListener())
  }

  private func remove(_ model: String, to output: String, force: Bool = true) throws {
    var options = PatchOptions(output: output)
    (options.force, options.threads) = (force, 2)
    _ = try PatchRemoval(of: model, options: options).run()
  }

  /// Names of what is in a folder, and in folders of it.
  private func names(_ folder: String) throws -> [String] { try PackingPlan.files(of: folder).map(\.name) }

  // MARK: - Files

  @Test func onlyFilesOfTheirKindAreReplaced() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder)
      let output = "\(folder)/out.safetensors"
      func make() throws { try DeltaModels.make(folder, to: "out") }
      let model = try FileSystem.read("\(folder)/base/model.safetensors")
      for bytes in [model, [1, 2, 3], []] {
        try FileSystem.write(bytes, to: output)
        #expect(problem { try make() }?.code == .outputExists)
        #expect(problem { try basis(folder) }?.code == .outputExists)
        #expect(try FileSystem.read(output) == bytes)
      }
      try FileSystem.remove(output)
      try FileSystem.createFolder(output)
      #expect(problem { try make() }?.code == .outputExists)
      #expect(problem { try basis(folder) }?.code == .outputExists)
      try FileSystem.remove(output)
      try make()
      // Each its own.
      #expect(problem { try basis(folder) }?.code == .outputExists)
      try make()
      try FileSystem.remove(output)
      try basis(folder)
      #expect(problem { try make() }?.code == .outputExists)
      try basis(folder)
      #expect(try !FileSystem.list(folder).contains { $0.hasPrefix("out.") && $0 != "out.safetensors" })
    }
  }

  @Test func whereTheyArePreparedStrangersStay() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder)
      let partial = "\(folder)/out.safetensors.partial"
      for place in [partial, "\(partial)/mine"] {
        try FileSystem.createParents(of: place)
        try FileSystem.write([7], to: place)
        #expect(problem { try DeltaModels.make(folder, to: "out") }?.code == .outputPartial)
        #expect(problem { try basis(folder) }?.code == .outputPartial)
        #expect(try FileSystem.read(place) == [7])
        try FileSystem.remove(partial)
      }
    }
  }

  @Test func theCeilingIsForeseen() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder)
      let found = problem { try basis(folder) { $0.memory = 1 << 20 } }
      #expect(found?.code == .memoryCeiling && found?.context.tensor == "a.weight")
      #expect(FileSystem.kind("\(folder)/out.safetensors.partial") == nil)
    }
  }

  // MARK: - Patches

  @Test func onlyPatchedFoldersAreReplaced() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder)
      try DeltaModels.make(folder)
      let (base, delta, output) = ("\(folder)/base", "\(folder)/d.safetensors", "\(folder)/p")
      try FileSystem.createFolder(output)
      try FileSystem.write([1], to: "\(output)/mine")
      #expect(problem { try apply(base, delta, to: output) }?.code == .outputExists)
      #expect(try names(output) == ["mine"])
      try FileSystem.remove("\(output)/mine")
      // An empty folder, then a patched one.
      try apply(base, delta, to: output)
      let patched = try names(output)
      #expect(patched == ["config.json", "model.safetensors", "patches/0001.safetensors"])
      try apply(base, delta, to: output)
      #expect(try names(output) == patched)
      // Partial and `replaced` are the user's.
      for place in ["\(output).partial/mine", "\(output).replaced"] {
        try FileSystem.createParents(of: place)
        try FileSystem.write([1], to: place)
      }
      #expect(problem { try apply(base, delta, to: output) }?.code == .outputPartial)
      #expect(problem { try remove(output, to: "\(folder)/p") }?.code == .outputOverlap)
      #expect(try FileSystem.read("\(output).partial/mine") == [1])
      try FileSystem.remove("\(output).partial")
      try apply(base, delta, to: output)
      #expect(try FileSystem.read("\(output).replaced") == [1])
      // A restored model is nobody's but the user's.
      try remove(output, to: "\(folder)/r")
      #expect(try names("\(folder)/r") == ["config.json", "model.safetensors"])
      #expect(problem { try remove(output, to: "\(folder)/r") }?.code == .outputExists)
    }
  }

  @Test func recordsBesideAFileAreReplacedWithIt() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder)
      try DeltaModels.make(folder)
      let (base, delta, output) = (
        "\(folder)/base/model.safetensors", "\(folder)/d.safetensors", "\(folder)/p.safetensors"
      )
      try FileSystem.createFolder("\(output).patches")
      try FileSystem.write([1], to: "\(output).patches/mine")
      #expect(problem { try apply(base, delta, to: output) }?.code == .outputExists)
      #expect(problem { try apply(base, delta, to: output, force: false) }?.code == .outputExists)
      #expect(try FileSystem.read("\(output).patches/mine") == [1])
      try FileSystem.remove("\(output).patches")
      try FileSystem.write([1], to: output)
      #expect(problem { try apply(base, delta, to: output) }?.code == .outputExists)
      try FileSystem.remove(output)
      for _ in 0..<2 {
        try apply(base, delta, to: output)
        #expect(try FileSystem.list("\(output).patches") == ["0001.safetensors"])
      }
      // The file may have got another name since.
      try FileSystem.rename(output, to: "\(folder)/q.safetensors")
      try FileSystem.rename("\(output).patches", to: "\(folder)/q.safetensors.patches")
      try apply(base, delta, to: output)
      try remove("\(folder)/q.safetensors", to: output)
      #expect(try FileSystem.read(output) == FileSystem.read(base))
      #expect(FileSystem.kind("\(output).patches") == nil)
    }
  }

  @Test(arguments: ["../x", "/tmp/x", "", "a//b", ".", "patches/0001.safetensors", "patches", "a/../b"])
  func namesThatLeadElsewhereAreRefused(name: String) throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder)
      try DeltaModels.make(folder)
      try apply("\(folder)/base", "\(folder)/d.safetensors", to: "\(folder)/p")
      let path = "\(folder)/p/patches/0001.safetensors"
      try rename("model.safetensors", to: name, in: path)
      let found = problem { try remove("\(folder)/p", to: "\(folder)/r") }
      #expect(found?.code == .patchDamaged && found?.message.hasPrefix("the record names the file") == true)
      #expect(FileSystem.kind("\(folder)/r") == nil && FileSystem.kind("\(folder)/r.partial") == nil)
    }
  }

  @Test func aFileThatTheModelLacksIsRefused() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder)
      try DeltaModels.make(folder)
      try apply("\(folder)/base", "\(folder)/d.safetensors", to: "\(folder)/p")
      try rename("model.safetensors", to: "else.safetensors", in: "\(folder)/p/patches/0001.safetensors")
      let found = problem { try remove("\(folder)/p", to: "\(folder)/r") }
      #expect(found?.message == "the record names the file else.safetensors, which the model lacks")
    }
  }

  /// Writes the record of a patch with another file in it.
  private func rename(_ old: String, to new: String, in path: String) throws {
    let header = try SafetensorsHeader(reading: try File.reading(path))
    let bytes = try FileSystem.read(path)
    let metadata = header.metadata.map { ($0.key, $0.value.replacing("\"\(old)\"", with: "\"\(new)\"")) }
    let head = SafetensorsHeader.bytes(
      for: header.tensors.map { ($0.name, $0.elementType, $0.shape) }, metadata: metadata)
    let start = header.tensors.map(\.offset).min() ?? bytes.count
    try FileSystem.write(head + bytes[start...], to: path)
  }
}
