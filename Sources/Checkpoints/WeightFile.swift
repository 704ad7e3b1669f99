public import EspalierBasics

/// Files of weights by their own names, whether they lie there as they are or packed (`NAME.packed`).
///
/// A packed file is read as the file it was made of; so everything above speaks of that one's name.
public enum WeightFile {
  public static let packedSuffix = ".packed"

  /// The name of what a packed file was made of; any other name is its own.
  public static func name(_ path: String) -> String {
    path.hasSuffix(packedSuffix) ? String(path.dropLast(packedSuffix.count)) : path
  }

  /// The file that is there: the one of that very name, then as it is, then packed.
  private static func stored(_ path: String) -> String? {
    let name = name(path)
    return [path, name, name + packedSuffix].first { FileSystem.isFile($0) }
  }

  public static func isThere(_ path: String) -> Bool { stored(path) != nil }

  /// Names in a folder, those of packed files without the suffix, each once.
  public static func list(_ folder: String) throws(Problem) -> [String] {
    var seen: Set<ExactString> = []
    return try FileSystem.list(folder).map { name($0) }.filter { seen.insert(ExactString($0)).inserted }
  }

  /// Opens a file for reading.
  public static func open(_ path: String) throws(Problem) -> any ByteSource { try open(path, depth: 0) }

  /// - Parameter depth: how many files were packed against one another before this one.
  static func open(_ path: String, depth: Int) throws(Problem) -> any ByteSource {
    let stored = stored(path) ?? path
    guard stored.hasSuffix(packedSuffix) else { return try File.reading(stored) }
    return try ArchivedFile(at: stored, baseFolder: nil, depth: depth)
  }

  /// Memory that reading files takes beside what they are read into, if some of them are packed.
  ///
  /// - Throws: what reading headers throws.
  public static func readingBytes(of paths: some Sequence<String>, threads: Int) throws(Problem) -> Int {
    var (chunkBytes, levels) = (0, 0)
    for path in paths {
      guard let stored = stored(path), stored.hasSuffix(packedSuffix) else { continue }
      for file in [stored] + (try bases(of: stored)) {
        guard let stored = Self.stored(file), stored.hasSuffix(packedSuffix) else { continue }
        chunkBytes = max(chunkBytes, try ArchivedFile(at: stored).header.chunkBytes)
      }
      levels = max(levels, try self.levels(of: stored))
    }
    return levels == 0 ? 0 : ArchivedFile.readingBytes(chunkBytes: chunkBytes, levels: levels, threads: threads)
  }

  /// How many packed files are read for a chunk of a file.
  private static func levels(of path: String, behind: Int = 0) throws(Problem) -> Int {
    guard behind <= ArchivedFile.mostBases, let stored = stored(path), stored.hasSuffix(packedSuffix) else { return 0 }
    var most = 0
    for base in try ArchivedFile(at: stored).basePaths { most = max(most, try levels(of: base, behind: behind + 1)) }
    return most + 1
  }

  /// What tells whether a file is still the one that was opened.
  public static func identity(_ path: String) throws(Problem) -> FileIdentity {
    try File.reading(stored(path) ?? path).identity()
  }

  // MARK: - Where files are

  /// The path with its folder's links resolved, as far as there are folders. The last name stays, link or not: it tells
  /// what the file is.
  public static func location(_ path: String) -> String {
    let parent = FileSystem.parent(of: path)
    // The current folder may be gone.
    let folder = FileSystem.resolved(parent) ?? (parent == "." || parent == "/" ? parent : location(parent))
    return (folder == "/" ? "" : folder) + "/" + FileSystem.lastComponent(of: path)
  }

  /// Files that a packed one cannot be read without: its base's, theirs, and so on, by the location of what they were
  /// packed of.
  ///
  /// - Throws: what reading headers throws; bases that are not there are named and not looked into.
  public static func bases(of path: String) throws(Problem) -> [String] {
    var found: [String] = []
    var seen: Set<ExactString> = []
    var open = [path]
    while let next = open.popLast() {
      guard let stored = stored(next), stored.hasSuffix(packedSuffix) else { continue }
      for base in try ArchivedFile(at: stored).basePaths {
        let place = location(name(base))
        guard seen.insert(ExactString(place)).inserted else { continue }
        found.append(place)
        open.append(place)
      }
    }
    return found
  }
}
