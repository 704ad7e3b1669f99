import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierRecipes

/// A store and models for it in a temporary folder.
private struct Shelf {
  let folder: String
  var path: String { "\(folder)/shelf" }

  static func with(_ body: (Shelf) throws -> Void) throws {
    try withTemporaryFolder { try body(Shelf(folder: $0)) }
  }

  func open() throws -> ModelStore { try ModelStore(at: path, creating: true) }

  @discardableResult
  func add(
    _ model: String, as name: String? = nil, _ change: (inout ModelStore.AdditionOptions) -> Void = { _ in }
  ) throws -> ModelStore.Addition {
    var options = ModelStore.AdditionOptions(threads: 2, memory: 1 << 30)
    change(&options)
    return try open().add(
      model, as: name ?? FileSystem.lastComponent(of: model), options, listener: SilentListener())
  }

  func get(_ name: String, to output: String) throws {
    _ = try open().get(name, UnpackingRun.Options(output: output, threads: 2), listener: SilentListener())
  }

  func check() throws -> ModelStore.Check { try open().check(threads: 2, listener: SilentListener()) }

  /// Whether a model comes back as the folder that it was.
  func expect(_ name: String, is model: String, _ place: Comment? = nil) throws {
    let output = "\(folder)/back"
    try get(name, to: output)
    #expect(try tree(output) == tree(model), place)
    try FileSystem.remove(output)
  }

  /// Bytes of all files of a folder and the folders in it.
  func tree(_ folder: String) throws -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    for (name, path) in try PackingPlan.files(of: folder) { files[name] = try FileSystem.read(path) }
    return files
  }

  /// A folder of one file of weights and a config.
  func write(_ name: String, _ tensors: [TestTensor], config: String = "{}") throws -> String {
    let model = "\(folder)/\(name)"
    try FileSystem.createFolder(model)
    try FileSystem.write(Array(config.utf8), to: "\(model)/config.json")
    try TestTensor.write(tensors, to: "\(model)/model.safetensors")
    return model
  }
}

/// Changes a bit of a file that may not be written to.
private func alter(_ path: String, at offset: Int) throws {
  var bytes = try FileSystem.read(path)
  bytes[offset] ^= 1
  try FileSystem.write(bytes, to: path)
}

private func noise(_ name: String, seed: UInt64, step: Float = 0, count: Int = 100_000) -> TestTensor {
  var generator = SeededGenerator(seed: seed)
  var change = SeededGenerator(seed: seed &+ 1000)
  let values = zip(generator.floats(count), change.floats(count)).map { $0 * (1 + step * $1) }
  return TestTensor(name, [count], values, .bf16)
}

@Suite("Storing models") struct StoreTests {
  private static let models = "\(packageFolder)/Models"

  // MARK: - There and back

  @Test("The tiny family: fine-tunes against the base, files once, every byte back, whatever is removed")
  func family() throws {
    try Shelf.with { shelf in
      let base = try shelf.add("\(Self.models)/base")
      #expect(base.bases.isEmpty && base.known == 0)
      for name in ["expert-code", "expert-prose", "lora-prose"] {
        let addition = try shelf.add("\(Self.models)/\(name)")
        if name != "lora-prose" {
          #expect(addition.bases.map(\.bases) == [["base"]], "\(name)")
          #expect(addition.newBytes < base.newBytes)
        }
      }
      let again = try shelf.add("\(Self.models)/expert-code", as: "twice")
      #expect(again.newBytes == 0 && again.known == again.files)
      let names = ["base", "expert-code", "expert-prose", "lora-prose", "twice"]
      let entries = try shelf.open().entries()
      #expect(entries.map(\.name) == names)
      #expect(entries[1].bases == ["base"] && entries[0].bases.isEmpty)
      #expect(entries[1].ownBytes == 0 && entries[2].ownBytes > 0)
      #expect(entries.allSatisfy { $0.problem == nil && $0.added.utf8.count == 20 && $0.keptBytes < $0.bytes })
      let check = try shelf.check()
      #expect(check.problems == [] && check.models == 5)
      for name in names.dropLast() { try shelf.expect(name, is: "\(Self.models)/\(name)") }

      // What others lean on stays.
      let store = try shelf.open()
      try store.remove("base")
      try store.remove("lora-prose")
      let collection = try store.collectGarbage()
      #expect(collection.objects > 0 && collection.bytes > 0)
      #expect(try shelf.check().problems == [])
      try shelf.expect("expert-code", is: "\(Self.models)/expert-code")
      #expect(try store.entries().first?.bases.first?.hasPrefix("object ") == true)
      for name in ["expert-code", "expert-prose", "twice"] { try store.remove(name) }
      _ = try store.collectGarbage()
      #expect(try store.keptBytes() == 0 && store.names().isEmpty)
    }
  }

  @Test("The same bytes whatever the threads")
  func threads() throws {
    try Shelf.with { shelf in
      for (folder, threads) in [("one", 1), ("five", 5)] {
        let other = Shelf(folder: "\(shelf.folder)/\(folder)")
        try FileSystem.createFolder(other.folder)
        try other.add("\(Self.models)/base") { $0.threads = threads }
        try other.add("\(Self.models)/expert-code") { $0.threads = threads }
      }
      #expect(try shelf.tree("\(shelf.folder)/one/shelf/objects") == shelf.tree("\(shelf.folder)/five/shelf/objects"))
    }
  }

  @Test("Equal tensors once: of another name, of two models, of a fine-tune of a fine-tune")
  func equalTensors() throws {
    try Shelf.with { shelf in
      let a = try shelf.write("a", [noise("x", seed: 1), noise("y", seed: 2), noise("z", seed: 3)])
      let b = try shelf.write("b", [noise("x", seed: 4), noise("y", seed: 5)])
      let mixed = try shelf.write("mixed", [noise("first", seed: 2), noise("y", seed: 4), noise("new", seed: 6)])
      let tuned = try shelf.write("tuned", [noise("x", seed: 1, step: 0.05), noise("y", seed: 2, step: 0.05)])
      // One tensor of the fine-tune, one of its base.
      let swapped = try shelf.write(
        "swapped", [noise("x", seed: 1, step: 0.05), noise("y", seed: 2), noise("w", seed: 7)])
      let one = try shelf.add(a).newBytes / 3
      try shelf.add(b)
      let mixing = try shelf.add(mixed)
      #expect(mixing.bases.map { Set($0.bases) } == [["a", "b"]])
      #expect(mixing.newBytes < one * 11 / 10)
      try shelf.add(tuned)
      let swapping = try shelf.add(swapped)
      #expect(swapping.newBytes < one * 11 / 10)
      #expect(try shelf.check().problems == [])
      for model in [a, b, mixed, tuned, swapped] { try shelf.expect(FileSystem.lastComponent(of: model), is: model) }
    }
  }

  @Test("A base that is named is the only one; what is like nothing has none")
  func namedBases() throws {
    try Shelf.with { shelf in
      let a = try shelf.write("a", [noise("x", seed: 1)])
      let near = try shelf.write("near", [noise("x", seed: 1, step: 0.02)])
      let tuned = try shelf.write("tuned", [noise("x", seed: 1, step: 0.01)])
      try shelf.add(a)
      #expect(try shelf.add("\(shelf.write("other", [noise("x", seed: 9)]))").bases.isEmpty)
      try shelf.add(near)
      #expect(try shelf.add(tuned, as: "free").bases.map(\.bases) == [["a"]])
      try shelf.open().remove("free")
      _ = try shelf.open().collectGarbage()
      #expect(try shelf.add(tuned, as: "bound") { $0.base = "near" }.bases.map(\.bases) == [["near"]])
      try shelf.expect("bound", is: tuned)
      #expect(problem { try shelf.add(tuned) { $0.base = "nea" } }?.message.contains("did you mean near?") == true)
    }
  }

  @Test("Folders in folders, empty files, files without tensors, a file alone, equal files under other names")
  func files() throws {
    try Shelf.with { shelf in
      let model = try shelf.write("model", [noise("x", seed: 1)])
      try FileSystem.createFolder("\(model)/sub")
      try FileSystem.write([], to: "\(model)/sub/empty")
      try FileSystem.write([], to: "\(model)/empty.safetensors")
      try FileSystem.write(Array("no header".utf8), to: "\(model)/broken.gguf")
      try FileSystem.write(Array("{}".utf8), to: "\(model)/sub/same")
      // The files: config.json and sub/same are one, both empty files are two, since one is of weights.
      #expect(try shelf.add(model).known == 1)
      try shelf.expect("model", is: model)
      let single = try shelf.add("\(model)/model.safetensors", as: "single")
      #expect(single.files == 1 && single.newBytes == 0)
      try shelf.get("single", to: "\(shelf.folder)/out")
      #expect(try shelf.tree("\(shelf.folder)/out").keys.sorted() == ["model.safetensors"])
      #expect(try shelf.check().problems == [])
    }
  }

  @Test("Models in a store are read as they are: a merge gives the same bytes")
  func readByVerbs() throws {
    try Workplace.with(["a": TinyLlama(value: 1, extra: [noise("extra", seed: 1)])]) { place in
      try TinyLlama(value: 2, extra: [noise("extra", seed: 1, step: 0.05)]).write(to: place.path("b"))
      let shelf = Shelf(folder: place.folder)
      try shelf.add(place.path("a"))
      #expect(try shelf.add(place.path("b")).bases.count == 1)
      func merge(_ prefix: String) throws -> [UInt8] {
        place.options.policy = .init(force: true)
        try place.run(
          "merge_method: linear\nmodels: [{model: \(prefix)a, parameters: {weight: 1}}, "
            + "{model: \(prefix)b, parameters: {weight: 2}}]\n")
        return try FileSystem.read(place.path("out/model.safetensors"))
      }
      #expect(try merge("shelf/models/") == merge(""))
    }
  }

  @Test("Replaced only if that is asked for")
  func replacing() throws {
    try Shelf.with { shelf in
      let (a, b) = (try shelf.write("a", [noise("x", seed: 1)]), try shelf.write("b", [noise("x", seed: 2)]))
      try shelf.add(a, as: "model")
      #expect(problem { try shelf.add(b, as: "model") }?.code == .storeModel)
      try shelf.expect("model", is: a)
      try shelf.add(b, as: "model") { $0.replaces = true }
      try shelf.expect("model", is: b)
      #expect(try FileSystem.list("\(shelf.path)/incoming").isEmpty)
      #expect(try shelf.open().collectGarbage().objects == 1)
      #expect(try shelf.check().problems == [])
    }
  }

  @Test("Where names cannot be exchanged, a model is replaced or stays, whatever fails", arguments: [false, true])
  func replacingWithoutExchange(alsoFails: Bool) throws {
    try Shelf.with { shelf in
      let (a, b) = (try shelf.write("a", [noise("x", seed: 1)]), try shelf.write("b", [noise("x", seed: 2)]))
      try shelf.add(a, as: "model")
      let store = try shelf.open()
      let workers = WorkerPool(threads: 2)
      defer { workers.stop() }
      let work = try StoreAddition(to: store, base: nil, workers, SilentListener())
      work.exchange = { (new, _) throws(Problem) in
        // Without the new folder, renaming fails too.
        if alsoFails { try FileSystem.rename(new, to: new + ".gone") }
        throw Problem(.fileWrite, "not supported")
      }
      let files = try ModelFiles.list(b, followsLinks: false)
      let found = problem { try work.run(files, as: "model", replaces: true) }
      #expect(found?.code == (alsoFails ? .fileMissing : nil))
      // As at the end of every run, and with what a killed one leaves.
      try FileSystem.remove(work.incoming)
      _ = try store.collectGarbage()
      #expect(try store.names() == ["model"])
      try shelf.expect("model", is: alsoFails ? a : b)
      #expect(try shelf.check().problems == [])
    }
  }

  // MARK: - What is refused

  @Test("Names that no folder should have", arguments: ["", "..", ".hidden", "a/b", "/a", "a\\b", "a\nb"])
  func names(name: String) throws {
    try Shelf.with { shelf in
      let model = try shelf.write("model", [noise("x", seed: 1, count: 9)])
      try shelf.add(model)
      #expect(problem { try shelf.add(model, as: name) }?.code == .storeModel)
      #expect(problem { try shelf.get(name, to: "\(shelf.folder)/out") }?.code == .storeModel)
      #expect(problem { try shelf.open().remove(name) }?.code == .storeModel)
      #expect(try shelf.open().names() == ["model"])
    }
  }

  @Test("Links that leave the folder, lead nowhere or to folders are named; those in the folder are its files")
  func links() throws {
    try Shelf.with { shelf in
      let model = try shelf.write("model", [noise("x", seed: 1, count: 9)])
      try FileSystem.write([1, 2, 3], to: "\(shelf.folder)/outside")
      try FileSystem.link("\(model)/inside", to: "config.json")
      try FileSystem.link("\(model)/b", to: "../outside")
      try FileSystem.link("\(model)/c", to: "../nowhere")
      try FileSystem.link("\(model)/d", to: "..")
      let found = problems { try shelf.add(model) }
      #expect(found.map(\.code) == [.storeInput, .storeInput, .storeInput])
      #expect(found.map(\.context.file) == ["b", "c", "d"].map { "\(model)/\($0)" })
      #expect(try shelf.open().names().isEmpty)
      try FileSystem.remove("\(model)/c")
      try FileSystem.remove("\(model)/d")
      try shelf.add(model) { $0.followsLinks = true }
      try shelf.expect("model", is: model)
      try FileSystem.remove("\(model)/b")
      try shelf.add(model, as: "again")
      #expect(try shelf.tree(model)["inside"] == Array("{}".utf8))
    }
  }

  @Test("What cannot be stored is said before anything is written")
  func refusals() throws {
    try Shelf.with { shelf in
      let model = try shelf.write("model", [noise("x", seed: 1, count: 9)])
      try shelf.add(model)
      let before = try shelf.tree(shelf.path)
      try FileSystem.createFolder("\(shelf.folder)/none")
      #expect(problem { try shelf.add("\(shelf.folder)/none") }?.code.rawValue == "checkpoint.missing")
      #expect(problem { try shelf.add("\(shelf.folder)/nowhere") }?.code.rawValue == "checkpoint.missing")
      #expect(problem { try shelf.add(shelf.folder, as: "all") }?.code == .storeInput)
      #expect(problem { try shelf.add("\(shelf.path)/models/model", as: "copy") }?.code == .storeInput)
      #expect(problem { try shelf.add(model, as: "small") { $0.memory = 1 << 20 } }?.code == .memoryCeiling)
      try FileSystem.write([1], to: "\(model)/espalier-stored.json")
      #expect(problem { try shelf.add(model, as: "b") }?.message.contains("espalier-stored.json") == true)
      #expect(problem { try shelf.get("model", to: model) }?.code == .outputExists)
      #expect(problem { try shelf.get("model", to: "\(shelf.path)/models/new") }?.code == .outputExists)
      #expect(
        problem { try shelf.get("modle", to: "\(shelf.folder)/out") }?.message.contains("did you mean model?") == true)
      #expect(try shelf.tree(shelf.path) == before)
    }
  }

  @Test("Folders that are no stores, and stores of later versions")
  func wrongStores() throws {
    try Shelf.with { shelf in
      let model = try shelf.write("model", [noise("x", seed: 1, count: 9)])
      #expect(problem { try ModelStore(at: shelf.path) }?.code == .storeFormat)
      let other = Shelf(folder: shelf.folder + "/model")
      #expect(problem { try ModelStore(at: other.folder, creating: true) }?.message == "the folder is no store")
      // What a run that was ended at once has left.
      try FileSystem.createFolder(shelf.path)
      try FileSystem.write([], to: "\(shelf.path)/espalier-store.json.1a2b.tmp")
      try shelf.add(model)
      let mark = "\(shelf.path)/espalier-store.json"
      let written = try FileSystem.read(mark)
      for text in ["", "{}", "{\"espalier_store\": 2}", "{\"espalier_store\": \"1\"}"] {
        try FileSystem.write(Array(text.utf8), to: mark)
        let found = try #require(problem { try shelf.open() })
        #expect(found.code == .storeFormat && found.context.file == mark)
        #expect(found.message.contains("later") == text.contains("2"))
      }
      try FileSystem.write(written, to: mark)
      try change("\(shelf.path)/models/model/espalier-stored.json", "\"espalier_stored\": 1", "\"espalier_stored\": 2")
      #expect(problem { try shelf.get("model", to: "\(shelf.folder)/out") }?.code == .storeFormat)
    }
  }

  private func change(_ path: String, _ old: String, _ new: String) throws {
    let text = String(decoding: try FileSystem.read(path), as: UTF8.self)
    #expect(text.contains(old))
    try FileSystem.write(Array(text.replacing(old, with: new).utf8), to: path)
  }

  // MARK: - Damage

  @Test("Every kind of damage is named by check, nothing damaged is given back, and adding mends it")
  func damage() throws {
    try Shelf.with { shelf in
      let base = try shelf.write("base", [noise("x", seed: 1), noise("y", seed: 2)], config: "{\"a\": 1}")
      let tuned = try shelf.write("tuned", [noise("x", seed: 1, step: 0.02), noise("y", seed: 2, step: 0.02)])
      try shelf.add(base)
      #expect(try shelf.add(tuned).bases.count == 1)
      let store = try shelf.open()
      func object(_ model: String, _ file: String) throws -> String {
        let found = try StoredModel(inFolder: store.folder(of: model)).files.first { $0.name == file }
        return store.path(of: try #require(found).object)
      }
      let (baseFile, tunedFile) = (try object("base", "model.safetensors"), try object("tuned", "model.safetensors"))
      let config = try object("base", "config.json")

      // A byte of objects, wherever it is.
      for (path, models) in [(baseFile, ["base", "tuned"]), (tunedFile, ["tuned"]), (config, ["base"])] {
        let size = try File.reading(path).size()
        for offset in [0, size / 3, size / 2, size - 1] {
          try alter(path, at: offset)
          let found = try shelf.check().problems
          #expect(found.contains { $0.context.file == path && $0.message.contains(models[0]) }, "\(path) \(offset)")
          #expect(found.allSatisfy { $0.context.file == path || $0.context.file == tunedFile }, "\(found)")
          for model in ["base", "tuned"] {
            let output = "\(shelf.folder)/out"
            if models.contains(model) {
              #expect(problem { try shelf.get(model, to: output) } != nil)
              #expect(FileSystem.kind(output) == nil && FileSystem.kind(output + ".partial") == nil)
            } else {
              try shelf.expect(model, is: "\(shelf.folder)/\(model)")
            }
          }
          try alter(path, at: offset)
        }
      }
      #expect(try shelf.check().problems == [])

      // Adding again mends; what was packed against it can be read again.
      try alter(baseFile, at: 5000)
      try alter(config, at: 2)
      try shelf.add(base, as: "copy")
      #expect(try shelf.check().problems == [])
      try shelf.expect("tuned", is: tuned)
      try FileSystem.remove(baseFile)
      #expect(try Set(shelf.check().problems.map(\.context.file)) == [baseFile, tunedFile])
      #expect(try shelf.open().entries().filter { $0.problem != nil }.map(\.name) == ["base", "copy"])
      try shelf.add(base, as: "copy") { $0.replaces = true }
      #expect(try shelf.check().problems == [])

      // A model that is like a damaged one is kept by itself.
      try alter(baseFile, at: 5000)
      let near = try shelf.write("near", [noise("x", seed: 1, step: 0.03), noise("y", seed: 2, step: 0.03)])
      #expect(try shelf.add(near).bases.isEmpty)
      try alter(baseFile, at: 5000)
      try shelf.expect("near", is: near)
      #expect(try shelf.check().problems == [])
    }
  }

  @Test("Lists, links, sketches, and what does not belong there")
  func otherDamage() throws {
    try Shelf.with { shelf in
      let model = try shelf.write("model", [noise("x", seed: 1)])
      try shelf.add(model)
      let folder = "\(shelf.path)/models/model"
      func expectFound(_ path: String, _ body: () throws -> Void) throws {
        let before = try FileSystem.linkTarget(path) == nil && FileSystem.isFile(path) ? FileSystem.read(path) : nil
        try body()
        #expect(try shelf.check().problems.map(\.context.file) == [path])
        if let before { try FileSystem.write(before, to: path) } else { try FileSystem.remove(path) }
      }
      let list = "\(folder)/espalier-stored.json"
      for text in ["", "[]", "{\"espalier_stored\": 1}"] {
        try expectFound(list) { try FileSystem.write(Array(text.utf8), to: list) }
      }
      try expectFound(list) { try change(list, "\"config.json\"", "\"../config.json\"") }
      try expectFound(list) { try change(list, "\"bytes\": 2,", "\"bytes\": 3,") }
      try expectFound("\(folder)/more") { try FileSystem.write([1], to: "\(folder)/more") }
      try expectFound("\(shelf.path)/models/stray") { try FileSystem.write([1], to: "\(shelf.path)/models/stray") }
      try expectFound("\(shelf.path)/objects/zz") { try FileSystem.write([1], to: "\(shelf.path)/objects/zz") }
      let sketch = try #require(try shelf.open().objectPaths().first { $0.hasSuffix(".sketch") })
      try expectFound(sketch) { try change(sketch, "bf16", "f16") }
      try expectFound(sketch) { try FileSystem.write([1], to: sketch) }
      let link = "\(folder)/config.json"
      let target = try #require(FileSystem.linkTarget(link))
      try expectFound(link) {
        try FileSystem.remove(link)
        try FileSystem.link(link, to: "../elsewhere")
      }
      #expect(try shelf.check().problems.map(\.context.file) == [link])
      // The list is enough to give the model back.
      try shelf.expect("model", is: model)
      try FileSystem.link(link, to: target)
      #expect(try shelf.check().problems == [])
      // While it is not known what a model needs, nothing is removed; the model can be.
      try FileSystem.write([], to: list)
      let before = try shelf.open().objectPaths()
      #expect(problem { try shelf.open().collectGarbage() }?.code == .storeDamaged)
      #expect(try shelf.open().objectPaths() == before)
      #expect(try shelf.open().entries().map { $0.problem != nil } == [true])
      try shelf.open().remove("model")
      #expect(try shelf.open().collectGarbage().objects == 2)
    }
  }

  // MARK: - Parts

  @Test("A sketch as text and back; what is none")
  func sketches() throws {
    try Shelf.with { shelf in
      let types: [ElementType] = [.f64, .f32, .f16, .bf16]
      var generator = SeededGenerator(seed: 5)
      var tensors = types.map { TestTensor("\($0) \u{e9}", [3000], generator.floats(3000, scale: 100), $0) }
      tensors.append(TestTensor("short", [3000], bytes: [UInt8](repeating: 3, count: 3000), .u8))
      let model = try shelf.write("m", tensors)
      let file = try File.reading("\(model)/model.safetensors")
      let sketch = try ModelSketch(of: try ArchiveHeader(describing: file), in: file)
      // The last is shorter than what decides anything.
      #expect(sketch.tensors.map(\.type) == types)
      let text = sketch.json.text()
      #expect(try ModelSketch(JSON(parsing: text)) == sketch)
      for (old, new) in [("\"f64\"", "\"f65\""), ("24000", "-1"), ("_sketch\":1", "_sketch\":2"), ("\"]]", "0\"]]")] {
        #expect(text.contains(old))
        #expect(try ModelSketch(JSON(parsing: text.replacing(old, with: new))) == nil)
      }
    }
  }

  @Test("Which bases are chosen, worked by hand")
  func choosing() throws {
    // Tensors of 2^20 elements of bf16; by itself one takes 10.55 bits an element.
    func tensor(_ name: String, _ index: Int, _ samples: [UInt64]) -> ModelSketch.Tensor {
      ModelSketch.Tensor(
        name: name, type: .bf16, byteCount: 2 << 20, offset: index * (2 << 20),
        samples: (0..<ModelSketch.sampleCount).map { samples[$0 % samples.count] })
    }
    func sketch(_ tensors: [ModelSketch.Tensor]) -> ModelSketch { ModelSketch(tensors: tensors) }
    let one: UInt64 = 0x3F80
    let file = sketch([tensor("a", 0, [one, one + 9]), tensor("b", 1, [one + 50, one]), tensor("c", 2, [one])])
    #expect(abs(file.tensors[0].plainBits - Double(1 << 20) * 10.55) < 1)
    #expect(file.tensors[2].plainBits == 0)
    // Differences of 1 and 0: 3 bits and none. Of 4: 5 bits. A sign: many.
    #expect(file.tensors[0].bits(against: tensor("a", 0, [one + 1, one + 9])) == Double(1 << 20) * 1.5)
    #expect(file.tensors[0].bits(against: tensor("a", 0, [one + 4, one + 13])) == Double(1 << 20) * 5)
    #expect(file.tensors[0].bits(against: tensor("a", 0, [one | 0x8000, one + 9])) == Double(1 << 20) * 8.5)
    func candidate(_ digit: UInt64, _ tensors: [ModelSketch.Tensor]) -> BaseChoice.Candidate {
      BaseChoice.Candidate(
        object: StoredObject(Digest(high: digit, low: 0), ofFile: "x.safetensors"), sketch: sketch(tensors))
    }
    let near = candidate(1, [tensor("b", 0, [one + 51, one + 1]), tensor("a", 1, [one + 1, one + 10])])
    let equal = candidate(2, [tensor("other", 0, [7, 9]), tensor("renamed", 1, [one, one + 9])])
    let far = candidate(3, [tensor("a", 0, [0xBF80, 0x4F80]), tensor("b", 1, [0xBF80, 0x4F80])])
    let choice = BaseChoice(for: file, among: [far, near, equal]) { _ in 0 }
    #expect(choice.objects == [near.object, equal.object])
    #expect(
      choice.places == [
        0: ArchiveHeader.Place(file: 1, offset: 2 << 20), 2 << 20: ArchiveHeader.Place(file: 0, offset: 0),
      ])
    // A chain as long as may be is not made longer, and what cannot be read is no base.
    #expect(BaseChoice(for: file, among: [near]) { _ in 4 }.objects.isEmpty)
    #expect(BaseChoice(for: file, among: [near]) { _ in nil }.objects.isEmpty)
    #expect(BaseChoice(for: sketch([]), among: [near]) { _ in 0 }.objects.isEmpty)
  }

  @Test("Names of objects")
  func objectNames() throws {
    let digest = Digest(high: 0xAB, low: 1)
    for (file, ending) in [("x.safetensors", ".safetensors"), ("X.GGUF", ".gguf"), ("x.json", ""), ("gguf", "")] {
      let object = StoredObject(digest, ofFile: file)
      #expect(object.ending == ending && object.folder == "00" && StoredObject(name: object.name) == object)
    }
    let hex = digest.description
    for name in ["", "x", hex + ".bin", hex.uppercased(), hex + ".packed", hex + ".gguf", String(hex.dropLast())] {
      #expect(StoredObject(name: name) == nil, "\(name)")
    }
  }

  @Test("Planned memory has what reading packed files takes")
  func plannedMemory() throws {
    try Workplace.with(["a": TinyLlama(value: 1, extra: [noise("extra", seed: 1)])]) { place in
      try TinyLlama(value: 2, extra: [noise("extra", seed: 1, step: 0.05)]).write(to: place.path("b"))
      let shelf = Shelf(folder: place.folder)
      try shelf.add(place.path("a"))
      try shelf.add(place.path("b"))
      let chunk = 2 * ArchiveHeader.standardChunkBytes + 1
      let files = ["a", "b"].map { "\(shelf.path)/models/\($0)/model.safetensors" }
      #expect(try WeightFile.readingBytes(of: [place.path("a/model.safetensors")], threads: 3) == 0)
      #expect(try WeightFile.readingBytes(of: [files[0]], threads: 3) == (16 << 20) + 3 * chunk)
      #expect(try WeightFile.readingBytes(of: files, threads: 3) == (16 << 20) + 2 * 3 * chunk)
      func peak(_ prefix: String) throws -> Int {
        let plan = try place.plan("merge_method: passthrough\nmodels: [{model: \(prefix)b}]\n")
        return try #require(plan.json["predicted_peak_bytes"]?.integer)
      }
      #expect(try peak("shelf/models/") - peak("") == (16 << 20) + 2 * 2 * chunk)
    }
  }
}
