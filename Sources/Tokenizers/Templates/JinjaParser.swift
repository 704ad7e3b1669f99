internal import EspalierBasics

extension Jinja {
  /// Turns tokens into statements. Expressions are in the other half, `JinjaExpressionParser.swift`.
  struct Parser {
    let source: Source
    let tokens: [PlacedToken]
    var index = 0
    private var depth = 0
    private var loops = 0
    /// Names that occur in the macro being read.
    var mentioned: Set<String> = []

    /// Nesting of tags and brackets; each level takes a dozen calls.
    private static let maximumDepth = 60

    static func statements(of source: Source) throws(Problem) -> [Statement] {
      var parser = Parser(source: source, tokens: try Lexer.tokens(of: source))
      return try parser.statements(until: [], of: nil)
    }

    private init(source: Source, tokens: [PlacedToken]) {
      self.source = source
      self.tokens = tokens
    }

    // MARK: Tokens

    var token: Token { tokens[index].token }
    var next: Token { index + 1 < tokens.count ? tokens[index + 1].token : .end }
    var offset: Offset { tokens[index].offset }

    mutating func advance() { if index + 1 < tokens.count { index += 1 } }

    func isSymbol(_ symbol: String) -> Bool { token == .symbol(symbol) }
    func isName(_ name: String) -> Bool { token == .name(name) }

    mutating func skip(symbol: String) -> Bool {
      guard isSymbol(symbol) else { return false }
      advance()
      return true
    }

    mutating func skip(name: String) -> Bool {
      guard isName(name) else { return false }
      advance()
      return true
    }

    func problem(_ message: String, at offset: Offset? = nil) -> Problem {
      source.problem(.chatTemplateSyntax, message, at: offset ?? self.offset)
    }

    mutating func expect(_ expected: Token) throws(Problem) {
      guard token == expected else {
        throw problem("expected \(expected.description), found \(token.description)")
      }
      advance()
    }

    mutating func expectName() throws(Problem) -> String {
      guard case .name(let name) = token else { throw problem("expected a name, found \(token.description)") }
      advance()
      return name
    }

    mutating func enter() throws(Problem) {
      depth += 1
      guard depth <= Self.maximumDepth else {
        throw source.problem(.chatTemplateLimit, "nested deeper than \(Self.maximumDepth) levels", at: offset)
      }
    }

    mutating func leave() { depth -= 1 }

    // MARK: Statements

    /// Statements up to a tag that begins with one of `ends`, which is left to be read; `opener` is named if it is
    /// missing.
    private mutating func statements(until ends: [String], of opener: (String, Offset)?) throws(Problem) -> [Statement]
    {
      try enter()
      defer { leave() }
      var body: [Statement] = []
      while true {
        switch token {
        case .data(let text):
          body.append(.text(text))
          advance()
        case .variableBegin:
          advance()
          body.append(.output(try tuple()))
          try expect(.variableEnd)
        case .blockBegin:
          if case .name(let name) = next, ends.contains(name) {
            advance()
            return body
          }
          advance()
          body.append(try statement())
          try expect(.blockEnd)
        default:
          guard let (name, offset) = opener else { return body }
          throw problem("'\(name)' is not closed", at: offset)
        }
      }
    }

    /// The body of a tag, through to its last word; the word is returned.
    private mutating func body(
      of name: String, at offset: Offset, until ends: [String]
    ) throws(Problem) -> ([Statement], end: String) {
      _ = skip(symbol: ":")
      try expect(.blockEnd)
      let body = try statements(until: ends, of: (name, offset))
      return (body, end: try expectName())
    }

    private mutating func statement() throws(Problem) -> Statement {
      let offset = offset
      guard case .name(let name) = token else { throw problem("expected a tag's name, found \(token.description)") }
      advance()
      switch name {
      case "for": return try loop(at: offset)
      case "if": return try condition(at: offset)
      case "set": return try assignment(at: offset)
      case "macro": return .macro(try macro(at: offset))
      case "call": return try callBlock(at: offset)
      case "filter":
        let filters = try filterChain(first: true)
        return .filter(filters, body: try body(of: name, at: offset, until: ["endfilter"]).0)
      case "with": return try with(at: offset)
      case "generation": return .scope(try body(of: name, at: offset, until: ["endgeneration"]).0)
      case "print":
        let values = try tuple()
        guard case .tuple(let parts) = values.form else { return .output(values) }
        return .output(Expression(form: .concatenation(parts), offset: values.offset))
      case "break", "continue":
        guard loops > 0 else { throw problem("'\(name)' outside a loop", at: offset) }
        return name == "break" ? .breakLoop : .continueLoop
      case "block", "extends", "include", "import", "from", "autoescape":
        throw source.problem(.chatTemplateUnsupported, "the tag '\(name)' is not supported", at: offset)
      default: throw problem("unknown tag '\(name)'", at: offset)
      }
    }

    private mutating func loop(at offset: Offset) throws(Problem) -> Statement {
      let target = try target()
      if case .name("loop") = target { throw problem("'loop' is the loop's own name", at: offset) }
      try expect(.name("in"))
      let iterable = try tuple(conditional: false, ends: ["recursive"])
      let condition = skip(name: "if") ? try expression() : nil
      let recursive = skip(name: "recursive")
      loops += 1
      let (body, end) = try body(of: "for", at: offset, until: ["endfor", "else"])
      loops -= 1
      let otherwise = end == "else" ? try self.body(of: "for", at: offset, until: ["endfor"]).0 : []
      return .loop(
        Loop(
          target: target, iterable: iterable, condition: condition, body: body, otherwise: otherwise,
          recursive: recursive, offset: offset))
    }

    private mutating func condition(at offset: Offset) throws(Problem) -> Statement {
      var branches: [(test: Expression, body: [Statement])] = []
      while true {
        let test = try tuple(conditional: false)
        let (body, end) = try body(of: "if", at: offset, until: ["elif", "else", "endif"])
        branches.append((test, body))
        switch end {
        case "elif": continue
        case "else":
          return .condition(branches, otherwise: try self.body(of: "if", at: offset, until: ["endif"]).0)
        default: return .condition(branches, otherwise: [])
        }
      }
    }

    private mutating func assignment(at offset: Offset) throws(Problem) -> Statement {
      let target = try target(members: true)
      if skip(symbol: "=") { return .assign(target, try tuple()) }
      let filters = try filterChain(first: false)
      let (body, _) = try body(of: "set", at: offset, until: ["endset"])
      return .assignBlock(target, filters: filters, body: body, offset)
    }

    private mutating func with(at offset: Offset) throws(Problem) -> Statement {
      var values: [(target: Target, value: Expression)] = []
      while token != .blockEnd, !isSymbol(":") {
        if !values.isEmpty { try expect(.symbol(",")) }
        let target = try target()
        try expect(.symbol("="))
        values.append((target, try expression()))
      }
      return .with(values, body: try body(of: "with", at: offset, until: ["endwith"]).0)
    }

    private mutating func macro(at offset: Offset) throws(Problem) -> Macro {
      let name = try expectName()
      return try macro(named: name, parameters: try parameters(), tag: "macro", at: offset)
    }

    /// Reads a macro's body. A loop around the macro is not its own; the names in it are.
    private mutating func macro(
      named name: String, parameters: [Parameter], tag: String, at offset: Offset
    ) throws(Problem) -> Macro {
      let outer = (loops, mentioned)
      (loops, mentioned) = (0, [])
      let (body, _) = try body(of: tag, at: offset, until: ["end" + tag])
      let inner = mentioned
      (loops, mentioned) = (outer.0, outer.1.union(inner))
      return Macro(
        name: name, parameters: parameters, body: body, takesMorePositional: inner.contains("varargs"),
        takesMoreNamed: inner.contains("kwargs"), takesCaller: inner.contains("caller"))
    }

    private mutating func parameters() throws(Problem) -> [Parameter] {
      try expect(.symbol("("))
      var parameters: [Parameter] = []
      while !isSymbol(")") {
        if !parameters.isEmpty { try expect(.symbol(",")) }
        let offset = offset
        let name = try expectName()
        let fallback = skip(symbol: "=") ? try expression() : nil
        if fallback == nil, parameters.last?.fallback != nil {
          throw problem("the parameter '\(name)' needs a default like those before it", at: offset)
        }
        parameters.append(Parameter(name: name, fallback: fallback))
      }
      try expect(.symbol(")"))
      return parameters
    }

    private mutating func callBlock(at offset: Offset) throws(Problem) -> Statement {
      let parameters = isSymbol("(") ? try parameters() : []
      let call = try expression()
      guard case .call(let callee, let arguments) = call.form else {
        throw problem("'call' needs a call of a macro", at: call.offset)
      }
      let caller = try macro(named: "caller", parameters: parameters, tag: "call", at: offset)
      return .call(callee, arguments, caller: caller, offset)
    }

    // MARK: Targets

    /// One name or several with commas; with `members`, attributes of namespaces too.
    private mutating func target(members: Bool = false) throws(Problem) -> Target {
      let start = offset
      var targets: [Target] = []
      var isTuple = false
      while true {
        targets.append(try singleTarget(members: members))
        guard skip(symbol: ",") else { break }
        isTuple = true
        if isSymbol("=") || isName("in") || token == .blockEnd { break }
      }
      return isTuple ? .tuple(targets, start) : targets[0]
    }

    private mutating func singleTarget(members: Bool) throws(Problem) -> Target {
      let start = offset
      if skip(symbol: "(") {
        try enter()
        defer { leave() }
        let inner = try target(members: members)
        try expect(.symbol(")"))
        return inner
      }
      let name = try expectName()
      if ["true", "false", "none", "True", "False", "None"].contains(name) {
        throw problem("'\(name)' cannot be assigned to", at: start)
      }
      guard members, skip(symbol: ".") else { return .name(name) }
      return .member(name, try expectName(), start)
    }
  }
}
