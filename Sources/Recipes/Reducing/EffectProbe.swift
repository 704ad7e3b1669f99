public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

/// How far the predictions of a model move when one of its matrices is reduced and everything else stays.
public struct EffectProbe: Sendable {
  private let evaluation: ModelEvaluation
  private let scratch: String

  /// - Parameters:
  ///   - evaluation: on one text or several.
  ///   - scratch: a file name beside which the parameter that is tried lies while it is measured.
  /// - Throws: `reduction` if there is no text.
  public init(_ evaluation: ModelEvaluation, scratch: String) throws(Problem) {
    guard !evaluation.data.texts.isEmpty else {
      throw Problem(.reduction, "effects on a model's predictions need a text on which it makes them")
    }
    var quiet = evaluation
    quiet.listener = SilentListener()
    self.evaluation = quiet
    self.scratch = scratch
  }

  /// What effects were measured on, in words.
  var text: String {
    let names = evaluation.data.texts.map { text in
      "\(text.name) \(Digest(of: text.documents.map(\.text).joined(separator: "\u{0}")))"
    }
    return "\(evaluation.cut.text) of \(names.joined(separator: ", ")), \(evaluation.run.mode.rawValue) mode"
  }

  /// The Kullback-Leibler divergence from the model as it is, in nats a token: the mean over the texts.
  func divergence(
    reducing matrix: NetworkMatrix, to weight: StoredWeight, in plan: ReductionPlan
  ) throws(Problem) -> Double {
    let target = ReductionTarget(parameter: matrix.parameter, matrices: [matrix])
    let encoding = try target.encoded([weight], storage: .dense, pattern: .unstructured)
    let pieces = try ReductionPieces(
      beside: scratch, fingerprint: ["effect": .string(matrix.name)],
      policy: OutputFolder.Policy(resume: false, force: true))
    defer { try? pieces.remove() }
    let piece = try pieces.write(0, encoding.parts, reduced: encoding.reduced, outcomes: [])
    let report = try evaluation.compare(
      OverlaidCheckpoint(plan.checkpoint, replacing: [piece.parameter]), named: matrix.name, against: plan.checkpoint,
      named: "model")
    let found = report.metrics.compactMap { ($0 as? Divergence)?.kl.value }
    guard !found.isEmpty else {
      throw Problem(.reduction, "the model predicts no tokens, so that effects on its predictions cannot be measured")
    }
    return found.reduce(0, +) / Double(found.count)
  }
}
