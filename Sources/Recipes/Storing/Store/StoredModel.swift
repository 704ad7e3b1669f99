internal import EspalierBasics
internal import EspalierCheckpoints

/// What a store keeps of a model: which object each of its files is (`espalier-stored.json` in the model's folder).
struct StoredModel: Hashable {
  struct File: Hashable {
    /// Its path from the model's folder.
    var name: String
    var byteCount: Int
    var object: StoredObject

    /// What the link to the object is called.
    var linkName: String { name + (object.isPacked ? WeightFile.packedSuffix : "") }
    /// Where the link leads, from its own folder.
    var linkTarget: String {
      String(repeating: "../", count: 1 + name.split(separator: "/").count)
        + "\(ModelStore.objectsName)/\(object.folder)/\(object.name)"
    }
  }

  /// When it was added, in universal time.
  var added: String
  var files: [File]

  static let fileName = "espalier-stored.json"
  private static let formatVersion = 1

  init(added: String, files: [File]) { (self.added, self.files) = (added, files) }

  var byteCount: Int { files.map(\.byteCount).saturatingSum }
  var objects: Set<StoredObject> { Set(files.map(\.object)) }

  var json: JSON {
    [
      "espalier_stored": .number(Self.formatVersion), "added": .string(added),
      "files": .array(
        files.map { ["name": .string($0.name), "bytes": .number($0.byteCount), "object": .string($0.object.name)] }),
    ]
  }

  /// - Throws: `store.damaged` for what no store writes, `store.format` for what a later version wrote.
  init(inFolder folder: String) throws(Problem) {
    let path = "\(folder)/\(Self.fileName)"
    do throws(Problem) {
      let json: JSON
      do throws(Problem) { json = try JSON(parsing: try FileSystem.read(path)) } catch {
        throw Self.damaged(error.message)
      }
      guard let version = json["espalier_stored"]?.integer, version >= 1, let added = json["added"]?.string,
        let entries = json["files"]?.array, !entries.isEmpty
      else { throw Self.damaged("it is not what was written") }
      guard version <= Self.formatVersion else {
        throw Problem(.storeFormat, "the model was stored by a later version", remedy: "Update espalier.")
      }
      var seen: Set<ExactString> = []
      files = try entries.map { (entry) throws(Problem) in
        guard let name = entry["name"]?.string, let bytes = entry["bytes"]?.integer, (0...1 << 48).contains(bytes),
          let object = entry["object"]?.string.flatMap({ StoredObject(name: $0) })
        else { throw Self.damaged("a file's entry is incomplete") }
        // Names are written to when the model is given back.
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.allSatisfy({ !["", ".", ".."].contains($0) }), seen.insert(ExactString(name)).inserted,
          StoredObject(object.digest, ofFile: name) == object
        else { throw Self.damaged("\"\(name)\" is no name of a file that it can have") }
        return File(name: name, byteCount: bytes, object: object)
      }
      self.added = added
    } catch { throw error.at(file: path) }
  }

  private static func damaged(_ what: String) -> Problem {
    Problem(
      .storeDamaged, "the list of the model's files cannot be used: \(what)",
      remedy: "Remove the model from the store, and add it again from a copy.")
  }
}
