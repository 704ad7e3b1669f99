public import EspalierBasics
internal import EspalierCheckpoints
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
    try DivergenceProbe.requireText(evaluation)
    self.evaluation = evaluation
    self.scratch = scratch
  }

  /// What effects were measured on, in words.
  var text: String { DivergenceProbe.text(evaluation) }

  /// The probe of a plan's model.
  func measuring(_ plan: ReductionPlan) throws(Problem) -> Measured {
    Measured(plan: plan, scratch: scratch, probe: try DivergenceProbe(from: plan.checkpoint, evaluation))
  }

  struct Measured {
    let plan: ReductionPlan
    let scratch: String
    let probe: DivergenceProbe

    /// The Kullback-Leibler divergence from the model as it is, in nats a token: the mean over the texts.
    func divergence(reducing matrix: NetworkMatrix, to weight: StoredWeight) throws(Problem) -> Double {
      let target = ReductionTarget(parameter: matrix.parameter, matrices: [matrix])
      let encoding = try target.encoded([weight], storage: .dense, pattern: .unstructured)
      let pieces = try ReductionPieces(
        beside: scratch, fingerprint: ["effect": .string(matrix.name)],
        policy: OutputFolder.Policy(resume: false, force: true))
      defer { try? pieces.remove() }
      let piece = try pieces.write(0, encoding.parts, reduced: encoding.reduced, outcomes: [])
      return try probe.divergence(
        of: OverlaidCheckpoint(plan.checkpoint, replacing: [piece.parameter]), named: matrix.name)
    }
  }
}
