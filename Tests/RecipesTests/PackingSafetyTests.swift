import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierNumerics
import Synchronization
import TestSupport
import Testing

@testable import EspalierRecipes

/// Does something when a stage of a run begins.
private final class Disturbance: ProgressListener {
  private let stage: String
  private let body: @Sendable () throws -> Void
  private let failure = Mutex<String?>(nil)

  init(at stage: String, _ body: @escaping @Sendable () throws -> Void) { (self.stage, self.body) = (stage, body) }

  func receive(_ event: ProgressEvent) {
    guard case .began(stage, _) = event else { return }
    do { try body() } catch { failure.withLock { $0 = "\(error)" } }
  }

  /// What went wrong with the disturbance itself.
  var problem: String? { failure.withLock { $0 } }
}

/// Nothing is lost that was not packed, whatever comes between.
@Suite("Packing loses nothing") struct PackingSafetyTests {
  private func pack(
    _ model: String, to output: String? = nil, listener: any ProgressListener = SilentListener(),
    _ change: (inout PackingOptions) -> Void = { _ in }
  ) throws {
    var options = PackingOptions(output: output ?? model, chunkBytes: 1 << 16, threads: 2, memory: 1 << 30)
    options.replaces = output == nil
    change(&options)
    _ = try PackingRun.execute(try PackingPlan(of: model, options), listener: listener)
  }

  private func unpack(_ model: String, to output: String, force: Bool = false) throws {
    var options = UnpackingRun.Options(output: output, threads: 2)
    options.policy.force = force
    _ = try UnpackingRun.execute(model, options, listener: SilentListener())
  }

  private func tree(_ folder: String) throws -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    for (name, path) in try PackingPlan.files(of: folder) { files[name] = try FileSystem.read(path) }
    return files
  }

  /// A model with a folder in its folder.
  private func write(_ folder: String) throws {
    var generator = SeededGenerator(seed: 1)
    try FileSystem.createParents(of: "\(folder)/sub/x")
    let tensor = TestTensor("a", [70_000], generator.floats(70_000), .bf16)
    try TestTensor.write([tensor], to: "\(folder)/model.safetensors")
    try FileSystem.write(Array("{\"a\": 1}".utf8), to: "\(folder)/config.json")
    try FileSystem.write(Array("words".utf8), to: "\(folder)/sub/notes.txt")
  }

  // MARK: - Replacing

  @Test("A file that comes while a model is packed is not lost")
  func newFiles() throws {
    try withTemporaryFolder { folder in
      let model = "\(folder)/model"
      try write(model)
      let disturbance = Disturbance(at: "read back") { try FileSystem.write([1], to: "\(model)/sub/new.json") }
      let found = problem { try pack(model, listener: disturbance) }
      #expect(found?.code == .packingInput && found?.message.contains("sub/new.json") == true, "\(found as Any)")
      #expect(disturbance.problem == nil)
      let names = try tree(model).keys.sorted()
      #expect(names == ["config.json", "model.safetensors", "sub/new.json", "sub/notes.txt"])
      try pack(model) { $0.policy.force = true }
      let files = try tree(model)
      #expect(files["sub/new.json"] == [1] && files["model.safetensors"] == nil)
      #expect(try FileSystem.list(folder) == ["model"])
    }
  }

  @Test("One that comes at the last moment stays beside the packed model")
  func lastMoment() throws {
    try withTemporaryFolder { folder in
      let model = "\(folder)/model"
      try write(model)
      try FileSystem.createFolder("\(model)/empty")
      try FileSystem.write([7], to: "\(model)/sub/late")
      let place = PackedPlace(model, isFolder: true, policy: .init()) { _ in true }
      let held = try place.begin(fingerprint: "a test")
      try FileSystem.write([1], to: "\(place.partial)/packed")
      let found = problem { try place.finish(replacing: ["config.json", "model.safetensors", "sub/notes.txt"]) }
      withExtendedLifetime(held) {}
      #expect(found?.code == .outputExists && found?.context.file == place.partial)
      #expect(try tree(model) == ["packed": [1]])
      #expect(try tree(place.partial) == ["sub/late": [7]])
      // It is nobody's to remove.
      #expect(place.obstacles(bytes: 1, mayReplace: true).map(\.code) == [.outputPartial])
    }
  }

  @Test(
    "What was not written as it should be is found when it is read back, and made anew",
    arguments: ["config.json", "sub/notes.txt", "model.safetensors.packed"])
  func readBack(name: String) throws {
    try withTemporaryFolder { folder in
      let model = "\(folder)/model"
      try write(model)
      let before = try tree(model)
      let disturbance = Disturbance(at: "read back") { try flip("\(model).partial/\(name)", at: 4) }
      let found = problem { try pack(model, listener: disturbance) }
      #expect(disturbance.problem == nil)
      #expect(found?.context.file == "\(model).partial/\(name)", "\(found as Any)")
      #expect(try tree(model) == before)
      try pack(model) { $0.policy.resume = true }
      try unpack(model, to: "\(folder)/back")
      #expect(try tree("\(folder)/back") == before)
      #expect(try FileSystem.list(folder) == ["back", "model"])
    }
  }

  @Test("Links to folders are refused, since they may lead back")
  func links() throws {
    try withTemporaryFolder { folder in
      let model = "\(folder)/model"
      try write(model)
      try FileSystem.link("\(model)/a", to: "..")
      try FileSystem.link("\(model)/b", to: "..")
      let found = problem { try pack(model, to: "\(folder)/packed") }
      #expect(found?.code == .packingInput && found?.context.file == "\(model)/a", "\(found as Any)")
      try FileSystem.remove("\(model)/a")
      try FileSystem.remove("\(model)/b")
      // Links to files become copies.
      try FileSystem.link("\(model)/c", to: "sub/notes.txt")
      try pack(model, to: "\(folder)/packed")
      #expect(FileSystem.linkTarget("\(folder)/packed/c") == nil)
      #expect(try FileSystem.read("\(folder)/packed/c") == Array("words".utf8))
    }
  }

  // MARK: - Giving back

  @Test("Copied files that were changed, and files that are gone, are not given back as they were")
  func changedCopies() throws {
    try withTemporaryFolder { folder in
      let (model, packed, back) = ("\(folder)/model", "\(folder)/packed", "\(folder)/back")
      try write(model)
      try pack(model, to: packed)
      try flip("\(packed)/config.json", at: 2)
      let changed = problem { try unpack(packed, to: back) }
      #expect(changed?.code == .verifyMismatch && changed?.context.file == "\(packed)/config.json")
      #expect(FileSystem.kind(back) == nil)
      try flip("\(packed)/config.json", at: 2)
      try FileSystem.rename("\(packed)/sub/notes.txt", to: "\(folder)/notes")
      #expect(problems { try unpack(packed, to: back, force: true) }.map(\.code) == [.verifyMismatch])
      try FileSystem.rename("\(folder)/notes", to: "\(packed)/sub/notes.txt")
      let list = "\(packed)/espalier-packed.json"
      let written = try FileSystem.read(list)
      for text in ["", "{\"files\": [{}]}", "{\"files\": [{\"name\": \"../a\", \"bytes\": 1, \"packed\": true}]}"] {
        try FileSystem.write(Array(text.utf8), to: list)
        #expect(problems { try unpack(packed, to: back, force: true) }.map(\.code) == [.manifestInvalid])
      }
      try FileSystem.write(written, to: list)
      try unpack(packed, to: back, force: true)
      #expect(try tree(back) == tree(model))
    }
  }

  @Test("Another SHA-256 than was kept is found", .enabled(if: FileHash.isAvailable))
  func wholeFiles() throws {
    try withTemporaryFolder { folder in
      try write("\(folder)/model")
      let (path, packed) = ("\(folder)/model/model.safetensors", "\(folder)/m.safetensors.packed")
      let workers = WorkerPool(threads: 1)
      defer { workers.stop() }
      var header = try ArchiveHeader(describing: try File.reading(path))
      header.sha256 = String(repeating: "0", count: 64)
      _ = try ArchiveWriter(try File.reading(path), header, to: packed, workers: workers)
        .write(resume: false, fingerprint: Digest(of: ""))
      #expect(problem { try unpack(packed, to: "\(folder)/back.safetensors") }?.code == .archiveDamaged)
      #expect(FileSystem.kind("\(folder)/back.safetensors") == nil)
    }
  }

  // MARK: - What is in the way

  @Test("--force replaces what such an output is, nothing else")
  func forcing() throws {
    try withTemporaryFolder { folder in
      let (model, packed, back) = ("\(folder)/model", "\(folder)/packed", "\(folder)/back")
      try write(model)
      try pack(model, to: packed)
      try pack(model, to: packed) { $0.policy.force = true }
      try unpack(packed, to: back)
      // The folder that it wrote itself; not with more in it.
      try FileSystem.write([], to: "\(back)/config.json")
      try unpack(packed, to: back, force: true)
      #expect(try tree(back) == tree(model))
      try FileSystem.write([1], to: "\(back)/sub/mine")
      #expect(problem { try unpack(packed, to: back, force: true) }?.code == .outputExists)
      #expect(try FileSystem.read("\(back)/sub/mine") == [1])
      // A file of weights; no other, and no folder.
      let (source, file) = ("\(packed)/model.safetensors.packed", "\(folder)/file.safetensors")
      try unpack(source, to: file)
      #expect(problem { try unpack(source, to: file) }?.code == .outputExists)
      try unpack(source, to: file, force: true)
      for other in ["\(model)/config.json", model] {
        let found = problem { try unpack(source, to: other, force: true) }
        #expect(found?.message.contains("--force does not replace it") == true, "\(found as Any)")
        #expect(try FileSystem.list(folder).allSatisfy { !$0.contains(".partial") })
      }
      let store = try ModelStore(at: "\(folder)/shelf", creating: true)
      _ = try store.add(
        model, as: "m", ModelStore.AdditionOptions(threads: 2, memory: 1 << 30), listener: SilentListener())
      var options = UnpackingRun.Options(output: "\(folder)/got", threads: 2)
      _ = try store.get("m", options, listener: SilentListener())
      options.policy.force = true
      _ = try store.get("m", options, listener: SilentListener())
      #expect(try tree("\(folder)/got") == tree(model))
      options.output = back
      #expect(problem { try store.get("m", options, listener: SilentListener()) }?.code == .outputExists)
    }
  }

  @Test("What comes to the output's place during a run stays")
  func occupied() throws {
    try withTemporaryFolder { folder in
      let (model, packed) = ("\(folder)/model", "\(folder)/packed")
      try write(model)
      let disturbance = Disturbance(at: "read back") {
        try FileSystem.createFolder(packed)
        try FileSystem.write([1], to: "\(packed)/mine")
      }
      #expect(problem { try pack(model, to: packed, listener: disturbance) }?.code == .outputExists)
      #expect(disturbance.problem == nil)
      #expect(try tree(packed) == ["mine": [1]])
    }
  }

  @Test(
    "Of two runs of one output one is refused; a mark that is gone or empty tells of nothing", arguments: [true, false])
  func marks(isFolder: Bool) throws {
    try withTemporaryFolder { folder in
      let place = PackedPlace("\(folder)/out", isFolder: isFolder, policy: .init(resume: true)) { _ in false }
      var held: File? = try place.begin(fingerprint: "one")
      #expect(problem { try place.begin(fingerprint: "one") }?.code == .fileLocked)
      #expect(held != nil)
      held = nil
      if !isFolder { try FileSystem.write([1], to: place.partial) }
      #expect(problem { try place.begin(fingerprint: "two") }?.code == .outputPartial)
      held = try place.begin(fingerprint: "one")
      try place.finish()
      #expect(try FileSystem.list(folder) == ["out"])
      // The run that had it open when it went.
      let late = try #require(held)
      #expect(late.tryLock())
      let isNamed = try late.hasItsName()
      #expect(!isNamed)
      // Somebody else's.
      let other = PackedPlace("\(folder)/other", isFolder: isFolder, policy: .init(force: true)) { _ in false }
      try FileSystem.write([1], to: other.partial)
      try FileSystem.write([], to: other.partial + ".run")
      #expect(other.obstacles(bytes: 1).map(\.code) == [.outputPartial])
      #expect(problem { try other.begin(fingerprint: "one") }?.code == .outputPartial)
      #expect(try FileSystem.read(other.partial) == [1])
    }
  }

  @Test("What is left of an output that was replaced is nothing to go on with")
  func replacedRemains() throws {
    try withTemporaryFolder { folder in
      let place = PackedPlace("\(folder)/out", isFolder: true, policy: .init(resume: true, force: true)) { _ in true }
      try FileSystem.createFolder("\(folder)/out")
      try FileSystem.write([1], to: "\(folder)/out/old")
      var held: File? = try place.begin(fingerprint: "one")
      // As if it were killed when the folders have exchanged names.
      let mark = place.partial + ".run"
      try place.finish()
      #expect(held != nil && !FileSystem.isFile(mark))
      held = nil
      try FileSystem.createFolder(place.partial)
      try FileSystem.write([1], to: "\(place.partial)/old")
      try FileSystem.write(Array("\"replaced\"".utf8), to: mark)
      held = try place.begin(fingerprint: "one")
      #expect(try FileSystem.list(place.partial).isEmpty)
    }
  }
}
