import EspalierBasics
import NetworkTestSupport
import Testing

@testable import EspalierNetworks

/// What goes in and comes out by name.
@Suite struct ForwardTests {
  private func problem(_ name: String, _ inputs: NetworkInputs) -> Problem? {
    #expect(throws: Problem.self) { try Golden(name).network().forward(inputs) }
  }

  @Test func inputsThatDoNotFitAreRefused() {
    for inputs in [
      NetworkInputs(), NetworkInputs(tokens: [[]]), NetworkInputs(tokens: [[1, 2], []]),
      NetworkInputs(tokens: [[1, 2]], mask: [[true]]), NetworkInputs(tokens: [[1, 2]], mask: [[false, false]]),
      NetworkInputs(tokens: [[130]]), NetworkInputs(tokens: [[-1]]),
    ] {
      #expect(problem("llama_gqa_untied", inputs)?.code == .networkInput)
    }
    #expect(problem("bert_base", NetworkInputs(tokens: [[1]], types: [[2]]))?.code == .networkInput)
    #expect(problem("bert_base", NetworkInputs(tokens: [[1, 2]], types: [[0]]))?.code == .networkInput)
    #expect(problem("bert_base", NetworkInputs(tokens: [Array(repeating: 1, count: 41)]))?.code == .networkInput)
    #expect(problem("t5_relu_tied", NetworkInputs(tokens: [[1]]))?.code == .networkInput)
    #expect(problem("t5_relu_tied", NetworkInputs(tokens: [[1]], decoderTokens: [[1], [2]]))?.code == .networkInput)
    #expect(problem("vit_cls", NetworkInputs(tokens: [[1]]))?.code == .networkInput)
    #expect(problem("llama_gqa_untied", NetworkInputs(pictures: picture()))?.code == .networkInput)
  }

  private func picture() -> NetworkInputs.Pictures? {
    try? .init(count: 1, channels: 3, height: 2, width: 2, values: Array(repeating: 0, count: 12))
  }

  @Test func inputsAreNamedAsTransformersNamesThem() {
    #expect(problem("vit_cls", NetworkInputs(tokens: [[1]]))?.message.contains("`pixel_values`") == true)
    #expect(problem("llama_gqa_untied", NetworkInputs(pictures: picture()))?.message.contains("`input_ids`") == true)
    let missing = problem("t5_relu_tied", NetworkInputs(tokens: [[1]]))
    #expect(missing?.message.contains("`decoder_input_ids`") == true)
    let mask = problem(
      "t5_relu_tied", NetworkInputs(tokens: [[1]], decoderTokens: [[1]], decoderMask: [[true, true]]))
    #expect(mask?.message == "decoder_attention_mask has another shape than decoder_input_ids")
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity]) func pixelsAreFinite(value: Float) {
    var values = [Float](repeating: 0, count: 2 * 3 * 2 * 4)
    values[((1 * 3 + 2) * 2 + 1) * 4 + 3] = value
    let problem = #expect(throws: Problem.self) {
      try NetworkInputs.Pictures(count: 2, channels: 3, height: 2, width: 4, values: values)
    }
    #expect(problem?.code == .networkInput)
    #expect(problem?.message.hasPrefix("pixel_values is \(value) at [1, 2, 1, 3]") == true)
  }

  /// Padding on either side changes nothing but where results stand.
  @Test func paddingNeverEnters() throws {
    let network = try Golden("llama_gqa_untied").network()
    let plain = try network.forward(NetworkInputs(tokens: [[5, 6, 7]]))
    let padded = try network.forward(
      NetworkInputs(tokens: [[5, 6, 7, 0, 0]], mask: [[true, true, true, false, false]]))
    let (a, b) = (try #require(plain.last), try #require(padded.last))
    #expect(a.name == "logits" && a.shape == [1, 3, 130] && b.shape == [1, 5, 130])
    #expect(b.values[..<(3 * 130)].elementsEqual(a.values))
    #expect(b.values[(3 * 130)...].allSatisfy { $0 == 0 })
  }

  @Test func hiddenStatesOnRequest() throws {
    let network = try Golden("llama_gqa_untied").network()
    let inputs = NetworkInputs(tokens: [[5, 6]])
    #expect(try network.forward(inputs).map(\.name) == ["final", "logits"])
    #expect(
      try network.forward(inputs, hiddenStates: true).map(\.name) == ["embed", "layer.0", "layer.1", "final", "logits"])
  }

  @Test func whatIsNoLanguageModel() throws {
    for name in ["bert_mlm", "t5_relu_tied", "vit_cls", "roberta_cls"] {
      let network = try Golden(name).network()
      let problem = #expect(throws: Problem.self) { try CausalLanguageModel(network) }
      #expect(problem?.code == .networkInput)
    }
  }

  @Test func weightsAreCountedAsTheyAreStored() throws {
    // Embedding and head 130 x 48 each; a layer 2 x 48 x 48 + 2 x 48 x 16 + 3 x 48 x 80 and two norms; a norm.
    let layer = 4 * (2 * 48 * 48 + 2 * 48 * 16 + 3 * 48 * 80 + 2 * 48)
    let network = try Golden("llama_gqa_untied").network()
    #expect(try network.weightBytes() == 4 * 2 * 130 * 48 + 2 * layer + 4 * 48)
    #expect(try network.largestBlockBytes() == layer)
    // Tied: the table once; bf16 matrices take two bytes, norms are floats in memory.
    let tied = try Golden("qwen2_tied_bf16").network()
    let other = 2 * (2 * 48 * 48 + 2 * 48 * 16 + 3 * 48 * 80) + 4 * (2 * 48 + 48 + 16 + 16)
    #expect(try tied.weightBytes() == 2 * 130 * 48 + 2 * other + 4 * 48)
  }
}
