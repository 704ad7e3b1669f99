public import EspalierBasics
internal import EspalierCheckpoints

extension Problem.Code {
  /// A folder that is no store, or one of a later version.
  public static let storeFormat = Problem.Code("store.format")
  /// A name that no model has, or one that a model has already.
  public static let storeModel = Problem.Code("store.model")
  /// What cannot be added.
  public static let storeInput = Problem.Code("store.input")
  public static let storeDamaged = Problem.Code("store.damaged")
}

/// A folder of models in which every file is there once, and files like others are kept as what differs
/// (`Docs/storing.md`).
///
///     STORE/espalier-store.json       tells it to be one; its lock is the store's
///     STORE/objects/ab/abcd...        files by the digests of their bytes; `.sketch` beside those of weights
///     STORE/models/NAME/...           the files of a model, links to objects: a folder that every verb reads
///     STORE/incoming/...              what is being added or removed
///
/// Objects never change, a model appears by one rename and goes by one. So a run that is ended at any point leaves a store
/// that is whole, with objects perhaps that no model has. Only who removes objects must be alone (``collectGarbage()``);
/// all others work at once.
public struct ModelStore: Sendable {
  public let path: String

  static let markName = "espalier-store.json"
  static let objectsName = "objects"
  private static let formatVersion = 1

  private var mark: String { "\(path)/\(Self.markName)" }
  var objectsFolder: String { "\(path)/\(Self.objectsName)" }
  var modelsFolder: String { "\(path)/models" }
  var incomingFolder: String { "\(path)/incoming" }

  /// - Parameter creating: whether one is made where there is none, in a new or an empty folder.
  /// - Throws: `store.format` for a folder that is something else.
  public init(at path: String, creating: Bool = false) throws(Problem) {
    self.path = path
    if creating, !FileSystem.isFile(mark) { try create() }
    guard FileSystem.isFile(mark) else {
      throw Problem(
        .storeFormat, FileSystem.kind(path) == nil ? "there is no store at \(path)" : "the folder is no store",
        remedy: "Name the folder of a store; `espalier store add` makes one in a new or empty folder.", file: path)
    }
    guard let version = (try? JSON(parsing: try FileSystem.read(mark)))?["espalier_store"]?.integer, version >= 1 else {
      throw Problem(
        .storeFormat, "the file that tells the folder to be a store is not what was written",
        remedy: "It has the text {\"espalier_store\": \(Self.formatVersion)}.", file: mark)
    }
    guard version <= Self.formatVersion else {
      throw Problem(.storeFormat, "the store is of a later version", remedy: "Update espalier.", file: mark)
    }
  }

  /// Two may be here at once: the first mark stays.
  private func create() throws(Problem) {
    // What a run that was ended here has left.
    let isFree =
      (try? FileSystem.list(path))?.allSatisfy { $0.hasPrefix(Self.markName) } ?? (FileSystem.kind(path) == nil)
    guard isFree else { return }
    try FileSystem.createParents(of: mark)
    let unfinished = "\(mark).\(Self.uniqueName())"
    let json: JSON = ["espalier_store": .number(Self.formatVersion)]
    try FileSystem.write(json.bytes(), to: unfinished)
    do throws(Problem) { try FileSystem.renameAnew(unfinished, to: mark) } catch {
      try? FileSystem.remove(unfinished)
      guard FileSystem.isFile(mark) else { throw error }
    }
    try FileSystem.syncFolder(path)
  }

  static func uniqueName() -> String { String(UInt64.random(in: 0 ... .max), radix: 36) }

  // MARK: - One at a time, or many

  /// Waits for the store, and has it as long as the file is open.
  ///
  /// - Parameter alone: whether nobody else may have it, which only the removal of objects needs.
  func hold(alone: Bool = false) throws(Problem) -> File {
    let file = alone ? try File.writing(mark) : try File.reading(mark)
    try file.lock(shared: !alone)
    return file
  }

  // MARK: - Objects

  func path(of object: StoredObject) -> String { "\(objectsFolder)/\(object.folder)/\(object.name)" }

  static let sketchSuffix = ".sketch"
  func sketchPath(of object: StoredObject) -> String { path(of: object) + Self.sketchSuffix }

  func isThere(_ object: StoredObject) -> Bool { FileSystem.isFile(path(of: object)) }

  /// The bytes that an object stands for.
  func open(_ object: StoredObject) throws(Problem) -> any ByteSource {
    object.isPacked ? try ArchivedFile(at: path(of: object)) : try File.reading(path(of: object))
  }

  /// Objects that an object was packed against.
  func bases(of object: StoredObject) throws(Problem) -> [StoredObject] {
    guard object.isPacked else { return [] }
    return try ArchivedFile(at: path(of: object)).header.base.compactMap { StoredObject(basePath: $0.path) }
  }

  /// Paths of all that lies in the folders of objects, in the order of their bytes.
  func objectPaths() throws(Problem) -> [String] {
    guard FileSystem.isFolder(objectsFolder) else { return [] }
    var paths: [String] = []
    for folder in try FileSystem.list(objectsFolder) {
      let place = "\(objectsFolder)/\(folder)"
      paths += FileSystem.isFolder(place) ? try FileSystem.list(place).map { "\(place)/\($0)" } : [place]
    }
    return paths
  }

  func objects() throws(Problem) -> [StoredObject] {
    try objectPaths().compactMap { StoredObject(name: FileSystem.lastComponent(of: $0)) }
  }

  // MARK: - Models

  func folder(of model: String) -> String { "\(modelsFolder)/\(model)" }

  /// Names of models are those of folders.
  static func check(_ name: String) throws(Problem) {
    let isPlain =
      !name.isEmpty && !name.hasPrefix(".") && name.utf8.count <= 200
      && !name.unicodeScalars.contains { $0 == "/" || $0 == "\\" || $0.value < 32 || $0.value == 127 }
    guard isPlain else {
      throw Problem(
        .storeModel, "\"\(name)\" is no name for a model",
        remedy: "Take one that a folder may have: no / or \\, no dot at the beginning, at most 200 bytes.")
    }
  }

  /// Names of models, in their order.
  public func names() throws(Problem) -> [String] {
    guard FileSystem.isFolder(modelsFolder) else { return [] }
    return try FileSystem.list(modelsFolder).filter { !$0.hasPrefix(".") && FileSystem.isFolder(folder(of: $0)) }
  }

  func requireModel(_ name: String) throws(Problem) {
    try Self.check(name)
    guard !FileSystem.isFolder(folder(of: name)) else { return }
    let names = try names()
    let near = Spelling.nearest(to: name, among: names)
    throw Problem(
      .storeModel, "the store has no model \"\(name)\"" + (near.map { "; did you mean \($0)?" } ?? ""),
      remedy: names.isEmpty ? "It is empty." : "It has \(names.joined(separator: ", ")).", file: path)
  }

  /// Whether a path is the store's folder or in it.
  func contains(_ other: String) -> Bool {
    let (own, other) = (WeightFile.location(path), FileSystem.resolved(other) ?? WeightFile.location(other))
    return ExactString(other) == ExactString(own) || other.utf8.starts(with: (own + "/").utf8)
  }
}
