public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

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

  /// Whether a name leads to a file in the model's folder, and to none of its records.
  private static func isName(_ name: String) -> Bool {
    let parts = name.split(separator: "/", omittingEmptySubsequences: false)
    return !parts.contains { ["", ".", ".."].contains($0) } && !name.utf8.contains(0)
      && parts[0] != PatchedModel.folderName
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
        let name = file["name"]?.string ?? ""
        guard Self.isName(name), !files.contains(where: { ExactString($0.name) == ExactString(name) }) else {
          throw Problem(.patchDamaged, "the record names the file \"\(name)\", which is none of a model's, or twice")
        }
        files.append(PatchedFile(name: name, before: try digest(file["before"]), after: try digest(file["after"])))
      }
      let stored = Dictionary(
        header.tensors.map { (ExactString($0.name), $0) }, uniquingKeysWith: { first, _ in first })
      var tensors: [Tensor] = []
      for (name, entry) in json["tensors"]?.members?.pairs ?? [] {
        guard let file = entry["file"]?.string, files.contains(where: { ExactString($0.name) == ExactString(file) }),
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
