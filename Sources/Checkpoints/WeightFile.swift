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

  /// The file that is there: as it is, which comes first, or packed.
  private static func stored(_ path: String) -> String? {
    let name = name(path)
    return [name, name + packedSuffix].first { FileSystem.isFile($0) }
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

  /// What tells whether a file is still the one that was opened.
  public static func identity(_ path: String) throws(Problem) -> FileIdentity {
    try File.reading(stored(path) ?? path).identity()
  }
}
