import EspalierBasics
import EspalierTokenizers
import TestSupport
import Testing

/// Random vocabularies against the rules said once more, token by token, without runs.
@Suite struct RowPlanPropertyTests {

  @Test(arguments: UInt64(1)...60)
  func plansFollowTheRules(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let alphabet = (0..<20).map { "t\($0)" }
    let models = try (0..<Int.random(in: 1...4, using: &random)).map { index in
      let tokens = alphabet.shuffled(using: &random).prefix(Int.random(in: 1...20, using: &random))
      // Sometimes a row less than tokens, sometimes more.
      return try model("m\(index)", Array(tokens), rows: tokens.count + Int.random(in: -1...2, using: &random))
    }
    guard models.allSatisfy({ ($0.embeddingRows ?? 0) > 0 }) else { return }
    let base = Bool.random(using: &random) ? Int.random(in: models.indices, using: &random) : nil
    let multiple = Int.random(in: 1...8, using: &random)
    let options = TokenizerOptions(source: Bool.random(using: &random) ? .union : .base, padToMultipleOf: multiple)
    let plan = try VocabularyPlan(models: models, base: base, options: options)
    let embeddings: [Rows] = models.map { model in
      (0..<(model.embeddingRows ?? 0)).map { _ in [Double(Int.random(in: -99...99, using: &random))] }
    }

    #expect(plan.rows == (plan.vocabulary.size + multiple - 1) / multiple * multiple, "seed \(seed)")
    if options.source == .union {
      let all = models.flatMap { model in model.vocabulary?.ordered.filter { $0.id < model.embeddingRows ?? 0 } ?? [] }
      #expect(Set(plan.vocabulary.ordered.map(\.token)) == Set(all.map(\.token)), "seed \(seed)")
    }
    for (index, rowPlan) in plan.rowPlans.enumerated() {
      let rows = laidOut(try #require(rowPlan), embeddings: embeddings)
      #expect(rows.count == plan.rows, "seed \(seed)")
      for (id, token) in plan.vocabulary.ordered {
        #expect(rows[id] == row(of: token, for: index, models, base, embeddings), "seed \(seed), \(token)")
      }
    }
  }

  private func row(
    of token: ExactString, for index: Int, _ models: [TokenizedModel], _ base: Int?, _ embeddings: [Rows]
  ) -> [Double] {
    let having = models.indices.compactMap { model -> (model: Int, row: [Double])? in
      guard let id = models[model].vocabulary?.id(of: token), id < embeddings[model].count else { return nil }
      return (model, embeddings[model][id])
    }
    if let own = having.first(where: { $0.model == index }) { return own.row }
    if having.count > 1, let ofBase = having.first(where: { $0.model == base }) { return ofBase.row }
    return having.isEmpty ? [0] : mean(having.map(\.row))
  }
}
