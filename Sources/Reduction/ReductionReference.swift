internal import EspalierBasics

/// The reference of all methods that make matrices smaller, made from their cards.
public enum ReductionReference {
  /// One line a method.
  public static var list: String {
    MethodCard.list(ReductionMethods.all.map { $0.card } + ReductionMethods.blocks.map { $0.card })
  }

  /// Everything about a method, for a terminal.
  public static func text(_ method: any ReductionMethod.Type) -> String { method.card.text(inputs: inputs(method)) }

  /// The same of a method that takes whole blocks.
  public static func text(ofBlocks method: any BlockMethod.Type) -> String { method.card.text(inputs: method.inputs) }

  /// `Docs/reductions.md`.
  public static var markdown: String {
    var lines = [
      "# Methods of pruning, factorization and quantization", "",
      "Made from the methods' cards by `espalier methods --reductions --markdown`; sources are keys of "
        + "[bibliography.md](bibliography.md). How whole models are reduced: [reduction.md](reduction.md).",
    ]
    for method in ReductionMethods.all { lines += method.card.markdown(inputs: inputs(method)) }
    for method in ReductionMethods.blocks { lines += method.card.markdown(inputs: method.inputs) }
    return lines.joined(separator: "\n")
  }

  private static func inputs(_ method: any ReductionMethod.Type) -> String {
    let known =
      switch method.needs {
      case .nothing: "no data"
      case .columns: "sums by column of what enters it"
      case .moment: "the second moment of what enters it"
      }
    let name = method.card.name
    let makes = ReductionMethods.makesFactors(name) ? "factors" : ReductionMethods.makesCodes(name) ? "codes" : "zeros"
    return "a matrix and \(known); makes \(makes)"
  }
}
