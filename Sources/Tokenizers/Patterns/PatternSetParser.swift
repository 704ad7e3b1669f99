internal import EspalierBasics

/// Sets of scalars within patterns: `[...]` with ranges, nested sets and intersections, `\p{...}`, `\d` and the like.
enum PatternSetParser {
  /// A bracketed set; its `[` is taken.
  static func set(_ parser: inout PatternParser) throws(Problem) -> ScalarSet {
    try parser.enterSet()
    defer { parser.leaveSet() }
    let negated = parser.takeIf("^")
    var groups: [[ScalarSet.Member]] = []
    var members: [ScalarSet.Member] = []
    var isFirst = true
    while true {
      // A `]` that comes first stands for itself.
      if !isFirst, parser.takeIf("]") { break }
      guard parser.nextScalar != nil else { throw parser.unsupported("has a '[' without its ']'") }
      if parser.takeIf("&&") {
        groups.append(members)
        members = []
        isFirst = false
        continue
      }
      isFirst = false
      let (member, single) = try self.member(&parser)
      guard let low = single, parser.nextScalar == 0x2D, let after = parser.peek(1), after != 0x5D else {
        members.append(member)
        continue
      }
      guard parser.takeIf("-") else { continue }
      let (other, high) = try self.member(&parser)
      if let high {
        guard low <= high else { throw parser.unsupported("has a range that ends before it begins") }
        members.append(.range(low...high))
      } else {
        // A class after the dash: then the dash stands for itself.
        members += [member, .range(0x2D...0x2D), other]
      }
    }
    groups.append(members)
    return ScalarSet(groups: groups, negated: negated)
  }

  /// `\w` between brackets: without the superscript digits and fractions of Latin-1, which it has outside of them.
  private static let bracketedWord = ScalarSet(groups: [
    [.word], [.set(ScalarSet([.range(0xB2...0xB3), .range(0xB9...0xB9), .range(0xBC...0xBE)], negated: true))],
  ])

  /// One member of a set, and the scalar if it is a single one.
  private static func member(
    _ parser: inout PatternParser
  ) throws(Problem) -> (ScalarSet.Member, single: UInt32?) {
    if parser.takeIf("[:") { return (.set(try named(&parser)), nil) }
    if parser.takeIf("[") { return (.set(try set(&parser)), nil) }
    if parser.takeIf("\\b") { return (.range(8...8), 8) }
    if parser.takeIf("\\") {
      if let scalar = try escapedScalar(&parser) { return (.range(scalar...scalar), scalar) }
      if parser.takeIf("w") { return (.set(bracketedWord), nil) }
      if parser.takeIf("W") { return (.set(bracketedWord.inverted), nil) }
      return (.set(try escapedClass(&parser)), nil)
    }
    let scalar = try parser.takeScalar(orFail: "has a '[' without its ']'")
    return (.range(scalar...scalar), scalar)
  }

  /// What `\d`, `\.`, `\p{L}` and the like stand for; the backslash is taken.
  static func escapedSet(_ parser: inout PatternParser) throws(Problem) -> ScalarSet {
    if let scalar = try escapedScalar(&parser) { return .only(scalar) }
    return try escapedClass(&parser)
  }

  /// An escape that stands for one scalar; nil, and nothing taken, if it stands for a class.
  private static func escapedScalar(_ parser: inout PatternParser) throws(Problem) -> UInt32? {
    guard let scalar = parser.nextScalar else { throw parser.unsupported("ends with a backslash") }
    switch UnicodeScalar(scalar) {
    case "d", "D", "w", "W", "s", "S", "h", "H", "p", "P": return nil
    case "t": return try taken(&parser, 0x09)
    case "n": return try taken(&parser, 0x0A)
    case "v": return try taken(&parser, 0x0B)
    case "f": return try taken(&parser, 0x0C)
    case "r": return try taken(&parser, 0x0D)
    case "a": return try taken(&parser, 0x07)
    case "e": return try taken(&parser, 0x1B)
    case "0": return try taken(&parser, 0x00)
    case "x":
      _ = try taken(&parser, 0)
      if parser.takeIf("{") {
        let value = try hexadecimal(&parser, atMost: 8)
        guard parser.takeIf("}") else { throw parser.unsupported("has an escape without its '}'") }
        return value
      }
      return try hexadecimal(&parser, atMost: 2)
    case "u":
      _ = try taken(&parser, 0)
      return try hexadecimal(&parser, atMost: 4)
    case let letter?
    where ("a"..."z").contains(letter) || ("A"..."Z").contains(letter) || ("1"..."9").contains(letter):
      throw parser.unsupported("uses \\\(letter), which is not supported")
    default: return try taken(&parser, scalar)
    }
  }

  private static func taken(_ parser: inout PatternParser, _ value: UInt32) throws(Problem) -> UInt32 {
    _ = try parser.takeScalar(orFail: "ends with a backslash")
    return value
  }

  private static func hexadecimal(_ parser: inout PatternParser, atMost digits: Int) throws(Problem) -> UInt32 {
    var value: UInt32 = 0
    var count = 0
    while count < digits, let scalar = parser.nextScalar, scalar < 0x80,
      let digit = Character(UnicodeScalar(UInt8(scalar))).hexDigitValue
    {
      _ = try taken(&parser, 0)
      value = value << 4 | UInt32(digit)
      count += 1
    }
    guard count > 0, UnicodeScalar(value) != nil else { throw parser.unsupported("has an escape that is no scalar") }
    return value
  }

  private static func escapedClass(_ parser: inout PatternParser) throws(Problem) -> ScalarSet {
    let scalar = try parser.takeScalar(orFail: "ends with a backslash")
    switch UnicodeScalar(scalar) {
    case "d": return .digit
    case "D": return ScalarSet.digit.inverted
    case "w": return .word
    case "W": return ScalarSet.word.inverted
    case "s": return .whitespace
    case "S": return ScalarSet.whitespace.inverted
    case "h": return .hexDigit
    case "H": return ScalarSet.hexDigit.inverted
    default: return try property(&parser, negated: scalar == 0x50)
    }
  }

  /// `\p{Name}`, `\p{^Name}`, `\P{Name}`; the letter is taken.
  private static func property(_ parser: inout PatternParser, negated: Bool) throws(Problem) -> ScalarSet {
    guard parser.takeIf("{") else { throw parser.unsupported("has a \\p without its '{'") }
    let isInverted = parser.takeIf("^") != negated
    let name = try text(&parser, until: "}")
    guard let set = properties(name) else {
      throw parser.unsupported("uses the property \(name), which is not supported")
    }
    return isInverted ? set.inverted : set
  }

  /// `[:name:]`; the `[:` is taken.
  private static func named(_ parser: inout PatternParser) throws(Problem) -> ScalarSet {
    let isInverted = parser.takeIf("^")
    let name = try text(&parser, until: ":")
    guard parser.takeIf("]"), let set = brackets(name) else {
      throw parser.unsupported("uses the class [:\(name):], which is not supported")
    }
    return isInverted ? set.inverted : set
  }

  private static func text(_ parser: inout PatternParser, until end: Unicode.Scalar) throws(Problem) -> String {
    var text = String.UnicodeScalarView()
    while true {
      let scalar = try parser.takeScalar(orFail: "has a name without its '\(end)'")
      if scalar == end.value { return String(text) }
      if let scalar = UnicodeScalar(scalar) { text.append(scalar) }
    }
  }

  /// Names are compared without case, spaces, hyphens and underscores.
  private static func folded(_ name: String) -> String {
    String(String.UnicodeScalarView(name.unicodeScalars.filter { !" -_".unicodeScalars.contains($0) })).lowercased()
  }

  private static func properties(_ name: String) -> ScalarSet? {
    if let categories = CategorySet(named: name) { return ScalarSet([.categories(categories)]) }
    let wanted = folded(name)
    if wanted == "word" { return .word }
    if wanted == "punct" { return ScalarSet([.categories(.punctuation)]) }
    if let set = brackets(wanted) { return set }
    if wanted == "any" { return .any }
    if wanted == "whitespace" { return .whitespace }
    if let script = ScalarClass.scriptNames.firstIndex(where: { folded($0) == wanted }) {
      return ScalarSet([.script(UInt8(script + 1))])
    }
    let categories =
      GeneralCategory.allCases.map(\.name)
      + [
        "L", "M", "N", "P", "S", "Z", "C", "LC", "Letter", "Mark", "Number", "Punctuation", "Symbol", "Separator",
        "Other",
      ]
    return categories.first { folded($0) == wanted }.flatMap { CategorySet(named: $0) }
      .map { ScalarSet([.categories($0)]) }
  }

  private static func brackets(_ name: String) -> ScalarSet? {
    switch name {
    case "digit": .digit
    case "space": .whitespace
    case "word": bracketedWord
    case "cntrl": ScalarSet([.categories(CategorySet(.cc))])
    case "ascii": ScalarSet([.range(0...0x7F)])
    case "xdigit": .hexDigit
    case "blank": ScalarSet([.categories(CategorySet(.zs)), .range(9...9)])
    case "punct": ScalarSet([.categories(CategorySet.punctuation.union(.symbol))])
    default: nil
    }
  }
}
