internal import EspalierBasics

extension Jinja {
  /// What a template finds by name without being given it.
  enum Function: String {
    case range, namespace, dict
    case raiseException = "raise_exception"
    case strftimeNow = "strftime_now"
  }
}

extension Jinja.Interpreter {
  func call(_ function: Jinja.Function, _ given: CallArguments) throws(Problem) -> Value {
    switch function {
    case .range: return try range(given)
    case .dict: return .dictionary(try dictionary(from: given))
    case .namespace:
      let namespace = Jinja.Namespace()
      let members = try dictionary(from: given)
      for (key, value) in zip(members.keys, members.values) {
        try set(try string(key), of: namespace, to: value)
      }
      return .namespace(namespace)
    case .raiseException:
      let message = try bind(given, to: function.rawValue, ["message"], required: 1)[0] ?? .none
      throw source.problem(.chatTemplateRefused, try text(of: message), at: offset)
    case .strftimeNow:
      let format = try string(try bind(given, to: function.rawValue, ["format"], required: 1)[0])
      return try value(Jinja.CLibrary.time(now ?? Jinja.CLibrary.now, format))
    }
  }

  private func range(_ given: CallArguments) throws(Problem) -> Value {
    let bound = try bind(given, to: "range", ["start", "stop", "step"], required: 1)
    guard given.named.isEmpty else { throw failure("'range' takes no keyword arguments") }
    let first = try integer(bound[0], 0)
    let (start, stop) = bound[1] == nil ? (0, first) : (first, try integer(bound[1], 0))
    let step = try integer(bound[2], 1)
    guard step != 0 else { throw failure("the step of a range cannot be zero") }
    var values: [Value] = []
    var next = start
    while step > 0 ? next < stop : next > stop {
      guard values.count < Jinja.Limits.range else {
        throw limit("a range has more than \(Jinja.Limits.range) elements")
      }
      values.append(.integer(next))
      let (sum, overflow) = next.addingReportingOverflow(step)
      if overflow { break }
      next = sum
    }
    return .view(Jinja.View(kind: .range(start: start, stop: stop, step: step), elements: try elements(values)))
  }

  /// Python's `dict(mapping or pairs, name=value)`.
  private func dictionary(from given: CallArguments) throws(Problem) -> Jinja.Dictionary {
    guard given.positional.count <= 1 else { throw failure("'dict' takes at most one positional argument") }
    var result = Jinja.Dictionary()
    if case .dictionary(let dictionary)? = given.positional.first {
      result = dictionary
    } else if let pairs = given.positional.first {
      for pair in try elements(of: pairs) {
        let parts = try elements(of: pair)
        guard parts.count == 2 else { throw failure("a dictionary is made of pairs, not of \(parts.count) values") }
        try set(parts[1], for: parts[0], in: &result)
      }
    }
    for (name, value) in given.named { result.set(value, for: name) }
    try admit(result.size, elements: result.count)
    return result
  }
}
