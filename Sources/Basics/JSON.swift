/// A JSON value that loses nothing: members keep their order, numbers keep the digits they were written with.
///
/// The reader is strict (RFC 8259): it refuses duplicate keys, bad UTF-8, lone surrogates, trailing text and
/// nesting deeper than 128, because headers and configs come from strangers.
public indirect enum JSON: Sendable, Hashable {
  case null
  case bool(Bool)
  /// A number as written, e.g. `1e-05`; ``number`` and ``integer`` interpret it.
  case literal(String)
  case string(String)
  case array([JSON])
  case object(Members)

  /// The members of an object, in the order they were written.
  public struct Members: Sendable, Hashable {
    public private(set) var keys: [String]
    private var values: [ExactString: JSON]

    public init() {
      keys = []
      values = [:]
    }

    public subscript(key: String) -> JSON? {
      get { values[ExactString(key)] }
      set {
        guard let newValue else {
          if values.removeValue(forKey: ExactString(key)) != nil {
            keys.removeAll { ExactString($0) == ExactString(key) }
          }
          return
        }
        if values.updateValue(newValue, forKey: ExactString(key)) == nil { keys.append(key) }
      }
    }

    /// Adds a member; false if the key was there already (the reader then gives up on the text).
    mutating func insert(_ value: JSON, forKey key: String) -> Bool {
      guard values.updateValue(value, forKey: ExactString(key)) == nil else { return false }
      keys.append(key)
      return true
    }

    public var count: Int { keys.count }
    public var isEmpty: Bool { keys.isEmpty }
    /// Keys with their values, in order.
    public var pairs: [(key: String, value: JSON)] {
      keys.compactMap { key in values[ExactString(key)].map { (key, $0) } }
    }
  }
}

extension JSON {
  /// Exact equality: strings are compared by their bytes, and numbers by their digits, so that `1` is not `1.0`.
  public static func == (a: JSON, b: JSON) -> Bool {
    switch (a, b) {
    case (.null, .null): true
    case (.bool(let a), .bool(let b)): a == b
    case (.literal(let a), .literal(let b)): a == b
    case (.string(let a), .string(let b)): ExactString(a) == ExactString(b)
    case (.array(let a), .array(let b)): a == b
    case (.object(let a), .object(let b)): a == b
    default: false
    }
  }

  public func hash(into hasher: inout Hasher) {
    switch self {
    case .null: hasher.combine(0)
    case .bool(let value): hasher.combine(value)
    case .literal(let text): hasher.combine(text)
    case .string(let value): hasher.combine(ExactString(value))
    case .array(let elements): hasher.combine(elements)
    case .object(let members): hasher.combine(members)
    }
  }
}

extension Problem.Code {
  public static let json = Problem.Code("json.syntax")
}

// MARK: - Building and looking inside

extension JSON: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
  ExpressibleByFloatLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
  public init(stringLiteral value: String) { self = .string(value) }
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  public init(integerLiteral value: Int) { self = .literal(String(value)) }
  public init(floatLiteral value: Double) { self = .number(value) }
  public init(arrayLiteral elements: JSON...) { self = .array(elements) }
  public init(nilLiteral: ()) { self = .null }
  public init(dictionaryLiteral elements: (String, JSON)...) { self = .object(elements) }

  public static func number(_ value: Int) -> JSON { .literal(String(value)) }
  /// JSON has no infinities and no NaN: they become null.
  public static func number(_ value: Double) -> JSON { value.isFinite ? .literal("\(value)") : .null }
  public static func object(_ pairs: [(String, JSON)]) -> JSON {
    var members = Members()
    for (key, value) in pairs { members[key] = value }
    return .object(members)
  }

  public var string: String? { if case .string(let value) = self { value } else { nil } }
  public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
  public var array: [JSON]? { if case .array(let value) = self { value } else { nil } }
  public var members: Members? { if case .object(let value) = self { value } else { nil } }
  public var number: Double? { if case .literal(let text) = self { Double(text) } else { nil } }
  /// An integer that fits `Int`, written without fraction or exponent.
  public var integer: Int? { if case .literal(let text) = self { Int(text) } else { nil } }
  public var isNull: Bool { self == .null }

  /// The member `key`, or nil if this is no object or has no such member; setting on a non-object does nothing.
  public subscript(key: String) -> JSON? {
    get { members?[key] }
    set {
      guard case .object(var members) = self else { return }
      members[key] = newValue
      self = .object(members)
    }
  }

  public subscript(index: Int) -> JSON? {
    guard case .array(let elements) = self, elements.indices.contains(index) else { return nil }
    return elements[index]
  }
}

// MARK: - Writing

extension JSON {
  /// The value as text: on one line, or indented by two spaces a level when `pretty`.
  public func text(pretty: Bool = false) -> String {
    var out = ""
    write(to: &out, indent: pretty ? 0 : nil)
    return out
  }

  private func write(to out: inout String, indent: Int?) {
    switch self {
    case .null: out += "null"
    case .bool(let value): out += value ? "true" : "false"
    case .literal(let text): out += text
    case .string(let value): JSON.quote(value, to: &out)
    case .array(let elements):
      JSON.writeList(elements, open: "[", close: "]", to: &out, indent: indent) { element, out, indent in
        element.write(to: &out, indent: indent)
      }
    case .object(let members):
      JSON.writeList(members.pairs, open: "{", close: "}", to: &out, indent: indent) { member, out, indent in
        JSON.quote(member.key, to: &out)
        out += indent == nil ? ":" : ": "
        member.value.write(to: &out, indent: indent)
      }
    }
  }

  private static func writeList<T>(
    _ items: [T], open: String, close: String, to out: inout String, indent: Int?,
    item: (T, inout String, Int?) -> Void
  ) {
    out += open
    for (index, element) in items.enumerated() {
      if index > 0 { out += "," }
      if let indent { out += "\n" + String(repeating: "  ", count: indent + 1) }
      item(element, &out, indent.map { $0 + 1 })
    }
    if let indent, !items.isEmpty { out += "\n" + String(repeating: "  ", count: indent) }
    out += close
  }

  private static func quote(_ value: String, to out: inout String) {
    out += "\""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\r": out += "\\r"
      case "\t": out += "\\t"
      case "\u{0}"..<"\u{20}":
        let hex = String(scalar.value, radix: 16)
        out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: out.unicodeScalars.append(scalar)
      }
    }
    out += "\""
  }
}
