public import EspalierBasics

/// Reads the dialect of regular expressions that `tokenizer.json` files are written in: Oniguruma's, with Ruby's syntax.
///
/// Not read, and named in the error: captures that are referred to, conditions, recursion, text segments (`\X`), free
/// spacing, and properties without a table (all but categories, scripts and a few).
struct PatternParser {
  private let pattern: String
  private let scalars: [UInt32]
  private var position = 0
  private var depth = 0
  private var nodes = 0
  private var ignoresCase = false
  private var dotMatchesNewline = false

  private static let maximumDepth = 64
  private static let maximumNodes = 20_000
  private static let maximumRepeat = 100_000

  /// - Throws: ``Problem/Code/tokenizerPattern``.
  static func parse(_ pattern: String) throws(Problem) -> PatternNode {
    var parser = PatternParser(pattern)
    let node = try parser.alternatives()
    guard parser.position == parser.scalars.count else { throw parser.failure("has a ')' too many") }
    return node
  }

  private init(_ pattern: String) {
    self.pattern = pattern
    scalars = pattern.unicodeScalars.map(\.value)
  }

  private func failure(_ message: String) -> Problem {
    Problem(.tokenizerPattern, "the pattern \(quoted(ExactString(pattern))) \(message)")
  }

  private var next: UInt32? { position < scalars.count ? scalars[position] : nil }

  private mutating func take(_ text: StaticString) -> Bool {
    let count = text.utf8CodeUnitCount
    guard scalars.count - position >= count else { return false }
    for index in 0..<count where scalars[position + index] != UInt32(text.utf8Start[index]) { return false }
    position += count
    return true
  }

  private mutating func alternatives() throws(Problem) -> PatternNode {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.maximumDepth else { throw failure("is nested too deep") }
    let (savedCase, savedDot) = (ignoresCase, dotMatchesNewline)
    defer { (ignoresCase, dotMatchesNewline) = (savedCase, savedDot) }
    var choices = [try sequence()]
    while take("|") { choices.append(try sequence()) }
    return choices.count == 1 ? choices[0] : .alternatives(choices)
  }

  private mutating func sequence() throws(Problem) -> PatternNode {
    var parts: [PatternNode] = []
    while let scalar = next, scalar != 0x7C, scalar != 0x29 { parts.append(try repeated()) }
    return parts.count == 1 ? parts[0] : .sequence(parts)
  }

  private mutating func repeated() throws(Problem) -> PatternNode {
    nodes += 1
    guard nodes <= Self.maximumNodes else { throw failure("is too large") }
    var node = try atom()
    while let (minimum, maximum, isInterval) = try quantifier() {
      var greed = PatternNode.Greed.greedy
      if isInterval {
        // In this dialect `{n}?` makes the repeat optional, and a `+` after an interval repeats it.
        if minimum != maximum, take("?") { greed = .lazy }
      } else if take("?") {
        greed = .lazy
      } else if take("+") {
        greed = .possessive
      }
      node = .repeated(node, minimum: minimum, maximum: maximum, greed)
    }
    return node
  }

  private mutating func quantifier() throws(Problem) -> (minimum: Int, maximum: Int?, isInterval: Bool)? {
    if take("*") { return (0, nil, false) }
    if take("+") { return (1, nil, false) }
    if take("?") { return (0, 1, false) }
    let start = position
    guard take("{") else { return nil }
    let minimum = number()
    var maximum = minimum
    let hasComma = take(",")
    if hasComma { maximum = number() }
    guard take("}"), minimum != nil || (hasComma && maximum != nil) else {
      position = start
      return nil
    }
    guard max(minimum ?? 0, maximum ?? 0) <= Self.maximumRepeat, maximum.map({ (minimum ?? 0) <= $0 }) ?? true else {
      throw failure("has a repeat count out of range")
    }
    return (minimum ?? 0, maximum, true)
  }

  private mutating func number() -> Int? {
    var value: Int?
    while let scalar = next, (0x30...0x39).contains(scalar) {
      value = min((value ?? 0) * 10 + Int(scalar - 0x30), 1 << 40)
      position += 1
    }
    return value
  }

  private mutating func atom() throws(Problem) -> PatternNode {
    guard let scalar = next else { throw failure("ends too early") }
    switch scalar {
    case 0x7B: break  // A brace that is no repeat count stands for itself.
    case 0x2A, 0x2B, 0x3F: throw failure("repeats nothing")
    default: break
    }
    position += 1
    switch UnicodeScalar(scalar) {
    case ".": return .set(dotMatchesNewline ? .any : ScalarSet.newline.inverted)
    case "^": return .assertion(.lineStart)
    case "$": return .assertion(.lineEnd)
    case "[": return .set(cased(try PatternSetParser.set(&self)))
    case "(": return try group()
    case "\\": return try escape()
    default: return .set(cased(.only(scalar)))
    }
  }

  private func cased(_ set: ScalarSet) -> ScalarSet { ignoresCase ? set.ignoringCase : set }

  private mutating func group() throws(Problem) -> PatternNode {
    guard take("?") else { return try closed(try alternatives()) }
    if take(":") { return try closed(try alternatives()) }
    if take("=") { return .look(try closed(try alternatives()), behind: false, negative: false) }
    if take("!") { return .look(try closed(try alternatives()), behind: false, negative: true) }
    if take(">") { return .atomic(try closed(try alternatives())) }
    if take("<=") { return try lookBehind(negative: false) }
    if take("<!") { return try lookBehind(negative: true) }
    if take("#") {
      while let scalar = next, scalar != 0x29 { position += 1 }
      return try closed(.empty)
    }
    if next == 0x3C {
      // A name; what it captures is not asked for.
      while let scalar = next, scalar != 0x3E, scalar != 0x29 { position += 1 }
      guard take(">") else { throw failure("has a group name without its '>'") }
      return try closed(try alternatives())
    }
    return try options()
  }

  private mutating func closed(_ node: PatternNode) throws(Problem) -> PatternNode {
    guard take(")") else { throw failure("has a '(' without its ')'") }
    return node
  }

  private mutating func lookBehind(negative: Bool) throws(Problem) -> PatternNode {
    let node = try closed(try alternatives())
    guard let longest = node.length.maximum, longest <= 255 else {
      throw failure("looks behind for something of no bounded length, which is not supported")
    }
    return .look(node, behind: true, negative: negative)
  }

  /// `(?i:...)`, or `(?i)` for the rest of the group.
  private mutating func options() throws(Problem) -> PatternNode {
    let (savedCase, savedDot) = (ignoresCase, dotMatchesNewline)
    var turnsOn = true
    while let scalar = next, scalar != 0x3A, scalar != 0x29 {
      position += 1
      switch UnicodeScalar(scalar) {
      case "-": turnsOn = false
      case "i": ignoresCase = turnsOn
      case "m": dotMatchesNewline = turnsOn
      default:
        let name = String(Character(UnicodeScalar(scalar) ?? " "))
        throw failure("uses (?\(name), which is not supported")
      }
    }
    if take(":") {
      let node = try alternatives()
      (ignoresCase, dotMatchesNewline) = (savedCase, savedDot)
      return try closed(node)
    }
    guard take(")") else { throw failure("has a '(' without its ')'") }
    // The options hold to the end of the enclosing group, alternatives included.
    let node = try alternatives()
    (ignoresCase, dotMatchesNewline) = (savedCase, savedDot)
    return node
  }

  private mutating func escape() throws(Problem) -> PatternNode {
    if take("b") { return .assertion(.wordBoundary) }
    if take("B") { return .assertion(.notWordBoundary) }
    if take("A") { return .assertion(.textStart) }
    if take("z") { return .assertion(.textEnd) }
    if take("Z") { return .assertion(.lastLineEnd) }
    if take("R") {
      let breaks = ScalarSet([.range(0x0A...0x0D), .range(0x85...0x85), .range(0x2028...0x2029)])
      return .atomic(.alternatives([.sequence([.set(.only(0x0D)), .set(.only(0x0A))]), .set(breaks)]))
    }
    return .set(cased(try PatternSetParser.escapedSet(&self)))
  }
}

// MARK: - What the parser of sets needs

extension PatternParser {
  func unsupported(_ message: String) -> Problem { failure(message) }
  var nextScalar: UInt32? { next }
  mutating func takeIf(_ text: StaticString) -> Bool { take(text) }

  mutating func takeScalar(orFail message: String) throws(Problem) -> UInt32 {
    guard let scalar = next else { throw failure(message) }
    position += 1
    return scalar
  }

  func peek(_ distance: Int) -> UInt32? {
    position + distance < scalars.count ? scalars[position + distance] : nil
  }

  mutating func enterSet() throws(Problem) {
    depth += 1
    nodes += 1
    guard depth <= Self.maximumDepth, nodes <= Self.maximumNodes else {
      throw failure("is too large or nested too deep")
    }
  }

  mutating func leaveSet() { depth -= 1 }
}

extension Problem.Code {
  /// A regular expression of a tokenizer is malformed, or uses something that is not supported.
  public static let tokenizerPattern = Problem.Code("tokenizer.pattern")
}
