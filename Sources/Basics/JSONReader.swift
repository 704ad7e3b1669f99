extension JSON {
  /// Parses one JSON text.
  ///
  /// - Parameter acceptingInfinity: also reads the numbers that JSON lacks and Python writes, `Infinity`, `-Infinity`
  ///   and `NaN`, as the object `{"__float__": "Infinity"}` that configs have for them since.
  /// - Throws: a ``Problem`` with code ``Problem/Code/json`` and the byte offset where reading stopped.
  public init(parsing bytes: some Collection<UInt8>, acceptingInfinity: Bool = false) throws(Problem) {
    let result: Result<JSON, Problem>
    // The parser works on contiguous memory; a copy is made only for exotic collections.
    if let fast = bytes.withContiguousStorageIfAvailable({ JSON.parse($0, acceptingInfinity) }) {
      result = fast
    } else {
      result = Array(bytes).withUnsafeBufferPointer { JSON.parse($0, acceptingInfinity) }
    }
    self = try result.get()
  }

  public init(parsing text: String) throws(Problem) {
    self = try JSON(parsing: Array(text.utf8))
  }

  private static func parse(_ bytes: UnsafeBufferPointer<UInt8>, _ acceptsInfinity: Bool) -> Result<JSON, Problem> {
    var reader = JSONReader(bytes: bytes, acceptsInfinity: acceptsInfinity)
    do { return .success(try reader.document()) } catch { return .failure(error) }
  }
}

/// A recursive-descent reader of RFC 8259 over bytes.
private struct JSONReader {
  static let maximumDepth = 128

  let bytes: UnsafeBufferPointer<UInt8>
  let acceptsInfinity: Bool
  var position = 0
  var depth = 0

  func failure(_ message: String) -> Problem {
    Problem(.json, "invalid JSON: \(message)", byteOffset: position)
  }

  mutating func document() throws(Problem) -> JSON {
    let value = try value()
    skipSpace()
    guard position == bytes.count else { throw failure("text after the end of the value") }
    return value
  }

  mutating func skipSpace() {
    while position < bytes.count {
      switch bytes[position] {
      case 0x20, 0x09, 0x0A, 0x0D: position += 1
      default: return
      }
    }
  }

  mutating func peek() throws(Problem) -> UInt8 {
    guard position < bytes.count else { throw failure("the text ends inside a value") }
    return bytes[position]
  }

  mutating func expect(_ byte: UInt8) throws(Problem) {
    guard try peek() == byte else {
      throw failure("expected '\(Character(UnicodeScalar(byte)))'")
    }
    position += 1
  }

  mutating func value() throws(Problem) -> JSON {
    skipSpace()
    switch try peek() {
    case UInt8(ascii: "{"): return try object()
    case UInt8(ascii: "["): return try array()
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    case UInt8(ascii: "I") where acceptsInfinity: return try word("Infinity", ["__float__": "Infinity"])
    case UInt8(ascii: "N") where acceptsInfinity: return try word("NaN", ["__float__": "NaN"])
    case UInt8(ascii: "-") where acceptsInfinity && position + 1 < bytes.count && bytes[position + 1] == 0x49:
      return try word("-Infinity", ["__float__": "-Infinity"])
    default: return .literal(try number())
    }
  }

  mutating func word(_ text: StaticString, _ value: JSON) throws(Problem) -> JSON {
    let count = text.utf8CodeUnitCount
    guard bytes.count - position >= count else { throw failure("unknown word") }
    for index in 0..<count where bytes[position + index] != text.utf8Start[index] { throw failure("unknown word") }
    position += count
    return value
  }

  mutating func enter() throws(Problem) {
    depth += 1
    guard depth <= Self.maximumDepth else { throw failure("nested deeper than \(Self.maximumDepth) levels") }
  }

  mutating func object() throws(Problem) -> JSON {
    try enter()
    defer { depth -= 1 }
    try expect(UInt8(ascii: "{"))
    var members = JSON.Members()
    skipSpace()
    if try peek() == UInt8(ascii: "}") {
      position += 1
      return .object(members)
    }
    while true {
      skipSpace()
      let start = position
      let key = try string()
      skipSpace()
      try expect(UInt8(ascii: ":"))
      let item = try value()
      guard members.insert(item, forKey: key) else {
        position = start
        throw failure("duplicate key \"\(key)\"")
      }
      skipSpace()
      if try peek() == UInt8(ascii: "}") { break }
      try expect(UInt8(ascii: ","))
    }
    position += 1
    return .object(members)
  }

  mutating func array() throws(Problem) -> JSON {
    try enter()
    defer { depth -= 1 }
    try expect(UInt8(ascii: "["))
    var elements: [JSON] = []
    skipSpace()
    if try peek() == UInt8(ascii: "]") {
      position += 1
      return .array(elements)
    }
    while true {
      elements.append(try value())
      skipSpace()
      if try peek() == UInt8(ascii: "]") { break }
      try expect(UInt8(ascii: ","))
    }
    position += 1
    return .array(elements)
  }

  mutating func number() throws(Problem) -> String {
    let start = position
    func isDigit() -> Bool { position < bytes.count && (0x30...0x39).contains(bytes[position]) }
    func at(_ characters: UInt8...) -> Bool { position < bytes.count && characters.contains(bytes[position]) }
    if at(UInt8(ascii: "-")) { position += 1 }
    guard isDigit() else { throw failure("expected a value") }
    if at(UInt8(ascii: "0")) {
      position += 1
      guard !isDigit() else { throw failure("a number starts with 0") }
    }
    while isDigit() { position += 1 }
    if at(UInt8(ascii: ".")) {
      position += 1
      guard isDigit() else { throw failure("a number ends with its point") }
      while isDigit() { position += 1 }
    }
    if at(UInt8(ascii: "e"), UInt8(ascii: "E")) {
      position += 1
      if at(UInt8(ascii: "+"), UInt8(ascii: "-")) { position += 1 }
      guard isDigit() else { throw failure("a number ends inside its exponent") }
      while isDigit() { position += 1 }
    }
    return String(decoding: bytes[start..<position], as: UTF8.self)
  }

  mutating func string() throws(Problem) -> String {
    try expect(UInt8(ascii: "\""))
    var collected: [UInt8] = []
    var runStart = position
    while true {
      let byte = try peek()
      switch byte {
      case UInt8(ascii: "\""):
        let run = bytes[runStart..<position]
        // Most strings have no escapes, and are taken as they lie there.
        let text =
          collected.isEmpty
          ? String(validating: run, as: UTF8.self) : String(validating: collected + run, as: UTF8.self)
        guard let text else { throw failure("a string is not valid UTF-8") }
        position += 1
        return text
      case UInt8(ascii: "\\"):
        collected.append(contentsOf: bytes[runStart..<position])
        position += 1
        collected.append(contentsOf: String(Character(try escape())).utf8)
        runStart = position
      case 0..<0x20: throw failure("a control character inside a string")
      default: position += 1
      }
    }
  }

  mutating func escape() throws(Problem) -> UnicodeScalar {
    let byte = try peek()
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return UnicodeScalar(byte)
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"):
      var code = try hex4()
      if (0xD800..<0xDC00).contains(code) {
        try expect(UInt8(ascii: "\\"))
        try expect(UInt8(ascii: "u"))
        let low = try hex4()
        guard (0xDC00..<0xE000).contains(low) else { throw failure("a lone surrogate") }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = UnicodeScalar(code) else { throw failure("a lone surrogate") }
      return scalar
    default: throw failure("unknown escape")
    }
  }

  mutating func hex4() throws(Problem) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      let byte = try peek()
      guard let digit = Character(UnicodeScalar(byte)).hexDigitValue, byte < 0x80 else {
        throw failure("expected four hex digits")
      }
      value = value << 4 + UInt32(digit)
      position += 1
    }
    return value
  }
}
