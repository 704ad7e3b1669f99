internal import EspalierBasics

/// The reference of all methods, made from their cards.
public enum MethodReference {
  /// One line a method.
  public static var list: String {
    let width = MergeMethods.all.map { $0.card.name.count }.max() ?? 0
    return MergeMethods.all.map { method in
      method.card.name + String(repeating: " ", count: width + 2 - method.card.name.count) + method.card.summary
    }.joined(separator: "\n")
  }

  /// Everything about a method, for a terminal.
  public static func text(_ method: any MergeMethod.Type) -> String {
    let card = method.card
    var lines = ["\(card.name): \(card.summary)", "inputs: \(inputs(method.inputs))", "source: \(card.source)"]
    for parameter in card.parameters {
      lines.append("  \(parameter.name) (\(scope(parameter)), \(parameter.expected), \(standard(parameter)))")
      lines.append("      \(parameter.meaning)")
    }
    if !card.notes.isEmpty { lines.append(card.notes) }
    return lines.joined(separator: "\n")
  }

  /// `Docs/methods.md`.
  public static var markdown: String {
    var lines = [
      "# Merge methods", "",
      "Made from the methods' cards by `espalier methods --markdown`; sources are keys of [bibliography.md](bibliography.md).",
    ]
    for method in MergeMethods.all {
      let card = method.card
      lines += [
        "", "## \(card.name)", "", card.summary, "", "Inputs: \(inputs(method.inputs)). Source: `\(card.source)`.",
      ]
      if !card.parameters.isEmpty {
        lines += ["", "| parameter | for | value | default | meaning |", "|---|---|---|---|---|"]
        for parameter in card.parameters {
          let expected = parameter.expected.split(separator: "|").joined(separator: "or")
          lines.append(
            "| `\(parameter.name)` | \(scope(parameter)) | \(expected) | \(standard(parameter)) | \(parameter.meaning) |"
          )
        }
      }
      if !card.notes.isEmpty { lines += ["", card.notes] }
    }
    return lines.joined(separator: "\n")
  }

  private static func inputs(_ rule: MergeInputRule) -> String {
    let count =
      switch (rule.count.lowerBound, rule.count.upperBound) {
      case (let low, let high) where low == high: "\(low)"
      case (let low, Int.max): "\(low) or more"
      case (let low, let high): "\(low) to \(high)"
      }
    return switch rule.base {
    case .required: "a base model, \(count) in all"
    case .optional: "\(count), with or without a base model"
    case .ordinary: "\(count); a base model is an input like the others"
    }
  }

  private static func scope(_ parameter: ParameterCard) -> String {
    switch parameter.scope {
    case .tensor: "each tensor"
    case .input: "each model"
    case .nonBase: "each model but the base"
    }
  }

  private static func standard(_ parameter: ParameterCard) -> String {
    parameter.standard.map { "default \($0)" } ?? (parameter.isRequired ? "required" : "optional")
  }
}
