public import EspalierBasics

/// One vocabulary for models whose vocabularies differ: the output's tokenizer, and for every model how its
/// embedding (and every other parameter with a vocabulary axis) is laid out anew for it.
///
/// The row of a token in the model that has it is that model's own. Where it has none, the row is, first to apply:
///
/// 1. the source that the recipe gives for the token (with `force`, for models that have it, too);
/// 2. the row of the only model that has it;
/// 3. the base model's;
/// 4. the mean over the models that have it;
/// 5. zero, with a warning.
///
/// This is the rule of mergekit 0.1.5, so that its recipes give the same embeddings. Where mergekit's result depends
/// on the order in which a hash table yields tokens (the ids of what a union adds), ours is the order of the models
/// and in them of the ids. Only headers are needed: nothing is read here.
///
/// Cost: one dictionary look-up a token and model; the plans are as long as the vocabularies are different.
public struct VocabularyPlan: Sendable {
  /// The output's tokenizer, to be written as it is.
  public let files: TokenizerFiles
  public let vocabulary: Vocabulary
  /// Index of the model that the tokenizer started from.
  public let donor: Int
  /// Rows of the output's embedding, padding included: `vocab_size` of the output's config.
  public let rows: Int
  /// A plan for each model, in the order given; nil for a model of which only the tokenizer takes part.
  public let rowPlans: [RowPlan?]
  public let warnings: [Problem]

  /// - Parameters:
  ///   - models: all models of the merge with the base among them, and a tokenizer's source that is none of them.
  ///   - base: index of the base model, if the merge has one.
  /// - Throws: every error there is: a missing tokenizer, tokenizers of different kinds under `union`, options that
  ///   name models or rows that are not there.
  public init(models: [TokenizedModel], base: Int?, options: TokenizerOptions) throws(Problems) {
    var problems = Problems()
    guard
      let output = problems.collect({ () throws(Problem) in
        try OutputTokenizer(models: models, base: base, options: options)
      })
    else { throw problems }
    let complete = models.fillingMissing(from: base ?? output.donor, problems: &problems)
    problems.all += tokenizerConflicts(among: complete, keeping: output.donor, realigned: true)
      .map { $0.code == .tokenizerKindsDiffer && options.source == .union ? $0.asError : $0 }
    problems.all += output.warnings + complete.compactMap(\.tokensBeyondEmbedding)

    var layout = RowLayout(models: complete, base: base, rules: options.rules, problems: &problems)
    layout.lay(output.vocabulary)
    rows = layout.pad(to: options.padToMultipleOf, problems: &problems)
    problems.all += layout.warnings
    guard problems.errors.isEmpty else { throw problems }

    files = output.files
    vocabulary = output.vocabulary
    donor = output.donor
    rowPlans = layout.plans
    warnings = problems.warnings
  }

  /// The ids of the special tokens in the output, for its `config.json`; roles without a token are left out.
  public var specialTokenIDs: [SpecialTokenRole: Int] {
    var ids: [SpecialTokenRole: Int] = [:]
    for role in SpecialTokenRole.allCases {
      ids[role] = files.specialToken(role).flatMap(vocabulary.id)
    }
    return ids
  }
}

extension Problem {
  fileprivate var asError: Problem {
    var problem = self
    problem.severity = .error
    return problem
  }
}

extension [TokenizedModel] {
  /// A model without a tokenizer is taken to have the one of model `base`.
  fileprivate func fillingMissing(from base: Int, problems: inout Problems) -> [TokenizedModel] {
    let donor = indices.contains(base) ? self[base] : nil
    return map { model in
      guard model.vocabulary == nil, let donor else { return model }
      problems.add(
        Problem(
          .tokenizerMissing, "\(model.name) has no tokenizer: it is taken to have that of \(donor.name)",
          severity: .warning))
      var model = model
      model.vocabulary = donor.vocabulary
      model.files = donor.files
      return model
    }
  }
}

extension TokenizedModel {
  /// A warning if the tokenizer has tokens that the embedding has no row for.
  fileprivate var tokensBeyondEmbedding: Problem? {
    guard let embeddingRows, let vocabulary, vocabulary.size > embeddingRows else { return nil }
    let beyond = vocabulary.ordered.filter { $0.id >= embeddingRows }.map(\.token)
    return Problem(
      .tokenizerBeyondEmbedding,
      "\(name) has no embedding for \(list(beyond)): ids up to \(vocabulary.size - 1), \(embeddingRows) rows;"
        + " they count as not there",
      severity: .warning)
  }
}
