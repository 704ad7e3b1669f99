internal import EspalierBasics

// The tests behind `is`.
extension Jinja.Interpreter {
  typealias TestFunction = @Sendable (Jinja.Interpreter, Value, CallArguments) throws(Problem) -> Bool

  func apply(test name: String, to value: Value, _ given: CallArguments) throws(Problem) -> Bool {
    guard let test = Self.tests[name] else {
      let nearest = Spelling.nearest(to: name, among: Self.tests.keys.sorted())
      throw source.problem(
        .chatTemplateUnsupported, "there is no test '\(name)'" + (nearest.map { "; '\($0)'?" } ?? ""), at: offset)
    }
    return try test(self, value, given)
  }

  private static let tests: [String: TestFunction] = [
    "defined": kind { !$0.isUndefined },
    "undefined": kind { $0.isUndefined },
    "none": kind { if case .none = $0 { true } else { false } },
    "boolean": kind { if case .boolean = $0 { true } else { false } },
    "true": kind { if case .boolean(true) = $0 { true } else { false } },
    "false": kind { if case .boolean(false) = $0 { true } else { false } },
    "integer": kind {
      switch $0 {
      case .integer, .large: true
      default: false
      }
    },
    "float": kind { if case .float = $0 { true } else { false } },
    "number": kind { $0.number != nil },
    "string": kind { $0.string != nil },
    "mapping": kind { if case .dictionary = $0 { true } else { false } },
    "sequence": kind {
      switch $0 {
      case .string, .list, .tuple, .dictionary, .undefined: true
      case .view(let view): if case .range = view.kind { true } else { false }
      default: false
      }
    },
    "iterable": kind {
      switch $0 {
      case .string, .list, .tuple, .dictionary, .view, .iterator, .undefined, .loop: true
      default: false
      }
    },
    "callable": kind {
      switch $0 {
      // Python's undefined value has a call, which fails.
      case .macro, .method, .function, .loop, .undefined: true
      default: false
      }
    },
    "escaped": kind { _ in false },
    "lower": { run, value, given throws(Problem) in
      Jinja.Text.isAll(lower: true, try run.subject(value, given))
    },
    "upper": { run, value, given throws(Problem) in
      Jinja.Text.isAll(lower: false, try run.subject(value, given))
    },
    "odd": { run, value, given throws(Problem) in
      _ = try run.bind(given, to: "odd", [])
      return try run.isEqual(try run.apply(.modulo, value, .integer(2)), .integer(1))
    },
    "even": { run, value, given throws(Problem) in
      _ = try run.bind(given, to: "even", [])
      return try run.isEqual(try run.apply(.modulo, value, .integer(2)), .integer(0))
    },
    "divisibleby": { run, value, given throws(Problem) in
      try run.isEqual(try run.apply(.modulo, value, try run.operand(given)), .integer(0))
    },
    "sameas": { run, value, given throws(Problem) in try run.isSame(value, try run.operand(given)) },
    "filter": { run, value, given throws(Problem) in
      _ = try run.bind(given, to: "filter", [])
      return value.string.map { Jinja.Interpreter.filters[$0] != nil } ?? false
    },
    "test": { run, value, given throws(Problem) in
      _ = try run.bind(given, to: "test", [])
      return value.string.map { Jinja.Interpreter.tests[$0] != nil } ?? false
    },
    "in": { run, value, given throws(Problem) in try run.contains(try run.operand(given), value) },
    "==": comparison(.equal), "eq": comparison(.equal), "equalto": comparison(.equal),
    "!=": comparison(.notEqual), "ne": comparison(.notEqual),
    "<": comparison(.less), "lt": comparison(.less), "lessthan": comparison(.less),
    "<=": comparison(.lessOrEqual), "le": comparison(.lessOrEqual),
    ">": comparison(.greater), "gt": comparison(.greater), "greaterthan": comparison(.greater),
    ">=": comparison(.greaterOrEqual), "ge": comparison(.greaterOrEqual),
  ]

  /// A test without arguments that looks at the value alone.
  private static func kind(_ holds: @escaping @Sendable (Value) -> Bool) -> TestFunction {
    { run, value, given throws(Problem) in
      _ = try run.bind(given, to: "test", [])
      return holds(value)
    }
  }

  private static func comparison(_ operation: Jinja.Comparison) -> TestFunction {
    { run, value, given throws(Problem) in try run.compare(operation, value, try run.operand(given)) }
  }

  private func operand(_ given: CallArguments) throws(Problem) -> Value {
    try bind(given, to: "test", ["other"], required: 1)[0] ?? .none
  }

  private func subject(_ value: Value, _ given: CallArguments) throws(Problem) -> String {
    _ = try bind(given, to: "test", [])
    return try text(of: value)
  }

  /// Python's `is`: the same object. Values without identity here are the same if they are equal and of one type.
  private func isSame(_ a: Value, _ b: Value) throws(Problem) -> Bool {
    guard a.typeName == b.typeName else { return false }
    return try isEqual(a, b)
  }
}
