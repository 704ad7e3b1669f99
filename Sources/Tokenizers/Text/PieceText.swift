/// A stretch of text cut into pieces, on its way from the normalizer to the model.
struct PieceText: Sendable {
  /// A range of the text: an added token, or something for the model.
  struct Piece: Sendable, Equatable {
    var start: Int32
    var end: Int32
    /// Id of the added token that the piece is, or -1.
    var token: Int32 = -1

    init(_ range: Range<Int>, token: Int32 = -1) {
      start = Int32(truncatingIfNeeded: range.lowerBound)
      end = Int32(truncatingIfNeeded: range.upperBound)
      self.token = token
    }

    var range: Range<Int> { Int(start)..<Int(end) }
  }

  private(set) var text: AlignedText
  private(set) var pieces: [Piece]

  init(_ text: AlignedText, pieces: [Piece]) {
    self.text = text
    self.pieces = pieces
  }

  /// The whole text as one piece, or as none if it is empty.
  init(_ text: AlignedText) {
    self.init(text, pieces: text.isEmpty ? [] : [Piece(0..<text.bytes.count)])
  }

  /// Cuts every piece that is no added token. `cut` gets the piece's bytes and appends ranges within them; empty ones
  /// are left out.
  mutating func split<E: Error>(
    _ cut: (UnsafeBufferPointer<UInt8>, inout PieceCollector) throws(E) -> Void
  ) throws(E) {
    var collector = PieceCollector(capacity: max(pieces.count, text.bytes.count / 4))
    let old = pieces
    try text.withBytes { (bytes) throws(E) -> Void in
      for piece in old {
        if piece.token >= 0 {
          collector.append(piece)
        } else {
          collector.base = Int(piece.start)
          try cut(UnsafeBufferPointer(rebasing: bytes[piece.range]), &collector)
        }
      }
    }
    pieces = collector.pieces
  }

  /// Writes every piece that is no added token anew; what lies between the pieces goes away.
  mutating func rewrite<E: Error>(
    _ body: (UnsafeBufferPointer<UInt8>, Range<Int>, inout TextEdit) throws(E) -> Void
  ) throws(E) {
    var edit = TextEdit(text)
    var result: [Piece] = []
    result.reserveCapacity(pieces.count)
    let old = pieces
    try text.withBytes { (bytes) throws(E) -> Void in
      for piece in old {
        edit.drop(to: Int(piece.start))
        let start = edit.count
        if piece.token >= 0 { edit.copy(to: Int(piece.end)) } else { try body(bytes, piece.range, &edit) }
        edit.drop(to: Int(piece.end))
        if edit.count > start { result.append(Piece(start..<edit.count, token: piece.token)) }
      }
    }
    text = edit.finished()
    pieces = result
  }
}

/// Gathers pieces while a text is cut.
struct PieceCollector {
  private(set) var pieces: [PieceText.Piece] = []
  /// Where the piece begins that is being cut.
  fileprivate(set) var base = 0

  fileprivate init(capacity: Int) { pieces.reserveCapacity(capacity) }

  @inline(__always)
  mutating func append(_ range: Range<Int>) {
    if !range.isEmpty { pieces.append(PieceText.Piece(base + range.lowerBound..<base + range.upperBound)) }
  }

  fileprivate mutating func append(_ piece: PieceText.Piece) { pieces.append(piece) }
}

extension AlignedText {
  /// The bytes, for errors of any type.
  func withBytes<R, E: Error>(_ body: (UnsafeBufferPointer<UInt8>) throws(E) -> R) throws(E) -> R {
    let result: Result<R, E> = bytes.withUnsafeBufferPointer { bytes in
      do throws(E) { return .success(try body(bytes)) } catch { return .failure(error) }
    }
    return try result.get()
  }
}
