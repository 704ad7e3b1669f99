/// Splits that look at one scalar at a time.
enum ScalarSplits {
  /// Punctuation of Unicode, and all of ASCII's signs.
  static func isPunctuation(_ scalar: UInt32) -> Bool {
    switch scalar {
    case 0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E: true
    case 0..<0x80: false
    default: ScalarClass.flags(scalar).contains(.punctuation)
    }
  }

  /// Splits at every scalar for which `matches` holds.
  @inline(__always)
  static func split(
    _ bytes: UnsafeBufferPointer<UInt8>, _ behavior: SplitBehavior, _ pieces: inout PieceCollector,
    _ matches: (UInt32) -> Bool
  ) {
    var splitter = Splitter(behavior)
    var position = 0
    while position < bytes.count {
      let (scalar, length) = UTF8Reading.scalar(bytes, at: position)
      if matches(scalar) { splitter.match(position..<position + length, &pieces) }
      position += length
    }
    splitter.finish(bytes.count, &pieces)
  }

  /// White space separates, punctuation stands alone.
  static func bert(_ bytes: UnsafeBufferPointer<UInt8>, _ pieces: inout PieceCollector) {
    var start = 0
    var position = 0
    while position < bytes.count {
      let (scalar, length) = UTF8Reading.scalar(bytes, at: position)
      if ScalarClass.isWhitespace(scalar) {
        pieces.append(start..<position)
        start = position + length
      } else if isPunctuation(scalar) {
        pieces.append(start..<position)
        pieces.append(position..<position + length)
        start = position + length
      }
      position += length
    }
    pieces.append(start..<position)
  }

  /// `\w+|[^\w\s]+`
  static func words(_ bytes: UnsafeBufferPointer<UInt8>, _ pieces: inout PieceCollector) {
    enum Kind { case word, space, other }
    var start = 0
    var position = 0
    var last = Kind.space
    while position < bytes.count {
      let (scalar, length) = UTF8Reading.scalar(bytes, at: position)
      let kind: Kind =
        ScalarClass.flags(scalar).contains(.word) ? .word : ScalarClass.isWhitespace(scalar) ? .space : .other
      if kind != last {
        if last != .space { pieces.append(start..<position) }
        start = position
        last = kind
      }
      position += length
    }
    if last != .space { pieces.append(start..<position) }
  }

  static func fixed(_ bytes: UnsafeBufferPointer<UInt8>, _ count: Int, _ pieces: inout PieceCollector) {
    var position = 0
    while position < bytes.count {
      let start = position
      for _ in 0..<count where position < bytes.count {
        position = min(bytes.count, position + UTF8Reading.length(bytes[position]))
      }
      pieces.append(start..<position)
    }
  }

  /// The script by which pieces are told apart: kana are Han (as in SentencePiece), and 0 goes with anything.
  private static func script(_ scalar: UInt32) -> UInt8 {
    // Danda signs were Devanagari in the version of Unicode this goes by, and are shared now.
    if scalar == 0x953 || scalar == 0x954 { return devanagari }
    guard scalar != 0x20, ScalarClass.flags(scalar).contains(.scripted) else { return 0 }
    let script = ScalarClass.scriptTable[scalar]
    return scalar == 0x30FC || script == hiragana || script == katakana ? han : script
  }

  private static func index(_ name: String) -> UInt8 {
    UInt8((ScalarClass.scriptNames.firstIndex(of: name) ?? -1) + 1)
  }

  private static let han = index("Han")
  private static let hiragana = index("Hiragana")
  private static let katakana = index("Katakana")
  private static let devanagari = index("Devanagari")

  /// A piece begins where the script is another than the last one. What comes before the first script is left out,
  /// as the reference does.
  static func scripts(_ bytes: UnsafeBufferPointer<UInt8>, _ pieces: inout PieceCollector) {
    var start: Int?
    var last: UInt8?
    var position = 0
    while position < bytes.count {
      let (scalar, length) = UTF8Reading.scalar(bytes, at: position)
      let script = script(scalar)
      if script != 0 {
        if last != script {
          if let start { pieces.append(start..<position) }
          start = position
        }
        last = script
      }
      position += length
    }
    if let start { pieces.append(start..<position) }
  }
}
