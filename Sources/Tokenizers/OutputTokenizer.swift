import EspalierBasics

/// The output's tokenizer while it is put together: one model's, and what the others and the recipe add to it.
struct OutputTokenizer {
  /// Index of the model that it started from.
  let donor: Int
  private(set) var files: TokenizerFiles
  private(set) var vocabulary: Vocabulary
  private(set) var warnings: [Problem] = []

  /// - Parameter base: index of the base model, if the merge has one; else the first model takes its place.
  /// - Throws: an unknown name as the source, or a source without a tokenizer.
  init(models: [TokenizedModel], base: Int?, options: TokenizerOptions) throws(Problem) {
    let donor = try Self.donor(models, base: base, source: options.source)
    guard models.indices.contains(donor), let vocabulary = models[donor].vocabulary else {
      throw Problem(
        .tokenizerMissing, "the output's tokenizer is to come from \(models.name(donor)), which has none",
        remedy: "name a model that has one: `tokenizer: {source: MODEL}`")
    }
    self.donor = donor
    files = models[donor].files
    self.vocabulary = vocabulary
    try strip(from: models[donor].embeddingRows ?? vocabulary.size)
    if options.source == .union { try unite(with: models) }
    try add(options.rules.map { AddedToken($0.token, id: 0) })
  }

  private static func donor(
    _ models: [TokenizedModel], base: Int?, source: TokenizerOptions.Source
  ) throws(Problem) -> Int {
    guard case .model(let name) = source else { return base ?? 0 }
    return try models.index(named: name)
  }

  /// Tokens without a row in the embedding cannot be kept.
  private mutating func strip(from rows: Int) throws(Problem) {
    guard rows < vocabulary.size else { return }
    files.removeTokens(from: rows)
    vocabulary = try Vocabulary(files)
  }

  /// Adds what only other models have: first the tokens of their tokenizers' models, which become added tokens since
  /// merges and scores of two tokenizers cannot be joined, then their added tokens with their flags.
  private mutating func unite(with models: [TokenizedModel]) throws(Problem) {
    let others = models.indices.filter { $0 != donor }.map { models[$0] }
    let added = others.flatMap { model in
      (model.vocabulary?.added.values.sorted { $0.id < $1.id } ?? []).filter { model.row(of: $0.content) != nil }
    }
    let addedContents = Set(added.map(\.content))
    var ordinary: [AddedToken] = []
    for other in others where !(other.vocabulary?.agrees(with: vocabulary) ?? true) {
      ordinary += (other.vocabulary?.ordered ?? [])
        .filter { !addedContents.contains($0.token) && other.row(of: $0.token) != nil }
        .map { AddedToken($0.token, id: 0) }
    }
    try add(ordinary)
    warnAboutFlags(of: added)
    try add(added, promoting: true)
  }

  /// Adds the tokens that the vocabulary lacks, behind its last id. With `promoting`, tokens that its model has and
  /// that are added ones elsewhere become added ones here, under the id they have.
  private mutating func add(_ tokens: [AddedToken], promoting: Bool = false) throws(Problem) {
    var new: [AddedToken] = []
    for var token in tokens {
      let id = vocabulary.id(of: token.content)
      guard id == nil || (promoting && vocabulary.added[token.content] == nil) else { continue }
      token.id = id ?? vocabulary.size
      try vocabulary.insert(token)
      new.append(token)
    }
    files.add(new)
  }

  private mutating func warnAboutFlags(of tokens: [AddedToken]) {
    var kept = vocabulary.added
    var differing: [ExactString] = []
    for token in tokens {
      if let first = kept[token.content] {
        if !first.behavesLike(token), !differing.contains(token.content) { differing.append(token.content) }
      } else {
        kept[token.content] = token
      }
    }
    guard !differing.isEmpty else { return }
    warnings.append(
      Problem(
        .tokenizerFlagsDiffer, "models match \(list(differing)) with different flags; the first model's are kept",
        severity: .warning))
  }
}

extension TokenizedModel {
  /// The row of the model's embedding that belongs to `token`: its id, if the embedding reaches that far.
  func row(of token: ExactString) -> Int? {
    guard let id = vocabulary?.id(of: token), id < embeddingRows ?? .max else { return nil }
    return id
  }
}

extension [TokenizedModel] {
  func index(named name: String) throws(Problem) -> Int {
    if let index = firstIndex(where: { ExactString($0.name) == ExactString(name) }) { return index }
    throw Problem(
      .tokenizerUnknownModel, "the tokenizer options name \(name), which is none of the merge's models",
      remedy: "the models are " + map(\.name).joined(separator: ", "))
  }

  fileprivate func name(_ index: Int) -> String { indices.contains(index) ? self[index].name : "a model" }
}

/// The first few tokens of a list, as messages show them.
func list(_ tokens: [ExactString]) -> String {
  let shown = tokens.prefix(3).map(quoted).joined(separator: ", ")
  return tokens.count > 3 ? "\(shown) and \(tokens.count - 3) more tokens" : shown
}
