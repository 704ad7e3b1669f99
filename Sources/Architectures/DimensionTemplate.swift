import EspalierBasics

/// A dimension as a description writes it, before sizes are known.
///
/// ```
/// concatenation = segment { "|" segment }
/// segment       = [ label ":" ] product
/// product       = factor { "*" factor }
/// factor        = integer | axis | axis "[" expression "]" | "(" concatenation ")"
/// ```
indirect enum DimensionTemplate: Sendable {
  /// An axis; `index` tells apart the members of a row of axes, as the channels of stage i.
  case axis(String, index: Expression?)
  case literal(Int)
  case product([DimensionTemplate])
  case concatenation([(label: String?, template: DimensionTemplate)])

  init(parsing source: String) throws(Problem) {
    var parser = try FormulaParser(source)
    self = try parser.concatenation()
    try parser.expectEnd()
  }

  /// The names of the axes that occur.
  var axisNames: [String] {
    switch self {
    case .axis(let name, _): [name]
    case .literal: []
    case .product(let factors): factors.flatMap(\.axisNames)
    case .concatenation(let segments): segments.flatMap(\.template.axisNames)
    }
  }

  /// The dimension with its axes filled in; `axis` is asked for each by name and index.
  func instantiated(
    in scope: Scope, axis: (_ name: String, _ index: Int?) throws(Problem) -> Axis
  ) throws(Problem) -> Dimension {
    switch self {
    case .axis(let name, let index): return .axis(try axis(name, try index?.integer(in: scope)))
    case .literal(let value): return .literal(value)
    case .product(let factors):
      var made: [Dimension] = []
      for factor in factors { made.append(try factor.instantiated(in: scope, axis: axis)) }
      return .product(made)
    case .concatenation(let segments):
      var made: [Dimension.Segment] = []
      for segment in segments {
        made.append(.init(label: segment.label, try segment.template.instantiated(in: scope, axis: axis)))
      }
      return .concatenation(made)
    }
  }
}

extension FormulaParser {
  fileprivate mutating func concatenation() throws(Problem) -> DimensionTemplate {
    try nested { parser throws(Problem) in
      var segments = [try parser.segment()]
      while parser.accept("|") { segments.append(try parser.segment()) }
      if segments.count == 1, segments[0].label == nil { return segments[0].template }
      return .concatenation(segments)
    }
  }

  private mutating func segment() throws(Problem) -> (label: String?, template: DimensionTemplate) {
    if case .name(let label) = next, afterNext == .symbol(":") {
      advance()
      advance()
      return (label, try product())
    }
    return (nil, try product())
  }

  private mutating func product() throws(Problem) -> DimensionTemplate {
    var factors = [try factor()]
    while accept("*") { factors.append(try factor()) }
    return factors.count == 1 ? factors[0] : .product(factors)
  }

  private mutating func factor() throws(Problem) -> DimensionTemplate {
    if accept("(") {
      let inner = try concatenation()
      try expect(")")
      return inner
    }
    switch next {
    case .integer(let value):
      advance()
      return .literal(value)
    case .name(let name):
      advance()
      guard accept("[") else { return .axis(name, index: nil) }
      let index = try expression()
      try expect("]")
      return .axis(name, index: index)
    case .text, .symbol, .reference, .end: throw unexpected("an axis or a number")
    }
  }
}
