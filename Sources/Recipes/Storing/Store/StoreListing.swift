public import EspalierBasics
internal import EspalierCheckpoints

extension ModelStore {
  /// A model in the store.
  public struct Entry: Sendable {
    public var name: String
    /// When it was added, in universal time.
    public var added = ""
    public var files = 0
    /// Of its files as they were.
    public var bytes = 0
    /// Of its objects; those that other models have too are counted for each.
    public var keptBytes = 0
    /// Of objects that no other model has.
    public var ownBytes = 0
    /// Models that have the objects that it is packed against, without itself, and objects that no model has.
    public var bases: [String] = []
    /// Why less is known of it than there should be.
    public var problem: Problem?

    init(name: String) { self.name = name }

    public var json: JSON {
      var json: JSON = [
        "name": .string(name), "added": .string(added), "files": .number(files), "bytes": .number(bytes),
        "kept_bytes": .number(keptBytes), "own_bytes": .number(ownBytes), "bases": .array(bases.map { .string($0) }),
      ]
      if let problem { json["problem"] = .string(problem.message) }
      return json
    }
  }

  /// Models by name. A damaged one has its problem for what cannot be told of it.
  public func entries() throws(Problem) -> [Entry] {
    let held = try hold()
    defer { withExtendedLifetime(held) {} }
    var entries: [Entry] = []
    var models: [(index: Int, model: StoredModel)] = []
    var holders: [StoredObject: [String]] = [:]
    for name in try names() {
      var entry = Entry(name: name)
      do throws(Problem) {
        let model = try StoredModel(inFolder: folder(of: name))
        (entry.added, entry.files, entry.bytes) = (model.added, model.files.count, model.byteCount)
        for object in model.objects { holders[object, default: []].append(name) }
        models.append((entries.count, model))
      } catch { entry.problem = error }
      entries.append(entry)
    }
    for (index, model) in models {
      var bases: Set<String> = []
      for object in model.objects {
        do throws(Problem) {
          let bytes = try File.reading(path(of: object)).size()
          entries[index].keptBytes += bytes
          if holders[object]?.count == 1 { entries[index].ownBytes += bytes }
          for base in try self.bases(of: object) where !model.objects.contains(base) {
            bases.insert(holders[base]?.first ?? "object \(base.digest)")
          }
        } catch { entries[index].problem = error }
      }
      entries[index].bases = bases.sorted()
    }
    return entries
  }

  /// Bytes of all that is kept, each object once.
  public func keptBytes() throws(Problem) -> Int {
    try objectPaths().reduce(0) { $0 + ((try? File.reading($1).size()) ?? 0) }
  }
}
