import EspalierBasics

/// What an expression over a config yields: the part of JSON that shapes and conditions need.
enum Value: Hashable, Sendable {
  /// A key the config does not have (or has as null), with the name by which to report it.
  case absent(String)
  case truth(Bool)
  case integer(Int)
  case text(String)
  case list([Value])
  case fraction(Double)

  /// The value of a config entry called `name`. A number without fraction is an integer even if written `2.0`.
  init(_ json: JSON?, name: String) {
    switch json {
    case nil, .null: self = .absent(name)
    case .bool(let value): self = .truth(value)
    case .string(let value): self = .text(value)
    case .array(let elements): self = .list(elements.map { Value($0, name: name) })
    case .literal(let text):
      if let value = json?.integer ?? json?.number.flatMap({ Int(exactly: $0) }) {
        self = .integer(value)
      } else {
        self = Double(text).map { .fraction($0) } ?? .absent(name)
      }
    // A dictionary such as `id2label` is only ever counted.
    case .object(let members): self = .list(members.keys.map { .text($0) })
    }
  }

  /// The value as it is written into a config.
  var json: JSON {
    switch self {
    case .absent: .null
    case .truth(let value): .bool(value)
    case .integer(let value): .number(value)
    case .text(let value): .string(value)
    case .list(let values): .array(values.map(\.json))
    case .fraction(let value): .number(value)
    }
  }

  func integer(of source: String) throws(Problem) -> Int {
    if case .integer(let value) = self { return value }
    throw mismatch("a whole number", source)
  }

  func truth(of source: String) throws(Problem) -> Bool {
    if case .truth(let value) = self { return value }
    throw mismatch("true or false", source)
  }

  func text(of source: String) throws(Problem) -> String {
    if case .text(let value) = self { return value }
    throw mismatch("a text", source)
  }

  func list(of source: String) throws(Problem) -> [Value] {
    if case .list(let value) = self { return value }
    throw mismatch("a list", source)
  }

  private func mismatch(_ expected: String, _ source: String) -> Problem {
    if case .absent(let name) = self { return .missingKey(name) }
    return Problem(.architectureConfig, "`\(source)` should be \(expected), but is \(json.text())")
  }
}
