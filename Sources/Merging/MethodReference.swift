internal import EspalierBasics

/// The reference of all methods, made from their cards.
public enum MethodReference {
  /// One line a method.
  public static var list: String { MethodCard.list(MergeMethods.all.map { $0.card }) }

  /// Everything about a method, for a terminal.
  public static func text(_ method: any MergeMethod.Type) -> String {
    method.card.text(inputs: inputs(method.inputs), scope: scope)
  }

  /// `Docs/methods.md`.
  public static var markdown: String {
    var lines = [
      "# Merge methods", "",
      "Made from the methods' cards by `espalier methods --markdown`; sources are keys of [bibliography.md](bibliography.md).",
    ]
    for method in MergeMethods.all { lines += method.card.markdown(inputs: inputs(method.inputs), scope: scope) }
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
}
