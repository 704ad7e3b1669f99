public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution

extension Problem.Code {
  /// A patch that cannot be applied, or that is not there to be removed.
  public static let patch = Problem.Code("patch")
  /// A patched model that was changed since, or a damaged record.
  public static let patchDamaged = Problem.Code("patch.damaged")
}

/// What a patch did to a model's files: a safetensors file that says where bits changed and what they were.
///
/// For a tensor T of elements of w bytes: `T.mask`, a bit an element, whether its bits changed, and `T.originals`, the w
/// bytes of each that did. The entry `espalier_patch` of `__metadata__`:
///
///     {"version": 1, "delta": NAME, "scale": 1, "origin": {"weights", "config", "sample"},
///      "files": [{"name", "before", "after"}], "tensors": {NAME: {"file": NAME, "xxh3": [MASK, ORIGINALS]}}}
///
/// `origin` is the model before its first patch, so that the next delta of the same base is known to fit.
struct PatchRecord: Sendable {
  struct PatchedFile: Sendable {
    /// In the model's folder.
    var name: String
    var before: Digest
    var after: Digest
  }

  struct Tensor: Sendable {
    var name: String
    var file: String
    var mask: StoredTensor
    var originals: StoredTensor
    var digests: [Digest]
  }

  static let key = "espalier_patch"
  static let version = 1

  var delta: String
  var scale: Double
  var origin: BaseIdentity
  var files: [PatchedFile]
  var tensors: [Tensor]

  var metadata: [(String, String)] {
    let record: JSON = [
      "version": .number(Self.version), "delta": .string(delta), "scale": .number(scale),
      "origin": .object(origin.members),
      "files": .array(
        files.map {
          [
            "name": .string($0.name), "before": .string($0.before.description), "after": .string($0.after.description),
          ]
        }),
      "tensors": .object(
        tensors.map { tensor in
          (
            tensor.name,
            ["file": .string(tensor.file), "xxh3": .array(tensor.digests.map { .string($0.description) })]
          )
        }),
    ]
    return [(Self.key, record.text())]
  }

  init(delta: String, scale: Double, origin: BaseIdentity, files: [PatchedFile], tensors: [Tensor]) {
    self.delta = delta
    self.scale = scale
    self.origin = origin
    self.files = files
    self.tensors = tensors
  }

  /// - Throws: `patch.damaged`.
  init(at path: String) throws(Problem) {
    do throws(Problem) {
      let header = try SafetensorsHeader(reading: try File.reading(path))
      guard let text = header.metadata.first(where: { ExactString($0.key) == ExactString(Self.key) })?.value,
        let json = try? JSON(parsing: Array(text.utf8)), json["version"]?.integer == Self.version,
        let delta = json["delta"]?.string, let scale = json["scale"]?.number
      else { throw Problem(.patchDamaged, "the file is no record of a patch that this version reads") }
      func digest(_ json: JSON?) throws(Problem) -> Digest {
        guard let digest = json?.string.flatMap({ Digest($0) }) else {
          throw Problem(.patchDamaged, "the record lacks a digest")
        }
        return digest
      }
      (self.delta, self.scale, origin) = (delta, scale, try BaseIdentity(json["origin"]))
      var files: [PatchedFile] = []
      for file in json["files"]?.array ?? [] {
        files.append(
          PatchedFile(
            name: file["name"]?.string ?? "", before: try digest(file["before"]), after: try digest(file["after"])))
      }
      let stored = Dictionary(
        header.tensors.map { (ExactString($0.name), $0) }, uniquingKeysWith: { first, _ in first })
      var tensors: [Tensor] = []
      for (name, entry) in json["tensors"]?.members?.pairs ?? [] {
        guard let file = entry["file"]?.string, files.contains(where: { $0.name == file }),
          let mask = stored[ExactString("\(name).mask")], let originals = stored[ExactString("\(name).originals")]
        else { throw Problem(.patchDamaged, "a part of the record is missing", tensor: name) }
        tensors.append(
          Tensor(
            name: name, file: file, mask: mask, originals: originals,
            digests: [try digest(entry["xxh3"]?[0]), try digest(entry["xxh3"]?[1])]))
      }
      (self.files, self.tensors) = (files, tensors)
    } catch { throw error.at(file: path) }
  }
}

/// Where records of a model lie, and files of models that are copied and changed.
struct PatchedModel: Sendable {
  let path: String
  let isFolder: Bool

  static let folderName = "patches"

  /// - Throws: `checkpoint.missing`.
  init(at path: String) throws(Problem) {
    guard let kind = FileSystem.kind(path) else {
      throw Problem(.checkpointMissing, "there is no model at \(path)", file: path)
    }
    self.path = path
    isFolder = kind == .folder
  }

  var recordFolder: String { isFolder ? "\(path)/\(Self.folderName)" : "\(path).\(Self.folderName)" }

  /// Paths of records, the first patch first.
  func records() throws(Problem) -> [String] {
    guard FileSystem.isFolder(recordFolder) else { return [] }
    return try FileSystem.list(recordFolder).filter { $0.hasSuffix(".safetensors") }.map { "\(recordFolder)/\($0)" }
  }

  /// Files and empty folders of the model, relative to its folder; records are not among them.
  func files() throws(Problem) -> [String] {
    guard isFolder else { return [""] }
    var found: [String] = []
    func walk(_ relative: String) throws(Problem) {
      for name in try FileSystem.list(relative.isEmpty ? path : "\(path)/\(relative)") {
        let item = relative.isEmpty ? name : "\(relative)/\(name)"
        guard item != Self.folderName else { continue }
        if FileSystem.isFolder("\(path)/\(item)") { try walk(item) } else { found.append(item) }
      }
    }
    try walk("")
    return found
  }

  /// The path of one of ``files()``.
  func path(of file: String) -> String { isFolder ? "\(path)/\(file)" : path }

  /// One of ``files()`` for the path of a weight file.
  func name(of path: String) -> String {
    isFolder ? String(path.dropFirst(self.path.count).drop { $0 == "/" }) : ""
  }

  static func recordName(_ number: Int) -> String {
    let digits = "\(number)"
    return String(repeating: "0", count: max(0, 4 - digits.count)) + digits + ".safetensors"
  }

  /// The digest of a file, its chunks read by several threads.
  static func digest(of path: String, pool: WorkerPool) throws(Problem) -> Digest {
    let file = try File.reading(path)
    let size = try file.size()
    let (digest, chunk) = (ChunkedDigest(byteCount: size), ChunkedDigest.chunkBytes)
    try pool.forEach((size + chunk - 1) / chunk) { (index) throws(Problem) in
      let bytes = try file.read(min(chunk, size - index * chunk), at: index * chunk)
      bytes.withUnsafeBytes {
        var feed = ChunkedDigest.Feed(into: digest, at: index * chunk)
        feed.update($0)
      }
    }
    return digest.value()
  }

  static func copy(_ source: String, to target: String) throws(Problem) {
    try FileSystem.createParents(of: target)
    let (from, to) = (try File.reading(source), try File.writing(target, truncate: true))
    let size = try from.size()
    for start in stride(from: 0, to: size, by: ChunkedDigest.chunkBytes) {
      try to.write(try from.read(min(ChunkedDigest.chunkBytes, size - start), at: start), at: start)
    }
  }
}

/// A copy of a model that appears whole or not at all.
struct PatchOutput {
  private let path: String
  private let isFolder: Bool
  private let partial: String

  /// - Throws: `output.exists`.
  init(at path: String, like model: PatchedModel, force: Bool) throws(Problem) {
    self.path = path
    isFolder = model.isFolder
    partial = path + ".partial"
    let taken = [path] + (isFolder ? [] : ["\(path).\(PatchedModel.folderName)"])
    for place in taken where FileSystem.kind(place) != nil && !force {
      throw Problem(
        .outputExists, "there is something at \(place) already", remedy: "--force replaces it.", file: place)
    }
    guard !OutputOverlap.overlaps(path, input: model.path) else {
      throw Problem(
        .outputOverlap, "the output \(path) and the model \(model.path) are one, or one lies in the other",
        remedy: "Choose another name for the output: inputs are never written to.")
    }
    if FileSystem.kind(partial) != nil { try FileSystem.remove(partial) }
    try FileSystem.createParents(of: partial)
    try FileSystem.createFolder(partial)
  }

  func path(of file: String) -> String { file.isEmpty ? "\(partial)/model" : "\(partial)/\(file)" }
  func record(_ number: Int) -> String { "\(partial)/\(PatchedModel.folderName)/\(PatchedModel.recordName(number))" }
  func discard() { try? FileSystem.remove(partial) }

  func commit() throws(Problem) {
    let old = path + ".replaced"
    func place(_ new: String, at path: String) throws(Problem) {
      if FileSystem.kind(path) != nil { try FileSystem.rename(path, to: old) }
      try FileSystem.rename(new, to: path)
      if FileSystem.kind(old) != nil { try FileSystem.remove(old) }
    }
    if isFolder {
      try place(partial, at: path)
    } else {
      let records = "\(partial)/\(PatchedModel.folderName)"
      let target = "\(path).\(PatchedModel.folderName)"
      if FileSystem.isFolder(records) {
        try place(records, at: target)
      } else if FileSystem.kind(target) != nil {
        try FileSystem.remove(target)
      }
      try place("\(partial)/model", at: path)
      try FileSystem.remove(partial)
    }
    try FileSystem.syncFolder(FileSystem.parent(of: path))
  }
}
