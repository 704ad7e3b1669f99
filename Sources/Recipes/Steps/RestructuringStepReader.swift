internal import EspalierBasics
internal import EspalierRestructuring

extension RecipeReader {
  private static let restructuringKeys = [
    "method", "parameters", "share", "count", "text", "sequences", "length", "seed", "statistics", "base",
    "effect_limit", "pairs", "repair", "damp",
  ]

  /// What `restructure:` takes.
  mutating func restructuring(_ node: RecipeNode, line: Int) -> RestructuringStep? {
    guard checkKeys(node, known: Self.restructuringKeys, of: "restructure") else { return nil }
    let before = problems.errors.count
    let card = method(node, among: StructuralMethods.all.map { $0.card }, line: line)
    let goal = structuralGoal(node, line: line)
    var step = RestructuringStep(method: card?.name ?? "", goal: goal ?? .share(1))
    if let card { step.parameters = parameters(node, of: card) }
    step.text = words(node, "text")
    step.statistics = file(node, "statistics")
    if let statistics = step.statistics, !step.text.isEmpty {
      complain(.recipeValue, "text and statistics exclude each other", line: statistics.line)
    }
    step.sequences = natural(node, "sequences", from: 1)
    step.length = natural(node, "length", from: 1)
    step.seed = natural(node, "seed").map { UInt64($0) }
    step.effectLimit = natural(node, "effect_limit", from: 1)
    if let limit = node["effect_limit"], step.text.isEmpty {
      complain(.recipeValue, "effect_limit goes with text", line: limit.line)
    }
    if flag(node, "repair") ?? false { step.repair = number(node, "damp") ?? LeastSquaresRepair.standardDamp }
    if step.repair == nil, let damp = node["damp"] {
      complain(.recipeValue, "damp goes with repair: true", line: damp.line)
    }
    if let damp = step.repair, !(0...1e6).contains(damp) {
      complain(.recipeValue, "damp must be 0 or more", line: node["damp"]?.line ?? line)
    }
    step.pairs = file(node, "pairs")
    if let card, let type = StructuralMethods.all.first(where: { $0.card.name == card.name }),
      type.needsPairs != (step.pairs != nil)
    {
      complain(
        .recipeValue, type.needsPairs ? "\(card.name) takes pairs" : "\(card.name) has no use for pairs",
        line: node["pairs"]?.line ?? line)
    }
    step.base = node["base"].flatMap { reference($0) }
    return problems.errors.count == before ? step : nil
  }

  /// How much of the model stays.
  private mutating func structuralGoal(_ node: RecipeNode, line: Int) -> RestructuringRequest.Goal? {
    if (node["share"] == nil) == (node["count"] == nil) {
      complain(
        .recipeValue, "it takes one goal: share (of the parameters that stays) or count (100M)",
        line: (node["count"] ?? node["share"])?.line ?? line)
      return nil
    }
    if let share = number(node, "share") {
      if share > 0, share < 1 { return .share(share) }
      complain(.recipeValue, "share must be above 0 and below 1", line: node["share"]?.line ?? line)
      return nil
    }
    return value(node, "count", expected: "a number of parameters like 1200000 or 100M") { written in
      guard case .count(let count)? = written.text.flatMap({ RestructuringRequest.Goal($0) }) else { return nil }
      return .count(count)
    }
  }
}
