internal import EspalierBasics
internal import EspalierNumerics

/// Files read whole by all threads, in spans that digests are made of.
enum FileSpans {
  private static let pieceBytes = 1 << 20

  /// Memory that it takes.
  static func workingBytes(threads: Int) -> Int { 2 * threads * pieceBytes }

  /// The digest of a file, over its pieces of 4 MiB.
  static func digest(
    of source: any ByteSource, workers: WorkerPool, _ advanced: (Int) -> Void = { _ in }
  ) throws(Problem) -> Digest {
    let whole = ChunkedDigest(byteCount: try source.size())
    try forEachSpan(of: whole.byteCount, workers) { (span, rooms) throws(Problem) in
      var feed = ChunkedDigest.Feed(into: whole, at: span.lowerBound)
      try source.forEachPiece(of: span, through: rooms) { piece, _ in
        feed.update(piece)
        advanced(piece.count)
      }
    }
    return whole.value()
  }

  /// Whether two files have the same bytes.
  static func areEqual(_ a: any ByteSource, _ b: any ByteSource, workers: WorkerPool) throws(Problem) -> Bool {
    let size = try a.size()
    guard try b.size() == size else { return false }
    do throws(Problem) {
      try forEachSpan(of: size, workers) { (span, rooms) throws(Problem) in
        let (first, second) = (rooms[..<pieceBytes], rooms[pieceBytes...])
        try a.forEachPiece(of: span, through: UnsafeMutableRawBufferPointer(rebasing: first)) {
          (piece, offset) throws(Problem) in
          let other = UnsafeMutableRawBufferPointer(rebasing: second.prefix(piece.count))
          try b.read(into: other, at: offset)
          guard piece.elementsEqual(other) else { throw Problem(Self.difference, "") }
        }
      }
    } catch {
      guard error.code != Self.difference else { return false }
      throw error
    }
    return true
  }

  /// Ends the comparison in all threads; nobody sees it.
  private static let difference = Problem.Code("files.differ")

  private static func forEachSpan(
    of byteCount: Int, _ workers: WorkerPool,
    _ body: (Range<Int>, UnsafeMutableRawBufferPointer) throws(Problem) -> Void
  ) throws(Problem) {
    let rooms = BufferPool(byteCount: 2 * pieceBytes)
    let length = ChunkedDigest.chunkBytes
    try workers.forEach((byteCount + length - 1) / length) { (index) throws(Problem) in
      try rooms.with { (room) throws(Problem) in
        try body(index * length..<min((index + 1) * length, byteCount), room)
      }
    }
  }
}
