import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import NetworkTestSupport
import Testing

@testable import EspalierNetworks

/// What these families cannot compute, or are not given, is said by name.
@Suite struct FamilyProblemsTests {
  private func network(_ golden: String, lacking name: String? = nil, config: JSON = [:]) throws -> Network {
    let checkpoint = try SafetensorsCheckpoint(at: Golden(golden).path)
    return try Network(Lacking(checkpoint, name, config: config), workers: Golden.workers)
  }

  private static let options: [(golden: String, key: String, value: JSON, code: Problem.Code, words: String)] = [
    ("bert_base", "add_cross_attention", true, .architectureUnsupported, "attention to another"),
    ("bert_base", "position_embedding_type", "relative_key", .architectureUnsupported, "position_embedding_type"),
    ("bert_base", "hidden_act", "snake", .networkProgram, "`snake`"),
    ("roberta_cls", "architectures", ["RobertaForMultipleChoice"], .architectureUnsupported, "multiple choice"),
    ("distilbert_cls", "architectures", ["DistilBertForMultipleChoice"], .architectureUnsupported, "multiple choice"),
    ("vit_cls", "architectures", ["ViTForMaskedImageModeling"], .architectureUnsupported, "masked patches"),
    ("vit_cls", "image_size", [32, 32], .architectureConfig, "image_size"),
    ("t5_relu_tied", "architectures", ["T5ForSequenceClassification"], .architectureUnsupported, "classifying head"),
    ("t5_relu_tied", "relative_attention_max_distance", 2, .networkProgram, "buckets"),
    ("t5_relu_tied", "dense_act_fn", "swoosh", .networkProgram, "`swoosh`"),
    ("mamba", "hidden_act", "snake", .networkProgram, "`snake`"),
    ("mamba2", "time_step_limit", [1, 0.5], .architectureConfig, "time_step_limit"),
    ("mamba2", "time_step_limit", 3, .architectureConfig, "time_step_limit"),
  ]

  @Test(arguments: options)
  func optionsThatAreNotComputed(_ golden: String, _ key: String, _ value: JSON, _ code: Problem.Code, _ words: String)
  {
    let problem = #expect(throws: Problem.self) { try network(golden, config: [key: value]) }
    #expect(problem?.code == code)
    #expect(problem?.message.contains(words) ?? false, "\(problem?.message ?? "")")
  }

  /// Without its pooler a plain encoder gives no pooled state; a classifier behind the pooler cannot do without.
  @Test func poolers() throws {
    let inputs = try Golden("bert_base").inputs()
    let names = try network("bert_base", lacking: "pooler.dense.weight").forward(inputs).map(\.name)
    #expect(names == ["last_hidden_state"])
    #expect(try network("bert_base").forward(inputs).map(\.name) == ["last_hidden_state", "pooled"])
    let problem = #expect(throws: Problem.self) { try network("bert_cls", lacking: "bert.pooler.dense.weight") }
    #expect(problem?.code == .networkParameter)
    #expect(problem?.message == "the network needs `bert.pooler.dense.weight`, which the checkpoint does not have")
  }

  private func pictures(_ channels: Int, _ height: Int, _ width: Int) throws -> NetworkInputs {
    NetworkInputs(
      pictures: try .init(
        count: 1, channels: channels, height: height, width: width,
        values: Array(repeating: 0.5, count: channels * height * width)))
  }

  @Test func picturesThatDoNotFit() throws {
    let vit = try network("vit_cls")
    let resnet = try network("resnet_basic_cls")
    for (network, inputs, words) in [
      (vit, try pictures(3, 32, 40), "the pictures are 32 by 40, and the network takes 32 by 32"),
      (vit, try pictures(1, 32, 32), "the pictures have 1 channels, and the network takes 3"),
      (resnet, try pictures(4, 32, 32), "the pictures have 4 channels, and the network takes 3"),
      (resnet, NetworkInputs(tokens: [[1]]), "the network needs `pixel_values`, which was not given"),
    ] {
      let problem = #expect(throws: Problem.self) { try network.forward(inputs) }
      #expect(problem?.code == .networkInput)
      #expect(problem?.message == words)
    }
    // A single pixel is enough for windows that reach beyond the edge.
    let outputs = try resnet.forward(try pictures(3, 1, 1))
    #expect(outputs.first { $0.name == "logits" }?.shape == [1, 7])
  }

  @Test func tokensThatDoNotFit() throws {
    let bert = try network("bert_base")
    for (inputs, words) in [
      (NetworkInputs(tokens: [[141]]), "141 is not among the 141 tokens"),
      (NetworkInputs(tokens: [[1]], types: [[2]]), "2 is not among the 2 types"),
      (NetworkInputs(tokens: [Array(repeating: 1, count: 41)]), "40 is not among the 40 positions"),
    ] {
      let problem = #expect(throws: Problem.self) { try bert.forward(inputs) }
      #expect(problem?.code == .networkInput)
      #expect(problem?.message.contains(words) ?? false, "\(problem?.message ?? "")")
    }
    let problem = #expect(throws: Problem.self) { try network("t5_relu_tied").forward(NetworkInputs(tokens: [[1]])) }
    #expect(problem?.message == "the network needs `decoder_input_ids`, which was not given")
  }

  /// Rows that are masked out have no influence, wherever they stand, and neither have other sequences and threads.
  @Test(arguments: ["bert_base", "roberta_cls", "distilbert_cls", "t5_encoder_variant", "mamba", "mamba2"])
  func sequencesAreAlone(name: String) throws {
    let golden = Golden(name)
    let text: [Int32] = [7, 40, 12, 33, 9, 51, 26]
    func outputs(_ inputs: NetworkInputs, _ threads: Int, _ residency: Network.Residency) throws -> [NetworkOutput] {
      try golden.network(residency: residency, workers: WorkerPool(threads: threads)).forward(inputs)
    }
    let alone = try outputs(NetworkInputs(tokens: [text]), 1, .resident)
    let padded = NetworkInputs(
      tokens: [[5, 6, 7] + Array(repeating: 8, count: 20), text + Array(repeating: 4, count: 16)],
      mask: [Array(repeating: true, count: 23), (0..<23).map { $0 < 7 }])
    let together = try outputs(padded, 2, .streamed)
    for (one, both) in zip(alone, together) {
      let size = one.values.count
      let row = both.values.dropFirst(both.values.count / 2).prefix(size)
      #expect(one.name == both.name)
      #expect(row.elementsEqual(one.values), "\(one.name)")
    }
  }
}
