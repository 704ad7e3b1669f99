import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierEvaluation

@Suite struct ExactMatchTests {
  private let model = EvaluatedModel(
    name: "model", model: TableModel.random(vocabulary: 256, seed: 1), codec: ByteCodec(beginToken: 7))

  private func measure(
    _ items: [AnswerItem], addsBegin: Bool = false, _ written: (String) -> String
  ) throws -> ExactMatch {
    try withOptions { options in
      try ExactMatch.measure(
        model, on: items, data: "sums", maximumTokens: 5, addsBegin: addsBegin, options: options
      ) { (prompt, limit, stop) throws(Problem) in
        #expect(limit == 5 && stop == ["\n"])
        return written(String(decoding: prompt.map { UInt8($0) }, as: UTF8.self)).utf8.map { Int32($0) }
      }
    }
  }

  /// The rule of the tiny family's sums: the text before the first newline equals the answer, and there is a newline.
  @Test(arguments: [
    ("42\n", true), ("42\n7", true), ("42", false), ("42 \n", false), ("\n42\n", false), ("4\n2", false), ("", false),
    ("42\r\n", false), (" 42\n", false),
  ])
  func anAnswerIsRightToTheLetter(_ written: String, _ isRight: Bool) {
    #expect(ExactMatch.isRight(written, "42") == isRight)
  }

  /// The two spellings of é are one text to readers and to `String`, and two to a tokenizer.
  @Test func answersAreComparedByBytes() {
    #expect(ExactMatch.isRight("caf\u{E9}\n", "caf\u{E9}") && !ExactMatch.isRight("cafe\u{301}\n", "caf\u{E9}"))
  }

  @Test func countsRightAnswers() throws {
    let items = [("1+1=", "2"), ("2+2=", "4"), ("3+3=", "6")].map { AnswerItem(prompt: $0.0, answer: $0.1) }
    let result = try measure(items) { prompt in prompt == "2+2=" ? "5\n" : prompt == "1+1=" ? "2\n1" : "6\n" }
    #expect(result.items.map(\.isRight) == [true, false, true])
    #expect(result.items[1].written == "5\n" && result.sentences == ["2 of 3 answers are right."])
    #expect(result.accuracy == Proportion.wilson(2, of: 3))
  }

  @Test func theBeginTokenIsPutBeforeThePromptIfAsked() throws {
    let item = AnswerItem(prompt: "x", answer: "y")
    _ = try measure([item], addsBegin: true) { prompt in
      #expect(prompt == "\u{7}x")
      return ""
    }
  }

  @Test func whatFailsNamesItsItem() {
    withOptions { options in
      let items = [AnswerItem(prompt: "x", answer: "y"), AnswerItem(prompt: "z", answer: "y")]
      let problem = problem {
        _ = try ExactMatch.measure(model, on: items, data: "sums", options: options) { (prompt, _, _) throws(Problem) in
          guard prompt != [122] else { throw Problem(Problem.Code("network.input"), "no z") }
          return [10]
        }
      }
      #expect(problem?.message == "item 2: no z")
    }
  }

  /// Nothing is generated where one prompt leaves no room for its answer.
  @Test func aPromptAndItsAnswerFitTheContext() throws {
    var table = TableModel.random(vocabulary: 256, seed: 1)
    table.contextLength = 8
    let short = EvaluatedModel(name: "model", model: table, codec: ByteCodec(beginToken: 7))
    func measure(_ prompt: String) throws -> ExactMatch {
      try withOptions { options in
        let items = [AnswerItem(prompt: "x", answer: "y"), AnswerItem(prompt: prompt, answer: "y")]
        return try ExactMatch.measure(short, on: items, data: "sums", maximumTokens: 5, options: options) {
          (_, _, _) throws(Problem) in
          if prompt.utf8.count > 3 { throw Problem(Problem.Code("network.input"), "it was run") }
          return [10]
        }
      }
    }
    #expect(try measure("xyz").items.count == 2)
    let problem = problem { _ = try measure("wxyz") }
    #expect(problem?.code == .evaluationData && problem?.message.hasPrefix("item 2: the prompt has 4 tokens") == true)
  }

  @Test func itemsAreReadAsDataSetsSpellThem() throws {
    let lines = """
      {"prompt": "982+343=", "answer": "1325"}
      {"question": "q", "target": 7}
      {"input": "i", "output": "o", "answer": null}
      """
    let items = try AnswerItem.items(in: Array(lines.utf8), file: "f")
    #expect(items.map(\.prompt) == ["982+343=", "q", "i"] && items.map(\.answer) == ["1325", "7", "o"])
  }

  @Test(arguments: [
    #"{"prompt": "p"}"#, #"{"prompt": "", "answer": "a"}"#, #"{"prompt": "p", "answer": "a\nb"}"#,
    #"{"prompt": "p", "answer": ["a"]}"#, #""p""#,
  ])
  func damageIsRefused(_ line: String) {
    #expect(throws: Problems.self) { try AnswerItem.items(in: Array(line.utf8), file: "f") }
  }
}
