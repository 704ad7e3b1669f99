internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierLinearMaps
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

/// How far the predictions of changed models are from those of one model, whose states are computed once.
final class DivergenceProbe: Sendable {
  private let evaluation: ModelEvaluation
  private let reference: EvaluatedModel
  private let residentBytes: Int
  private let options: EvaluationOptions

  /// - Throws: `reduction` without text; what opening the model throws.
  init(from original: any Checkpoint, _ evaluation: ModelEvaluation) throws(Problem) {
    try Self.requireText(evaluation)
    var quiet = evaluation
    quiet.listener = SilentListener()
    self.evaluation = quiet
    guard case .continuing(let model) = try SpeakingModel(original, options: evaluation.run) else {
      throw Problem(
        .networkInput, "a model with an encoder and a decoder does not continue texts", file: original.location)
    }
    var reference = try model.evaluated(name: "model")
    reference.model = RecordedModel(reference.model)
    self.reference = reference
    residentBytes = try model.model.network.residentBytes
    options = quiet.options(for: [model, model])
  }

  static func requireText(_ evaluation: ModelEvaluation) throws(Problem) {
    guard evaluation.data.texts.isEmpty else { return }
    throw Problem(.reduction, "effects on a model's predictions need a text on which it makes them")
  }

  /// What effects are measured on, in words.
  static func text(_ evaluation: ModelEvaluation) -> String {
    let names = evaluation.data.texts.map { text in
      "\(text.name) \(Digest(of: text.documents.map(\.text).joined(separator: "\u{0}")))"
    }
    return "\(evaluation.cut.text) of \(names.joined(separator: ", ")), \(evaluation.run.mode.rawValue) mode"
  }

  /// The Kullback-Leibler divergence of a model with the same tokenizer, in nats a token: the mean over the texts.
  ///
  /// - Throws: `reduction` if it predicts no tokens, or its predictions are no numbers.
  func divergence(of candidate: any Checkpoint, named name: String) throws(Problem) -> Double {
    let mean = try measured(candidate, named: name).divergence
    guard mean.isFinite else {
      throw Problem(
        .reduction,
        "with it changed the model's predictions are no numbers, or there are none, so that its effect "
          + "cannot be measured", tensor: name)
    }
    // Rounding can bring the divergence of equal predictions below 0.
    return max(0, mean)
  }

  /// The perplexity of a model with the same tokenizer, a token: of the mean over the texts of its negative
  /// log-likelihoods.
  ///
  /// - Throws: as ``divergence(of:named:)``.
  func perplexity(of candidate: any Checkpoint, named name: String) throws(Problem) -> Double {
    let mean = try measured(candidate, named: name).negativeLogLikelihood
    guard mean.isFinite else {
      throw Problem(.reduction, "with it changed the model's predictions are no numbers", tensor: name)
    }
    return Elementary.exp(mean)
  }

  private func measured(
    _ candidate: any Checkpoint, named name: String
  ) throws(Problem) -> (divergence: Double, negativeLogLikelihood: Double) {
    let network = try evaluation.run.network(of: candidate, beside: residentBytes)
    let model = EvaluatedModel(name: name, model: try CausalLanguageModel(network), codec: reference.codec)
    var (divergence, negativeLogLikelihood) = (0.0, 0.0)
    for text in evaluation.data.texts {
      let found = try Divergence.measure(model, against: reference, on: text, cut: evaluation.cut, options: options)
      divergence += found.divergence.kl.value
      negativeLogLikelihood += found.perplexity.candidate.negativeLogLikelihood.value
    }
    let count = Double(evaluation.data.texts.count)
    return (divergence / count, negativeLogLikelihood / count)
  }
}
