public import EspalierBasics

/// What is different among the tokenizers of models that are to be merged: warnings, each with what to do.
///
/// - Parameters:
///   - kept: index of the model whose tokenizer the output keeps; the others are compared with it.
///   - realigned: whether embeddings are laid out anew for one vocabulary (``VocabularyPlan``). If not, rows are
///     merged by number, and it matters that a number means the same token in all models.
public func tokenizerConflicts(
  among models: [TokenizedModel], keeping kept: Int, realigned: Bool
) -> [Problem] {
  guard models.indices.contains(kept) else { return [] }
  let keeper = models[kept]
  var problems: [Problem] = []
  for (index, model) in models.enumerated() where index != kept {
    problems += kindConflict(model, keeper)
    if !realigned { problems += idConflict(model, keeper) }
    problems += specialTokenConflicts(model, keeper)
    problems += templateConflict(model, keeper)
  }
  return problems
}

private func kindConflict(_ model: TokenizedModel, _ keeper: TokenizedModel) -> [Problem] {
  guard let kind = model.vocabulary?.kind, let kept = keeper.vocabulary?.kind, kind != kept else { return [] }
  return [
    Problem(
      .tokenizerKindsDiffer,
      "\(model.name) has a \(kind.rawValue) tokenizer, \(keeper.name) a \(kept.rawValue) one: they cut text differently,"
        + " and few of their tokens are the same",
      remedy: "keep one model's vocabulary (`tokenizer: {source: base}`) or merge models of one kind",
      severity: .warning)
  ]
}

private func idConflict(_ model: TokenizedModel, _ keeper: TokenizedModel) -> [Problem] {
  guard let vocabulary = model.vocabulary, let kept = keeper.vocabulary, !vocabulary.agrees(with: kept) else {
    return []
  }
  let conflicts = vocabulary.ordered.filter { entry in
    kept.token(entry.id).map { $0 != entry.token } ?? false
  }
  guard let first = conflicts.first, let other = kept.token(first.id) else { return [] }
  return [
    Problem(
      .tokenizerIDsDiffer,
      "\(conflicts.count) ids mean different tokens in \(model.name) and \(keeper.name), e.g. \(first.id):"
        + " \(quoted(first.token)) and \(quoted(other)); their rows are merged as if they were the same",
      remedy: "`tokenizer: {source: union}` lays the embeddings out by token", severity: .warning)
  ]
}

private func specialTokenConflicts(_ model: TokenizedModel, _ keeper: TokenizedModel) -> [Problem] {
  SpecialTokenRole.allCases.compactMap { role in
    guard let token = model.files.specialToken(role), let kept = keeper.files.specialToken(role), token != kept
    else { return nil }
    return Problem(
      .tokenizerSpecialTokensDiffer,
      "\(role.tokenKey) is \(quoted(token)) in \(model.name) and \(quoted(kept)) in \(keeper.name), which is kept",
      remedy: "`tokenizer: {source: \(model.name)}` keeps the other", severity: .warning)
  }
}

private func templateConflict(_ model: TokenizedModel, _ keeper: TokenizedModel) -> [Problem] {
  guard let template = model.files.chatTemplate, let kept = keeper.files.chatTemplate,
    ExactString(template.trimmingSpace) != ExactString(kept.trimmingSpace)
  else { return [] }
  return [
    Problem(
      .chatTemplatesDiffer, "the chat templates of \(model.name) and \(keeper.name) differ",
      remedy: "`chat_template:` chooses one: `auto`, the name of a known one, or its text", severity: .warning)
  ]
}
