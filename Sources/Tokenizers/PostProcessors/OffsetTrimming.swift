/// Takes white space out of offsets: of tokens that begin or end with it, in their own spelling.
enum OffsetTrimming {
  static func apply(to encodings: inout [Encoding], addsPrefixSpace: Bool) {
    for index in encodings.indices {
      trim(&encodings[index], addsPrefixSpace)
      for part in encodings[index].overflowing.indices { trim(&encodings[index].overflowing[part], addsPrefixSpace) }
    }
  }

  private static func trim(_ encoding: inout Encoding, _ addsPrefixSpace: Bool) {
    for index in encoding.tokens.indices {
      var (leading, trailing) = margins(encoding.tokens[index])
      guard leading > 0 || trailing > 0 else { continue }
      var start = encoding.offsets[index].lowerBound
      var end = encoding.offsets[index].upperBound
      if leading > 0 {
        // A single space at the beginning may be the one that was put there.
        if index == 0 || start == 0, addsPrefixSpace, leading == 1 { leading = 0 }
        start = min(start + leading, end)
      }
      if trailing > 0, end >= trailing { end = max(end - trailing, start) }
      encoding.offsets[index] = start..<end
    }
  }

  /// How many scalars of white space, or of its sign in the byte-level alphabet, a token begins and ends with.
  private static func margins(_ token: String) -> (leading: Int, trailing: Int) {
    let bytes = token.utf8
    // Most tokens begin and end with an ASCII character that is no space.
    if let first = bytes.first, let last = bytes.last, first > 0x20, first < 0x80, last > 0x20, last < 0x80 {
      return (0, 0)
    }
    func isSpace(_ scalar: Unicode.Scalar) -> Bool {
      scalar.value == ByteAlphabet.scalars[0x20] || ScalarClass.isWhitespace(scalar.value)
    }
    let scalars = token.unicodeScalars
    return (scalars.prefix(while: isSpace).count, scalars.reversed().prefix(while: isSpace).count)
  }
}
