/// What a method is, said once: help texts, checks of parameters, `Docs/methods.md` and sweeping tests come from it.
public struct MethodCard: Sendable {
  /// The name in recipes and on the command line.
  public var name: String
  /// One line.
  public var summary: String
  /// A key of `Docs/bibliography.md`.
  public var source: String
  public var parameters: [ParameterCard]
  /// What was filled in where the source leaves a gap, and where we differ from others.
  public var notes: String

  public init(
    name: String, summary: String, source: String, parameters: [ParameterCard] = [], notes: String = ""
  ) {
    self.name = name
    self.summary = summary
    self.source = source
    self.parameters = parameters
    self.notes = notes
  }

  public func parameter(_ name: String) -> ParameterCard? { parameters.first { $0.name == name } }
}

/// A parameter of a method: its type, range, default and meaning.
public struct ParameterCard: Sendable {
  /// How many values there are: one for a tensor, one for every input, or one for every input but the base.
  public enum Scope: Sendable { case tensor, input, nonBase }

  public enum Kind: Sendable {
    /// A real number within the range (bounds included).
    case number(ClosedRange<Double>)
    /// A whole number within the range.
    case integer(ClosedRange<Int>)
    case flag
    case choice([String])
    /// A flag or one of the words.
    case flagOrChoice([String])
  }

  public var name: String
  public var kind: Kind
  public var scope: Scope
  /// Nil means required, unless the parameter is optional.
  public var standard: ParameterValue?
  public var isOptional: Bool
  public var meaning: String

  public init(
    _ name: String, _ kind: Kind, scope: Scope = .tensor, default standard: ParameterValue? = nil,
    isOptional: Bool = false, _ meaning: String
  ) {
    self.name = name
    self.kind = kind
    self.scope = scope
    self.standard = standard
    self.isOptional = isOptional
    self.meaning = meaning
  }

  public var isRequired: Bool { standard == nil && !isOptional }

  /// Checks a value; the text of what is wrong, or nil.
  public func complaint(about value: ParameterValue) -> String? {
    switch (kind, value) {
    case (.number(let range), .number(let number)):
      if number.isFinite, range.contains(number) { return nil }
      return "\(name) is \(value) but must be \(Self.text(range))"
    case (.integer(let range), .number(let number)):
      if let integer = Int(exactly: number), range.contains(integer) { return nil }
      return "\(name) is \(value) but must be a whole number from \(range.lowerBound) to \(range.upperBound)"
    case (.flag, .flag), (.flagOrChoice, .flag): return nil
    case (.choice(let words), .word(let word)), (.flagOrChoice(let words), .word(let word)):
      return words.contains(word) ? nil : "\(name) is \"\(word)\" but must be one of \(words.joined(separator: ", "))"
    default: return "\(name) is \(value) but must be \(expected)"
    }
  }

  /// What kind of value is expected, in words.
  public var expected: String {
    switch kind {
    case .number(let range): Self.text(range)
    case .integer(let range): "a whole number from \(range.lowerBound) to \(range.upperBound)"
    case .flag: "true or false"
    case .choice(let words): words.joined(separator: " | ")
    case .flagOrChoice(let words): "true, false or " + words.joined(separator: " | ")
    }
  }

  private static func text(_ range: ClosedRange<Double>) -> String {
    let unbounded = Double.greatestFiniteMagnitude
    switch (range.lowerBound <= -unbounded, range.upperBound >= unbounded) {
    case (true, true): return "a number"
    case (false, true): return "a number from \(plain(range.lowerBound))"
    case (true, false): return "a number up to \(plain(range.upperBound))"
    case (false, false): return "a number from \(plain(range.lowerBound)) to \(plain(range.upperBound))"
    }
  }

  private static func plain(_ value: Double) -> String { ParameterValue.number(value).description }
}

extension ClosedRange where Bound == Double {
  /// Every finite number.
  public static var anyNumber: ClosedRange<Double> {
    -Double.greatestFiniteMagnitude...Double.greatestFiniteMagnitude
  }
}

/// A value of a parameter, once gradients and filters are resolved.
public enum ParameterValue: Sendable, Hashable, Codable, CustomStringConvertible {
  case number(Double)
  case flag(Bool)
  case word(String)

  public var description: String {
    switch self {
    case .number(let value): Int(exactly: value).map(String.init) ?? "\(value)"
    case .flag(let value): "\(value)"
    case .word(let value): value
    }
  }
}
