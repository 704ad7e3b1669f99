internal import EspalierBasics

/// The reference of all methods that change a model's structure, and of the scores they go by, made from their cards.
public enum StructuralReference {
  /// One line a method.
  public static var list: String { MethodCard.list(StructuralMethods.all.map { $0.card }) }

  /// Everything about a method, for a terminal.
  public static func text(_ method: any StructuralMethod.Type) -> String {
    method.card.text(inputs: words(method))
  }

  /// `Docs/restructurings.md`.
  public static var markdown: String {
    var lines = [
      "# Methods of restructuring", "",
      "Made from the methods' cards by `espalier methods --restructuring --markdown`; sources are keys of "
        + "[bibliography.md](bibliography.md). What they build on: [restructuring.md](restructuring.md).",
    ]
    for method in StructuralMethods.all { lines += method.card.markdown(inputs: words(method)) }
    lines += ["", "# Scores of units", "", "The lower, the less the model needs a unit."]
    for score in UnitScores.all { lines += score.card.markdown(inputs: words(score.needs)) }
    return lines.joined(separator: "\n")
  }

  /// What it takes with its standard parameters.
  private static func words(_ method: any StructuralMethod.Type) -> String {
    let standard = try? method.init(try StructuralParameters([:], for: method.card))
    return words(standard?.needs ?? .nothing)
  }

  private static func words(_ need: StructuralNeed) -> String {
    switch need {
    case .nothing: "a model"
    case .statistics: "a model and statistics of what enters its matrices, or text"
    case .text: "a model and text to run it on"
    }
  }
}
