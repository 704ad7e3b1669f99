import EspalierBasics

/// Reads the two small languages of a description, expressions and dimensions, from one line of text.
struct FormulaParser {
  enum Token: Hashable {
    case name(String)
    case integer(Int)
    case text(String)
    case symbol(String)
    /// The name of a parameter or module, written `@name`.
    case reference(String)
    case end
  }

  private let source: String
  private let tokens: [Token]
  private var position = 0
  private var depth = 0

  init(_ source: String) throws(Problem) {
    self.source = source
    tokens = try FormulaParser.tokens(of: source)
    // A formula is evaluated recursively: its depth must not depend on a stranger's patience.
    guard tokens.count <= 500 else { throw Problem(.architectureDescription, "a formula of \(tokens.count) words") }
  }

  var next: Token { position < tokens.count ? tokens[position] : .end }
  var afterNext: Token { position + 1 < tokens.count ? tokens[position + 1] : .end }

  mutating func advance() { position += 1 }

  mutating func accept(_ symbol: String) -> Bool {
    guard next == .symbol(symbol) else { return false }
    advance()
    return true
  }

  mutating func expect(_ symbol: String) throws(Problem) {
    guard accept(symbol) else { throw unexpected("`\(symbol)`") }
  }

  func expectEnd() throws(Problem) {
    guard next == .end else { throw unexpected("the end") }
  }

  func unexpected(_ expected: String) -> Problem {
    let found =
      switch next {
      case .name(let text), .symbol(let text): "`\(text)`"
      case .reference(let text): "`@\(text)`"
      case .text(let text): "'\(text)'"
      case .integer(let value): "\(value)"
      case .end: "the end"
      }
    return Problem(.architectureDescription, "in `\(source)`: expected \(expected), found \(found)")
  }

  /// Runs `body` one level deeper; parentheses may nest 32 deep.
  mutating func nested<T>(_ body: (inout FormulaParser) throws(Problem) -> T) throws(Problem) -> T {
    guard depth < 32 else { throw Problem(.architectureDescription, "in `\(source)`: nested too deeply") }
    depth += 1
    let result = try body(&self)
    depth -= 1
    return result
  }
}

// MARK: - Tokens

extension FormulaParser {
  private static let symbols = [
    "??", "==", "!=", "<=", ">=", "//", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", "|", "(", ")", "[", "]", ",",
    "=",
  ]

  private static func tokens(of source: String) throws(Problem) -> [Token] {
    var tokens: [Token] = []
    var rest = Substring(source)
    while let first = rest.first {
      if first == " " {
        rest.removeFirst()
      } else if isNameStart(first) {
        let name = rest.prefix { isNameStart($0) || isDigit($0) || $0 == "." }
        rest.removeFirst(name.count)
        tokens.append(.name(String(name)))
      } else if isDigit(first) {
        let digits = rest.prefix(while: isDigit)
        rest.removeFirst(digits.count)
        guard let value = Int(digits) else { throw unreadable(source, "\(digits) is too large") }
        tokens.append(.integer(value))
      } else if first == "'" {
        rest.removeFirst()
        guard let close = rest.firstIndex(of: "'") else { throw unreadable(source, "a text without its closing '") }
        tokens.append(.text(String(rest[..<close])))
        rest = rest[rest.index(after: close)...]
      } else if first == "@" {
        rest.removeFirst()
        let name = rest.prefix { isNameStart($0) || isDigit($0) || $0 == "." || $0 == "{" || $0 == "}" }
        rest.removeFirst(name.count)
        tokens.append(.reference(String(name)))
      } else if let symbol = symbols.first(where: { rest.hasPrefix($0) }) {
        rest.removeFirst(symbol.count)
        tokens.append(.symbol(symbol))
      } else {
        throw unreadable(source, "unexpected character `\(first)`")
      }
    }
    return tokens
  }

  private static func isNameStart(_ character: Character) -> Bool {
    ("a"..."z").contains(character) || ("A"..."Z").contains(character) || character == "_"
  }

  private static func isDigit(_ character: Character) -> Bool { ("0"..."9").contains(character) }

  private static func unreadable(_ source: String, _ what: String) -> Problem {
    Problem(.architectureDescription, "in `\(source)`: \(what)")
  }
}

// MARK: - Expressions

extension Expression {
  /// Reads one expression that is the whole of `source`.
  init(parsing source: String) throws(Problem) {
    var parser = try FormulaParser(source)
    self = try parser.expression()
    try parser.expectEnd()
  }
}

extension FormulaParser {
  /// Binary operators by strength, weakest first.
  private static let levels: [[Expression.Operator]] = [
    [.or], [.and],
    [.equal, .unequal, .lessOrEqual, .greaterOrEqual, .less, .greater, .isIn],
    [.otherwise], [.plus, .minus], [.times, .floorDivided, .divided, .modulo],
  ]

  mutating func expression() throws(Problem) -> Expression {
    try nested { parser throws(Problem) in
      let condition = try parser.binary(level: 0)
      guard parser.accept("?") else { return condition }
      let first = try parser.expression()
      try parser.expect(":")
      return .conditional(condition, first, try parser.expression())
    }
  }

  private mutating func binary(level: Int) throws(Problem) -> Expression {
    guard level < FormulaParser.levels.count else { return try unary() }
    var left = try binary(level: level + 1)
    while let symbol = FormulaParser.levels[level].first(where: { next == token(of: $0) }) {
      advance()
      left = .binary(symbol, left, try binary(level: level + 1))
    }
    return left
  }

  private func token(of symbol: Expression.Operator) -> Token {
    [.or, .and, .isIn].contains(symbol) ? .name(symbol.rawValue) : .symbol(symbol.rawValue)
  }

  private mutating func unary() throws(Problem) -> Expression {
    if accept("!") { return .not(try nested { parser throws(Problem) in try parser.unary() }) }
    if accept("-") { return .negative(try nested { parser throws(Problem) in try parser.unary() }) }
    var operand = try primary()
    while accept("[") {
      operand = .element(operand, try expression())
      try expect("]")
    }
    return operand
  }

  private mutating func primary() throws(Problem) -> Expression {
    if accept("(") {
      let inner = try expression()
      try expect(")")
      return inner
    }
    let token = next
    switch token {
    case .integer(let value):
      advance()
      return .value(.integer(value))
    case .text(let text):
      advance()
      return .value(.text(text))
    case .name(let name):
      advance()
      return try named(name)
    case .symbol, .reference, .end: throw unexpected("a value")
    }
  }

  private mutating func named(_ name: String) throws(Problem) -> Expression {
    switch name {
    case "true": return .value(.truth(true))
    case "false": return .value(.truth(false))
    case "and", "or", "in": throw unexpected("a value before `\(name)`")
    default: break
    }
    guard accept("(") else { return .name(name) }
    guard let function = Expression.Function(rawValue: name) else {
      throw Problem(.architectureDescription, "in `\(source)`: unknown function `\(name)`")
    }
    var arguments = [try expression()]
    while accept(",") { arguments.append(try expression()) }
    try expect(")")
    guard arguments.count == function.arity else {
      throw Problem(
        .architectureDescription,
        "in `\(source)`: `\(name)` takes \(function.arity) argument(s), not \(arguments.count)")
    }
    return .call(function, arguments)
  }
}
