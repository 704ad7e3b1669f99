internal import EspalierBasics

/// Files that are copied as they are, a piece at a time.
enum FileCopy {
  /// - Returns: the file's digest, in chunks.
  static func copy(_ path: String, to target: String) throws(Problem) -> Digest {
    try FileSystem.createParents(of: target)
    let source = try File.reading(path)
    let file = try File.writing(target, truncate: true)
    let whole = ChunkedDigest(byteCount: try source.size())
    var feed = ChunkedDigest.Feed(into: whole, at: 0)
    try source.forEachPiece(of: 0..<whole.byteCount) { (piece, offset) throws(Problem) in
      feed.update(piece)
      try file.write(piece, at: offset)
    }
    try file.sync()
    return whole.value()
  }

  static func digest(of path: String) throws(Problem) -> Digest {
    let file = try File.reading(path)
    return try file.digest(of: 0..<(try file.size()))
  }
}
