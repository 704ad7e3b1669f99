public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierNumerics

extension ModelStore {
  /// What adding takes beside the model and its name.
  public struct AdditionOptions: Sendable {
    public var threads: Int
    /// Ceiling on resident memory, in bytes.
    public var memory: Int
    /// A model of the store whose files are the only ones that the model is packed against; nil for the best of all.
    public var base: String?
    /// Whether a model of the name gives way.
    public var replaces = false
    /// Whether what links outside the model's folder lead to is taken.
    public var followsLinks = false

    public init(threads: Int, memory: Int) { (self.threads, self.memory) = (threads, memory) }

    /// What packing takes, and what reading the base does.
    var workingBytes: Int {
      ArchiveWriter.workingBytes(chunkBytes: ArchiveHeader.standardChunkBytes, threads: threads)
        + FileSpans.workingBytes(threads: threads)
        + ArchivedFile.readingBytes(
          chunkBytes: ArchiveHeader.standardChunkBytes, levels: BaseChoice.longestChain + 1, threads: threads)
    }
  }

  /// What adding a model came to.
  public struct Addition: Sendable {
    public var name: String
    public var files = 0
    /// Of the model's files.
    public var bytes = 0
    /// Of objects that were not there yet.
    public var newBytes = 0
    /// Files that were there already, in this model or another.
    public var known = 0
    /// Files that were packed against others, and the models that have these (or objects that no model has).
    public var bases: [(file: String, bases: [String])] = []
    public var seconds = 0.0

    init(name: String) { self.name = name }
  }

  /// Adds a model under a name: a folder with everything in it, or a file. Every byte is read back and compared before the
  /// model appears.
  ///
  /// - Throws: `store.model` for a name that is taken, `store.input` for what cannot be stored, before anything is written;
  ///   what reading and writing throw. Files that were finished stay as objects, which the next run finds.
  public func add(
    _ model: String, as name: String, _ options: AdditionOptions, listener: any ProgressListener
  ) throws(Problems) -> Addition {
    let files = try ModelFiles.list(model, followsLinks: options.followsLinks)
    do throws(Problem) {
      try Self.check(name)
      let held = try hold()
      defer { withExtendedLifetime(held) {} }
      try checkRequest(model, name, options)
      let workers = WorkerPool(threads: options.threads)
      defer { workers.stop() }
      let work = try StoreAddition(to: self, base: options.base, workers, listener)
      defer { try? FileSystem.remove(work.incoming) }
      do throws(Problem) { return try work.run(files, as: name, replaces: options.replaces) } catch {
        guard error.code == .diskFull else { throw error }
        throw Problem(
          error.code, error.message,
          remedy: "Make room and add the model again; files that were finished are not packed anew.",
          file: error.context.file)
      }
    } catch { throw Problems([error]) }
  }

  private func checkRequest(_ model: String, _ name: String, _ options: AdditionOptions) throws(Problem) {
    if let base = options.base { try requireModel(base) }
    if FileSystem.kind(folder(of: name)) != nil, !options.replaces { throw taken(name) }
    let (own, other) = (FileSystem.resolved(path) ?? path, FileSystem.resolved(model) ?? model)
    if ExactString(own) == ExactString(other) || own.utf8.starts(with: (other + "/").utf8) {
      throw Problem(
        .storeInput, "the store lies in what would be stored", remedy: "Give a model's folder.", file: model)
    }
    guard options.workingBytes <= options.memory else {
      throw Problem(
        .memoryCeiling,
        "storing takes \(ByteCount.text(options.workingBytes)), above the ceiling of \(ByteCount.text(options.memory))",
        remedy: "Raise --memory, or take fewer --threads.")
    }
  }

  func taken(_ name: String) -> Problem {
    Problem(
      .storeModel, "the store has a model \"\(name)\" already",
      remedy: "Give another --name, or --force to replace it.",
      file: path)
  }
}

/// A model on its way into a store.
final class StoreAddition {
  private let store: ModelStore
  private let workers: WorkerPool
  private let listener: any ProgressListener
  /// A folder of its own.
  let incoming: String
  private var candidates: [BaseChoice.Candidate] = []
  private var depths: [StoredObject: Int] = [:]
  /// Of models of the store, the objects.
  private let holders: [(name: String, objects: Set<StoredObject>)]
  private var addition = ModelStore.Addition(name: "")
  /// Folders in which names are new, or may be: what another run has placed is not durable before it ends.
  private var folders: Set<String> = []
  /// Exchanges two folders' names.
  var exchange: (String, String) throws(Problem) -> Void = { (a, b) throws(Problem) in try FileSystem.exchange(a, b) }

  init(
    to store: ModelStore, base: String?, _ workers: WorkerPool, _ listener: any ProgressListener
  ) throws(Problem) {
    (self.store, self.workers, self.listener) = (store, workers, listener)
    incoming = "\(store.incomingFolder)/\(ModelStore.uniqueName())"
    // A model whose list is damaged is no reason to add no other.
    holders = try store.names().compactMap { name in
      (try? StoredModel(inFolder: store.folder(of: name))).map { (name, $0.objects) }
    }
    var allowed: Set<StoredObject>?
    if let base { allowed = try StoredModel(inFolder: store.folder(of: base)).objects }
    for object in try store.objects() where object.isPacked && allowed?.contains(object) ?? true {
      guard let sketch = ModelSketch(inFile: store.sketchPath(of: object)) else { continue }
      candidates.append(BaseChoice.Candidate(object: object, sketch: sketch))
    }
  }

  func run(
    _ files: [(name: String, path: String)], as name: String, replaces: Bool
  ) throws(Problem) -> ModelStore.Addition {
    let began = Machine.monotonicSeconds
    var total = 0
    for (_, path) in files { total += try File.reading(path).size() }
    listener.receive(.began(stage: "store", totalBytes: total))
    try FileSystem.createParents(of: "\(incoming)/file")
    addition = ModelStore.Addition(name: name)
    var model = StoredModel(added: Machine.date, files: [])
    for (file, path) in files {
      let source = try File.reading(path)
      let size = try source.size()
      do throws(Problem) {
        model.files.append(
          StoredModel.File(name: file, byteCount: size, object: try add(source, as: file)))
      } catch { throw error.at(file: path) }
      addition.bytes += size
      listener.receive(.advanced(bytes: size))
    }
    addition.files = files.count
    for folder in folders.sorted() { try FileSystem.syncFolder(folder) }
    try place(model, as: name, replaces: replaces)
    addition.seconds = Machine.monotonicSeconds - began
    listener.receive(.ended(stage: "store", seconds: addition.seconds))
    return addition
  }

  // MARK: - Files

  private func add(_ source: File, as name: String) throws(Problem) -> StoredObject {
    let identity = JSON.object(try InputIdentities.members([source.path]))
    let object = StoredObject(try FileSpans.digest(of: source, workers: workers), ofFile: name)
    folders.formUnion([FileSystem.parent(of: store.path(of: object)), store.objectsFolder, store.path])
    let isDamaged: Bool
    switch try state(of: object, source) {
    case .whole:
      addition.known += 1
      if object.isPacked {
        let found = try ModelSketch(of: try ArchiveHeader(describing: source), in: source)
        if ModelSketch(inFile: store.sketchPath(of: object)) != found { try sketch(found, object) }
      }
      return object
    case .damaged: isDamaged = true
    case .missing: isDamaged = false
    }
    let target = "\(incoming)/\(object.name)"
    if object.isPacked {
      // Others may be packed against what is mended: against none of them.
      try pack(source, object, named: name, to: target, isDamaged ? [] : candidates)
    } else {
      _ = try FileCopy.copy(source.path, to: target)
      guard try FileSpans.areEqual(source, try File.reading(target), workers: workers) else {
        throw Problem(
          .archiveDamaged, "what was copied is not what comes back",
          remedy: "Check the disk and the memory, and add the model again.")
      }
    }
    try InputIdentities.requireUnchanged([source.path], since: identity)
    addition.newBytes += try File.reading(target).size()
    try File.reading(target).protect()
    try place(target, as: object, replaces: isDamaged)
    return object
  }

  private enum State { case missing, damaged, whole }

  /// What the store has of a file. Not its name but its bytes tell it to be there.
  private func state(of object: StoredObject, _ source: File) throws(Problem) -> State {
    guard store.isThere(object) else { return .missing }
    if let kept = try? store.open(object), (try? FileSpans.areEqual(kept, source, workers: workers)) == true {
      return .whole
    }
    if let kept = try? store.open(object), (try? FileSpans.digest(of: kept, workers: workers)) == object.digest {
      throw Problem(
        .storeInput, "the store has another file with the same digest, \(object.digest)",
        remedy: "Such files are made on purpose; a store cannot have both.")
    }
    listener.receive(.note("\(store.path(of: object)) was damaged; it is written anew"))
    return .damaged
  }

  private func pack(
    _ source: File, _ object: StoredObject, named name: String, to target: String, _ candidates: [BaseChoice.Candidate]
  ) throws(Problem) {
    let plain = try ArchiveHeader(describing: source)
    let sketch = try ModelSketch(of: plain, in: source)
    let choice = BaseChoice(for: sketch, among: candidates) { depth(of: $0) }
    var header = plain
    var base: [any ByteSource] = []
    if !choice.objects.isEmpty {
      var files: [(path: String, byteCount: Int)] = []
      for object in choice.objects {
        base.append(try store.open(object))
        files.append(("../\(object.folder)/\(object.baseName)", try base[base.count - 1].size()))
      }
      header.align(choice, with: files)
    }
    do throws(Problem) {
      try write(source, header, header.base.isEmpty ? [] : base, to: target)
    } catch {
      // A damaged base is a reason to do without.
      guard !header.base.isEmpty, [.archiveDamaged, .archiveBase, .archiveFormat].contains(error.code) else {
        throw error
      }
      listener.receive(.note("\(name) is kept by itself, since what it is like is damaged: \(error.message)"))
      header = plain
      try write(source, header, [], to: target)
    }
    if !header.base.isEmpty { addition.bases.append((name, names(of: choice.objects))) }
    depths[object] = header.base.isEmpty ? 0 : 1 + (choice.objects.compactMap { depth(of: $0) }.max() ?? 0)
    try self.sketch(sketch, object)
    self.candidates.append(BaseChoice.Candidate(object: object, sketch: sketch))
  }

  /// Packs, and compares what comes back.
  private func write(
    _ source: File, _ header: ArchiveHeader, _ base: [any ByteSource], to target: String
  ) throws(Problem) {
    _ = try ArchiveWriter(source, header, base: base, to: target, workers: workers)
      .write(resume: false, fingerprint: Digest(of: target))
    // Paths of bases lead to them from where the object will be, not from here.
    let archive = try ArchivedFile(at: target, baseFolder: header.base.isEmpty ? nil : store.objectsFolder)
    try ArchiveReading.compare(archive, with: source, workers: workers) { _ in }
  }

  /// How many files stand behind an object; nil if that cannot be told.
  private func depth(of object: StoredObject, levels: Int = 0) -> Int? {
    if let known = depths[object] { return known }
    // Objects are packed against earlier ones; only somebody's own make a circle.
    guard levels <= BaseChoice.longestChain, store.isThere(object), let bases = try? store.bases(of: object) else {
      return nil
    }
    var depth = 0
    for base in bases {
      guard let behind = self.depth(of: base, levels: levels + 1) else { return nil }
      depth = max(depth, behind + 1)
    }
    depths[object] = depth
    return depth
  }

  private func names(of objects: [StoredObject]) -> [String] {
    objects.map { object in
      holders.first { $0.objects.contains(object) }?.name ?? "object \(object.digest)"
    }
  }

  // MARK: - Names

  private func sketch(_ sketch: ModelSketch, _ object: StoredObject) throws(Problem) {
    let target = "\(incoming)/\(object.name)\(ModelStore.sketchSuffix)"
    try FileSystem.write(sketch.json.bytes(), to: target)
    try FileSystem.createParents(of: store.path(of: object))
    try FileSystem.rename(target, to: store.sketchPath(of: object))
  }

  private func place(_ target: String, as object: StoredObject, replaces: Bool) throws(Problem) {
    let path = store.path(of: object)
    try FileSystem.createParents(of: path)
    guard !replaces else { return try FileSystem.rename(target, to: path) }
    do throws(Problem) { try FileSystem.renameAnew(target, to: path) } catch {
      // Another run was first, with the same file.
      guard error.code == .fileExists else { throw error }
      try FileSystem.remove(target)
    }
  }

  /// Gives the model its name, in one step.
  private func place(_ model: StoredModel, as name: String, replaces: Bool) throws(Problem) {
    let (folder, target) = ("\(incoming)/model", store.folder(of: name))
    try FileSystem.createFolder(folder)
    var made: Set<String> = [folder]
    for file in model.files {
      let path = "\(folder)/\(file.linkName)"
      try FileSystem.createParents(of: path)
      try FileSystem.link(path, to: file.linkTarget)
      made.insert(FileSystem.parent(of: path))
    }
    try FileSystem.write(model.json.bytes(pretty: true), to: "\(folder)/\(StoredModel.fileName)")
    for folder in made.sorted() { try FileSystem.syncFolder(folder) }
    try FileSystem.createParents(of: target)
    if replaces, FileSystem.kind(target) != nil {
      // Where a file system cannot exchange names, the old model steps aside among the models: all is needed that it has.
      let old = try OutputFolder.swap(target, with: folder, exchange: exchange)
      if ExactString(old) != ExactString(folder) { try FileSystem.rename(old, to: "\(incoming)/replaced") }
    } else {
      do throws(Problem) { try FileSystem.rename(folder, to: target) } catch {
        // Another run may have taken the name since.
        throw FileSystem.kind(target) == nil ? error : store.taken(name)
      }
    }
    try FileSystem.syncFolder(store.modelsFolder)
    try FileSystem.syncFolder(store.path)
  }
}

extension ModelStore.Addition {
  public var text: String {
    var lines = [
      "\(name): \(files) file\(files == 1 ? "" : "s"), \(ByteCount.text(bytes)), take \(ByteCount.text(newBytes)) more"
        + (known > 0 ? "; \(known) \(known == 1 ? "was" : "were") there already" : "")
    ]
    lines += bases.map { "\($0.file)  against \($0.bases.joined(separator: ", "))" }
    lines.append("read back and equal, \(Decimals.text(seconds, 2)) s")
    return lines.joined(separator: "\n")
  }

  public var json: JSON {
    [
      "event": "stored", "name": .string(name), "files": .number(files), "bytes": .number(bytes),
      "new_bytes": .number(newBytes), "known_files": .number(known),
      "bases": .array(
        bases.map { ["file": .string($0.file), "bases": .array($0.bases.map { .string($0) })] }),
      "seconds": .number(seconds),
      "peak_bytes": Machine.peakResidentBytes.map { .number($0) } ?? .null,
    ]
  }
}
