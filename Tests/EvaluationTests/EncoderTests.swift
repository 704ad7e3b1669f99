import EspalierBasics
import EspalierLinearMaps
import EspalierNetworks
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierEvaluation

/// States are rows of a table by token, class logits the sums of the states' first entries.
private struct TableEncoder: EncoderModel {
  var table: [[Float]]
  var classNames: [String] = []
  var contextLength: Int? = 6
  var mode = NumericMode.exact
  var vocabularySize: Int { table.count }

  func hiddenStates(of sequences: [[Int32]]) throws(Problem) -> FinalStates {
    let width = table[0].count
    let rows = sequences.flatMap { $0 }
    let values = try AlignedBuffer(count: rows.count * width, of: Float.self)
    for (row, token) in rows.enumerated() {
      for column in 0..<width { values.floats[row * width + column] = table[Int(token)][column] }
    }
    var starts = [0]
    for sequence in sequences { starts.append((starts.last ?? 0) + sequence.count) }
    return FinalStates(starts: starts, width: width, values: values)
  }

  func classLogits(of sequences: [[Int32]]) throws(Problem) -> [[Float]] {
    sequences.map { sequence in
      classNames.indices.map { column in sequence.reduce(0) { $0 + table[Int($1)][column] } }
    }
  }

  /// Letters are tokens: `a` is 0.
  func evaluated(_ name: String) -> EvaluatedEncoder {
    EvaluatedEncoder(name: name, model: self) { (text, pair) throws(Problem) in
      (text + (pair ?? "")).utf8.map { Int32($0) - 97 }
    }
  }
}

@Suite struct EmbeddingTests {
  @Test func embeddingsAreNormalizedMeans() throws {
    let encoder = TableEncoder(table: [[3, 0], [0, 4], [0, -4]])
    try withOptions { options in
      let embeddings = try Embeddings(of: ["a", "ab", "b", "c"], by: encoder.evaluated("e"), options: options)
      #expect(embeddings.vectors == [[1, 0], [0.6, 0.8], [0, 1], [0, -1]])
      #expect(embeddings.cosine(0, 1) == 0.6 && embeddings.cosine(2, 3) == -1)
    }
  }

  @Test func agreementIsAsByHand() throws {
    let reference = TableEncoder(table: [[1, 0], [0, 1], [1, 1]])
    let candidate = TableEncoder(table: [[1, 0], [0.6, 0.8], [1, 1]])
    try withOptions { options in
      let result = try EmbeddingAgreement.measure(
        candidate.evaluated("B"), against: reference.evaluated("A"), on: ["a", "b", "c"], data: "texts",
        options: options)
      let cosines = try #require(result.cosines)
      #expect(zip(cosines, [1, 0.8, 1]).allSatisfy { abs($0 - $1) < 1e-7 })
      // Cosines of the pairs ab, ac, bc: reference 0, r, r; candidate 0.6, r, 1.4 r with r = sqrt(1/2).
      let r = 0.5.squareRoot()
      let differences = [0.6, 0, 0.4 * r]
      let error = try #require(result.similarityError)
      #expect(abs(error.value - differences.reduce(0, +) / 3) < 1e-7)
      #expect(abs((result.greatestSimilarityError ?? 0) - 0.6) < 1e-7)
      let same = try EmbeddingAgreement.measure(
        reference.evaluated("A"), against: reference.evaluated("A"), on: ["a", "b", "c"], data: "texts",
        options: options)
      #expect(same.cosine?.value == 1 || abs((same.cosine?.value ?? 0) - 1) < 1e-15)
      #expect(same.similarityError?.value == 0 && abs((same.similarityCorrelation ?? 0) - 1) < 1e-15)
    }
  }

  @Test func modelsOfDifferentWidthsAgreeInPairsOnly() throws {
    let wide = TableEncoder(table: [[1, 0, 0], [0, 0, 1], [1, 0, 1]])
    let narrow = TableEncoder(table: [[1, 0], [0, 1], [1, 1]])
    try withOptions { options in
      let result = try EmbeddingAgreement.measure(
        wide.evaluated("B"), against: narrow.evaluated("A"), on: ["a", "b", "c"], data: "texts", options: options)
      #expect(result.cosine == nil && result.similarityError?.value == 0)
    }
  }

  @Test func groupsChangeNothing() throws {
    let encoder = TableEncoder(table: TableModel.random(vocabulary: 26, seed: 3).table)
    let texts = ["abc", "hello", "z", "qrs", "tuv", "embed"]
    let expected = try withOptions { try Embeddings(of: texts, by: encoder.evaluated("e"), options: $0) }
    for groupTokens in [1, 4, 9] {
      let result = try withOptions(groupTokens: groupTokens) {
        try Embeddings(of: texts, by: encoder.evaluated("e"), options: $0)
      }
      #expect(result.vectors == expected.vectors)
    }
  }

  @Test func textsThatCannotBeReadAreNamed() {
    let encoder = TableEncoder(table: [[1, 0], [.nan, 1], [-1, 0]])
    withOptions { options in
      for (texts, message) in [
        (["a", "aaaaaaa"], "text 2: the text has 7 tokens and the model reads at most 6"),
        ([""], "text 1: the text gives no tokens"),
        (["a", "b"], "the states of text 2 are NaN or infinite, or their mean is zero"),
        (["ac"], "the states of text 1 are NaN or infinite, or their mean is zero"),
      ] {
        let problem = problem { _ = try Embeddings(of: texts, by: encoder.evaluated("e"), options: options) }
        #expect(problem?.message == message && problem?.context.file == "e")
      }
    }
  }
}

@Suite struct ClassificationTests {
  private let encoder = TableEncoder(table: [[1, 0], [0, 1], [2, 2]], classNames: ["bad", "good"]).evaluated("e")

  @Test func theGreatestLogitIsTheClass() throws {
    let texts = [
      ClassifiedText(text: "a", label: .index(0)), ClassifiedText(text: "b", label: .name("good")),
      ClassifiedText(text: "a", pair: "bb", label: .name("bad")), ClassifiedText(text: "c", label: .index(1)),
    ]
    for groupTokens in [1, 100] {
      try withOptions(groupTokens: groupTokens) { options in
        let result = try Classification.measure(encoder, on: texts, data: "texts", options: options)
        // Of equal logits the first class.
        #expect(result.items.map(\.found) == [0, 1, 1, 0] && result.accuracy.value == 0.5)
        #expect(result.sentences == ["2 of 4 are right."])
      }
    }
  }

  @Test func unknownLabelsAndModelsWithoutAHeadAreRefused() {
    withOptions { options in
      func message(_ encoder: EvaluatedEncoder, _ label: ClassifiedText.Label) -> String? {
        problem {
          _ = try Classification.measure(
            encoder, on: [ClassifiedText(text: "a", label: label)], data: "texts", options: options)
        }?.message
      }
      #expect(message(encoder, .index(2)) == "item 1: label 2 is none of the model's classes (bad, good)")
      #expect(message(encoder, .name("Good")) == "item 1: label \"Good\" is none of the model's classes (bad, good)")
      #expect(message(TableEncoder(table: [[1]]).evaluated("e"), .index(0)) == "the model has no classification head")
    }
  }

  @Test func itemsAreReadAsDataSetsSpellThem() throws {
    let lines = """
      {"text": "t", "label": 1}
      {"sentence1": "s", "sentence2": "u", "label": "good"}
      """
    let items = try ClassifiedText.items(in: Array(lines.utf8), file: "f")
    #expect(items[0] == ClassifiedText(text: "t", label: .index(1)))
    #expect(items[1] == ClassifiedText(text: "s", pair: "u", label: .name("good")))
    for line in [#"{"text": "t"}"#, #"{"label": 1}"#, #"{"text": "t", "label": 0.5e}"#, #"{"text": "t", "label": []}"#]
    {
      #expect(throws: Problems.self) { try ClassifiedText.items(in: Array(line.utf8), file: "f") }
    }
  }
}
