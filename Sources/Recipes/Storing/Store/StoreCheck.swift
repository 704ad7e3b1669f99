public import EspalierBasics
internal import EspalierCheckpoints

extension ModelStore {
  /// What checking found.
  public struct Check: Sendable {
    public var models = 0
    public var objects = 0
    /// Of the files that objects stand for.
    public var bytes = 0
    public var problems: [Problem] = []
  }

  /// Reads everything, and compares it with the digests of what was stored.
  ///
  /// - Returns: everything that is wrong, by name, objects with the models that need them. What ended runs have left is no
  ///   problem.
  public func check(
    threads: Int, memory: Int = Machine.memoryBytes / 2, listener: any ProgressListener
  ) throws(Problem) -> Check {
    let held = try hold()
    defer { withExtendedLifetime(held) {} }
    let workers = WorkerPool(threads: threads)
    defer { workers.stop() }
    return try StoreCheck(of: self, workers, memory, listener).run()
  }
}

/// A store while it is checked.
private final class StoreCheck {
  private let store: ModelStore
  private let workers: WorkerPool
  private let listener: any ProgressListener
  /// Ceiling on resident memory, in bytes.
  private let memory: Int
  private var outcome = ModelStore.Check()
  /// Models that have an object, or one that is packed against it.
  private var users: [StoredObject: Set<String>] = [:]
  private var isSound: [StoredObject: Bool] = [:]

  init(of store: ModelStore, _ workers: WorkerPool, _ memory: Int, _ listener: any ProgressListener) {
    (self.store, self.workers, self.memory, self.listener) = (store, workers, memory, listener)
  }

  func run() throws(Problem) -> ModelStore.Check {
    let began = Machine.monotonicSeconds
    try models()
    let paths = try store.objectPaths()
    var total = 0
    for path in paths { total += (try? File.reading(path).size()) ?? 0 }
    listener.receive(.began(stage: "check", totalBytes: total))
    for path in paths {
      let name = FileSystem.lastComponent(of: path)
      let isSketch = name.hasSuffix(ModelStore.sketchSuffix)
      let object = StoredObject(name: isSketch ? String(name.dropLast(ModelStore.sketchSuffix.count)) : name)
      if let object, ExactString(path) == ExactString(isSketch ? store.sketchPath(of: object) : store.path(of: object))
      {
        if !isSketch { _ = check(object) }
      } else {
        found(Problem(.storeDamaged, "this is nothing that a store keeps", remedy: "Move it elsewhere.", file: path))
      }
      listener.receive(.advanced(bytes: (try? File.reading(path).size()) ?? 0))
    }
    listener.receive(.ended(stage: "check", seconds: Machine.monotonicSeconds - began))
    return outcome
  }

  private func found(_ problem: Problem) { outcome.problems.append(problem) }

  // MARK: - Models

  private func models() throws(Problem) {
    guard FileSystem.isFolder(store.modelsFolder) else { return }
    for name in try FileSystem.list(store.modelsFolder) {
      let folder = store.folder(of: name)
      guard FileSystem.isFolder(folder), (try? ModelStore.check(name)) != nil else {
        found(Problem(.storeDamaged, "this is no model of the store", remedy: "Move it elsewhere.", file: folder))
        continue
      }
      outcome.models += 1
      let model: StoredModel
      do throws(Problem) { model = try StoredModel(inFolder: folder) } catch {
        found(error)
        continue
      }
      for file in model.files { check(file, of: name) }
      var known = Set(model.files.map { ExactString($0.linkName) })
      known.insert(ExactString(StoredModel.fileName))
      let entries = try? Self.entries(of: folder)
      for path in entries ?? [] where !known.contains(ExactString(path)) {
        found(
          Problem(
            .storeDamaged, "this was not stored with the model", remedy: "Move it elsewhere.", file: "\(folder)/\(path)"
          ))
      }
    }
  }

  private func check(_ file: StoredModel.File, of model: String) {
    let link = "\(store.folder(of: model))/\(file.linkName)"
    if FileSystem.linkTarget(link).map({ ExactString($0) }) != ExactString(file.linkTarget) {
      found(
        Problem(
          .storeDamaged, "the link to a file of the model is not what was written: it leads to \(file.linkTarget)",
          remedy: "Take the model out by `espalier store get`, and add it again with --force.", file: link))
    }
    // All that the file needs, and what of it is there.
    var open = [file.object]
    while let object = open.popLast() {
      guard users[object, default: []].insert(model).inserted else { continue }
      guard store.isThere(object) else {
        if object == file.object {
          found(
            Problem(
              .storeDamaged, "the object that \(file.name) of \(model) is kept as is gone", remedy: Self.mending,
              file: store.path(of: object)))
        }
        continue
      }
      open += (try? store.bases(of: object)) ?? []
    }
    if let size = try? store.open(file.object).size(), size != file.byteCount {
      found(
        Problem(
          .storeDamaged, "\(file.name) has \(file.byteCount) bytes in the list and \(size) as it is kept",
          remedy: "Add the model again from a copy, with --force.",
          file: "\(store.folder(of: model))/\(StoredModel.fileName)"))
    }
  }

  /// Paths of what is no folder, from a folder.
  private static func entries(of folder: String, as prefix: String = "") throws(Problem) -> [String] {
    var entries: [String] = []
    for name in try FileSystem.list(folder) {
      let path = "\(folder)/\(name)"
      if FileSystem.linkTarget(path) == nil, FileSystem.isFolder(path) {
        entries += try self.entries(of: path, as: prefix + name + "/")
      } else {
        entries.append(prefix + name)
      }
    }
    return entries
  }

  // MARK: - Objects

  private static let mending = "Adding a model that has it again from a copy (with --force or another --name) mends it."

  /// Whether an object and all that it is packed against is as it was; each is read once.
  private func check(_ object: StoredObject) -> Bool {
    if let known = isSound[object] { return known }
    isSound[object] = false
    let path = store.path(of: object)
    let needed = users[object].map { " (\($0.sorted().joined(separator: ", ")))" } ?? " (no model needs it)"
    do throws(Problem) {
      for base in try store.bases(of: object) {
        guard store.isThere(base), check(base) else {
          throw Problem(.storeDamaged, "what it is packed against is damaged or gone: \(base.name)")
        }
      }
      outcome.objects += 1
      if object.isPacked {
        try ArchiveReading.requireMemory(for: [path], threads: workers.threadCount, allowed: memory)
      }
      let source = try store.open(object)
      outcome.bytes = [outcome.bytes, try source.size()].saturatingSum
      guard try FileSpans.digest(of: source, workers: workers) == object.digest else {
        throw Problem(.storeDamaged, "the bytes are not those of its name")
      }
      if object.isPacked { try checkSketch(of: object, source) }
      isSound[object] = true
    } catch {
      let remedy = users[object] == nil ? "`espalier store gc` removes it." : Self.mending
      found(
        Problem(
          error.code, error.message + needed, remedy: remedy, file: path, tensor: error.context.tensor,
          byteOffset: error.context.byteOffset))
    }
    return isSound[object] ?? false
  }

  /// What may be missing: later models are then not packed against the object.
  private func checkSketch(of object: StoredObject, _ source: any ByteSource) throws(Problem) {
    let path = store.sketchPath(of: object)
    guard FileSystem.isFile(path) else { return }
    let header = try ArchiveHeader(describing: source)
    guard ModelSketch(inFile: path) != (try ModelSketch(of: header, in: source)) else { return }
    found(
      Problem(
        .storeDamaged, "what is noted of the object is not what was written",
        remedy:
          "Remove the file; it only helps to find what later models are like. Adding the model again makes it anew.",
        file: path))
  }
}
