import EspalierBasics

/// Lays out the rows of all models for one vocabulary, token by token.
struct RowLayout {
  private(set) var plans: [RowPlan?]
  private let models: [TokenizedModel]
  /// Models whose embeddings take part.
  private let inputs: [Int]
  private let base: Int?
  private var rules: [ExactString: (source: RowPlan.Source?, force: Bool)] = [:]
  private var zeros: [ExactString] = []
  private var unnamed = 0
  private var rows = 0

  /// Rules that cannot be followed become errors among `problems`.
  init(models: [TokenizedModel], base: Int?, rules: [TokenizerOptions.Rule], problems: inout Problems) {
    self.models = models
    self.base = base
    inputs = models.indices.filter { models[$0].embeddingRows != nil }
    plans = models.map { $0.embeddingRows == nil ? nil : RowPlan() }
    for rule in rules {
      let source = problems.collect { () throws(Problem) in try models.source(of: rule) } ?? nil
      if self.rules.updateValue((source, rule.force), forKey: rule.token) != nil {
        problems.add(Problem(.tokenizerOptions, "there are two rules for token \(quoted(rule.token))"))
      }
    }
  }

  /// The rows of all tokens, in the order of their ids.
  mutating func lay(_ vocabulary: Vocabulary) {
    for (id, token) in vocabulary.ordered {
      unnamed += id - rows
      appendAverage(id - rows)
      lay(token)
      rows = id + 1
    }
  }

  private mutating func lay(_ token: ExactString) {
    let own = inputs.map { models[$0].row(of: token) }
    let rule = rules[token]
    let force = rule?.force ?? false
    let source =
      if !force, own.allSatisfy({ $0 != nil }) {
        RowPlan.Source.zero  // Not used: every model has its own.
      } else {
        rule?.source ?? imputed(token, own: own)
      }
    for (place, input) in inputs.enumerated() {
      if let row = own[place], !force {
        plans[input]?.append(.rows(model: input, first: row))
      } else {
        plans[input]?.append(source)
      }
    }
  }

  /// The row of a token for models that do not have it, by rules 2 to 5 of ``VocabularyPlan``.
  private mutating func imputed(_ token: ExactString, own: [Int?]) -> RowPlan.Source {
    let having = zip(inputs, own).compactMap { input, row in row.map { RowPlan.Row(model: input, row: $0) } }
    guard let first = having.first else {
      zeros.append(token)
      return .zero
    }
    if having.count == 1 { return .rows(model: first.model, first: first.row) }
    if let ofBase = having.first(where: { $0.model == base }) {
      return .rows(model: ofBase.model, first: ofBase.row)
    }
    return .mean(having)
  }

  /// Fills up to a multiple of `multiple` and returns the number of rows.
  mutating func pad(to multiple: Int?, problems: inout Problems) -> Int {
    guard let multiple else { return rows }
    // The limit is far beyond any use (64 to 1,024) and keeps the sum from overflowing.
    guard (1...65_536).contains(multiple) else {
      problems.add(Problem(.tokenizerOptions, "pad_to_multiple_of is \(multiple), which is not between 1 and 65536"))
      return rows
    }
    let padded = (rows + multiple - 1) / multiple * multiple
    appendAverage(padded - rows)
    rows = padded
    return rows
  }

  private mutating func appendAverage(_ count: Int) {
    for input in inputs { plans[input]?.append(.average, count: count) }
  }

  var warnings: [Problem] {
    var warnings: [Problem] = []
    if !zeros.isEmpty {
      warnings.append(
        Problem(
          .tokenizerZeroRow, "no model has an embedding for \(list(zeros)): zero is taken",
          remedy: "give a source: `tokenizer: {tokens: {TOKEN: {source: ...}}}`", severity: .warning))
    }
    if unnamed > 0 {
      warnings.append(
        Problem(
          .tokenizerHoles, "\(unnamed) ids of the output's vocabulary name no token: their rows are the mean of all",
          severity: .warning))
    }
    return warnings
  }
}

extension [TokenizedModel] {
  /// A rule's source as a row, checked.
  fileprivate func source(of rule: TokenizerOptions.Rule) throws(Problem) -> RowPlan.Source? {
    switch rule.source {
    case nil:
      guard !rule.force else {
        throw Problem(.tokenizerOptions, "token \(quoted(rule.token)) is forced, but to no source")
      }
      return nil
    case .zero: return .zero
    case .model(let name): return try row(of: rule.token, in: name)
    case .token(let name, let token): return try row(of: token, in: name)
    case .row(let name, let id):
      let index = try index(named: name)
      guard let rows = self[index].embeddingRows, (0..<rows).contains(id) else {
        throw Problem(
          .tokenizerUnknownRow,
          "token \(quoted(rule.token)) is to have row \(id) of \(name), whose embedding has"
            + " \(self[index].embeddingRows ?? 0) rows in this merge")
      }
      return .rows(model: index, first: id)
    }
  }

  private func row(of token: ExactString, in name: String) throws(Problem) -> RowPlan.Source {
    let index = try index(named: name)
    guard self[index].embeddingRows != nil, let row = self[index].row(of: token) else {
      throw Problem(
        .tokenizerUnknownRow, "\(name) has no embedding for token \(quoted(token)), which the tokenizer options take")
    }
    return .rows(model: index, first: row)
  }
}
