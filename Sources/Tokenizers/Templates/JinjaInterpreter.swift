internal import EspalierBasics

extension Jinja {
  /// Runs the statements of a template. One interpreter renders once.
  ///
  /// Expressions are in `JinjaEvaluation.swift`, operators in `JinjaOperators.swift`; filters, tests, functions and
  /// methods in files of their own.
  final class Interpreter {
    let source: Source
    let limits: Limits
    /// Seconds since 1970 that `strftime_now` shows; nil is the present.
    let now: Int?
    /// What is being evaluated: where a problem is reported.
    var offset: Offset = 0
    private var output: [UInt8] = []
    private var stepsLeft: Int
    private var depth = 0
    /// Scopes that macros remember. Such a scope holds the macro that holds it; ``finish()`` takes them apart.
    private var captured: [Scope] = []

    private init(source: Source, limits: Limits, now: Int?) {
      self.source = source
      self.limits = limits
      self.now = now
      stepsLeft = limits.steps
    }

    static func render(
      _ statements: [Statement], of source: Source, variables: [(String, Value)], limits: Limits, now: Int?
    ) throws(Problem) -> String {
      let interpreter = Interpreter(source: source, limits: limits, now: now)
      defer { interpreter.finish() }
      let scope = Scope(parent: nil)
      for (name, value) in variables { scope.variables[ExactString(name)] = value }
      _ = try interpreter.run(statements, in: scope)
      return String(decoding: interpreter.output, as: UTF8.self)
    }

    private func finish() {
      for scope in captured { scope.variables = [:] }
      captured = []
    }

    // MARK: Problems and limits

    func failure(_ message: String) -> Problem { source.problem(.chatTemplateFailed, message, at: offset) }

    func unsupported(_ what: String) -> Problem {
      source.problem(.chatTemplateUnsupported, "\(what) is not supported", at: offset)
    }

    func limit(_ what: String) -> Problem { source.problem(.chatTemplateLimit, what, at: offset) }

    func spend(_ steps: Int) throws(Problem) {
      stepsLeft -= min(steps, limits.steps + 1)
      guard stepsLeft >= 0 else { throw limit("rendering takes more than \(limits.steps) steps") }
    }

    func enter() throws(Problem) {
      depth += 1
      guard depth <= limits.depth else { throw limit("evaluation nests deeper than \(limits.depth) levels") }
      try spend(1)
    }

    func leave() { depth -= 1 }

    /// Allows a text of so many bytes, before it is made; `fresh` of them are to be written, by default all.
    func admit(textBytes count: Int, fresh: Int? = nil) throws(Problem) {
      guard count <= limits.textBytes else { throw limit("a text grows beyond \(limits.textBytes) bytes") }
      try spend((fresh ?? count) / 64)
    }

    /// A text as a value.
    func value(_ text: String) throws(Problem) -> Value {
      try admit(textBytes: text.utf8.count)
      return .string(text)
    }

    @inline(never)
    func admit(_ size: Size, elements: Int) throws(Problem) {
      guard size.depth < Int.max / 4 else {
        throw unsupported("a namespace or loop inside another value")
      }
      guard size.depth <= limits.nesting else { throw limit("a value nests deeper than \(limits.nesting) levels") }
      guard size.count <= limits.elements else { throw limit("a value has more than \(limits.elements) elements") }
      try spend(elements)
    }

    @inline(never)
    func elements(_ values: [Value]) throws(Problem) -> Elements {
      let elements = Elements(values)
      try admit(elements.size, elements: values.count)
      return elements
    }

    func list(_ values: [Value]) throws(Problem) -> Value { .list(try elements(values)) }

    // MARK: Statements

    /// How a block was left.
    enum Flow { case normal, breakLoop, continueLoop }

    @inline(never)
    func run(_ statements: [Statement], in scope: Scope) throws(Problem) -> Flow {
      try enter()
      defer { leave() }
      for statement in statements {
        let flow = try run(statement, in: scope)
        guard flow == .normal else { return flow }
      }
      return .normal
    }

    private func run(_ statement: Statement, in scope: Scope) throws(Problem) -> Flow {
      try enter()
      defer { leave() }
      switch statement {
      case .text(let text): try write(text)
      case .output(let expression): try write(expression, in: scope)
      case .condition(let branches, let otherwise): return try run(branches, otherwise, in: scope)
      case .loop(let loop): try run(loop, in: scope)
      case .assign(let target, let expression): try assign(try evaluate(expression, in: scope), to: target, in: scope)
      case .assignBlock(let target, let filters, let body, let offset):
        try assign(body, filters, to: target, at: offset, in: scope)
      case .macro(let macro): scope.variables[ExactString(macro.name)] = closure(macro, in: scope)
      case .call(let callee, let arguments, let caller, let offset):
        try runCall(callee, arguments, caller: caller, at: offset, in: scope)
      case .filter(let filters, let body): try write(body, filters, in: scope)
      case .with(let values, let body): return try run(body, with: values, in: scope)
      case .scope(let body): return try run(body, in: Scope(parent: scope))
      case .breakLoop: return .breakLoop
      case .continueLoop: return .continueLoop
      }
      return .normal
    }

    @inline(never)
    private func run(
      _ branches: [(test: Expression, body: [Statement])], _ otherwise: [Statement], in scope: Scope
    ) throws(Problem) -> Flow {
      for (test, body) in branches where try evaluate(test, in: scope).isTrue { return try run(body, in: scope) }
      return try run(otherwise, in: scope)
    }

    @inline(never)
    private func run(
      _ body: [Statement], with values: [(target: Target, value: Expression)], in scope: Scope
    ) throws(Problem) -> Flow {
      let inner = Scope(parent: scope)
      for (target, expression) in values { try assign(try evaluate(expression, in: scope), to: target, in: inner) }
      return try run(body, in: inner)
    }

    @inline(never)
    private func write(_ expression: Expression, in scope: Scope) throws(Problem) {
      try write(try text(of: try evaluate(expression, in: scope)))
    }

    @inline(never)
    private func write(_ body: [Statement], _ filters: [Jinja.Filter], in scope: Scope) throws(Problem) {
      try write(try text(of: try filtered(try capture(body, in: scope), filters, in: scope)))
    }

    @inline(never)
    private func assign(
      _ body: [Statement], _ filters: [Jinja.Filter], to target: Target, at offset: Offset, in scope: Scope
    ) throws(Problem) {
      let value = try filtered(try capture(body, in: scope), filters, in: scope)
      self.offset = offset
      try assign(value, to: target, in: scope)
    }

    @inline(never)
    private func write(_ text: String) throws(Problem) {
      try admit(textBytes: output.count + text.utf8.count, fresh: text.utf8.count)
      output += text.utf8
    }

    /// What running `body` writes.
    @inline(never)
    func captured(_ body: () throws(Problem) -> Void) throws(Problem) -> Value {
      try enter()
      defer { leave() }
      var outer: [UInt8] = []
      swap(&outer, &output)
      defer { swap(&outer, &output) }
      try body()
      return .string(String(decoding: output, as: UTF8.self))
    }

    @inline(never)
    private func capture(_ body: [Statement], in scope: Scope) throws(Problem) -> Value {
      try captured { () throws(Problem) in _ = try run(body, in: Scope(parent: scope)) }
    }

    @inline(never)
    private func filtered(_ value: Value, _ filters: [Jinja.Filter], in scope: Scope) throws(Problem) -> Value {
      var value = value
      for filter in filters {
        let arguments = try self.arguments(filter.arguments, in: scope)
        offset = filter.offset
        value = try apply(filter: filter.name, to: value, arguments)
      }
      return value
    }

    // MARK: Assignment

    @inline(never)
    func assign(_ value: Value, to target: Target, in scope: Scope) throws(Problem) {
      switch target {
      case .name(let name): scope.variables[ExactString(name)] = value
      case .member(let name, let member, let offset):
        self.offset = offset
        guard case .namespace(let namespace)? = scope.value(ExactString(name)) else {
          throw failure("'\(name)' is no namespace, so its attribute '\(member)' cannot be set")
        }
        try set(member, of: namespace, to: value)
      case .tuple(let targets, let offset):
        self.offset = offset
        let values = try elements(of: value)
        guard values.count == targets.count else {
          throw failure("\(values.count) values for \(targets.count) names")
        }
        for (target, value) in zip(targets, values) { try assign(value, to: target, in: scope) }
      }
    }

    @inline(never)
    func set(_ name: String, of namespace: Namespace, to value: Value) throws(Problem) {
      guard !name.hasPrefix("_") else { throw failure("a namespace keeps no attribute with an underscore before it") }
      try admit(value.size, elements: 1)
      namespace.members.set(value, for: name)
    }

    // MARK: Loops

    @inline(never)
    private func run(_ loop: Loop, in scope: Scope) throws(Problem) {
      let value = try evaluate(loop.iterable, in: scope)
      offset = loop.offset
      try run(loop, over: value, depth: 0, in: scope)
    }

    /// One pass of a loop: every turn has variables of its own.
    @inline(never)
    func run(_ loop: Loop, over value: Value, depth: Int, in scope: Scope) throws(Problem) {
      var items = try elements(of: value)
      if let condition = loop.condition {
        var kept: [Value] = []
        for item in items {
          let inner = Scope(parent: scope)
          try assign(item, to: loop.target, in: inner)
          if try evaluate(condition, in: inner).isTrue { kept.append(item) }
        }
        items = kept
      }
      let state = LoopState(items: items, depth: depth, recursion: loop.recursive ? (loop, scope) : nil)
      for (index, item) in items.enumerated() {
        let inner = Scope(parent: scope)
        state.index = index
        try assign(item, to: loop.target, in: inner)
        inner.variables["loop"] = .loop(state)
        if try run(loop.body, in: inner) == .breakLoop { break }
      }
      if items.isEmpty { _ = try run(loop.otherwise, in: Scope(parent: scope)) }
    }

    // MARK: Macros

    private func closure(_ macro: Macro, in scope: Scope) -> Value {
      captured.append(scope)
      return .macro(Closure(macro: macro, scope: scope))
    }

    @inline(never)
    private func runCall(
      _ callee: Expression, _ arguments: Arguments, caller: Macro, at offset: Offset, in scope: Scope
    ) throws(Problem) {
      let function = try evaluate(callee, in: scope)
      var given = try self.arguments(arguments, in: scope)
      given.named.append(("caller", closure(caller, in: scope)))
      self.offset = offset
      try write(try text(of: try call(function, given)))
    }

    @inline(never)
    func invoke(_ closure: Closure, _ given: CallArguments) throws(Problem) -> Value {
      try enter()
      defer { leave() }
      let macro = closure.macro
      let scope = Scope(parent: closure.scope)
      var named = given.named
      func take(_ name: String) -> Value? {
        named.firstIndex { $0.name == name }.map { named.remove(at: $0).value }
      }
      for (index, parameter) in macro.parameters.enumerated() {
        let value = index < given.positional.count ? given.positional[index] : take(parameter.name)
        let name = ExactString(parameter.name)
        if let value {
          scope.variables[name] = value
        } else if let fallback = parameter.fallback {
          scope.variables[name] = try evaluate(fallback, in: scope)
        } else {
          scope.variables[name] = .undefined("parameter '\(parameter.name)' was not provided")
        }
      }
      if macro.takesCaller, !macro.parameters.contains(where: { $0.name == "caller" }) {
        scope.variables["caller"] = take("caller") ?? .undefined("No caller defined")
      }
      let more = Array(given.positional.dropFirst(macro.parameters.count))
      if macro.takesMorePositional {
        scope.variables["varargs"] = .tuple(try elements(more))
      } else if !more.isEmpty {
        throw failure("macro '\(macro.name)' takes not more than \(macro.parameters.count) argument(s)")
      }
      if macro.takesMoreNamed {
        scope.variables["kwargs"] = .dictionary(try dictionary(named.map { (.string($0.name), $0.value) }))
      } else if let (name, _) = named.first {
        throw failure("macro '\(macro.name)' takes no keyword argument '\(name)'")
      }
      return try captured { () throws(Problem) in _ = try run(macro.body, in: scope) }
    }
  }
}
