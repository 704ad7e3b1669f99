internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution

/// Where a packed or an unpacked model is prepared (`NAME.partial`) and gets its name, in one step.
struct PackedPlace {
  let path: String
  let isFolder: Bool

  /// What a folder of packed files says of them.
  static let listName = "espalier-packed.json"

  init(_ path: String, isFolder: Bool) { (self.path, self.isFolder) = (path, isFolder) }

  var partial: String { OutputFolder.partialPath(for: path) }
  private var mark: String { isFolder ? "\(partial)/\(Self.markName)" : partial + ".run" }
  static let markName = "espalier-packing.json"

  /// A file of ours that is gone when the output gets its name.
  func scratch(_ name: String) -> String { isFolder ? "\(partial)/\(name).scratch" : "\(partial).\(name).scratch" }

  private var scratchFiles: [String] {
    let folder = FileSystem.parent(of: partial)
    let names = (try? FileSystem.list(folder)) ?? []
    return names.filter { $0.hasPrefix(FileSystem.lastComponent(of: partial) + ".") && $0.hasSuffix(".scratch") }
      .map { FileSystem.join(folder, $0) }
  }

  /// Whether an unfinished output of ours is there.
  private var isOurs: Bool { FileSystem.isFile(mark) }
  /// A folder with nothing but perhaps a mark that was being written: what is left of a run that was killed before it could
  /// say what it is, or when it had tidied up.
  private var isAbandoned: Bool {
    isFolder && FileSystem.isFolder(partial)
      && (try? FileSystem.list(partial).allSatisfy { $0 == Self.markName + ".tmp" }) == true
  }

  /// What stands in the way, found without touching anything.
  func obstacles(policy: OutputFolder.Policy, bytes: Int, mayReplace: Bool) -> [Problem] {
    var problems: [Problem] = []
    if FileSystem.kind(path) != nil, !mayReplace {
      if !policy.force {
        problems.append(
          Problem(
            .outputExists, "the output exists already",
            remedy: "Choose another name, or give --force to replace it once the new one is complete.", file: path))
      } else if isFolder, !isReplaceable {
        problems.append(
          Problem(
            .outputExists, "there is something that was not written by espalier; --force does not replace it",
            remedy: "Choose another name, or remove it yourself.", file: path))
      }
    }
    if FileSystem.kind(partial) != nil, !isAbandoned {
      if !isOurs {
        problems.append(
          Problem(
            .outputPartial, "there is something that was not written by espalier, where the output is prepared",
            remedy: "Choose another name for the output, or remove it yourself.", file: partial))
      } else if !policy.resume, !policy.force {
        problems.append(
          Problem(
            .outputPartial, "an unfinished output of an earlier run is there",
            remedy: "Continue it with --resume, or start over with --force.", file: partial))
      }
    } else if let free = FileSystem.freeBytes(at: path), free < bytes {
      problems.append(
        Problem(
          .outputSpace,
          "the output takes up to \(ByteCount.text(bytes)) and the file system has \(ByteCount.text(free)) free",
          remedy: "Make room, or write elsewhere.", file: path))
    }
    return problems
  }

  private var isReplaceable: Bool {
    guard FileSystem.isFolder(path) else { return false }
    return [Self.listName, Manifest.fileName].contains { FileSystem.isFile("\(path)/\($0)") }
      || (try? FileSystem.list(path).isEmpty) == true
  }

  /// Begins, or goes on with what an earlier run of the same fingerprint left.
  ///
  /// - Returns: what holds the output for this run.
  func begin(fingerprint: JSON, policy: OutputFolder.Policy) throws(Problem) -> File {
    if isOurs {
      let held = try hold()
      let found = (try? JSON(parsing: try FileSystem.read(mark))) ?? .null
      if policy.resume, found == fingerprint { return held }
      // A file's mark may be all that is left.
      guard policy.force || FileSystem.kind(partial) == nil else {
        throw Problem(
          .outputPartial, "what is there was begun from other files, or with other options",
          remedy: "Restore what changed, or start over with --force.", file: partial)
      }
      try discard()
    }
    try FileSystem.createParents(of: partial)
    if isFolder, !isAbandoned { try FileSystem.createFolder(partial) }
    try FileSystem.write(fingerprint.bytes(), to: mark)
    return try hold()
  }

  private func hold() throws(Problem) -> File {
    let file = try File.writing(mark)
    guard file.tryLock() else {
      throw Problem(
        .fileLocked, "another run is writing this output", remedy: "Wait for it, or choose another output.", file: path)
    }
    return file
  }

  /// Removes what is unfinished; what tells it to be ours goes last.
  func discard() throws(Problem) {
    if isFolder {
      for name in try FileSystem.list(partial) where name != Self.markName {
        try FileSystem.remove("\(partial)/\(name)")
      }
    } else {
      for path in [partial, partial + ".journal"] + scratchFiles where FileSystem.kind(path) != nil {
        try FileSystem.remove(path)
      }
    }
    try FileSystem.remove(mark)
    if isFolder { try FileSystem.remove(partial) }
  }

  /// Gives what was prepared its name.
  func finish() throws(Problem) {
    if isFolder {
      try FileSystem.syncFolder(partial)
      try OutputFolder.place(partial, at: path)
      try FileSystem.remove("\(path)/\(Self.markName)")
    } else {
      try FileSystem.rename(partial, to: path)
      try FileSystem.remove(mark)
    }
    try FileSystem.syncFolder(isFolder ? path : FileSystem.parent(of: path))
  }
}
