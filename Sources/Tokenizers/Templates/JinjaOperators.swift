internal import EspalierBasics

// Python's operators.
extension Jinja.Interpreter {
  @inline(never)
  func fold(
    _ first: Expression, _ rest: [(operation: Jinja.Arithmetic, operand: Expression)], at offset: Jinja.Offset,
    in scope: Scope
  ) throws(Problem) -> Value {
    var result = try evaluate(first, in: scope)
    for (operation, operand) in rest {
      let value = try evaluate(operand, in: scope)
      self.offset = offset
      result = try apply(operation, result, value)
    }
    return result
  }

  @inline(never)
  func concatenation(_ operands: [Expression], in scope: Scope) throws(Problem) -> Value {
    var result = ""
    for operand in operands {
      let text = try text(of: try evaluate(operand, in: scope))
      try admit(textBytes: result.utf8.count + text.utf8.count, fresh: text.utf8.count)
      result += text
    }
    return .string(result)
  }

  /// The first operand whose truth is `truth`, else the last.
  @inline(never)
  func firstDeciding(_ operands: [Expression], _ truth: Bool, in scope: Scope) throws(Problem) -> Value {
    var value = Value.none
    for operand in operands {
      value = try evaluate(operand, in: scope)
      if value.isTrue == truth { break }
    }
    return value
  }

  @inline(never)
  func compare(
    _ first: Expression, _ rest: [(operation: Jinja.Comparison, operand: Expression)], at offset: Jinja.Offset,
    in scope: Scope
  ) throws(Problem) -> Value {
    var left = try evaluate(first, in: scope)
    for (operation, operand) in rest {
      let right = try evaluate(operand, in: scope)
      self.offset = offset
      guard try compare(operation, left, right) else { return .boolean(false) }
      left = right
    }
    return .boolean(true)
  }

  /// `str(value)`, if it is not too long.
  @inline(never)
  func text(of value: Value) throws(Problem) -> String {
    if case .string(let text) = value { return text }
    try spend(value.size.count)
    return value.text
  }

  // MARK: Arithmetic

  @inline(never)
  func negated(_ value: Value) throws(Problem) -> Value {
    switch value {
    case .float(let number): return .float(-number)
    case .undefined(let message): throw failure(message)
    default:
      guard let number = value.integer else { throw failure("a \(value.typeName) has no negative") }
      let (result, overflow) = (0).subtractingReportingOverflow(number)
      guard !overflow else { throw unsupported("an integer beyond 64 bits") }
      return .integer(result)
    }
  }

  @inline(never)
  func positive(_ value: Value) throws(Problem) -> Value {
    switch value {
    case .float, .large: return value
    case .undefined(let message): throw failure(message)
    default:
      guard let number = value.integer else { throw failure("a \(value.typeName) is no number") }
      return .integer(number)
    }
  }

  @inline(never)
  func apply(_ operation: Jinja.Arithmetic, _ a: Value, _ b: Value) throws(Problem) -> Value {
    switch (operation, a, b) {
    case (_, .undefined(let message), _): throw failure(message)
    case (.modulo, .string(let format), _): return try value(try formatted(format, percent: b))
    case (_, _, .undefined(let message)): throw failure(message)
    case (.add, .string(let left), .string(let right)):
      try admit(textBytes: left.utf8.count + right.utf8.count)
      return .string(left + right)
    case (.add, .list(let left), .list(let right)): return try list(left.values + right.values)
    case (.add, .tuple(let left), .tuple(let right)): return .tuple(try elements(left.values + right.values))
    case (.multiply, .string, _), (.multiply, .list, _), (.multiply, .tuple, _):
      if let count = b.integer { return try repeated(a, count) }
    case (.multiply, _, .string), (.multiply, _, .list), (.multiply, _, .tuple):
      if let count = a.integer { return try repeated(b, count) }
    default:
      if let left = a.integer, let right = b.integer { return try apply(operation, left, right) }
      if case .large = a, b.number != nil { throw unsupported("arithmetic with integers beyond 64 bits") }
      if case .large = b, a.number != nil { throw unsupported("arithmetic with integers beyond 64 bits") }
      if let left = a.number, let right = b.number { return .float(try apply(operation, left, right)) }
    }
    throw failure("'\(operation.rawValue)' is not defined for \(a.typeName) and \(b.typeName)")
  }

  @inline(never)
  private func repeated(_ value: Value, _ count: Int) throws(Problem) -> Value {
    let count = max(count, 0)
    func product(_ size: Int) -> Int { size.multipliedReportingOverflow(by: count).overflow ? .max : size * count }
    switch value {
    case .string(let text):
      try admit(textBytes: product(text.utf8.count))
      return .string(String(repeating: text, count: text.isEmpty ? 0 : count))
    case .list(let elements), .tuple(let elements):
      try admit(Jinja.Size(depth: 1, count: product(elements.size.count)), elements: product(elements.values.count))
      let values = elements.values.isEmpty ? [] : Array(repeatElement(elements.values, count: count).joined())
      if case .list = value { return try list(values) }
      return .tuple(try self.elements(values))
    default: return value
    }
  }

  @inline(never)
  private func apply(_ operation: Jinja.Arithmetic, _ a: Int, _ b: Int) throws(Problem) -> Value {
    let result: (partialValue: Int, overflow: Bool)
    switch operation {
    case .add: result = a.addingReportingOverflow(b)
    case .subtract: result = a.subtractingReportingOverflow(b)
    case .multiply: result = a.multipliedReportingOverflow(by: b)
    case .divide: return .float(try apply(.divide, Double(a), Double(b)))
    case .floorDivide, .modulo:
      guard b != 0 else { throw failure("division by zero") }
      let quotient = a.dividedReportingOverflow(by: b)
      let remainder = quotient.overflow ? 0 : a % b
      let adjusts = remainder != 0 && (remainder < 0) != (b < 0)
      result =
        operation == .modulo
        ? (adjusts ? remainder + b : remainder, false)
        : (adjusts ? quotient.partialValue - 1 : quotient.partialValue, quotient.overflow)
    case .power:
      guard b >= 0 else { return .float(try apply(.power, Double(a), Double(b))) }
      result = Self.power(a, b)
    }
    guard !result.overflow else { throw unsupported("an integer beyond 64 bits") }
    return .integer(result.partialValue)
  }

  private static func power(_ base: Int, _ exponent: Int) -> (partialValue: Int, overflow: Bool) {
    if exponent == 0 || base == 1 { return (1, false) }
    if base == 0 { return (0, false) }
    if base == -1 { return (exponent % 2 == 0 ? 1 : -1, false) }
    guard exponent < 64 else { return (0, true) }
    var result = (partialValue: 1, overflow: false)
    for _ in 0..<exponent {
      result = result.partialValue.multipliedReportingOverflow(by: base)
      if result.overflow { break }
    }
    return result
  }

  @inline(never)
  private func apply(_ operation: Jinja.Arithmetic, _ a: Double, _ b: Double) throws(Problem) -> Double {
    switch operation {
    case .add: return a + b
    case .subtract: return a - b
    case .multiply: return a * b
    case .divide:
      guard b != 0 else { throw failure("division by zero") }
      return a / b
    case .floorDivide, .modulo:
      guard b != 0 else { throw failure("division by zero") }
      var remainder = a.truncatingRemainder(dividingBy: b)
      var quotient = (a - remainder) / b
      if remainder != 0, (b < 0) != (remainder < 0) {
        remainder += b
        quotient -= 1
      }
      return operation == .modulo ? remainder : (quotient + 0.5).rounded(.down)
    case .power:
      guard a != 0 || b >= 0 else { throw failure("zero cannot be raised to a negative power") }
      let result = Jinja.CLibrary.power(a, b)
      guard !result.isNaN || a.isNaN || b.isNaN else { throw unsupported("a complex number") }
      guard !result.isInfinite || a.isInfinite || b.isInfinite else { throw failure("the power is too large") }
      return result
    }
  }

  // MARK: Comparison

  @inline(never)
  func compare(_ operation: Jinja.Comparison, _ a: Value, _ b: Value) throws(Problem) -> Bool {
    switch operation {
    case .equal: return try isEqual(a, b)
    case .notEqual: return !(try isEqual(a, b))
    case .isIn: return try contains(b, a)
    case .isNotIn: return !(try contains(b, a))
    case .less, .lessOrEqual, .greater, .greaterOrEqual: return try isOrdered(operation, a, b)
    }
  }

  func isEqual(_ a: Value, _ b: Value) throws(Problem) -> Bool {
    try spend(min(a.size.count, b.size.count))
    return Self.isEqual(a, b)
  }

  private static func isEqual(_ a: Value, _ b: Value) -> Bool {
    switch (a, b) {
    case (.undefined, .undefined), (.none, .none): true
    case (.string(let a), .string(let b)): Jinja.Text.isEqual(a, b)
    case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)):
      a.values.count == b.values.count && zip(a.values, b.values).allSatisfy { isEqual($0, $1) }
    case (.view(let a), .view(let b)):
      a.elements.values.count == b.elements.values.count
        && zip(a.elements.values, b.elements.values).allSatisfy { isEqual($0, $1) }
    case (.dictionary(let a), .dictionary(let b)):
      a.count == b.count
        && zip(a.keys, a.values).allSatisfy { key, value in
          key.key.flatMap { b[$0] }.map { isEqual(value, $0) } ?? false
        }
    case (.large(let a), .large(let b)): a == b
    case (.large, _), (_, .large): false
    case (.iterator(let a), .iterator(let b)): a === b
    case (.namespace(let a), .namespace(let b)): a === b
    case (.macro(let a), .macro(let b)): a === b
    case (.function(let a), .function(let b)): a == b
    default:
      if let a = a.integer, let b = b.integer {
        a == b
      } else if let a = a.number, let b = b.number {
        a == b
      } else {
        false
      }
    }
  }

  @inline(never)
  private func isOrdered(_ operation: Jinja.Comparison, _ a: Value, _ b: Value) throws(Problem) -> Bool {
    func holds<T: Comparable>(_ a: T, _ b: T) -> Bool {
      switch operation {
      case .less: a < b
      case .lessOrEqual: a <= b
      case .greater: a > b
      default: a >= b
      }
    }
    switch (a, b) {
    case (.undefined(let message), _), (_, .undefined(let message)): throw failure(message)
    case (.string(let a), .string(let b)):
      try spend(min(a.utf8.count, b.utf8.count) / 64)
      return holds(Jinja.Text.isLess(a, b) ? -1 : Jinja.Text.isLess(b, a) ? 1 : 0, 0)
    case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
      for (x, y) in zip(left.values, right.values) where !(try isEqual(x, y)) { return try isOrdered(operation, x, y) }
      return holds(left.values.count, right.values.count)
    default:
      if let a = a.integer, let b = b.integer { return holds(a, b) }
      if let a = a.number, let b = b.number { return holds(a, b) }
      throw failure("'\(operation.rawValue)' is not defined for \(a.typeName) and \(b.typeName)")
    }
  }

  /// Python's order, as sorting needs it.
  func isLess(_ a: Value, _ b: Value) throws(Problem) -> Bool { try isOrdered(.less, a, b) }

  /// `item in container`
  @inline(never)
  func contains(_ container: Value, _ item: Value) throws(Problem) -> Bool {
    switch container {
    case .string(let text):
      guard let part = item.string else { throw failure("only a str can be in a str, not a \(item.typeName)") }
      try spend((text.utf8.count + part.utf8.count) / 64)
      return Jinja.Text.contains(text, part)
    case .dictionary(let dictionary):
      guard let key = item.key else { throw failure("a \(item.typeName) cannot be a dictionary's key") }
      return dictionary[key] != nil
    default:
      for element in try elements(of: container) where try isEqual(element, item) { return true }
      return false
    }
  }

  // MARK: Going through values

  /// Everything that a loop over the value would see. An iterator is used up.
  @inline(never)
  func elements(of value: Value) throws(Problem) -> [Value] {
    switch value {
    case .list(let elements), .tuple(let elements):
      try spend(elements.values.count)
      return elements.values
    case .view(let view):
      try spend(view.elements.values.count)
      return view.elements.values
    case .dictionary(let dictionary):
      try spend(dictionary.count)
      return dictionary.keys
    case .string(let text):
      try spend(text.utf8.count)
      return text.unicodeScalars.map { .string(String(Character($0))) }
    case .undefined: return []
    case .iterator(let iterator):
      var values: [Value] = []
      while let value = try iterator.next() {
        try spend(1)
        values.append(value)
      }
      return values
    default: throw failure("a \(value.typeName) cannot be gone through")
    }
  }
}
