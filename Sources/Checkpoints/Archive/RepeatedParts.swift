internal import EspalierBasics

/// Finds parts of a file whose bytes an earlier part has, so that they are stored once.
enum RepeatedParts {
  /// Bytes at a part's beginning that tell most parts apart.
  private static let prefix = 256

  /// The header with repeated parts marked. Parts that begin alike are read whole, no others.
  static func marked(
    _ header: ArchiveHeader, in source: any ByteSource, workers: WorkerPool
  ) throws(Problem) -> ArchiveHeader {
    var header = header
    let starts = header.starts
    let beginnings = try workers.map(header.parts.count) { (index) throws(Problem) in
      try source.read(min(prefix, header.parts[index].byteCount), at: starts[index])
    }
    var alike: [[UInt8]: [Int]] = [:]
    for (index, part) in header.parts.enumerated() {
      let key = beginnings[index] + (0..<8).map { UInt8(truncatingIfNeeded: part.byteCount >> (8 * $0)) }
      alike[key, default: []].append(index)
    }
    for group in alike.values where group.count > 1 {
      var first: [Digest: Int] = [:]
      for index in group {
        let digest = try source.digest(of: starts[index]..<starts[index] + header.parts[index].byteCount)
        if let earlier = first[digest] {
          header.parts[index].content = .same(as: earlier)
          header.parts[index].base = nil
        } else {
          first[digest] = index
        }
      }
    }
    return header
  }
}
