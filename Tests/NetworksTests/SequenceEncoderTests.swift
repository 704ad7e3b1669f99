import EspalierBasics
import EspalierNetworks
import NetworkTestSupport
import Testing

/// Which networks have classes for whole sequences.
@Suite struct SequenceEncoderTests {
  /// Whether the pooled row is made by the head (RoBERTa, DistilBERT) or before it (BERT).
  @Test(arguments: [("bert_cls", 3), ("roberta_cls", 2), ("distilbert_cls", 2)])
  func classesOfSequences(name: String, count: Int) throws {
    let golden = Golden(name)
    let network = try golden.network()
    let encoder = try SequenceEncoder(network)
    #expect(encoder.classNames == (0..<count).map { "LABEL_\($0)" })
    let sequences = try golden.inputs().tokens
    let found = try encoder.classLogits(of: sequences)
    let expected = try #require(try network.forward(NetworkInputs(tokens: sequences)).first { $0.name == "logits" })
    #expect(found.flatMap(\.self) == Array(expected.values.prefix(sequences.count * count)))
  }

  /// Classes of tokens, and predicted tokens, are none of sequences.
  @Test(arguments: ["bert_token_variant", "distilbert_token_variant", "roberta_token_variant", "bert_mlm", "bert_base"])
  func noClassesOfSequences(name: String) throws {
    #expect(try SequenceEncoder(try Golden(name).network()).classNames.isEmpty)
  }
}
