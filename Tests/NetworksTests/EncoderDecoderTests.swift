import EspalierBasics
import NetworkTestSupport
import Testing

@testable import EspalierNetworks

/// Texts turned into texts (T5), token by token.
@Suite struct EncoderDecoderTests {
  static let names = ["t5_gated_untied", "t5_relu_tied"]

  /// Every prefix of the decoder's text, read in one piece or token by token, gives the logits of the whole run, to the
  /// bit.
  @Test(arguments: names.map(Golden.init))
  func stepsEqualTheWhole(golden: Golden) throws {
    let network = try golden.network()
    let model = try EncoderDecoderModel(network)
    let inputs = try golden.inputs()
    let text = try #require(inputs.decoderTokens)
    let outputs = try network.forward(inputs)
    let logits = try #require(outputs.first { $0.name == "logits" })
    for row in text.indices {
      let source = zip(inputs.tokens[row], inputs.mask![row]).filter(\.1).map(\.0)
      let steps = try EncoderDecoderSession(model, source: source)
      for (place, token) in text[row].enumerated() {
        let start = (row * text[row].count + place) * model.vocabularySize
        let whole = Array(logits.values[start..<start + model.vocabularySize])
        #expect(try steps.read([token]) == whole, "token \(place)")
        let pieces = try EncoderDecoderSession(model, source: source)
        if place > 1 {
          _ = try pieces.read(Array(text[row][..<2]))
          #expect(try pieces.read(Array(text[row][2...place])) == whole, "two pieces up to \(place)")
        }
      }
      #expect(steps.tokens == text[row])
    }
  }

  /// Greedy tokens with kept state are those of running everything anew for each of them.
  @Test(arguments: names.map(Golden.init))
  func greedyTokens(golden: Golden) throws {
    let network = try golden.network()
    let model = try EncoderDecoderModel(network)
    let source: [Int32] = [5, 90, 33, 2, 149, 7, 7, 61]
    #expect(model.startToken == 0)
    let session = try EncoderDecoderSession(model, source: source)
    let (tokens, ending) = try Generator(maxTokens: 12).continuation(of: [model.startToken], in: session)
    #expect(ending == .length)
    var anew: [Int32] = [model.startToken]
    for _ in 0..<12 {
      let outputs = try network.forward(NetworkInputs(tokens: [source], decoderTokens: [anew]))
      let logits = try #require(outputs.first { $0.name == "logits" })
      let last = logits.values.suffix(model.vocabularySize)
      anew.append(Int32(last.indices.max { (last[$0], $1) < (last[$1], $0) }! - last.startIndex))
    }
    #expect(tokens == Array(anew.dropFirst()))
  }

  @Test func problems() throws {
    let t5 = try EncoderDecoderModel(try Golden("t5_relu_tied").network())
    let session = try EncoderDecoderSession(t5, source: [1, 2])
    #expect(throws: Problem.self) { try session.read([]) }
    #expect(throws: Problem.self) { try session.read([150]) }
    #expect(throws: Problem.self) { try EncoderDecoderSession(t5, source: [150]) }
    #expect(throws: Problem.self) { try EncoderDecoderSession(t5, source: []) }
    #expect(throws: Problem.self) { try EncoderDecoderModel(try Golden("bert_mlm").network()) }
    #expect(throws: Problem.self) { try CausalLanguageModel(try Golden("t5_relu_tied").network()) }
    // Nothing was read, and the session goes on.
    #expect(session.tokens.isEmpty)
    #expect(try session.read([0]).count == 150)
  }
}
