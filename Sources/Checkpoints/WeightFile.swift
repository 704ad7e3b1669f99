public import EspalierBasics

/// Files of weights by their own names, whether they lie there as they are or packed (`NAME.packed`).
///
/// A packed file is read as the file it was made of; so everything above speaks of that one's name. Deltas and bases are
/// packed under their own names, so files are looked into too.
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

  /// Opens a file for reading: the weights in it.
  public static func open(_ path: String) throws(Problem) -> any ByteSource {
    let file = try bytes(of: path)
    return try packedUnderItsName(file) ?? file
  }

  /// The file of that name byte for byte, which is packed again if it was packed under its own name.
  ///
  /// - Parameter depth: how many files were packed against one another before this one.
  static func bytes(of path: String, depth: Int) throws(Problem) -> any ByteSource {
    let stored = stored(path) ?? path
    guard stored.hasSuffix(packedSuffix) else { return try File.reading(stored) }
    return try ArchivedFile(at: stored, baseFolder: nil, depth: depth)
  }

  /// The file of that name byte for byte, be it packed or not.
  public static func bytes(of path: String) throws(Problem) -> any ByteSource { try bytes(of: path, depth: 0) }

  private static func packedUnderItsName(_ file: any ByteSource) throws(Problem) -> ArchivedFile? {
    // What is damaged is told when it is read.
    (try? ArchiveHeader.begins(file)) == true ? try ArchivedFile(of: file) : nil
  }

  /// Whether the file that is there holds other bytes than those that are read of it.
  public static func isPacked(_ path: String) -> Bool {
    guard let stored = stored(path) else { return false }
    return stored.hasSuffix(packedSuffix)
      || (try? ArchiveHeader.begins(try File.reading(stored))) == true
  }

  /// Memory that reading files takes beside what they are read into, if some of them are packed.
  ///
  /// - Throws: what reading headers throws.
  public static func readingBytes(of paths: some Sequence<String>, threads: Int) throws(Problem) -> Int {
    let chains = try PackedChains(of: paths)
    return chains.levels == 0
      ? 0 : ArchivedFile.readingBytes(chunkBytes: chains.chunkBytes, levels: chains.levels, threads: threads)
  }

  /// What tells whether a file is still the one that was opened.
  public static func identity(_ path: String) throws(Problem) -> FileIdentity {
    try File.reading(stored(path) ?? path).identity()
  }

  /// The packed file that is there, and the one that it stands for, if that is packed under its own name. Empty for a file
  /// that lies there as it is, or not at all.
  ///
  /// - Parameter baseFolder: as ``ArchivedFile/init(at:baseFolder:)`` has it.
  static func packedLayers(_ path: String, baseFolder: String? = nil) throws(Problem) -> [ArchivedFile] {
    guard let stored = stored(path) else { return [] }
    let file = try File.reading(stored)
    guard stored.hasSuffix(packedSuffix) else { return [try packedUnderItsName(file)].compactMap { $0 } }
    let archive = try ArchivedFile(of: file, baseFolder: baseFolder)
    return [archive, try? packedUnderItsName(archive)].compactMap { $0 }
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
      for base in try packedLayers(next).flatMap(\.basePaths) {
        let place = location(name(base))
        guard seen.insert(ExactString(place)).inserted else { continue }
        found.append(place)
        open.append(place)
      }
    }
    return found
  }
}
