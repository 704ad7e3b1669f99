internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierRestructuring

/// A step that brings the model so far into the order of another.
struct AlignmentStep: Sendable {
  /// The model that sets the order.
  var reference: EvaluationStep.Reference
  var text: [StepFile] = []
  var sequences = 128
  var length: Int?
  var seed: UInt64?
  var options = AlignmentOptions()
  var comparesSingularVectors = true
}

extension RecipeReader {
  private static let alignment = [
    "to", "text", "sequences", "length", "seed", "weighing", "keep", "restarts", "restart_seed", "singular_vectors",
  ]

  /// What `align:` takes.
  mutating func alignment(_ node: RecipeNode, line: Int) -> AlignmentStep? {
    guard checkKeys(node, known: Self.alignment, of: "align") else { return nil }
    let before = problems.errors.count
    guard let written = node["to"] else {
      complain(.recipeValue, "align needs `to`, the model that sets the order", line: line)
      return nil
    }
    let named: EvaluationStep.Reference? =
      written.text == StepModel.original ? .original : reference(written).map { .model($0) }
    guard let named else { return nil }
    var step = AlignmentStep(reference: named)
    step.text = words(node, "text")
    step.sequences = natural(node, "sequences", from: 1) ?? step.sequences
    step.length = natural(node, "length", from: 1)
    step.seed = natural(node, "seed").map { UInt64($0) }
    step.options.weighing = choice(node, "weighing", AlignmentOptions.Weighing.self) ?? .balanced
    step.options.keeping = Set(words(node, "keep").map(\.path))
    step.options.restarts = natural(node, "restarts") ?? 0
    step.options.seed = natural(node, "restart_seed").map { UInt64($0) } ?? 0
    step.comparesSingularVectors = flag(node, "singular_vectors") ?? true
    for key in ["sequences", "length", "seed"] where step.text.isEmpty {
      guard let given = node[key] else { continue }
      complain(.recipeValue, "\(key) is of text, by which channels are matched; there is none", line: given.line)
    }
    return problems.errors.count == before ? step : nil
  }
}
