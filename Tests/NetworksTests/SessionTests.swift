import EspalierBasics
import EspalierNumerics
import NetworkTestSupport
import Testing

@testable import EspalierNetworks

/// Growing sequences: what is remembered gives what running the whole gives, to the bit.
@Suite struct SessionTests {
  static let causal = Golden.names.filter { name in
    (try? FileSystem.read("\(Golden.folder)/\(name)/expected.json")).map {
      String(decoding: $0, as: UTF8.self).contains("\"greedy")
    } ?? false
  }.map(Golden.init)

  private func model(_ golden: Golden) throws -> CausalLanguageModel {
    try CausalLanguageModel(try golden.network())
  }

  @Test(arguments: causal)
  func greedyTokensAgree(golden: Golden) throws {
    let expected = try golden.expected()
    let prompt = try #require(try expected.integers("greedy_prompt")).values.map { Int32($0) }
    let tokens = try #require(try expected.integers("greedy_tokens")).values.map { Int32($0) }
    let session = Session(try model(golden))
    let generator = Generator(maxTokens: tokens.count)
    let (found, ending) = try generator.continuation(of: prompt, in: session)
    #expect(found == tokens)
    #expect(ending == .length)
  }

  /// The negative logarithm of the likelihood of each row after its first token.
  @Test(arguments: causal)
  func likelihoodsAgree(golden: Golden) throws {
    let model = try model(golden)
    let rows = try golden.inputs().tokens
    let states = try model.finalStates(of: rows)
    let reference = try golden.expected().json["nll_total_per_row"]?.array?.compactMap(\.number)
    for (index, row) in rows.enumerated() {
      var logits = [Float](repeating: 0, count: row.count * model.vocabularySize)
      try model.logits(of: states, rows: states.rows(ofSequence: index), into: &logits)
      var total = 0.0
      for position in 1..<row.count {
        let values = logits[(position - 1) * model.vocabularySize..<position * model.vocabularySize].map(Double.init)
        let peak = values.max() ?? 0
        let sum = values.reduce(0) { $0 + Elementary.exp($1 - peak) }
        total += peak + Elementary.log(sum) - values[Int(row[position])]
      }
      #expect(abs(total - (try #require(reference))[index]) <= 1e-3)
    }
  }

  @Test(arguments: causal)
  func piecesGiveTheBitsOfTheWhole(golden: Golden) throws {
    let model = try model(golden)
    let row = try golden.inputs().tokens[0]
    let states = try model.finalStates(of: [row])
    var whole = [Float](repeating: 0, count: model.vocabularySize)
    for pieces in [[row.count], [1, row.count - 1], [5, 3, row.count - 8], Array(repeating: 1, count: row.count)] {
      let session = Session(model)
      var read = 0
      for piece in pieces {
        let logits = try session.read(Array(row[read..<read + piece]))
        read += piece
        // A sequence of another length may turn by other angles: then only the whole is comparable.
        let changes = model.network.regime(length: read) != model.network.regime(length: row.count)
        guard !changes else { continue }
        try model.logits(of: states, rows: read - 1..<read, into: &whole)
        #expect(logits == whole, "after \(read) of \(pieces)")
      }
    }
  }

  @Test func otherSequencesThreadsAndWeightsThatStreamChangeNothing() throws {
    for name in ["llama_gqa_untied", "gemma2", "mixtral", "gpt2"] {
      let golden = Golden(name)
      let rows = try golden.inputs().tokens
      let alone = try model(golden).finalStates(of: [rows[0]])
      let one = WorkerPool(threads: 1)
      for (residency, workers) in [
        (Network.Residency.resident, one), (.streamed, Golden.workers), (.streamed, one),
      ] {
        let model = try CausalLanguageModel(try golden.network(residency: residency, workers: workers))
        let together = try model.finalStates(of: [rows[1], [3, 1, 4], rows[0], [7]])
        let rows = together.rows(ofSequence: 2)
        let values = together.values.floats[rows.lowerBound * together.width..<rows.upperBound * together.width]
        #expect(values.elementsEqual(alone.values.floats[..<(rows.count * together.width)]), "\(name)")
      }
    }
  }

  /// More keys than a page, and queries of several tiles.
  @Test func longSequencesInPieces() throws {
    for name in ["llama_gqa_untied", "mistral_sliding", "gemma3_text"] {
      let model = try model(Golden(name))
      let row = (0..<125).map { Int32(($0 * 37 + 11) % model.vocabularySize) }
      let whole = Session(model)
      let expected = try whole.read(row)
      let session = Session(model)
      for start in stride(from: 0, to: row.count, by: 21) {
        let logits = try session.read(Array(row[start..<min(row.count, start + 21)]))
        if start + 21 >= row.count { #expect(logits == expected, "\(name)") }
      }
    }
  }

  @Test func tokensThatAreNone() throws {
    let session = Session(try model(Golden("llama_gqa_untied")))
    let before = try session.read([1, 2])
    for wrong: [Int32] in [[], [130], [-1], [3, 1 << 30]] {
      let problem = #expect(throws: Problem.self) { try session.read(wrong) }
      #expect(problem?.code == .networkInput)
    }
    #expect(session.tokens == [1, 2])
    session.reset()
    #expect(try session.read([1, 2]) == before)
  }
}
