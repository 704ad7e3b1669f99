internal import EspalierBasics

extension Jinja {
  enum Token: Sendable, Equatable {
    /// Text between tags.
    case data(String)
    case blockBegin, blockEnd, variableBegin, variableEnd
    case name(String)
    case string(String)
    /// Digits in base ten, without underscores.
    case integer(String)
    case float(Double)
    /// An operator or bracket, as written.
    case symbol(String)
    case end

    var description: String {
      switch self {
      case .data: "text"
      case .blockBegin: "'{%'"
      case .blockEnd: "'%}'"
      case .variableBegin: "'{{'"
      case .variableEnd: "'}}'"
      case .name(let name): "'\(name)'"
      case .string(let text): "the string '\(text)'"
      case .integer(let digits): digits
      case .float(let value): "\(value)"
      case .symbol(let symbol): "'\(symbol)'"
      case .end: "the end of the template"
      }
    }
  }

  struct PlacedToken: Sendable {
    let token: Token
    let offset: Offset
  }

  /// Turns a template into tokens. White space around tags is dealt with here, as Jinja does it.
  struct Lexer {
    private let source: Source
    private var position = 0
    private var tokens: [PlacedToken] = []
    /// Whether what was read last ended a line, so that a tag may stand at the beginning of one.
    private var lineStarting = true

    static func tokens(of source: Source) throws(Problem) -> [PlacedToken] {
      var lexer = Lexer(source: source)
      try lexer.template()
      return lexer.tokens
    }

    private init(source: Source) { self.source = source }

    private var bytes: [UInt8] { source.bytes }

    private func problem(_ message: String, at offset: Offset? = nil) -> Problem {
      source.problem(.chatTemplateSyntax, message, at: offset ?? position)
    }

    private mutating func add(_ token: Token, at offset: Offset) {
      tokens.append(PlacedToken(token: token, offset: offset))
    }

    // MARK: Text and tags

    private enum Tag { case block, variable, comment }

    private mutating func template() throws(Problem) {
      while position < bytes.count {
        guard let (tag, start) = nextTag() else {
          add(.data(source.text(position..<bytes.count)), at: position)
          position = bytes.count
          break
        }
        try read(tag, at: start)
      }
      add(.end, at: bytes.count)
    }

    private func nextTag() -> (Tag, Int)? {
      var index = position
      while index + 1 < bytes.count {
        if bytes[index] == UInt8(ascii: "{") {
          switch bytes[index + 1] {
          case UInt8(ascii: "%"): return (.block, index)
          case UInt8(ascii: "{"): return (.variable, index)
          case UInt8(ascii: "#"): return (.comment, index)
          default: break
          }
        }
        index += 1
      }
      return nil
    }

    private mutating func read(_ tag: Tag, at start: Int) throws(Problem) {
      let sign = start + 2 < bytes.count ? bytes[start + 2] : 0
      let signed = sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+")
      text(before: start, sign: sign, tag: tag)
      position = start + (signed ? 3 : 2)
      switch tag {
      case .comment: try comment(from: start)
      case .variable:
        add(.variableBegin, at: start)
        try code(from: start, block: false)
      case .block:
        if let end = rawBegin() {
          position = end
          try raw(from: start)
        } else {
          add(.blockBegin, at: start)
          try code(from: start, block: true)
        }
      }
      lineStarting = position > 0 && bytes[position - 1] == 0x0A
    }

    /// The text up to a tag: `-` takes the white space before it, and so does a block or comment at the beginning of
    /// a line for that line.
    private mutating func text(before start: Int, sign: UInt8, tag: Tag) {
      var end = start
      if sign == UInt8(ascii: "-") {
        end = position + Text.trimmedEnd(bytes[position..<start]).count
      } else if sign != UInt8(ascii: "+"), tag != .variable {
        let text = bytes[position..<start]
        let newline = text.lastIndex(of: 0x0A)
        let line = newline.map { $0 + 1 } ?? position
        if newline != nil || lineStarting, Text.trimmedEnd(bytes[line..<start]).isEmpty { end = line }
      }
      if end > position { add(.data(source.text(position..<end)), at: position) }
    }

    private mutating func skipSpace() { position = Text.skipSpace(bytes, from: position) }

    private func has(_ text: StaticString, at index: Int) -> Bool {
      guard index + text.utf8CodeUnitCount <= bytes.count else { return false }
      for k in 0..<text.utf8CodeUnitCount where bytes[index + k] != text.utf8Start[k] { return false }
      return true
    }

    /// The end of a tag at `index`, with the white space that goes with it; nil if the tag does not end there.
    private func tagEnd(_ close: StaticString, at index: Int, trimsLine: Bool) -> Int? {
      if has("-", at: index), has(close, at: index + 1) { return Text.skipSpace(bytes, from: index + 3) }
      if trimsLine, has("+", at: index), has(close, at: index + 1) { return index + 3 }
      guard has(close, at: index) else { return nil }
      return trimsLine && has("\n", at: index + 2) ? index + 3 : index + 2
    }

    private mutating func comment(from start: Int) throws(Problem) {
      while position < bytes.count {
        if let end = tagEnd("#}", at: position, trimsLine: true) {
          position = end
          return
        }
        position += 1
      }
      throw problem("the comment is not closed", at: start)
    }

    /// The end of `raw %}` if that is what follows.
    private func rawBegin() -> Int? {
      var index = Text.skipSpace(bytes, from: position)
      guard has("raw", at: index) else { return nil }
      index = Text.skipSpace(bytes, from: index + 3)
      return tagEnd("%}", at: index, trimsLine: false)
    }

    private mutating func raw(from start: Int) throws(Problem) {
      var index = position
      while index < bytes.count {
        defer { index += 1 }
        guard has("{%", at: index) else { continue }
        let signed = has("-", at: index + 2) || has("+", at: index + 2)
        let word = Text.skipSpace(bytes, from: index + (signed ? 3 : 2))
        guard has("endraw", at: word) else { continue }
        let close = Text.skipSpace(bytes, from: word + 6)
        guard let end = tagEnd("%}", at: close, trimsLine: true) else { continue }
        lineStarting = position > 0 && bytes[position - 1] == 0x0A
        text(before: index, sign: signed ? bytes[index + 2] : 0, tag: .block)
        position = end
        return
      }
      throw problem("'raw' is not closed", at: start)
    }

    // MARK: Code

    private static let symbols: [StaticString] = [
      "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=",
      ".", ":", "|", ",", ";",
    ]

    private mutating func code(from start: Int, block: Bool) throws(Problem) {
      var open: [(closer: String, offset: Int)] = []
      while true {
        skipSpace()
        guard position < bytes.count else { throw problem("the tag is not closed", at: start) }
        if open.isEmpty, let end = tagEnd(block ? "%}" : "}}", at: position, trimsLine: block) {
          add(block ? .blockEnd : .variableEnd, at: position)
          position = end
          return
        }
        let offset = position
        switch bytes[position] {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): number()
        case UInt8(ascii: "'"), UInt8(ascii: "\""): try string()
        case let byte where Self.isNameByte(byte): try name()
        default:
          guard let symbol = Self.symbols.first(where: { has($0, at: position) }) else {
            throw problem("unexpected character '\(Text.character(bytes, at: position))'")
          }
          position += symbol.utf8CodeUnitCount
          let written = symbol.description
          add(.symbol(written), at: offset)
          switch written {
          case "(": open.append((")", offset))
          case "[": open.append(("]", offset))
          case "{": open.append(("}", offset))
          case ")", "]", "}":
            guard let (closer, _) = open.popLast() else { throw problem("unexpected '\(written)'", at: offset) }
            guard closer == written else {
              throw problem("unexpected '\(written)', expected '\(closer)'", at: offset)
            }
          default: break
          }
        }
      }
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), 0x80...:
        true
      default: false
      }
    }

    private mutating func name() throws(Problem) {
      let start = position
      while position < bytes.count, Self.isNameByte(bytes[position]) { position += 1 }
      let name = source.text(start..<position)
      let valid = name.unicodeScalars.allSatisfy { $0 == "_" || $0.properties.isXIDContinue }
      guard valid else { throw problem("'\(name)' is no name", at: start) }
      add(.name(name), at: start)
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    /// The end of digits that may be parted by single underscores.
    private func digits(from start: Int, where isDigit: (UInt8) -> Bool) -> Int {
      var index = start
      while index < bytes.count {
        if isDigit(bytes[index]) {
          index += 1
        } else if bytes[index] == UInt8(ascii: "_"), index > start, index + 1 < bytes.count, isDigit(bytes[index + 1]) {
          index += 2
        } else {
          break
        }
      }
      return index
    }

    private mutating func number() {
      let start = position
      var end = digits(from: start, where: Self.isDigit)
      // After a dot it is an index, `a.0.1`, and no fraction.
      if start == 0 || bytes[start - 1] != UInt8(ascii: ".") {
        var fraction = false
        if has(".", at: end), end + 1 < bytes.count, Self.isDigit(bytes[end + 1]) {
          end = digits(from: end + 1, where: Self.isDigit)
          fraction = true
        }
        if has("e", at: end) || has("E", at: end) {
          let sign = has("+", at: end + 1) || has("-", at: end + 1) ? 1 : 0
          let exponent = digits(from: end + 1 + sign, where: Self.isDigit)
          if exponent > end + 1 + sign {
            end = exponent
            fraction = true
          }
        }
        if fraction {
          position = end
          add(.float(Double(plain(start..<end)) ?? 0), at: start)
          return
        }
      }
      integer(from: start)
    }

    private func plain(_ range: Range<Int>) -> String {
      String(decoding: bytes[range].filter { $0 != UInt8(ascii: "_") }, as: UTF8.self)
    }

    private mutating func integer(from start: Int) {
      for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] as [(StaticString, Int)] {
        guard bytes[start] == 0x30, start + 2 < bytes.count, bytes[start + 1] | 0x20 == prefix.utf8Start[1] else {
          continue
        }
        let first = start + 2 + (bytes[start + 2] == UInt8(ascii: "_") ? 1 : 0)
        let end = digits(from: first) { byte in
          Character(UnicodeScalar(byte)).hexDigitValue.map { $0 < radix } ?? false
        }
        guard end > first, let value = UInt64(plain(first..<end), radix: radix) else { continue }
        position = end
        add(.integer(String(value)), at: start)
        return
      }
      let zero = bytes[start] == 0x30
      let end = digits(from: start) { zero ? $0 == 0x30 : Self.isDigit($0) }
      position = end
      add(.integer(zero ? "0" : plain(start..<end)), at: start)
    }

    private mutating func string() throws(Problem) {
      let start = position
      let quote = bytes[start]
      var text: [UInt8] = []
      position += 1
      while true {
        guard position < bytes.count else { throw problem("the string is not closed", at: start) }
        let byte = bytes[position]
        position += 1
        if byte == quote { break }
        if byte == UInt8(ascii: "\\") { try escape(into: &text) } else { text.append(byte) }
      }
      add(.string(String(decoding: text, as: UTF8.self)), at: start)
    }

    /// What a backslash stands for, as in Python's strings; before other characters it stands for itself.
    private mutating func escape(into text: inout [UInt8]) throws(Problem) {
      guard position < bytes.count else { return }
      let byte = bytes[position]
      position += 1
      switch byte {
      case UInt8(ascii: "\n"): break
      case UInt8(ascii: "\\"), UInt8(ascii: "'"), UInt8(ascii: "\""): text.append(byte)
      case UInt8(ascii: "n"): text.append(0x0A)
      case UInt8(ascii: "t"): text.append(0x09)
      case UInt8(ascii: "r"): text.append(0x0D)
      case UInt8(ascii: "a"): text.append(0x07)
      case UInt8(ascii: "b"): text.append(0x08)
      case UInt8(ascii: "f"): text.append(0x0C)
      case UInt8(ascii: "v"): text.append(0x0B)
      case UInt8(ascii: "x"): try scalar(digits: 2, into: &text)
      case UInt8(ascii: "u"): try scalar(digits: 4, into: &text)
      case UInt8(ascii: "U"): try scalar(digits: 8, into: &text)
      case UInt8(ascii: "N"): throw problem("characters by name (\\N) are not supported", at: position - 2)
      case UInt8(ascii: "0")...UInt8(ascii: "7"):
        var value = UInt32(byte - 0x30)
        for _ in 0..<2 {
          guard position < bytes.count, (0x30...0x37).contains(bytes[position]) else { break }
          value = value * 8 + UInt32(bytes[position] - 0x30)
          position += 1
        }
        text += String(Character(Unicode.Scalar(value) ?? "\u{FFFD}")).utf8
      default: text += [UInt8(ascii: "\\"), byte]
      }
    }

    private mutating func scalar(digits count: Int, into text: inout [UInt8]) throws(Problem) {
      let start = position - 2
      guard position + count <= bytes.count,
        bytes[position..<position + count].allSatisfy({ Character(UnicodeScalar($0)).isHexDigit && $0 < 0x80 }),
        let value = UInt32(source.text(position..<position + count), radix: 16), let scalar = Unicode.Scalar(value)
      else { throw problem("the escape needs \(count) hexadecimal digits of a character", at: start) }
      position += count
      text += String(Character(scalar)).utf8
    }
  }
}
