public import EspalierBasics

/// Values of a method's parameters, checked against its card.
public struct ReductionParameters: Sendable, Hashable {
  private let values: [String: ParameterValue]

  /// - Throws: `reduction` for a name that the card does not have, a value that it does not allow, or a required one that
  ///   is missing.
  public init(_ given: [String: ParameterValue], for card: MethodCard) throws(Problem) {
    var values: [String: ParameterValue] = [:]
    for parameter in card.parameters { values[parameter.name] = parameter.standard }
    for (name, value) in given.sorted(by: { $0.key < $1.key }) {
      guard let parameter = card.parameter(name) else {
        throw Problem(
          .reduction, "\(card.name) has no parameter `\(name)`",
          remedy: "It has: \(card.parameters.map(\.name).joined(separator: ", ")).")
      }
      if let complaint = parameter.complaint(about: value) { throw Problem(.reduction, "\(card.name): \(complaint)") }
      values[name] = value
    }
    if let missing = card.parameters.first(where: { $0.isRequired && values[$0.name] == nil }) {
      throw Problem(.reduction, "\(card.name) needs a value for `\(missing.name)`")
    }
    self.values = values
  }

  public func number(_ name: String) -> Double? { if case .number(let value)? = values[name] { value } else { nil } }
  public func flag(_ name: String) -> Bool? { if case .flag(let value)? = values[name] { value } else { nil } }
  public func word(_ name: String) -> String? { if case .word(let value)? = values[name] { value } else { nil } }
}

extension MethodCard {
  /// Values of parameters that were written as `name=value`, in the kinds that the parameters have.
  ///
  /// - Throws: `reduction` for one without `=` and a name that is given twice. Whether the card has the name and allows
  ///   the value is ``ReductionParameters``' to say.
  public func values(_ settings: [String]) throws(Problem) -> [String: ParameterValue] {
    var values: [String: ParameterValue] = [:]
    for setting in settings {
      guard let equals = setting.firstIndex(of: "=") else {
        throw Problem(.reduction, "--set \(setting) is not name=value")
      }
      let (name, value) = (String(setting[..<equals]), String(setting[setting.index(after: equals)...]))
      guard values[name] == nil else { throw Problem(.reduction, "--set gives `\(name)` twice") }
      switch (parameter(name)?.kind, value) {
      case (.flag?, "true"), (.flagOrChoice?, "true"): values[name] = .flag(true)
      case (.flag?, "false"), (.flagOrChoice?, "false"): values[name] = .flag(false)
      default: values[name] = Double(value).map { .number($0) } ?? .word(value)
      }
    }
    return values
  }
}
