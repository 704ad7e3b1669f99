public import EspalierBasics
internal import EspalierCheckpoints

extension ModelStore {
  /// Takes a model out of the store, in one step. Its objects stay until ``collectGarbage()``.
  ///
  /// - Throws: `store.model` for a name that no model has.
  public func remove(_ name: String) throws(Problem) {
    let held = try hold()
    defer { withExtendedLifetime(held) {} }
    try requireModel(name)
    let aside = "\(incomingFolder)/\(Self.uniqueName())"
    try FileSystem.createParents(of: aside)
    try FileSystem.rename(folder(of: name), to: aside)
    try FileSystem.syncFolder(modelsFolder)
    try FileSystem.remove(aside)
  }

  /// What was removed.
  public struct Collection: Sendable {
    public var objects = 0
    public var bytes = 0
  }

  /// Removes objects that no model has and that none of those is packed against, and what ended runs have left. Waits until
  /// nobody else has the store.
  ///
  /// - Throws: what reading throws of models and their objects: while it is not known what they need, nothing is removed.
  public func collectGarbage() throws(Problem) -> Collection {
    let held = try hold(alone: true)
    defer { withExtendedLifetime(held) {} }
    var collection = Collection()
    func remove(_ path: String) throws(Problem) {
      collection.bytes += try File.reading(path).size()
      try FileSystem.remove(path)
    }
    let needed = try neededObjects()
    let garbage = try objects().filter { !needed.contains($0) }
    // Those that others are packed against go last, so that what is left can be read at any time.
    for object in order(garbage) {
      try remove(path(of: object))
      collection.objects += 1
    }
    for path in try objectPaths() where path.hasSuffix(Self.sketchSuffix) {
      let object = StoredObject(name: String(FileSystem.lastComponent(of: path).dropLast(Self.sketchSuffix.count)))
      if let object, !isThere(object) { try remove(path) }
    }
    if FileSystem.kind(incomingFolder) != nil { try FileSystem.remove(incomingFolder) }
    return collection
  }

  /// Objects that models have, and all that these are packed against.
  private func neededObjects() throws(Problem) -> Set<StoredObject> {
    var needed: Set<StoredObject> = []
    var open: [StoredObject] = []
    for name in try names() { open += try StoredModel(inFolder: folder(of: name)).objects }
    while let next = open.popLast() {
      // Of what is gone nothing is needed any more.
      guard needed.insert(next).inserted, isThere(next) else { continue }
      do throws(Problem) { open += try bases(of: next) } catch {
        throw Problem(
          error.code, "nothing is removed, since what an object needs cannot be told: \(error.message)",
          remedy:
            "Add a model that has it again from a copy, or remove all that have it (`espalier store check` says which).",
          file: path(of: next))
      }
    }
    return needed
  }

  /// Those first that no other one of them is packed against.
  private func order(_ objects: [StoredObject]) -> [StoredObject] {
    var users: [StoredObject: Int] = [:]
    var bases: [StoredObject: [StoredObject]] = [:]
    for object in objects {
      // What cannot be read needs nothing.
      bases[object] = (try? self.bases(of: object)) ?? []
      for base in bases[object] ?? [] { users[base, default: 0] += 1 }
    }
    var order = objects.filter { users[$0] == nil }
    var next = 0
    while next < order.count {
      for base in bases[order[next]] ?? [] {
        users[base, default: 0] -= 1
        if users[base] == 0, bases[base] != nil { order.append(base) }
      }
      next += 1
    }
    // A circle, which no store makes, has no first.
    let ordered = Set(order)
    return order + objects.filter { !ordered.contains($0) }
  }
}
