internal import EspalierBasics

extension Jinja {
  /// The arguments of a call, evaluated.
  struct CallArguments {
    var positional: [Value] = []
    var named: [(name: String, value: Value)] = []
  }
}

extension Jinja.Interpreter {
  typealias Value = Jinja.Value
  typealias Expression = Jinja.Expression
  typealias CallArguments = Jinja.CallArguments
  typealias Scope = Jinja.Scope

  // Evaluation nests on the thread's stack, so this function and those it calls keep their frames apart: what one kind
  // of expression needs, the others need not carry.
  func evaluate(_ expression: Expression, in scope: Scope) throws(Problem) -> Value {
    try enter()
    defer { leave() }
    let place = expression.offset
    switch expression.form {
    case .none: return .none
    case .boolean(let value): return .boolean(value)
    case .integer(let digits): return .integer(digits)
    case .float(let value): return .float(value)
    case .string(let text): return .string(text)
    case .name(let name): return lookUp(name, in: scope)
    case .list(let elements): return try list(elements, in: scope)
    case .tuple(let elements): return try tuple(elements, in: scope)
    case .dictionary(let pairs): return try dictionary(pairs, at: place, in: scope)
    case .attribute(let object, let name): return try attribute(name, of: object, at: place, in: scope)
    case .item(let object, let key): return try item(key, of: object, at: place, in: scope)
    case .slice(let object, let start, let stop, let step):
      return try slice(object, [start, stop, step], at: place, in: scope)
    case .call(let callee, let arguments): return try call(callee, arguments, at: place, in: scope)
    case .filter(let operand, let name, let arguments):
      return try filter(operand, name, arguments, at: place, in: scope)
    case .test(let operand, let name, let arguments): return try test(operand, name, arguments, at: place, in: scope)
    case .negative(let operand): return try sign(operand, negative: true, at: place, in: scope)
    case .positive(let operand): return try sign(operand, negative: false, at: place, in: scope)
    case .not(let operand): return try not(operand, in: scope)
    case .arithmetic(let first, let rest): return try fold(first, rest, at: place, in: scope)
    case .concatenation(let operands): return try concatenation(operands, in: scope)
    case .comparison(let first, let rest): return try compare(first, rest, at: place, in: scope)
    case .and(let operands): return try firstDeciding(operands, false, in: scope)
    case .or(let operands): return try firstDeciding(operands, true, in: scope)
    case .conditional(let test, let then, let otherwise):
      return try choice(test, then, otherwise, in: scope)
    }
  }

  @inline(never)
  private func list(_ elements: [Expression], in scope: Scope) throws(Problem) -> Value {
    try list(try evaluate(elements, in: scope))
  }

  @inline(never)
  private func tuple(_ elements: [Expression], in scope: Scope) throws(Problem) -> Value {
    .tuple(try self.elements(try evaluate(elements, in: scope)))
  }

  @inline(never)
  private func attribute(
    _ name: String, of object: Expression, at offset: Jinja.Offset, in scope: Scope
  ) throws(Problem) -> Value {
    let object = try evaluate(object, in: scope)
    self.offset = offset
    return try attribute(name, of: object)
  }

  @inline(never)
  private func sign(
    _ operand: Expression, negative: Bool, at offset: Jinja.Offset, in scope: Scope
  ) throws(Problem) -> Value {
    let value = try evaluate(operand, in: scope)
    self.offset = offset
    return negative ? try negated(value) : try positive(value)
  }

  @inline(never)
  private func not(_ operand: Expression, in scope: Scope) throws(Problem) -> Value {
    .boolean(!(try evaluate(operand, in: scope).isTrue))
  }

  @inline(never)
  private func choice(
    _ test: Expression, _ then: Expression, _ otherwise: Expression?, in scope: Scope
  ) throws(Problem) -> Value {
    if try evaluate(test, in: scope).isTrue { return try evaluate(then, in: scope) }
    guard let otherwise else { return .undefined("the inline if-expression has no else section") }
    return try evaluate(otherwise, in: scope)
  }

  @inline(never)
  private func evaluate(_ expressions: [Expression], in scope: Scope) throws(Problem) -> [Value] {
    var values: [Value] = []
    values.reserveCapacity(expressions.count)
    for expression in expressions { values.append(try evaluate(expression, in: scope)) }
    return values
  }

  @inline(never)
  private func lookUp(_ name: String, in scope: Scope) -> Value {
    if let value = scope.value(ExactString(name)) { return value }
    return Jinja.Function(rawValue: name).map { .function($0) } ?? .undefined("'\(name)' is undefined")
  }

  @inline(never)
  private func dictionary(
    _ pairs: [(key: Expression, value: Expression)], at offset: Jinja.Offset, in scope: Scope
  ) throws(Problem) -> Value {
    var entries: [(Value, Value)] = []
    for (key, value) in pairs { entries.append((try evaluate(key, in: scope), try evaluate(value, in: scope))) }
    self.offset = offset
    return .dictionary(try dictionary(entries))
  }

  @inline(never)
  func dictionary(_ entries: [(Value, Value)]) throws(Problem) -> Jinja.Dictionary {
    var dictionary = Jinja.Dictionary()
    for (key, value) in entries { try set(value, for: key, in: &dictionary) }
    try admit(dictionary.size, elements: entries.count)
    return dictionary
  }

  func set(_ value: Value, for key: Value, in dictionary: inout Jinja.Dictionary) throws(Problem) {
    guard let hashed = key.key else { throw failure("a \(key.typeName) cannot be a dictionary's key") }
    dictionary.set(value, for: key, hashed: hashed)
  }

  @inline(never)
  func arguments(_ arguments: Jinja.Arguments, in scope: Scope) throws(Problem) -> CallArguments {
    var given = CallArguments(positional: try evaluate(arguments.positional, in: scope))
    for (name, value) in arguments.named { given.named.append((name, try evaluate(value, in: scope))) }
    if let spread = arguments.spread { given.positional += try elements(of: try evaluate(spread, in: scope)) }
    if let spread = arguments.namedSpread {
      guard case .dictionary(let more) = try evaluate(spread, in: scope) else {
        throw failure("what follows ** must be a dictionary")
      }
      for (key, value) in zip(more.keys, more.values) {
        guard let name = key.string else { throw failure("what follows ** must have strings for keys") }
        given.named.append((name, value))
      }
    }
    return given
  }

  // MARK: Calls, filters, tests

  @inline(never)
  private func call(
    _ callee: Expression, _ arguments: Jinja.Arguments, at offset: Jinja.Offset, in scope: Scope
  ) throws(Problem) -> Value {
    let function = try evaluate(callee, in: scope)
    let given = try self.arguments(arguments, in: scope)
    self.offset = offset
    return try call(function, given)
  }

  @inline(never)
  func call(_ function: Value, _ given: CallArguments) throws(Problem) -> Value {
    switch function {
    case .macro(let closure): return try invoke(closure, given)
    case .method(let method): return try call(method, given)
    case .function(let function): return try call(function, given)
    case .loop(let state):
      guard let (loop, scope) = state.recursion else {
        throw failure("the loop must be marked 'recursive' to be called")
      }
      let items = try bind(given, to: "loop", ["iterable"], required: 1)[0] ?? .none
      return try captured { () throws(Problem) in
        try run(loop, over: items, depth: state.depth + 1, in: scope)
      }
    case .undefined(let message): throw failure(message)
    default: throw failure("a \(function.typeName) cannot be called")
    }
  }

  @inline(never)
  private func filter(
    _ operand: Expression, _ name: String, _ arguments: Jinja.Arguments, at offset: Jinja.Offset, in scope: Scope
  ) throws(Problem) -> Value {
    let value = try evaluate(operand, in: scope)
    let given = try self.arguments(arguments, in: scope)
    self.offset = offset
    return try apply(filter: name, to: value, given)
  }

  @inline(never)
  private func test(
    _ operand: Expression, _ name: String, _ arguments: Jinja.Arguments, at offset: Jinja.Offset, in scope: Scope
  ) throws(Problem) -> Value {
    let value = try evaluate(operand, in: scope)
    let given = try self.arguments(arguments, in: scope)
    self.offset = offset
    return .boolean(try apply(test: name, to: value, given))
  }

  /// The arguments in the order of the parameters, nil where one was left out.
  @inline(never)
  func bind(
    _ given: CallArguments, to function: String, _ parameters: [String], required: Int = 0
  ) throws(Problem) -> [Value?] {
    guard given.positional.count <= parameters.count else {
      throw failure("'\(function)' takes at most \(parameters.count) argument(s), not \(given.positional.count)")
    }
    var bound = given.positional.map(Optional.some)
    bound += Array(repeating: nil, count: parameters.count - bound.count)
    for (name, value) in given.named {
      guard let index = parameters.firstIndex(of: name) else {
        throw failure("'\(function)' has no argument '\(name)'")
      }
      guard bound[index] == nil else { throw failure("'\(function)' is given its argument '\(name)' twice") }
      bound[index] = value
    }
    for index in 0..<required where bound[index] == nil {
      throw failure("'\(function)' needs its argument '\(parameters[index])'")
    }
    return bound
  }

  // MARK: Items

  @inline(never)
  private func item(
    _ key: Expression, of object: Expression, at offset: Jinja.Offset, in scope: Scope
  ) throws(Problem) -> Value {
    let object = try evaluate(object, in: scope)
    let key = try evaluate(key, in: scope)
    self.offset = offset
    return try item(key, of: object)
  }

  /// `object[key]`: the element, else the attribute, else undefined.
  @inline(never)
  func item(_ key: Value, of object: Value) throws(Problem) -> Value {
    switch object {
    case .undefined(let message): throw failure(message)
    case .dictionary(let dictionary):
      if let hashed = key.key, let value = dictionary[hashed] { return value }
    case .list(let elements), .tuple(let elements):
      if let index = key.integer { return element(index, of: elements.values, in: object) }
    case .view(let view):
      if case .range = view.kind, let index = key.integer {
        return element(index, of: view.elements.values, in: object)
      }
    case .string(let text):
      if let index = key.integer {
        try spend(text.utf8.count / 64)
        let scalars = text.unicodeScalars
        let from = index < 0 ? index + scalars.count : index
        guard from >= 0, let at = scalars.index(scalars.startIndex, offsetBy: from, limitedBy: scalars.endIndex),
          at < scalars.endIndex
        else { return .undefined("a str of \(scalars.count) has no element \(index)") }
        return .string(String(Character(scalars[at])))
      }
    case .loop, .namespace:
      if let name = key.string { return try attribute(name, of: object) }
    default: break
    }
    guard let name = key.string else {
      return .undefined("a \(object.typeName) has no element \(key.representation)")
    }
    return method(name, of: object) ?? .undefined("a \(object.typeName) has no element '\(name)'")
  }

  private func element(_ index: Int, of values: [Value], in object: Value) -> Value {
    let position = index < 0 ? index &+ values.count : index
    guard values.indices.contains(position) else {
      return .undefined("a \(object.typeName) of \(values.count) has no element \(index)")
    }
    return values[position]
  }

  /// `object.name`: the attribute, else the element, else undefined.
  @inline(never)
  func attribute(_ name: String, of object: Value) throws(Problem) -> Value {
    switch object {
    case .undefined(let message): throw failure(message)
    case .loop(let state):
      if let value = try attribute(name, of: state) { return value }
    case .namespace(let namespace):
      if let value = namespace.members[name] { return value }
    case .dictionary(let dictionary):
      if let method = method(name, of: object) { return method }
      if let value = dictionary[name] { return value }
    case .macro(let closure) where name == "name": return .string(closure.macro.name)
    default:
      if let method = method(name, of: object) { return method }
    }
    return .undefined("a \(object.typeName) has no attribute '\(name)'")
  }

  @inline(never)
  private func attribute(_ name: String, of loop: Jinja.LoopState) throws(Problem) -> Value? {
    let (index, count) = (loop.index, loop.items.count)
    switch name {
    case "index": return .integer(index + 1)
    case "index0": return .integer(index)
    case "revindex": return .integer(count - index)
    case "revindex0": return .integer(count - index - 1)
    case "first": return .boolean(index == 0)
    case "last": return .boolean(index == count - 1)
    case "length": return .integer(count)
    case "depth": return .integer(loop.depth + 1)
    case "depth0": return .integer(loop.depth)
    case "previtem": return index > 0 ? loop.items[index - 1] : .undefined("there is no previous item")
    case "nextitem": return index + 1 < count ? loop.items[index + 1] : .undefined("there is no next item")
    case "cycle", "changed": return .method(Jinja.Method(receiver: .loop(loop), name: name))
    default: return nil
    }
  }

  // MARK: Slices

  @inline(never)
  private func slice(
    _ object: Expression, _ parts: [Expression?], at offset: Jinja.Offset, in scope: Scope
  ) throws(Problem) -> Value {
    let object = try evaluate(object, in: scope)
    var bounds: [Int?] = []
    for part in parts {
      let value = try part.map { part throws(Problem) in try evaluate(part, in: scope) } ?? Value.none
      self.offset = offset
      if case .none = value {
        bounds.append(nil)
      } else if let bound = value.integer {
        bounds.append(bound)
      } else {
        throw failure("the parts of a slice are integers, not \(value.typeName)")
      }
    }
    self.offset = offset
    let step = bounds[2] ?? 1
    guard step != 0 else { throw failure("a slice's step cannot be zero") }
    func picked<T>(_ values: [T]) -> [T] {
      Jinja.indices(of: values.count, from: bounds[0], to: bounds[1], step: step).map { values[$0] }
    }
    switch object {
    case .undefined(let message): throw failure(message)
    case .string(let text): return try value(Jinja.Text.string(picked(Array(text.unicodeScalars))))
    case .list(let elements): return try list(picked(elements.values))
    case .tuple(let elements): return .tuple(try self.elements(picked(elements.values)))
    case .view(let view):
      guard case .range(let first, _, let stride) = view.kind else { break }
      let values = view.elements.values
      let (from, to) = Jinja.bounds(of: values.count, from: bounds[0], to: bounds[1], step: step)
      let kind = Jinja.View.Kind.range(
        start: first &+ from &* stride, stop: first &+ to &* stride, step: stride &* step)
      return .view(Jinja.View(kind: kind, elements: try elements(picked(values))))
    default: break
    }
    return .undefined("a \(object.typeName) has no slices")
  }
}

extension Jinja {
  /// Where Python's slice of a sequence with `count` elements begins and ends.
  static func bounds(of count: Int, from start: Int?, to stop: Int?, step: Int) -> (from: Int, to: Int) {
    func clamped(_ bound: Int, _ low: Int, _ high: Int) -> Int {
      min(max(bound < 0 ? bound &+ count : bound, low), high)
    }
    if step > 0 { return (start.map { clamped($0, 0, count) } ?? 0, stop.map { clamped($0, 0, count) } ?? count) }
    return (start.map { clamped($0, -1, count - 1) } ?? count - 1, stop.map { clamped($0, -1, count - 1) } ?? -1)
  }

  /// The indices of such a slice.
  static func indices(of count: Int, from start: Int?, to stop: Int?, step: Int) -> [Int] {
    let (from, to) = bounds(of: count, from: start, to: stop, step: step)
    guard step > 0 ? from < to : from > to else { return [] }
    // A longer step would reach no further element, but could overflow.
    return Array(stride(from: from, to: to, by: min(max(step, -count - 1), count + 1)))
  }
}
