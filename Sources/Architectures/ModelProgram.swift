public import EspalierBasics

/// What the network of one model computes: a family's program filled in with the numbers of a config.
///
/// A list of sections that run one after the other, over slots that all sections share.
public struct ModelProgram: Sendable {
  /// Statements that run together: what stands before the layers of a tower, one layer, what stands after them, or a
  /// head on the final states.
  public struct Section: Sendable {
    public enum Part: Sendable, Hashable {
      case before, after, head
      case layer(Int)
    }

    public let tower: String
    public let part: Part
    public let statements: [Statement]
    /// The names under which slots are seen from outside when the section has run, e.g. `layer.3`: `x`.
    public let outputs: [Output]
  }

  public struct Output: Sendable, Hashable {
    public let name: String
    public let slot: String
  }

  public let architecture: String
  public let sections: [Section]
  /// What the parameters mean that the statements name.
  public let description: ModelDescription
  /// The token that has no position of its own, where positions count the other tokens (RoBERTa), else nil.
  public let positionsSkip: Int?
}

/// One operation with everything a config says about it.
public struct Statement: Sendable {
  /// A value that an operation was given.
  public enum Setting: Sendable, Hashable {
    case truth(Bool)
    case integer(Int)
    case number(Double)
    case text(String)
    case list([Setting])
    /// The config does not say; the name of the key.
    case absent(String)
  }

  public let outputs: [String]
  public let operation: String
  public let inputs: [String]
  /// Parameters by label, under their canonical names; several where every expert has one. What the config leaves out
  /// is not there.
  public let parameters: [String: [String]]
  public let settings: [String: Setting]
  /// The config of the tower, for what no formula can say (the scaling of rotary frequencies).
  public let config: JSON
  /// The line of the description.
  public let source: String
}

extension Statement {
  private func problem(_ expected: String, _ label: String, _ found: Setting) -> Problem {
    if case .absent(let key) = found { return .missingKey(key) }
    return Problem(.architectureConfig, "`\(label)` in `\(source)` should be \(expected), but is \(found)")
  }

  /// A setting that must be there.
  private func value(_ label: String) throws(Problem) -> Setting {
    guard let value = settings[label] else {
      throw Problem(.architectureDescription, "`\(source)` lacks `\(label)`")
    }
    return value
  }

  /// Whether a setting was written and the config has a value for it.
  public func has(_ label: String) -> Bool {
    guard let value = settings[label] else { return false }
    if case .absent = value { return false }
    return true
  }

  /// - Throws: `architecture.config` naming the key the config lacks or has with another type.
  public func integer(_ label: String) throws(Problem) -> Int {
    let value = try value(label)
    if case .integer(let number) = value { return number }
    throw problem("a whole number", label, value)
  }

  public func number(_ label: String) throws(Problem) -> Double {
    let value = try value(label)
    switch value {
    case .integer(let number): return Double(number)
    case .number(let number): return number
    default: throw problem("a number", label, value)
    }
  }

  public func text(_ label: String) throws(Problem) -> String {
    let value = try value(label)
    if case .text(let text) = value { return text }
    throw problem("a text", label, value)
  }

  public func truth(_ label: String) throws(Problem) -> Bool {
    let value = try value(label)
    if case .truth(let truth) = value { return truth }
    throw problem("true or false", label, value)
  }
}

extension Statement.Setting {
  init(_ value: Value) {
    switch value {
    case .absent(let name): self = .absent(name)
    case .truth(let truth): self = .truth(truth)
    case .integer(let number): self = .integer(number)
    case .fraction(let number): self = .number(number)
    case .text(let text): self = .text(text)
    case .list(let values): self = .list(values.map(Statement.Setting.init))
    }
  }
}
