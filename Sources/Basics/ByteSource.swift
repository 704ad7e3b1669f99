/// Bytes that are read by position: a file, or what a packed file stands for. Safe to use from several threads.
public protocol ByteSource: Sendable {
  /// The file that they are read from, for messages.
  var path: String { get }

  /// How many there are.
  func size() throws(Problem) -> Int

  /// Fills `buffer` from `offset`; an error if the bytes end before.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Problem)
}

extension ByteSource {
  public func read(_ count: Int, at offset: Int) throws(Problem) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let result: Result<Void, Problem> = bytes.withUnsafeMutableBytes { buffer in
      Result { () throws(Problem) in try read(into: buffer, at: offset) }
    }
    try result.get()
    return bytes
  }

  /// Reads a range in order, a mebibyte at a time.
  ///
  /// - Parameter body: is given a piece and the position of its first byte.
  public func forEachPiece(
    of range: Range<Int>, _ body: (_ piece: UnsafeRawBufferPointer, _ offset: Int) throws(Problem) -> Void
  ) throws(Problem) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: min(max(range.count, 1), 1 << 20), alignment: 64)
    defer { buffer.deallocate() }
    try forEachPiece(of: range, through: buffer, body)
  }

  /// Reads a range in order, as much at a time as a buffer holds.
  public func forEachPiece(
    of range: Range<Int>, through buffer: UnsafeMutableRawBufferPointer,
    _ body: (_ piece: UnsafeRawBufferPointer, _ offset: Int) throws(Problem) -> Void
  ) throws(Problem) {
    var done = range.lowerBound
    while done < range.upperBound {
      let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<min(buffer.count, range.upperBound - done)])
      try read(into: piece, at: done)
      try body(UnsafeRawBufferPointer(piece), done)
      done += piece.count
    }
  }

  /// The chunked digest of a range, read in order.
  public func digest(of range: Range<Int>) throws(Problem) -> Digest {
    let whole = ChunkedDigest(byteCount: range.count)
    var feed = ChunkedDigest.Feed(into: whole, at: 0)
    try forEachPiece(of: range) { piece, _ in feed.update(piece) }
    return whole.value()
  }
}
