import EspalierBasics

/// A small formula over the values of a config: sizes, conditions, layer kinds.
///
/// ```
/// hidden_size / num_attention_heads
/// layer_types[layer] == 'sliding_attention'
/// layer in mlp_only_layers or (layer + 1) % decoder_sparse_step != 0
/// ```
/// From weakest to strongest: `a ? b : c`, `or`, `and`, `== != < <= > >= in`, `??`, `+ -`, `* / // %`, `! -`, `a[i]`.
/// `/` must divide without remainder, `//` rounds down, `%` has the sign of the divisor (as in Python); `??` takes its
/// right side where the left is a key the config lacks or has as null. Functions: `length(list)`,
/// `startsWith(text, text)`, `endsWith(text, text)`, `portion(size, fraction)` (their product, rounded down),
/// `sqrt(number)`, `rsqrt(number)` (one over the root), `isWritten(key)` (the config has the key, maybe as null),
/// `written(key)` (its value in the config itself, without a default).
/// A name may lead into nested objects by dots. Arithmetic is on whole numbers and checked: an overflow is an error.
indirect enum Expression: Sendable {
  case value(Value)
  case name(String)
  case not(Expression)
  case negative(Expression)
  case binary(Operator, Expression, Expression)
  case conditional(Expression, Expression, Expression)
  case element(Expression, Expression)
  case call(Function, [Expression])

  enum Operator: String, Sendable {
    case or, and
    case equal = "=="
    case unequal = "!="
    case less = "<"
    case lessOrEqual = "<="
    case greater = ">"
    case greaterOrEqual = ">="
    case isIn = "in"
    case otherwise = "??"
    case plus = "+"
    case minus = "-"
    case times = "*"
    case divided = "/"
    case floorDivided = "//"
    case modulo = "%"
  }

  enum Function: String, Sendable {
    case length, startsWith, endsWith, portion, sqrt, rsqrt, isWritten, written
    var arity: Int { [.startsWith, .endsWith, .portion].contains(self) ? 2 : 1 }
  }

  /// The key, if the whole expression is one name: then what it reads can also be written.
  var bareName: String? { if case .name(let name) = self { name } else { nil } }
}

// MARK: - Evaluation

/// Where the names of an expression are looked up: variables first, then the config, then the family's defaults.
struct Scope {
  var config: JSON
  var defaults: [String: Expression] = [:]
  var variables: [String: Value] = [:]
  /// Guards against defaults that refer to each other in a circle.
  private var depth = 0

  init(config: JSON, defaults: [String: Expression] = [:]) {
    self.config = config
    self.defaults = defaults
  }

  func with(_ name: String, _ value: Value) -> Scope {
    var scope = self
    scope.variables[name] = value
    return scope
  }

  func lookUp(_ name: String) throws(Problem) -> Value {
    if let variable = variables[name] { return variable }
    let value = Value(config.value(at: name), name: name)
    guard case .absent = value, let formula = defaults[name] else { return value }
    guard depth < 16 else {
      throw Problem(.architectureDescription, "the default of `\(name)` refers to itself in a circle")
    }
    var inner = self
    inner.depth += 1
    let found = try formula.evaluate(in: inner)
    if case .absent = found { return .absent(name) }
    return found
  }
}

extension Expression {
  func evaluate(in scope: Scope) throws(Problem) -> Value {
    switch self {
    case .value(let value): return value
    case .name(let name): return try scope.lookUp(name)
    case .not(let operand): return .truth(try !operand.truth(in: scope))
    case .negative(let operand): return try Expression.arithmetic(.minus, 0, try operand.integer(in: scope))
    case .conditional(let condition, let first, let second):
      return try condition.truth(in: scope) ? first.evaluate(in: scope) : second.evaluate(in: scope)
    case .element(let list, let index): return try Expression.element(list, index, in: scope)
    case .call(let function, let arguments): return try Expression.call(function, arguments, in: scope)
    case .binary(let symbol, let left, let right): return try Expression.binary(symbol, left, right, in: scope)
    }
  }

  func integer(in scope: Scope) throws(Problem) -> Int { try evaluate(in: scope).integer(of: description) }
  func truth(in scope: Scope) throws(Problem) -> Bool { try evaluate(in: scope).truth(of: description) }

  private static func binary(
    _ symbol: Operator, _ left: Expression, _ right: Expression, in scope: Scope
  ) throws(Problem) -> Value {
    switch symbol {
    case .or: return .truth(try left.truth(in: scope) ? true : right.truth(in: scope))
    case .and: return .truth(try left.truth(in: scope) ? right.truth(in: scope) : false)
    case .equal: return .truth(try present(left, in: scope) == present(right, in: scope))
    case .unequal: return .truth(try present(left, in: scope) != present(right, in: scope))
    case .isIn:
      let list = try right.evaluate(in: scope).list(of: right.description)
      return .truth(list.contains(try present(left, in: scope)))
    case .otherwise:
      let value = try left.evaluate(in: scope)
      if case .absent = value { return try right.evaluate(in: scope) }
      return value
    default: return try arithmetic(symbol, left.integer(in: scope), right.integer(in: scope))
    }
  }

  private static func present(_ expression: Expression, in scope: Scope) throws(Problem) -> Value {
    let value = try expression.evaluate(in: scope)
    if case .absent(let name) = value { throw .missingKey(name) }
    return value
  }

  private static func element(_ list: Expression, _ index: Expression, in scope: Scope) throws(Problem) -> Value {
    let value = try list.evaluate(in: scope)
    if case .absent = value { return value }
    let values = try value.list(of: list.description)
    let position = try index.integer(in: scope)
    guard values.indices.contains(position) else {
      throw Problem(
        .architectureConfig, "`\(list.description)` has \(values.count) entries, entry \(position) is wanted")
    }
    return values[position]
  }

  private static func call(_ function: Function, _ arguments: [Expression], in scope: Scope) throws(Problem) -> Value {
    guard arguments.count == function.arity, let first = arguments.first else {
      throw Problem(.architectureDescription, "`\(function.rawValue)` takes \(function.arity) arguments")
    }
    if function == .isWritten { return .truth(scope.config.value(at: first.description) != nil) }
    if function == .written { return Value(scope.config.value(at: first.description), name: first.description) }
    let value = try first.evaluate(in: scope)
    switch function {
    case .isWritten, .written: return value
    case .length:
      if case .absent = value { return value }
      return .integer(try value.list(of: first.description).count)
    case .startsWith, .endsWith:
      let text = try value.text(of: first.description)
      let part = try arguments[1].evaluate(in: scope).text(of: arguments[1].description)
      return .truth(function == .startsWith ? text.hasPrefix(part) : text.hasSuffix(part))
    case .portion: return try portion(value.integer(of: first.description), of: arguments[1], in: scope)
    case .sqrt: return .fraction(try root(of: value, first))
    case .rsqrt: return .fraction(1 / (try root(of: value, first)))
    }
  }

  private static func root(of value: Value, _ source: Expression) throws(Problem) -> Double {
    let number =
      if case .fraction(let value) = value { value } else { Double(try value.integer(of: source.description)) }
    guard number > 0 else { throw Problem(.architectureConfig, "`\(source)` is \(number), which has no root to use") }
    return number.squareRoot()
  }

  private static func portion(_ size: Int, of fraction: Expression, in scope: Scope) throws(Problem) -> Value {
    let part =
      switch try fraction.evaluate(in: scope) {
      case .fraction(let value): value
      case let value: Double(try value.integer(of: fraction.description))
      }
    guard let portion = Int(exactly: (Double(size) * part).rounded(.down)) else {
      throw Problem(.architectureConfig, "`\(fraction)` is no fraction of \(size)")
    }
    return .integer(portion)
  }

  private static func arithmetic(_ symbol: Operator, _ left: Int, _ right: Int) throws(Problem) -> Value {
    switch symbol {
    case .less: return .truth(left < right)
    case .lessOrEqual: return .truth(left <= right)
    case .greater: return .truth(left > right)
    case .greaterOrEqual: return .truth(left >= right)
    case .plus: return try checked(left.addingReportingOverflow(right), symbol, left, right)
    case .minus: return try checked(left.subtractingReportingOverflow(right), symbol, left, right)
    case .times: return try checked(left.multipliedReportingOverflow(by: right), symbol, left, right)
    default: return try division(symbol, left, right)
    }
  }

  private static func division(_ symbol: Operator, _ left: Int, _ right: Int) throws(Problem) -> Value {
    let (quotient, overflow) = left.dividedReportingOverflow(by: right)
    guard !overflow else { throw impossible(symbol, left, right) }
    let remainder = left % right
    let roundsDown = remainder != 0 && (remainder < 0) != (right < 0)
    switch symbol {
    case .divided where remainder != 0: throw impossible(symbol, left, right)
    case .modulo: return .integer(roundsDown ? remainder + right : remainder)
    default: return .integer(roundsDown ? quotient - 1 : quotient)
    }
  }

  private static func checked(
    _ result: (partialValue: Int, overflow: Bool), _ symbol: Operator, _ left: Int, _ right: Int
  ) throws(Problem) -> Value {
    guard !result.overflow else { throw impossible(symbol, left, right) }
    return .integer(result.partialValue)
  }

  private static func impossible(_ symbol: Operator, _ left: Int, _ right: Int) -> Problem {
    let what = right == 0 || symbol != .divided ? "cannot be computed" : "leaves a remainder"
    return Problem(.architectureConfig, "\(left) \(symbol.rawValue) \(right) \(what)")
  }
}

extension JSON {
  /// The member under a key, or, failing that, the member that a path of keys joined by dots leads to.
  func value(at path: String) -> JSON? {
    if let value = self[path] { return value }
    var found: JSON? = self
    for key in path.split(separator: ".") { found = found?[String(key)] }
    return found
  }
}

// MARK: - Text

extension Expression: CustomStringConvertible {
  /// The formula with every operation in parentheses, for messages.
  var description: String {
    switch self {
    case .value(.text(let text)): "'\(text)'"
    case .value(let value): value.json.text()
    case .name(let name): name
    case .not(let operand): "!\(operand)"
    case .negative(let operand): "-\(operand)"
    case .binary(let symbol, let left, let right): "(\(left) \(symbol.rawValue) \(right))"
    case .conditional(let condition, let first, let second): "(\(condition) ? \(first) : \(second))"
    case .element(let list, let index): "\(list)[\(index)]"
    case .call(let function, let arguments):
      "\(function.rawValue)(\(arguments.map(\.description).joined(separator: ", ")))"
    }
  }
}
