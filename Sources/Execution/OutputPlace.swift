public import EspalierBasics

// What lies at the place of an output, and what of it may go. Nothing is ever removed that is not ours.

extension OutputFolder {
  public static func partialPath(for path: String) -> String { path + ".partial" }

  /// What stands in the way of writing a model to `path`, found without touching anything.
  public static func obstacles(to layout: OutputLayout, at path: String, policy: Policy) -> [Problem] {
    obstacles(at: path, policy: policy, bytes: layout.byteCount, beside: besides(layout))
  }

  /// What stands in the way of writing to `path`, found without touching anything.
  ///
  /// - Parameters:
  ///   - beside: names of files that will lie beside it.
  ///   - isOurs: whether what is at `path` may be replaced; nil for folders with a manifest.
  ///   - isUnfinished: whether what is at the partial folder's place is ours; nil for folders with a journal.
  public static func obstacles(
    at path: String, policy: Policy, bytes: Int, beside: [String] = [], isOurs: ((String) -> Bool)? = nil,
    isUnfinished: ((String) -> Bool)? = nil
  ) -> [Problem] {
    var problems = conflicts(
      at: path, policy: policy, beside: beside, isOurs: isOurs, isUnfinished: isUnfinished)
    if let lack = lackOfSpace(for: [(path, bytes)]) { problems.append(lack) }
    return problems
  }

  /// That outputs of so many bytes, on one file system, do not find room; those that an earlier run has begun do not count.
  public static func lackOfSpace(for outputs: [(path: String, bytes: Int)]) -> Problem? {
    let new = outputs.filter { FileSystem.kind(partialPath(for: $0.path)) == nil }
    let bytes = new.reduce(0) { $0 + $1.bytes }
    guard let path = new.first?.path, let free = FileSystem.freeBytes(at: path), free < bytes else { return nil }
    let what = new.count == 1 ? "the output takes" : "the \(new.count) outputs take"
    return Problem(
      .outputSpace, "\(what) up to \(ByteCount.text(bytes)) and the file system has \(ByteCount.text(free)) free",
      remedy: "Make room, or write elsewhere.", file: path)
  }

  /// What is at `path`, at its partial folder or beside it and must stay.
  static func conflicts(
    at path: String, policy: Policy, beside: [String] = [], isOurs: ((String) -> Bool)? = nil,
    isUnfinished: ((String) -> Bool)? = nil
  ) -> [Problem] {
    var problems = beside.compactMap { conflict(with: $0, beside: path, policy: policy) }
    do throws(Problem) { try requireFree(path, policy: policy, isOurs: isOurs) } catch { problems.append(error) }
    let partial = partialPath(for: path)
    if FileSystem.kind(partial) != nil,
      !(isUnfinished?(partial) ?? isFree(partial, for: [Journal.fileName, Manifest.fileName]))
    {
      problems.append(
        Problem(
          .outputPartial, "there is something that was not written by espalier, where the output is prepared",
          remedy: "Choose another name for the output, or remove it yourself.", file: partial))
    } else if FileSystem.kind(partial) != nil, !policy.resume, !policy.force {
      problems.append(
        Problem(
          .outputPartial, "an unfinished output of an earlier run is there",
          remedy: policy.canResume
            ? "Continue it with --resume, or start over with --force." : "Start over with --force.", file: partial))
    }
    return problems
  }

  /// Checks that an output may get its name.
  ///
  /// - Parameter isOurs: whether what is at `path` may be replaced; nil for folders with a manifest.
  /// - Throws: `output.exists`.
  public static func requireFree(
    _ path: String, policy: Policy, isOurs: ((String) -> Bool)? = nil
  ) throws(Problem) {
    guard FileSystem.kind(path) != nil else { return }
    guard policy.force else {
      throw Problem(
        .outputExists, "the output exists already",
        remedy: "Choose another name, or give --force to replace it once the new one is complete.", file: path)
    }
    guard isOurs?(path) ?? isFree(path, for: [Manifest.fileName]) else {
      throw Problem(
        .outputExists, "there is something that was not written by espalier; --force does not replace it",
        remedy: "Choose another name, or remove it yourself.", file: path)
    }
  }

  private static func conflict(with name: String, beside path: String, policy: Policy) -> Problem? {
    let file = FileSystem.join(FileSystem.parent(of: path), name)
    guard FileSystem.kind(file) != nil else { return nil }
    // A run that was ended between the file and its folder has written both.
    let isUnfinished = Manifest.besides(in: partialPath(for: path)).contains(name)
    if policy.resume, isUnfinished { return nil }
    guard policy.force else {
      return Problem(
        .outputExists, "the output exists already",
        remedy: "Choose another name, or give --force to replace it once the new one is complete.", file: file)
    }
    guard !isUnfinished, !Manifest.besides(in: path).contains(name) else { return nil }
    return Problem(
      .outputExists, "there is something that was not written by espalier; --force does not replace it",
      remedy: "Choose another name, or remove it yourself.", file: file)
  }

  /// Whether there is nothing at `path`, or an empty folder, or a folder that one of `marks` tells to be ours.
  private static func isFree(_ path: String, for marks: [String]) -> Bool {
    guard let kind = FileSystem.kind(path) else { return true }
    return kind == .folder
      && (marks.contains { FileSystem.isFile("\(path)/\($0)") } || (try? FileSystem.list(path).isEmpty) == true)
  }

  /// Removes a folder of ours. What tells it to be ours goes last, so that an interrupted removal can be continued.
  static func discard(_ path: String) throws(Problem) {
    if !FileSystem.isFile("\(path)/\(Journal.fileName)"), !FileSystem.isFile("\(path)/\(Manifest.fileName)") {
      try FileSystem.write([], to: "\(path)/\(Journal.fileName)")
    }
    for name in try FileSystem.list(path) where name != Journal.fileName && name != Manifest.fileName {
      try FileSystem.remove("\(path)/\(name)")
    }
    try FileSystem.remove(path)
  }

  /// Gives a finished folder of ours the name of an output, in the place of the output that has it.
  public static func place(_ folder: String, at path: String) throws(Problem) {
    if FileSystem.kind(path) != nil { try replace(path, with: folder) } else { try FileSystem.rename(folder, to: path) }
    try FileSystem.syncFolder(FileSystem.parent(of: path))
  }

  /// Gives `folder` the name `path`, and removes what had it, once that is durable.
  static func replace(
    _ path: String, with folder: String,
    exchange: (String, String) throws(Problem) -> Void = { (a, b) throws(Problem) in try FileSystem.exchange(a, b) }
  ) throws(Problem) {
    let old = try swap(path, with: folder, exchange: exchange)
    try FileSystem.syncFolder(FileSystem.parent(of: path))
    try discard(old)
  }

  /// Gives `folder` the name `path`, and what had it another one.
  ///
  /// In one step where the file system can exchange names. Where it cannot (network file systems, old kernels), the
  /// old folder steps aside first, and back if the new one cannot take its place; whatever else was wrong, renaming meets
  /// it too and says so.
  ///
  /// - Returns: the name of the old folder, with all that is in it: that of the new one, or one beside `path`.
  /// - Throws: what renaming throws; then `path` is what it was.
  public static func swap(
    _ path: String, with folder: String,
    exchange: (String, String) throws(Problem) -> Void = { (a, b) throws(Problem) in try FileSystem.exchange(a, b) }
  ) throws(Problem) -> String {
    do throws(Problem) {
      try exchange(folder, path)
      return folder
    } catch {
      let aside = path + ".replaced"
      guard FileSystem.kind(aside) == nil else {
        throw Problem(
          .outputExists, "the old output cannot step aside: there is something already",
          remedy: "Remove it and continue with --resume --force.", file: aside)
      }
      try FileSystem.rename(path, to: aside)
      do throws(Problem) { try FileSystem.rename(folder, to: path) } catch {
        try FileSystem.rename(aside, to: path)
        throw error
      }
      return aside
    }
  }
}
