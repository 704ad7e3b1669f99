internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution

/// What a folder of packed files says of them (`espalier-packed.json`): what was packed, and what was copied with which
/// bytes.
struct PackedList {
  struct File {
    /// From the folder, as the file is called that was packed.
    var name: String
    /// Of the file as it was before.
    var byteCount: Int
    var isPacked: Bool
    /// Of a file that was copied.
    var digest: Digest?

    /// What it is called in the folder.
    var storedName: String { name + (isPacked ? WeightFile.packedSuffix : "") }

    /// - Throws: `verify.mismatch` for other bytes than those that were copied.
    func require(_ found: Digest, at path: String) throws(Problem) {
      guard let digest, found != digest else { return }
      throw Problem(
        .verifyMismatch, "the bytes are not those that were written: \(found), expected \(digest)",
        remedy: "The file was changed or damaged since; restore it from a copy.", file: path)
    }
  }

  static let fileName = "espalier-packed.json"
  private static let formatVersion = 1

  var files: [File]

  init(_ files: [File]) { self.files = files }

  var json: JSON {
    [
      "espalier_packed": .number(Self.formatVersion),
      "files": .array(
        files.map { file in
          var entry: JSON = [
            "name": .string(file.name), "bytes": .number(file.byteCount), "packed": .bool(file.isPacked),
          ]
          if let digest = file.digest { entry["xxh3"] = .string(digest.description) }
          return entry
        }),
    ]
  }

  /// The list of a folder; nil if it has none.
  ///
  /// - Throws: `manifest.invalid` for what is no list.
  init?(inFolder folder: String) throws(Problem) {
    let path = "\(folder)/\(Self.fileName)"
    guard FileSystem.isFile(path) else { return nil }
    func invalid(_ what: String) -> Problem {
      Problem(
        .manifestInvalid, what, remedy: "Restore it from a copy; without it nothing tells that files are whole.",
        file: path)
    }
    guard let bytes = try? FileSystem.read(path), let entries = (try? JSON(parsing: bytes))?["files"]?.array else {
      throw invalid("the list of packed files cannot be read")
    }
    files = try entries.map { (entry) throws(Problem) in
      guard let name = entry["name"]?.string, let isPacked = entry["packed"]?.bool,
        let byteCount = entry["bytes"]?.integer, byteCount >= 0, !name.hasPrefix("/"),
        !name.split(separator: "/").contains("..")
      else { throw invalid("a file's entry is incomplete") }
      let digest = entry["xxh3"]?.string.flatMap { Digest($0) }
      guard isPacked || digest != nil else { throw invalid("there is no digest of \(name), which was copied") }
      return File(name: name, byteCount: byteCount, isPacked: isPacked, digest: digest)
    }
  }

  /// Files of the list that are not in the folder.
  func missing(from folder: String) -> [Problem] {
    files.map { "\(folder)/\($0.storedName)" }.filter { !FileSystem.isFile($0) }.map { path in
      Problem(
        .verifyMismatch, "the file is not there, but in the list of packed files", remedy: "Restore it from a copy.",
        file: path)
    }
  }
}
