import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierEvaluation

@Suite struct ContinuationEncodingTests {
  private let codec = WordCodec(words: ["a", " b", " c", " b c", "b", "  b", "^"], prefixToken: 6)

  private func encode(_ context: String, _ continuation: String) throws -> ContinuationEncoding {
    try ContinuationEncoding(context: context, continuation: continuation, codec: codec)
  }

  @Test func whatFollowsBeginsAfterAsManyTokensAsTheContextHas() throws {
    let encoding = try encode("a b", " c")
    #expect(encoding.context == [0, 1] && encoding.continuation == [2])
  }

  @Test func spacesAtTheEndBelongToWhatFollows() throws {
    #expect(try encode("a ", "b") == encode("a", " b"))
    let two = try encode("a ", " b")
    #expect(two.context == [0] && two.continuation == [5])
  }

  @Test func anEmptyContextIsThePrefixToken() throws {
    let encoding = try encode("", "b")
    #expect(encoding.context == [6] && encoding.continuation == [4])
    #expect(try encode(" ", "b") == ContinuationEncoding(context: "", continuation: " b", codec: codec))
    #expect(throws: Problem.self) {
      try ContinuationEncoding(context: "", continuation: "b", codec: WordCodec(words: ["b"]))
    }
  }

  @Test func longContextsKeepTheirEnd() throws {
    let encoding = try encode("a b c b", " c b")
    #expect(
      try encoding.sequence(limit: nil)
        == ScoredSequence(input: [0, 1, 2, 1, 2], firstRow: 3, targets: [2, 1]))
    #expect(try encoding.sequence(limit: 3) == ScoredSequence(input: [2, 1, 2], firstRow: 1, targets: [2, 1]))
    #expect(try encoding.sequence(limit: 2) == ScoredSequence(input: [1, 2], firstRow: 0, targets: [2, 1]))
    #expect(throws: Problem.self) { try encoding.sequence(limit: 1) }
  }
}

@Suite struct MultipleChoiceTests {
  // Tokens: 0 "q", 1 " x", 2 " y", 3 " long", 4 " q", 5 "é" after a space.
  private let codec = WordCodec(words: ["q", " x", " y", " long", " q", " é"])

  /// After "q" the logits favour " y"; after " y" they favour " long".
  private var model: EvaluatedModel {
    let table: [[Float]] = [
      [0, 1, 3, 2, 0, 1], [0, 0, 0, 0, 0, 0], [0, 0, 0, 5, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0],
      [0, 0, 0, 0, 0, 0],
    ]
    return EvaluatedModel(name: "model", model: TableModel(table: table), codec: codec)
  }

  @Test func choicesAreScoredAsByHand() throws {
    let items = [
      ChoiceItem(context: "q", choices: ["x", "y"], answer: 1),
      ChoiceItem(context: "q", choices: ["y", "long x"], answer: 1),
      ChoiceItem(context: "q", choices: ["é", "x"], answer: 1),
    ]
    let p = [[0, 1, 3, 2, 0, 1], [0, 0, 0, 5, 0, 0], [0, 1, 0, 0, 0, 0]].map { logProbabilities($0.map(Float.init)) }
    try withOptions { options in
      let result = try MultipleChoice.measure(model, on: items, data: "items", options: options)
      let expected = [[p[0][1], p[0][2]], [p[0][2], p[0][3] + p[2][1]]]
      for (item, sums) in zip(result.items, expected) {
        #expect(zip(item.logLikelihoods, sums).allSatisfy { abs($0 - $1) < 1e-14 })
      }
      #expect(result.items[0].isGreedy == [false, true] && result.items[1].isGreedy == [true, false])
      // -0.62 for "y" and -1.62 - 1.04 for "long x": by length the longer one.
      #expect(result.items.map(\.choice) == [1, 0, 0])
      #expect(result.items.map(\.normalizedChoice) == [1, 1, 0])
      // "é" and "x" are equally likely and as long in characters, but not in bytes: the first of equals, then "é".
      #expect(result.items[2].bytes == [2, 1] && result.items[2].characters == [1, 1])
      #expect(result.items[2].byteChoice == 0)
      #expect(result.accuracy.value == 1.0 / 3 && result.normalizedAccuracy.value == 2.0 / 3)
      let error = MultipleChoice.standardError(of: result.normalizedAccuracy, items: 3)
      #expect(abs(error - (2.0 / 9 / 2).squareRoot()) < 1e-15)
    }
  }

  @Test func groupsTilesAndThreadsChangeNoBit() throws {
    let big = EvaluatedModel(
      name: "big", model: TableModel.random(vocabulary: 211, seed: 2), codec: ByteCodec(vocabulary: 211))
    let items = (0..<12).map {
      ChoiceItem(context: "question \($0)?", choices: ["yes", "no", "neither of them"], answer: $0 % 3)
    }
    let expected = try withOptions { try MultipleChoice.measure(big, on: items, data: "items", options: $0) }
    for (threads, group, bytes) in [(1, 1, 1), (2, 50, 211 * 4 * 5)] {
      let result = try withOptions(threads: threads, groupTokens: group, logitBytes: bytes) {
        try MultipleChoice.measure(big, on: items, data: "items", options: $0)
      }
      #expect(result.items == expected.items)
    }
  }

  @Test func whatCannotBeScoredNamesItsItem() throws {
    withOptions { options in
      let items = [
        ChoiceItem(context: "q", choices: ["x", "y"], answer: 0),
        ChoiceItem(context: "q", choices: ["x", "zzz"], answer: 0),
      ]
      let problem = problem {
        _ = try MultipleChoice.measure(model, on: items, data: "items.jsonl", options: options)
      }
      #expect(problem?.message == "item 2: no token \" zzz\"" && problem?.context.file == "items.jsonl")
    }
  }
}

@Suite struct ChoiceItemTests {
  @Test(arguments: [
    (#"{"context": "c", "choices": ["x", "y"], "answer": 1}"#, 1),
    (#"{"query": "c", "choices": ["x", "y"], "gold": 0}"#, 0),
    (#"{"question": "c", "options": ["x", "y"], "answer": "y"}"#, 1),
    (#"{"ctx": "c", "endings": ["x", "y"], "label": "1"}"#, 1),
    (#"{"question": "c", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"}"#, 1),
    (#"{"question": "c", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "A"}"#, 0),
    (#"{"prompt": "c", "choices": ["x", "y"], "target": "B", "context": null, "more": {}}"#, 1),
    (#"{"context": "c", "choices": ["1", "0"], "answer": 1}"#, 1),
  ])
  func spellingsOfDataSetsAreRead(_ line: String, _ answer: Int) throws {
    let item = try ChoiceItem(json: JSON(parsing: line))
    #expect(item.context == "c" && item.choices.count == 2 && item.answer == answer)
  }

  @Test(arguments: [
    (#"{"choices": ["x", "y"], "answer": 1}"#, "a context is missing"),
    (#"{"context": 3, "choices": ["x", "y"], "answer": 1}"#, "a context is not of the right kind"),
    (#"{"context": "c", "choices": ["x"], "answer": 0}"#, "the choices are not two or more strings"),
    (#"{"context": "c", "choices": ["x", 2], "answer": 0}"#, "the choices are not two or more strings"),
    (#"{"context": "c", "choices": ["x", ""], "answer": 0}"#, "choice 1 is empty"),
    (#"{"context": "c", "choices": ["x", "y"]}"#, "the answer is missing"),
    (#"{"context": "c", "choices": ["x", "y"], "answer": 2}"#, "the answer 2 is none of the 2 choices"),
    (#"{"context": "c", "choices": ["x", "y"], "answer": -1}"#, "the answer -1 is none of the 2 choices"),
    (#"{"context": "c", "choices": ["1", "0"], "answer": "1"}"#, "the answer \"1\" means several choices"),
    (#"{"context": "c", "choices": ["x", "y"], "answer": true}"#, "the answer true is none of the 2 choices"),
    (#"["context"]"#, "expected an object"),
  ])
  func damageIsNamed(_ line: String, _ message: String) throws {
    let problem = problem { _ = try ChoiceItem(json: JSON(parsing: line)) }
    #expect(problem?.message.hasPrefix(message) == true, "\(problem?.message ?? "accepted")")
  }

  @Test func allBadLinesAreReportedWithTheirNumbers() {
    let lines = """
      {"context": "c", "choices": ["x", "y"], "answer": 1}

      {"context": "c", "choices": ["x", "y"], "answer": 9}
      {"context": "c",
      {"context": "c", "choices": ["x", "y"], "answer": 0}
      nonsense
      """
    do {
      _ = try ChoiceItem.items(in: Array(lines.utf8), file: "items.jsonl")
      Issue.record("accepted")
    } catch {
      #expect(error.all.map { $0.message.prefix(7) } == ["line 3:", "line 4:", "line 6:"])
      #expect(error.all.allSatisfy { $0.context.file == "items.jsonl" })
    }
  }

  @Test func aFileWithoutItemsIsRefused() {
    #expect(throws: Problems.self) { try ChoiceItem.items(in: Array(" \n\r\n".utf8), file: "f") }
  }

  @Test func linesMayEndAsOnWindows() throws {
    let lines = "{\"context\": \"c\", \"choices\": [\"x\", \"y\"], \"answer\": 1}\r\n"
    #expect(try ChoiceItem.items(in: Array(lines.utf8), file: "f").count == 1)
  }
}
