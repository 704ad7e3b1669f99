public import EspalierBasics
public import EspalierCheckpoints
public import EspalierEvaluation
internal import EspalierNetworks
public import EspalierNumerics
internal import EspalierTokenizers

/// Measures one model, or one against another, on everything that was given.
public struct ModelEvaluation: Sendable {
  public var data: EvaluationData
  /// How texts are cut.
  public var cut: TextProtocol
  /// Tokens that an answer may take.
  public var answerTokens = 32
  public var run: RunOptions
  public var bootstrap = Bootstrap()
  public var listener: any ProgressListener

  public init(data: EvaluationData, cut: TextProtocol, run: RunOptions, listener: any ProgressListener) {
    self.data = data
    self.cut = cut
    self.run = run
    self.listener = listener
  }

  /// The figures of one model.
  ///
  /// - Parameter name: what reports call it.
  public func evaluate(_ checkpoint: any Checkpoint, name: String) throws(Problem) -> EvaluationReport {
    var report = EvaluationReport()
    if data.needsLanguageModel {
      let speaker = try SpeakingModel(checkpoint, options: run)
      tellWarnings(of: [speaker.network])
      if let model = try continuing([speaker])?.first {
        let evaluated = try model.evaluated(name: name)
        let options = options(for: [model])
        for text in data.texts {
          report.add(try Perplexity.measure(evaluated, on: text, cut: cut, options: options))
        }
        for metric in try choices(evaluated, .model, options) { report.add(metric) }
      }
      for metric in try answers(speaker, named: name, .model) { report.add(metric) }
    }
    if data.needsEncoder {
      let encoder = try run.encoder(of: checkpoint, name: name)
      tellWarnings(of: [encoder.network])
      for metric in try classes(encoder, .model) { report.add(metric) }
      for sentences in data.sentences {
        report.add(
          try SentenceSimilarity.measure(encoder, on: sentences.texts, data: sentences.name, options: options()))
      }
    }
    return report
  }

  /// How a candidate differs from a reference, both run side by side.
  public func compare(
    _ candidate: any Checkpoint, named name: String, against reference: any Checkpoint, named referenceName: String
  ) throws(Problem) -> EvaluationReport {
    var report = EvaluationReport()
    if data.needsLanguageModel {
      // The candidate's share of the memory is what the reference leaves.
      let second = try SpeakingModel(reference, options: run)
      let first = try SpeakingModel(candidate, options: run, beside: try second.network.residentBytes)
      tellWarnings(of: [first.network, second.network])
      if let models = try continuing([first, second]) {
        let pair = (try models[0].evaluated(name: name), try models[1].evaluated(name: referenceName))
        let options = options(for: models)
        for text in data.texts {
          let found = try Divergence.measure(pair.0, against: pair.1, on: text, cut: cut, options: options)
          report.add(found.divergence)
          report.add(found.perplexity)
        }
        let choices = (try choices(pair.0, .model, options), try choices(pair.1, .reference, options))
        for (candidate, reference) in zip(choices.0, choices.1) {
          report.add(candidate)
          report.add(reference)
          for metric in try PairedItems.pairs(candidate, reference) { report.add(metric) }
        }
      }
      let answers = (
        try answers(first, named: name, .model), try answers(second, named: referenceName, .reference)
      )
      for (candidate, reference) in zip(answers.0, answers.1) {
        report.add(candidate)
        report.add(reference)
        report.add(try PairedItems(candidate, reference))
      }
    }
    if data.needsEncoder {
      let second = try run.encoder(of: reference, name: referenceName)
      let first = try run.encoder(of: candidate, name: name, beside: try second.network?.residentBytes ?? 0)
      tellWarnings(of: [first.network, second.network])
      for (candidate, reference) in zip(try classes(first, .model), try classes(second, .reference)) {
        report.add(candidate)
        report.add(reference)
        report.add(try PairedItems(candidate, reference))
      }
      for sentences in data.sentences {
        report.add(
          try EmbeddingAgreement.measure(
            first, against: second, on: sentences.texts, data: sentences.name, options: options()))
      }
    }
    return report
  }

  // MARK: - Parts

  private func tellWarnings(of networks: [Network?]) {
    for problem in networks.flatMap({ $0?.warnings ?? [] }) { listener.receive(.problem(problem)) }
  }

  private func choices(
    _ model: EvaluatedModel, _ subject: MetricHeader.Subject, _ options: EvaluationOptions
  ) throws(Problem) -> [MultipleChoice] {
    var metrics: [MultipleChoice] = []
    for set in data.choices {
      metrics.append(
        try MultipleChoice.measure(model, on: set.items, data: set.name, subject: subject, options: options))
    }
    return metrics
  }

  /// The models, if all of them continue texts; nil if some do not and nothing asks for it.
  ///
  /// - Throws: `network.input` if there are texts or choices to measure, and a model gives texts no probability.
  private func continuing(_ models: [SpeakingModel]) throws(Problem) -> [TextModel]? {
    var found: [TextModel] = []
    for model in models {
      if case .continuing(let text) = model { found.append(text) }
    }
    guard found.count < models.count else { return found }
    guard data.texts.isEmpty, data.choices.isEmpty else {
      throw Problem(
        .networkInput, "a model with an encoder and a decoder does not continue texts",
        remedy: "Of texts, --answers measures such a model.")
    }
    return nil
  }

  private func answers(
    _ speaker: SpeakingModel, named name: String, _ subject: MetricHeader.Subject
  ) throws(Problem) -> [ExactMatch] {
    let vocabulary = speaker.vocabulary
    let codec: any TextCodec
    let ending: ExactMatch.Ending
    switch speaker {
    case .continuing:
      (codec, ending) = (try ModelCodec(vocabulary.tokenizer, names: vocabulary.specialTokens), .newline)
    case .rewriting: (codec, ending) = (RewritingCodec(tokenizer: vocabulary.tokenizer), .text)
    }
    var metrics: [ExactMatch] = []
    for set in data.answers {
      metrics.append(
        try ExactMatch.measure(
          named: name, mode: run.mode, codec: codec, ending: ending, on: set.items, data: set.name,
          maximumTokens: answerTokens, contextLength: speaker.contextLength, subject: subject, options: options()
        ) { (prompt, limit, stop) throws(Problem) in
          try run.check(speaker.network, keeping: prompt.count + limit)
          let generator = Generator(maxTokens: limit, endTokens: vocabulary.endTokens, stopStrings: stop)
          return try speaker.continuation(of: prompt, generator: generator)
        })
    }
    return metrics
  }

  private func classes(
    _ encoder: EvaluatedEncoder, _ subject: MetricHeader.Subject
  ) throws(Problem) -> [Classification] {
    var metrics: [Classification] = []
    for set in data.classified {
      metrics.append(
        try Classification.measure(encoder, on: set.items, data: set.name, subject: subject, options: options()))
    }
    return metrics
  }

  /// Models that stream their weights read them once a group of sequences, so groups take what memory there is.
  func options(for models: [TextModel] = []) -> EvaluationOptions {
    let plain = EvaluationOptions(pool: run.pool, bootstrap: bootstrap, listener: listener)
    let streams = models.contains { $0.model.network.residency == .streamed }
    let bytes = streams ? run.memory / 4 : RunOptions.scoringMemory
    return plain.fitting(bytes: bytes, stateWidths: models.map(\.model.width))
  }
}

extension EvaluatedEncoder {
  fileprivate var network: Network? { (model as? SequenceEncoder)?.network }
}
