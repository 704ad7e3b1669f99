public import EspalierBasics

/// How far packed files, and those that they were packed against, are read through one another: what memory is planned by.
///
/// Every file's header is read once, however often files are named in others.
public struct PackedChains {
  /// The most packed files that are read for a chunk.
  public private(set) var levels = 0
  /// Of the largest chunks.
  public private(set) var chunkBytes = 0
  /// By location; nil while a file's bases are looked at.
  private var known: [ExactString: Int?] = [:]

  /// - Parameters:
  ///   - paths: of files that are packed or not.
  ///   - baseFolder: where the files of their bases lie, if not where they say.
  /// - Throws: what reading headers throws.
  public init(of paths: some Sequence<String>, baseFolder: String? = nil) throws(Problem) {
    for path in paths { levels = max(levels, try levels(of: path, baseFolder: baseFolder)) }
  }

  private mutating func levels(of path: String, baseFolder: String?) throws(Problem) -> Int {
    let place = ExactString(WeightFile.location(WeightFile.name(path)))
    // Of files that were packed against each other there is no end: reading them ends at the most there may be.
    if let found = known[place] { return found ?? ArchivedFile.mostBases }
    known[place] = .some(nil)
    let layers = try WeightFile.packedLayers(path, baseFolder: baseFolder)
    var most = 0
    for base in layers.flatMap(\.basePaths) {
      most = max(most, try levels(of: base, baseFolder: nil))
    }
    chunkBytes = layers.reduce(chunkBytes) { max($0, $1.header.chunkBytes) }
    // Longer chains are refused when they are read.
    let levels = min(most + layers.count, ArchivedFile.mostBases + 1)
    known[place] = levels
    return levels
  }
}
