import EspalierBasics
import EspalierTokenizers
import TestSupport
import Testing

/// Cases small enough to work out by hand: each of the rules of ``VocabularyPlan`` once.
@Suite struct VocabularyPlanTests {
  private typealias Run = RowPlan.Run

  private func plan(
    _ models: [TokenizedModel], base: Int? = nil, _ options: TokenizerOptions = TokenizerOptions()
  ) throws -> VocabularyPlan {
    try VocabularyPlan(models: models, base: base, options: options)
  }

  private func special(_ content: ExactString, _ id: Int) -> AddedToken {
    var token = AddedToken(content, id: id)
    token.special = true
    token.normalized = false
    return token
  }

  @Test func equalVocabulariesAreOneRun() throws {
    let plan = try plan([model("m", ["a", "b", "c"]), model("n", ["a", "b", "c"])])
    #expect(plan.rows == 3)
    #expect(plan.rowPlans[1]?.isIdentity(model: 1, embeddingRows: 3) == true)
    #expect(plan.rowPlans[0]?.runs == [Run(output: 0..<3, source: .rows(model: 0, first: 0))])
    #expect(plan.warnings.isEmpty)
  }

  @Test func rowsBeyondTheVocabularyAreLeftOut() throws {
    let plan = try plan([model("m", ["a", "b"], rows: 64)])
    #expect(plan.rows == 2)
    #expect(plan.rowPlans[0]?.isIdentity(model: 0, embeddingRows: 64) == false)
  }

  @Test func rowsFollowTheirTokens() throws {
    let plan = try plan([model("m", ["a", "b", "c"]), model("n", ["c", "a", "b"])])
    #expect(
      plan.rowPlans[1]?.runs == [
        Run(output: 0..<2, source: .rows(model: 1, first: 1)), Run(output: 2..<3, source: .rows(model: 1, first: 0)),
      ])
  }

  @Test func aTokenOfOneModelIsTakenFromIt() throws {
    let plan = try plan([model("m", ["a"]), model("n", ["a", "b"])])
    #expect(plan.vocabulary.ordered.map(\.token) == ["a", "b"])
    #expect(
      plan.rowPlans[0]?.runs == [
        Run(output: 0..<1, source: .rows(model: 0, first: 0)), Run(output: 1..<2, source: .rows(model: 1, first: 1)),
      ])
  }

  @Test func theBaseComesBeforeTheMean() throws {
    let models = try [model("m", ["a"]), model("n", ["a", "b"]), model("o", ["b", "a"])]
    let withBase = try plan(models, base: 2)
    #expect(withBase.vocabulary.ordered.map(\.token) == ["b", "a"])
    #expect(withBase.rowPlans[0]?.runs.first == Run(output: 0..<1, source: .rows(model: 2, first: 0)))
    let without = try plan(models)
    #expect(
      without.rowPlans[0]?.runs.last
        == Run(output: 1..<2, source: .mean([.init(model: 1, row: 1), .init(model: 2, row: 0)])))
  }

  @Test func aBaseWithoutTheTokenGivesWayToTheMean() throws {
    let models = try [model("base", ["a"]), model("n", ["a", "b"]), model("o", ["a", "b"])]
    let last = try plan(models, base: 0).rowPlans[0]?.runs.last
    #expect(last?.source == .mean([.init(model: 1, row: 1), .init(model: 2, row: 1)]))
  }

  @Test func aTokenOfNoModelIsZeroWithAWarning() throws {
    let options = TokenizerOptions(rules: [.init("<new>", source: nil)])
    let plan = try plan([model("m", ["a"]), model("n", ["a"])], options)
    #expect(plan.rowPlans[1]?.runs.last == Run(output: 1..<2, source: .zero))
    #expect(plan.warnings.map(\.code) == [.tokenizerZeroRow])
    #expect(plan.vocabulary.added["<new>"]?.id == 1)
  }

  @Test func aRuleHoldsWhereTheTokenIsMissing() throws {
    let models = try [model("m", ["a"]), model("n", ["a", "b"]), model("o", ["a", "b"])]
    let plan = try plan(models, TokenizerOptions(rules: [.init("b", source: .zero)]))
    #expect(plan.rowPlans[0]?.runs.last?.source == .zero)
    #expect(plan.rowPlans[1]?.runs == [Run(output: 0..<2, source: .rows(model: 1, first: 0))])
    #expect(plan.warnings.isEmpty)
  }

  @Test func forceOverridesOwnRows() throws {
    let models = try [model("m", ["a", "b"]), model("n", ["a", "b"])]
    for source in [TokenizerOptions.RowSource.row(model: "n", id: 0), .token(model: "n", token: "a")] {
      let plan = try plan(models, TokenizerOptions(rules: [.init("b", source: source, force: true)]))
      for rows in plan.rowPlans {
        #expect(rows?.runs.last == Run(output: 1..<2, source: .rows(model: 1, first: 0)))
      }
    }
  }

  @Test func paddingIsTheAverage() throws {
    let plan = try plan([model("m", ["a", "b", "c"])], TokenizerOptions(padToMultipleOf: 4))
    #expect(plan.rows == 4)
    #expect(plan.vocabulary.size == 3)
    #expect(plan.rowPlans[0]?.runs.last == Run(output: 3..<4, source: .average))
    #expect(try self.plan([model("m", ["a", "b"])], TokenizerOptions(padToMultipleOf: 2)).rows == 2)
  }

  @Test func holesAreTheAverage() throws {
    let tokenizer = wordLevel([("a", 1), ("b", 4)])
    let model = try TokenizedModel(name: "m", files: files(["tokenizer.json": tokenizer]), embeddingRows: 5)
    let plan = try plan([model])
    #expect(
      plan.rowPlans[0]?.runs == [
        Run(output: 0..<1, source: .average), Run(output: 1..<2, source: .rows(model: 0, first: 1)),
        Run(output: 2..<4, source: .average), Run(output: 4..<5, source: .rows(model: 0, first: 4)),
      ])
    #expect(plan.warnings.map(\.code) == [.tokenizerHoles])
    let added = try self.plan([model], TokenizerOptions(rules: [.init("<new>", source: .zero)]))
    #expect(added.vocabulary.id(of: "<new>") == 5)
  }

  @Test func anAddedTokenThatTheBaseKnowsAsOrdinaryKeepsItsID() throws {
    let models = try [model("m", ["a", "<x>"]), model("n", ["a"], added: [special("<x>", 1)])]
    let plan = try plan(models)
    #expect(plan.vocabulary.count == 2)
    #expect(plan.vocabulary.added["<x>"] == special("<x>", 1))
    #expect(plan.files.tokenizer?["added_tokens"]?.array?.count == 1)
  }

  @Test func unionAddsOrdinaryTokensThenAddedOnes() throws {
    let models = try [
      model("m", ["a"], added: [special("<s>", 1)]),
      model("n", ["b", "a"], added: [special("<y>", 2), special("<x>", 3)]),
      model("o", ["c", "b"], added: [special("<z>", 2)]),
    ]
    let plan = try plan(models)
    #expect(plan.vocabulary.ordered.map(\.token) == ["a", "<s>", "b", "c", "<y>", "<x>", "<z>"])
    #expect(plan.vocabulary.added["b"] == AddedToken("b", id: 2))
    #expect(plan.vocabulary.added["<x>"] == special("<x>", 5))
    // What is written says the same as the plan.
    let written = try Vocabulary(TokenizerFiles(files: plan.files.contents))
    #expect(written.agrees(with: plan.vocabulary))
    #expect(written.added == plan.vocabulary.added)
  }

  @Test func differentFlagsAreReported() throws {
    let models = try [
      model("m", ["a"], added: [special("<x>", 1)]), model("n", ["a"], added: [AddedToken("<x>", id: 1)]),
    ]
    let plan = try plan(models)
    #expect(plan.warnings.map(\.code) == [.tokenizerFlagsDiffer])
    #expect(plan.vocabulary.added["<x>"]?.special == true)
  }

  @Test func everyFileThatListsAddedTokensIsExtended() throws {
    let base = try TokenizedModel(
      name: "m",
      files: TokenizerFiles(files: [
        "tokenizer.json": Array(wordLevel([("a", 0)]).text().utf8), "tokenizer.model": [9],
        "tokenizer_config.json": Array(#"{"added_tokens_decoder":{"1":{"content":"<s>"}}}"#.utf8),
      ]), embeddingRows: 2)
    let plan = try plan([base, model("n", ["a"], added: [special("<x>", 1)])])
    #expect(plan.files.contents["added_tokens.json"] == Array("{\n  \"<x>\": 2\n}\n".utf8))
    #expect(plan.files.configuration?["added_tokens_decoder"]?["2"]?["special"] == true)
    #expect(plan.files.contents["tokenizer.model"] == [9])
  }

  @Test func tokensWithoutRowsAreLeftOutOfTheOutput() throws {
    let tokenizer: JSON = [
      "added_tokens": [["id": 4, "content": "<x>", "special": true]],
      "model": [
        "type": "BPE", "vocab": ["a": 0, "b": 1, "ab": 2, "aab": 3], "merges": ["a b", ["a", "ab"], ["aab", "b"]],
      ],
    ]
    let model = try TokenizedModel(name: "m", files: files(["tokenizer.json": tokenizer]), embeddingRows: 3)
    let plan = try plan([model])
    #expect(plan.vocabulary.ordered.map(\.token) == ["a", "b", "ab"])
    #expect(plan.files.tokenizer?["model"]?["merges"] == ["a b"])
    #expect(plan.files.tokenizer?["added_tokens"] == [])
    #expect(plan.rowPlans[0]?.isIdentity(model: 0, embeddingRows: 3) == true)
    #expect(plan.warnings.map(\.code) == [.tokenizerBeyondEmbedding])
  }

  @Test func aVocabularyFileAloneCannotBeShortened() throws {
    let model = try TokenizedModel(name: "m", files: files(["vocab.json": ["a": 0, "b": 1]]), embeddingRows: 1)
    #expect(problems { try plan([model]) }.map(\.code) == [.tokenizerUnsupported])
  }

  @Test func tokensOfOthersWithoutRowsCountAsNotThere() throws {
    let plan = try plan([model("m", ["a", "b"]), model("n", ["a", "b", "c"], rows: 1)])
    #expect(plan.vocabulary.ordered.map(\.token) == ["a", "b"])
    #expect(plan.rowPlans[1]?.runs.last == Run(output: 1..<2, source: .rows(model: 0, first: 1)))
  }

  @Test func aModelWithoutATokenizerHasTheBases() throws {
    let bare = try TokenizedModel(name: "n", files: files([:]), embeddingRows: 2)
    let plan = try plan([model("m", ["a", "b"]), bare])
    #expect(plan.rowPlans[1]?.isIdentity(model: 1, embeddingRows: 2) == true)
    #expect(plan.warnings.map(\.code) == [.tokenizerMissing])
  }

  @Test func aModelMayGiveItsTokenizerAlone() throws {
    var source = try model("tokens", ["b", "a"])
    source.embeddingRows = nil
    let options = TokenizerOptions(source: .model("tokens"))
    let plan = try plan([model("m", ["a", "b"]), source], options)
    #expect(plan.donor == 1)
    #expect(plan.rowPlans[1] == nil)
    #expect(plan.rowPlans[0]?.runs.map(\.source) == [.rows(model: 0, first: 1), .rows(model: 0, first: 0)])
  }

  @Test func specialTokensHaveTheirIDsInTheOutput() throws {
    let configuration: JSON = ["bos_token": "<s>", "eos_token": ["content": "a"], "pad_token": nil]
    let plan = try plan([model("m", ["a"], added: [special("<s>", 1)], configuration: configuration)])
    #expect(plan.specialTokenIDs == [.beginning: 1, .end: 0])
  }

  @Test func optionsThatCannotBeFollowedAreAllNamed() throws {
    let models = try [model("m", ["a", "b"]), model("n", ["a"])]
    let options = TokenizerOptions(
      rules: [
        .init("a", source: .model("x")), .init("b", source: .model("n")), .init("c", source: .row(model: "m", id: 2)),
        .init("d", source: .token(model: "m", token: "z")), .init("e", source: nil, force: true),
        .init("e", source: .zero),
      ], padToMultipleOf: 0)
    let found = problems { try plan(models, options) }.filter { $0.severity == .error }.map(\.code)
    #expect(
      found == [
        .tokenizerUnknownModel, .tokenizerUnknownRow, .tokenizerUnknownRow, .tokenizerUnknownRow, .tokenizerOptions,
        .tokenizerOptions, .tokenizerOptions,
      ])
    let unknown = TokenizerOptions(source: .model("x"))
    #expect(problems { try plan(models, unknown) }.map(\.code) == [.tokenizerUnknownModel])
    #expect(problems { try plan([]) }.map(\.code) == [.tokenizerMissing])
  }

  @Test func kindsThatDifferCannotBeUnited() throws {
    let unigram: JSON = ["model": ["type": "Unigram", "vocab": [["a", 0]]]]
    let other = try TokenizedModel(name: "n", files: files(["tokenizer.json": unigram]), embeddingRows: 1)
    let models = [try model("m", ["a"]), other]
    #expect(problems { try plan(models) }.map(\.code) == [.tokenizerKindsDiffer])
    #expect(try plan(models, TokenizerOptions(source: .base)).warnings.map(\.code) == [.tokenizerKindsDiffer])
  }
}
