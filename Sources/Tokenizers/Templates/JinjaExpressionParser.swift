internal import EspalierBasics

// Jinja's grammar of expressions, loosest binding first. It is Python's but for filters and tests, which bind tighter
// than any operator, and `**`, which groups from the left and binds looser than a sign.
extension Jinja.Parser {
  typealias Expression = Jinja.Expression

  private func placed(_ form: Expression.Form, at offset: Jinja.Offset) -> Expression {
    Expression(form: form, offset: offset)
  }

  /// One expression, or several with commas, which make a tuple.
  mutating func tuple(
    conditional: Bool = true, ends: [String] = [], parenthesized: Bool = false
  ) throws(Problem) -> Expression {
    let start = offset
    var elements: [Expression] = []
    var isTuple = false
    while true {
      if isTupleEnd(ends) { break }
      elements.append(conditional ? try expression() : try or())
      guard skip(symbol: ",") else { break }
      isTuple = true
    }
    if !isTuple, let only = elements.first { return only }
    guard isTuple || parenthesized else { throw problem("expected an expression, found \(token.description)") }
    return placed(.tuple(elements), at: start)
  }

  private func isTupleEnd(_ ends: [String]) -> Bool {
    switch token {
    case .variableEnd, .blockEnd, .symbol(")"), .end: true
    case .name(let name): ends.contains(name)
    default: false
    }
  }

  mutating func expression() throws(Problem) -> Expression {
    try enter()
    defer { leave() }
    let start = offset
    var result = try or()
    var length = 0
    while skip(name: "if") {
      try check(chain: length)
      length += 1
      let test = try or()
      let otherwise = skip(name: "else") ? try expression() : nil
      result = placed(.conditional(test: test, then: result, otherwise: otherwise), at: start)
    }
    return result
  }

  private mutating func or() throws(Problem) -> Expression {
    let start = offset
    var operands = [try and()]
    while skip(name: "or") { operands.append(try and()) }
    return operands.count == 1 ? operands[0] : placed(.or(operands), at: start)
  }

  private mutating func and() throws(Problem) -> Expression {
    let start = offset
    var operands = [try not()]
    while skip(name: "and") { operands.append(try not()) }
    return operands.count == 1 ? operands[0] : placed(.and(operands), at: start)
  }

  private mutating func not() throws(Problem) -> Expression {
    let start = offset
    guard skip(name: "not") else { return try comparison() }
    try enter()
    defer { leave() }
    return placed(.not(try not()), at: start)
  }

  private mutating func comparison() throws(Problem) -> Expression {
    let start = offset
    let first = try sum()
    var rest: [(operation: Jinja.Comparison, operand: Expression)] = []
    while let operation = comparisonOperator() { rest.append((operation, try sum())) }
    return rest.isEmpty ? first : placed(.comparison(first, rest), at: start)
  }

  private mutating func comparisonOperator() -> Jinja.Comparison? {
    switch token {
    case .symbol(let symbol):
      guard let operation = Jinja.Comparison(rawValue: symbol) else { return nil }
      advance()
      return operation
    case .name("in"):
      advance()
      return .isIn
    case .name("not") where next == .name("in"):
      advance()
      advance()
      return .isNotIn
    default: return nil
    }
  }

  private mutating func sum() throws(Problem) -> Expression {
    try chain(["+", "-"]) { parser throws(Problem) in try parser.concatenation() }
  }

  private mutating func concatenation() throws(Problem) -> Expression {
    let start = offset
    var operands = [try product()]
    while skip(symbol: "~") { operands.append(try product()) }
    return operands.count == 1 ? operands[0] : placed(.concatenation(operands), at: start)
  }

  private mutating func product() throws(Problem) -> Expression {
    try chain(["*", "/", "//", "%"]) { parser throws(Problem) in
      try parser.chain(["**"]) { parser throws(Problem) in try parser.unary() }
    }
  }

  private mutating func chain(
    _ symbols: [String], operand: (inout Self) throws(Problem) -> Expression
  ) throws(Problem) -> Expression {
    let start = offset
    let first = try operand(&self)
    var rest: [(operation: Jinja.Arithmetic, operand: Expression)] = []
    while case .symbol(let symbol) = token, symbols.contains(symbol), let operation = Jinja.Arithmetic(rawValue: symbol)
    {
      advance()
      rest.append((operation, try operand(&self)))
    }
    return rest.isEmpty ? first : placed(.arithmetic(first, rest), at: start)
  }

  private mutating func unary(filters: Bool = true) throws(Problem) -> Expression {
    let start = offset
    var result: Expression
    if isSymbol("-") || isSymbol("+") {
      let negative = isSymbol("-")
      advance()
      try enter()
      defer { leave() }
      let operand = try unary(filters: false)
      result = placed(negative ? .negative(operand) : .positive(operand), at: start)
    } else {
      result = try primary()
    }
    result = try postfix(result)
    return filters ? try filtersAndTests(result) : result
  }

  // MARK: Literals, names, brackets

  private mutating func primary() throws(Problem) -> Expression {
    let start = offset
    switch token {
    case .name(let name):
      advance()
      switch name {
      case "true", "True": return placed(.boolean(true), at: start)
      case "false", "False": return placed(.boolean(false), at: start)
      case "none", "None": return placed(.none, at: start)
      default:
        mentioned.insert(name)
        return placed(.name(name), at: start)
      }
    case .string(var text):
      advance()
      while case .string(let more) = token {
        text += more
        advance()
      }
      return placed(.string(text), at: start)
    case .integer(let digits):
      advance()
      return placed(.integer(digits), at: start)
    case .float(let value):
      advance()
      return placed(.float(value), at: start)
    case .symbol("("):
      advance()
      try enter()
      defer { leave() }
      let inner = try tuple(parenthesized: true)
      try expect(.symbol(")"))
      return inner
    case .symbol("["):
      advance()
      return placed(.list(try elements(until: "]") { parser throws(Problem) in try parser.expression() }), at: start)
    case .symbol("{"):
      advance()
      let pairs = try elements(until: "}") { parser throws(Problem) in
        let key = try parser.expression()
        try parser.expect(.symbol(":"))
        return (key: key, value: try parser.expression())
      }
      return placed(.dictionary(pairs), at: start)
    default: throw problem("expected an expression, found \(token.description)")
    }
  }

  /// Elements with commas between them, one more allowed at the end, through the closing bracket.
  private mutating func elements<T>(
    until close: String, element: (inout Self) throws(Problem) -> T
  ) throws(Problem) -> [T] {
    var elements: [T] = []
    while !skip(symbol: close) {
      if !elements.isEmpty {
        try expect(.symbol(","))
        if skip(symbol: close) { break }
      }
      elements.append(try element(&self))
    }
    return elements
  }

  // MARK: What follows a value

  /// Parts of a chain like `a.b[c](d)|e`, which nest; so long a chain is no chat template's.
  private static var maximumChain: Int { 30 }

  private func check(chain length: Int) throws(Problem) {
    guard length < Self.maximumChain else {
      throw source.problem(.chatTemplateLimit, "more than \(Self.maximumChain) accesses in a row", at: offset)
    }
  }

  private mutating func postfix(_ value: Expression) throws(Problem) -> Expression {
    var result = value
    var length = 0
    while true {
      try check(chain: length)
      length += 1
      switch token {
      case .symbol("."): result = try attribute(of: result)
      case .symbol("["): result = try subscripted(result)
      case .symbol("("): result = try call(result)
      default: return result
      }
    }
  }

  private mutating func filtersAndTests(_ value: Expression) throws(Problem) -> Expression {
    var result = value
    var length = 0
    while true {
      try check(chain: length)
      length += 1
      switch token {
      case .symbol("|"):
        for filter in try filterChain(first: false) {
          result = placed(.filter(result, filter.name, filter.arguments), at: filter.offset)
        }
      case .name("is"): result = try test(result)
      case .symbol("("): result = try call(result)
      default: return result
      }
    }
  }

  private mutating func call(_ callee: Expression) throws(Problem) -> Expression {
    let start = offset
    return placed(.call(callee, try arguments()), at: start)
  }

  private mutating func attribute(of value: Expression) throws(Problem) -> Expression {
    let start = offset
    advance()
    switch token {
    case .name(let name):
      advance()
      return placed(.attribute(value, name), at: start)
    case .integer(let digits):
      let key = placed(.integer(digits), at: offset)
      advance()
      return placed(.item(value, key), at: start)
    default: throw problem("expected a name or a number after '.', found \(token.description)")
    }
  }

  private mutating func subscripted(_ value: Expression) throws(Problem) -> Expression {
    let start = offset
    advance()
    var parts: [Expression?] = [nil]
    while !isSymbol("]") {
      if skip(symbol: ":") {
        guard parts.count < 3 else { throw problem("a slice has at most three parts") }
        parts.append(nil)
      } else {
        guard parts[parts.count - 1] == nil else {
          throw problem("expected ']' or ':', found \(token.description)")
        }
        parts[parts.count - 1] = try expression()
      }
    }
    advance()
    if parts.count > 1 {
      return placed(.slice(value, start: parts[0], stop: parts[1], step: parts.count > 2 ? parts[2] : nil), at: start)
    }
    guard let key = parts[0] else { throw problem("expected an index", at: start) }
    return placed(.item(value, key), at: start)
  }

  mutating func arguments() throws(Problem) -> Jinja.Arguments {
    let start = offset
    try expect(.symbol("("))
    var arguments = Jinja.Arguments()
    while !skip(symbol: ")") {
      if !arguments.positional.isEmpty || !arguments.named.isEmpty || arguments.spread != nil
        || arguments.namedSpread != nil
      {
        try expect(.symbol(","))
        if skip(symbol: ")") { break }
      }
      var inOrder = arguments.namedSpread == nil
      if skip(symbol: "**") {
        arguments.namedSpread = try expression()
      } else if skip(symbol: "*") {
        inOrder = inOrder && arguments.spread == nil
        arguments.spread = try expression()
      } else if case .name(let name) = token, next == .symbol("=") {
        advance()
        advance()
        arguments.named.append((name, try expression()))
      } else {
        inOrder = inOrder && arguments.named.isEmpty && arguments.spread == nil
        arguments.positional.append(try expression())
      }
      guard inOrder else { throw problem("the arguments of the call are out of order", at: start) }
    }
    return arguments
  }

  /// `| name(arguments) | name`; the `first` filter of a filter tag has no bar before it.
  mutating func filterChain(first: Bool) throws(Problem) -> [Jinja.Filter] {
    var filters: [Jinja.Filter] = []
    while (first && filters.isEmpty) || skip(symbol: "|") {
      try check(chain: filters.count)
      let start = offset
      let name = try dottedName()
      filters.append(
        Jinja.Filter(name: name, arguments: isSymbol("(") ? try arguments() : Jinja.Arguments(), offset: start))
    }
    return filters
  }

  private mutating func dottedName() throws(Problem) -> String {
    var name = try expectName()
    while skip(symbol: ".") { name += "." + (try expectName()) }
    return name
  }

  private mutating func test(_ value: Expression) throws(Problem) -> Expression {
    let start = offset
    advance()
    let negated = skip(name: "not")
    let name = try dottedName()
    var arguments = Jinja.Arguments()
    switch token {
    case .symbol("("): arguments = try self.arguments()
    case .name("is"): throw problem("tests with 'is' cannot be chained")
    case .name("else"), .name("or"), .name("and"): break
    // One argument may go without parentheses: `x is divisibleby 3`.
    case .name, .string, .integer, .float, .symbol("["), .symbol("{"):
      arguments.positional = [try postfix(try primary())]
    default: break
    }
    let test = placed(.test(value, name, arguments), at: start)
    return negated ? placed(.not(test), at: start) : test
  }
}
