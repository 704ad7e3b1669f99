internal import EspalierBasics
internal import EspalierNumerics

/// Files that are copied as they are, a piece at a time.
enum FileCopy {
  /// - Returns: the file's digest, in chunks.
  static func copy(_ path: String, to target: String) throws(Problem) -> Digest {
    try FileSystem.createParents(of: target)
    let file = try File.writing(target, truncate: true)
    let digest = try forEachPiece(of: path) { (piece, offset) throws(Problem) in try file.write(piece, at: offset) }
    try file.sync()
    return digest
  }

  static func digest(of path: String) throws(Problem) -> Digest { try forEachPiece(of: path) { _, _ in } }

  private static func forEachPiece(
    of path: String, _ body: (UnsafeRawBufferPointer, Int) throws(Problem) -> Void
  ) throws(Problem) -> Digest {
    let file = try File.reading(path)
    let size = try file.size()
    let whole = ChunkedDigest(byteCount: size)
    var feed = ChunkedDigest.Feed(into: whole, at: 0)
    let buffer = try AlignedBuffer(byteCount: max(1, min(size, 1 << 20)))
    var done = 0
    while done < size {
      let piece = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<min(buffer.byteCount, size - done)])
      try file.read(into: piece, at: done)
      feed.update(UnsafeRawBufferPointer(piece))
      try body(UnsafeRawBufferPointer(piece), done)
      done += piece.count
    }
    return whole.value()
  }
}
