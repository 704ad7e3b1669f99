import EspalierBasics
import EspalierTokenizers
import Testing

/// Embeddings that mergekit 0.1.5 made, made again with our plans.
@Suite struct MergekitUnionTests {
  /// `unions.json`, written by `make_unions.py`: exact numbers, every rule of the layout. mergekit gives the tokens
  /// that a union adds their ids in the order of a hash table, so rows are compared by token.
  @Test(arguments: ["union with a base", "union without a base", "base", "a model's", "padding", "rules"])
  func smallModels(name: String) throws {
    let fixture = try JSON(parsing: fixture("unions.json"))
    let entry = try #require(fixture["cases"]?.array?.first { $0["case"]?.string == name })
    let names = try #require(entry["models"]?.array).compactMap(\.string)
    let made = try names.map { name in
      try #require(fixture["models"]?.array?.first { $0["name"]?.string == name })
    }
    let embeddings = try made.map { try rows($0["embedding"]) }
    let models = try zip(made, embeddings).map { model, rows in
      let files = try #require(model["files"]?.members).pairs.map { ($0.key, Array(($0.value.string ?? "").utf8)) }
      return try TokenizedModel(
        name: #require(model["name"]?.string), files: TokenizerFiles(files: Dictionary(uniqueKeysWithValues: files)),
        embeddingRows: rows.count)
    }
    let base = entry["base"]?.string.flatMap(names.firstIndex)
    let plan = try VocabularyPlan(models: models, base: base, options: options(entry["tokenizer"]))

    let theirs = try #require(entry["vocabulary"]?.members)
    #expect(Set(theirs.keys.map { ExactString($0) }) == Set(plan.vocabulary.ordered.map(\.token)))
    let weights = try names.map { try #require(entry["weights"]?[$0]?.number) }
    let merged = merge(try plan.rowPlans.map { laidOut(try #require($0), embeddings: embeddings) }, weights, base)
    let expected = try rows(entry["embedding"])
    #expect(expected.count == plan.rows)
    for (token, id) in theirs.pairs {
      let own = try #require(plan.vocabulary.id(of: ExactString(token)))
      #expect(merged[own] == expected[try #require(id.integer)], "\(token)")
    }
    for padding in plan.vocabulary.size..<plan.rows {
      for (own, their) in zip(merged[padding], expected[padding]) {
        // A mean of integers up to 8, which they take in float32.
        #expect(abs(own - their) < 1e-5)
      }
    }
  }

  /// The 1,024-token models: rows of both embeddings where vocabularies differ and where not, and the tokenizer.
  @Test(arguments: ["base", "union"], ["model.embed_tokens.weight", "lm_head.weight"])
  func tinyModels(source: String, tensor: String) throws {
    let fixture = try JSON(parsing: fixture("tiny-rows.json"))
    let ids = try #require(fixture["ids"]?.array).compactMap(\.integer)
    let names = source == "base" ? ["tiny-tok1", "tiny-ft2", "tiny-base"] : ["tiny-tok1", "tiny-ft2"]
    let models = try names.map { name in
      let file = name == "tiny-tok1" ? name : "tiny-base"
      return try TokenizedModel(
        name: name, files: TokenizerFiles(files: ["tokenizer.json": self.tokenizer(file)]),
        embeddingRows: fixture[tensor]?[name]?["rows"]?.integer)
    }
    let base = source == "base" ? 2 : nil
    let options = TokenizerOptions(source: source == "base" ? .base : .union)
    let plan = try VocabularyPlan(models: models, base: base, options: options)
    #expect(plan.files.contents["tokenizer.json"] == (try tokenizer(source == "base" ? "tiny-base" : "tiny-tok1")))
    #expect(plan.rows == fixture[tensor]?[source]?["rows"]?.integer)

    let embeddings = names.map { name in
      var rows = Rows(repeating: [], count: 1027)
      for (id, values) in zip(ids, fixture[tensor]?[name]?["values"]?.array ?? []) {
        rows[id] = values.array?.compactMap(\.number) ?? []
      }
      return rows
    }
    for (index, id) in ids.enumerated() where id < plan.rows {
      let rows = try plan.rowPlans.map { laidOut(try #require($0), embeddings: embeddings)[id] }
      let expected = fixture[tensor]?[source]?["values"]?[index]?.array?.compactMap(\.number) ?? []
      #expect(expected.count == 4)
      for column in expected.indices {
        let own = merge(rows.map { [[$0[column]]] }, [0.5, 0.5, 0], base)[0][0]
        // Inputs are bfloat16, below 0.2; they add up in float32.
        #expect(abs(own - expected[column]) <= 3e-8, "row \(id)")
      }
    }
  }

  private func tokenizer(_ name: String) throws -> [UInt8] { try fixture(name + "-tokenizer.json") }

  private func rows(_ json: JSON?) throws -> Rows {
    try #require(json?.array).map { $0.array?.compactMap(\.number) ?? [] }
  }

  /// Linear with weights as they are, or task arithmetic on a base.
  private func merge(_ models: [Rows], _ weights: [Double], _ base: Int?) -> Rows {
    models[0].indices.map { row in
      models[0][row].indices.map { column in
        let origin = base.map { models[$0][row][column] } ?? 0
        return zip(models, weights).reduce(origin) { $0 + $1.1 * ($1.0[row][column] - origin) }
      }
    }
  }

  private func options(_ json: JSON?) throws -> TokenizerOptions {
    let name = try #require(json?["source"]?.string)
    let source: TokenizerOptions.Source = name == "union" ? .union : name == "base" ? .base : .model(name)
    let rules = try (json?["tokens"]?.members?.pairs ?? []).map { token, rule in
      TokenizerOptions.Rule(
        ExactString(token), source: try rowSource(rule["source"]), force: rule["force"]?.bool ?? false)
    }
    return TokenizerOptions(source: source, rules: rules, padToMultipleOf: json?["pad_to_multiple_of"]?.integer)
  }

  private func rowSource(_ json: JSON?) throws -> TokenizerOptions.RowSource {
    if let name = json?.string { return .model(name) }
    if json?["kind"] == "zero" { return .zero }
    let model = try #require(json?["model"]?.string)
    if let id = json?["token_id"]?.integer { return .row(model: model, id: id) }
    return .token(model: model, token: ExactString(try #require(json?["token"]?.string)))
  }
}
