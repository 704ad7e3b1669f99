internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution

/// Where a packed or an unpacked model is prepared (`NAME.partial`) and gets its name, in one step.
///
/// Beside it lies a mark (`NAME.partial.run`) from before anything else is there until nothing else is: what tells the rest
/// to be ours, what the run was begun with, and what other runs find locked. A folder thus gets its name with nothing in it
/// but the output.
struct PackedPlace {
  let path: String
  let isFolder: Bool
  let policy: OutputFolder.Policy
  /// Whether what has the output's name may go.
  let isOurs: (String) -> Bool

  init(
    _ path: String, isFolder: Bool, policy: OutputFolder.Policy, replacing isOurs: @escaping (String) -> Bool
  ) {
    (self.path, self.isFolder, self.policy, self.isOurs) = (path, isFolder, policy, isOurs)
  }

  var partial: String { OutputFolder.partialPath(for: path) }
  private var mark: String { partial + ".run" }
  /// Marks are written before anything is made, so an empty one tells of nothing.
  private var isMarked: Bool { ((try? File.reading(mark).size()) ?? 0) > 0 }

  /// A file of ours that is gone when the output gets its name.
  func scratch(_ name: String) -> String { "\(partial).\(name).scratch" }

  private var scratchFiles: [String] {
    let folder = FileSystem.parent(of: partial)
    let names = (try? FileSystem.list(folder)) ?? []
    return names.filter { $0.hasPrefix(FileSystem.lastComponent(of: partial) + ".") && $0.hasSuffix(".scratch") }
      .map { FileSystem.join(folder, $0) }
  }

  // MARK: - What may be replaced

  /// Whether a folder is empty or one of ours: with a list, a manifest, or nothing but files of the names that the output
  /// has.
  static func isReplaceable(_ folder: String, byFiles names: [String] = []) -> Bool {
    guard FileSystem.isFolder(folder) else { return false }
    let tells = [PackedList.fileName, Manifest.fileName]
    if tells.contains(where: { FileSystem.isFile("\(folder)/\($0)") }) { return true }
    let allowed = Set(names.map { ExactString($0) })
    return (try? PackingPlan.files(of: folder).allSatisfy { allowed.contains(ExactString($0.name)) }) == true
  }

  /// Whether a file is a packed one, or one of weights.
  static func isReplaceable(file path: String) -> Bool {
    guard let file = try? File.reading(path) else { return false }
    return (try? ArchivedFile(at: path)) != nil || (try? SafetensorsHeader(reading: file)) != nil
      || (try? GGUFHeader(reading: file)) != nil
  }

  /// What stands in the way, found without touching anything.
  ///
  /// - Parameter mayReplace: whether the output takes the place of what is packed.
  func obstacles(bytes: Int, mayReplace: Bool = false) -> [Problem] {
    let problems = OutputFolder.obstacles(
      at: path, policy: policy, bytes: bytes, isOurs: isOurs, isUnfinished: { _ in isMarked })
    return mayReplace ? problems.filter { $0.code != .outputExists } : problems
  }

  // MARK: - A run

  /// Begins, or goes on with what an earlier run of the same fingerprint left.
  ///
  /// - Returns: what holds the output for this run.
  func begin(fingerprint: JSON) throws(Problem) -> File {
    try FileSystem.createParents(of: mark)
    let held = try hold()
    let text = try held.read(try held.size(), at: 0)
    if !policy.resume || (try? JSON(parsing: text)) != fingerprint {
      try requireRemovable(isMarked: !text.isEmpty)
      try clear()
      try write(fingerprint, to: held)
    }
    if isFolder, FileSystem.kind(partial) == nil { try FileSystem.createFolder(partial) }
    return held
  }

  /// In the file itself, whose lock the run has.
  private func write(_ text: JSON, to mark: File) throws(Problem) {
    try mark.resize(to: 0)
    try mark.write(text.bytes(), at: 0)
    try mark.sync()
  }

  private func requireRemovable(isMarked: Bool) throws(Problem) {
    guard FileSystem.kind(partial) != nil else { return }
    guard isMarked else {
      try FileSystem.remove(mark)
      throw Problem(
        .outputPartial, "there is something that was not written by espalier, where the output is prepared",
        remedy: "Choose another name for the output, or remove it yourself.", file: partial)
    }
    guard policy.force else {
      throw Problem(
        .outputPartial, "what is there was begun from other files, or with other options",
        remedy: "Restore what changed, or start over with --force.", file: partial)
    }
  }

  /// Of two runs that begin together one finds the mark locked, or gone with the other's end.
  private func hold() throws(Problem) -> File {
    let file = try File.writing(mark)
    guard file.tryLock(), try file.hasItsName() else {
      throw Problem(
        .fileLocked, "another run is writing this output", remedy: "Wait for it, or choose another output.", file: path)
    }
    return file
  }

  private func clear() throws(Problem) {
    for path in [partial, partial + ".journal"] + scratchFiles where FileSystem.kind(path) != nil {
      try FileSystem.remove(path)
    }
  }

  /// Removes what is unfinished; what tells it to be ours goes last.
  func discard() throws(Problem) {
    try clear()
    try FileSystem.remove(mark)
  }

  // MARK: - The end

  /// Gives what was prepared its name.
  ///
  /// - Throws: `output.exists` for what has come to that place since the run began.
  func finish() throws(Problem) {
    try OutputFolder.requireFree(path, policy: policy, isOurs: isOurs)
    if isFolder {
      try FileSystem.syncFolders(in: partial)
      // What has the partial folder's name from here on is the old output: nothing to go on with.
      if FileSystem.kind(path) != nil { try write("replaced", to: try File.writing(mark)) }
      try OutputFolder.place(partial, at: path)
    } else {
      try FileSystem.rename(partial, to: path)
      try FileSystem.syncFolder(FileSystem.parent(of: path))
    }
    try FileSystem.remove(mark)
  }

  /// Gives the folder that was prepared the name of the model that it was made of, and removes that model's files.
  ///
  /// The mark goes first: a run that is ended from here on leaves nothing that another would take for its own and remove.
  ///
  /// - Parameter names: of the model's files. What else has come to its folder stays.
  /// - Throws: `output.exists` for what stays, once the output has its name.
  func finish(replacing names: [String]) throws(Problem) {
    try FileSystem.syncFolders(in: partial)
    let text = try FileSystem.read(mark)
    try FileSystem.remove(mark)
    let old: String
    do throws(Problem) { old = try OutputFolder.swap(path, with: partial) } catch {
      try? FileSystem.write(text, to: mark)
      throw error
    }
    try FileSystem.syncFolder(FileSystem.parent(of: path))
    for name in names { try FileSystem.remove("\(old)/\(name)") }
    guard try FileSystem.removeEmptyFolders(in: old) else {
      throw Problem(
        .outputExists, "the packed model has its place, but files came to the model's folder that were not packed",
        remedy: "They were kept: put them where they belong.", file: old)
    }
  }
}
