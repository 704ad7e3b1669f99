import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import NetworkTestSupport
import Testing

@testable import EspalierNetworks

/// Families that a stranger changed, over weights that are there: they are refused, or they run.
@Suite struct HostileFamilyTests {
  /// The network of a golden model by its built-in family with one text of it exchanged.
  private func network(
    _ golden: String, _ family: String, _ replaced: String, _ with: String
  ) throws -> Network {
    var text = try #require(Architecture.builtInSource(named: family))
    let range = try #require(text.firstRange(of: replaced))
    text.replaceSubrange(range, with: with)
    let changed = try Architecture.load(parsing: try JSON(parsing: text), file: "mine.json")
    let checkpoint = try SafetensorsCheckpoint(at: Golden(golden).path)
    return try Network(checkpoint, architectures: [changed], workers: Golden.workers)
  }

  @Test(arguments: [
    (#""x = add(x, a)","#, #""x = add(x, a)", "y = add(x, memory)","#, "nothing was written to the slot `memory`"),
    (
      "causal: true)", #"causal: true)", "y = add(x, memory)"#,
      "`add` gets rows of the decoder's tokens and rows of the tokens"
    ),
    ("k, v, bias, heads: num_heads", "k, v, bias, heads: 1", "needs the bias of 1 heads"),
  ])
  func twoSequencesAreNotMixed(replaced: String, with: String, message: String) throws {
    let problem = #expect(throws: Problem.self) { try network("t5_relu_tied", "t5", replaced, with) }
    #expect(problem?.message.contains(message) ?? false, "\(problem?.message ?? "")")
  }

  private static let final = "final = rmsNorm(x, @model.norm, epsilon: rms_norm_eps)"
  private static let logits = "logits = map(final, @lm_head"

  /// A head gets final states, one a token, and nothing else; other programs run, but predict no text.
  @Test(arguments: [
    // A row more than there are tokens, one for each sequence, and more rows of logits than of states.
    (final, #"n = prepend(x, @model.norm)", "final = scale(n, by: 1)"#),
    (final, #"n = rmsNorm(x, @model.norm, epsilon: 1)", "final = pool(n, f: 'mean')"#),
    (logits, #"n = prepend(final, @model.norm)", "logits = map(n, @lm_head"#),
    // What stands before the head.
    (logits, #"x = scale(x, by: 1)", "logits = map(final, @lm_head"#),
    (logits, #"n = attention(final, final, final, heads: 1, scale: 1)", "logits = map(n, @lm_head"#),
  ])
  func whatIsNoHeadMakesNoLanguageModel(replaced: String, with: String) throws {
    let network = try network("llama_gqa_untied", "llama", replaced, with)
    let outputs = try network.forward(NetworkInputs(tokens: [[1, 2, 3], [4]]), hiddenStates: true)
    #expect(outputs.count == 5 && outputs.allSatisfy { $0.values.allSatisfy(\.isFinite) })
    let problem = #expect(throws: Problem.self) { try CausalLanguageModel(network) }
    #expect(problem?.code == .networkInput)
  }

  /// The states are as wide as the layers give them, whatever the head makes of them later.
  @Test func aHeadMayUseTheNameOfItsStates() throws {
    let network = try network(
      "llama_gqa_untied", "llama", Self.logits, #"logits = scale(final, by: 1)", "final = map(final, @lm_head"#)
    let model = try CausalLanguageModel(network)
    #expect(model.width == 48 && model.vocabularySize == 48)
    #expect(try model.finalStates(of: [[1, 2, 3]]).values.byteCount == 3 * 48 * 4)
    #expect(try Session(model).read([1, 2, 3]).count == 48)
  }

  /// A leading row makes an output longer than the tokens, and one row a head is no row a token.
  @Test func outputsAreAsLongAsTheirRows() throws {
    let network = try network("llama_gqa_untied", "llama", Self.final, #"final = prepend(x, @model.norm)"#)
    let final = try #require(
      try network.forward(NetworkInputs(tokens: [[1, 2, 3], [4]])).first { $0.name == "final" })
    #expect(final.shape == [2, 4, 48])
  }

  @Test func aNegativeOffsetIsOutsideTheTable() throws {
    let network = try network(
      "llama_gqa_untied", "llama", "@model.embed_tokens)", "@model.embed_tokens, offset: -9223372036854775807)")
    let problem = #expect(throws: Problem.self) { try network.forward(NetworkInputs(tokens: [[1]])) }
    #expect(problem?.code == .networkInput)
  }

  @Test(arguments: [
    ("gemma3_text", "sliding_window", JSON.number(Int.min), "sees nothing through a window"),
    ("mamba", "conv_kernel", .number(Int.max), "no tensor has the shape"),
    ("roberta_mlm", "pad_token_id", .number(Int(Int32.max)), "positions cannot be counted"),
    ("llama_gqa_untied", "max_position_embeddings", .number(Int.min), ""),
  ])
  func hostileConfigs(golden: String, key: String, value: JSON, message: String) throws {
    let checkpoint = Lacking(try SafetensorsCheckpoint(at: Golden(golden).path), config: .object([(key, value)]))
    guard !message.isEmpty else {
      #expect(try CausalLanguageModel(try Network(checkpoint, workers: Golden.workers)).contextLength == nil)
      return
    }
    let problem = #expect(throws: Problem.self) { try Network(checkpoint, workers: Golden.workers) }
    #expect(problem?.message.contains(message) ?? false, "\(problem?.message ?? "")")
  }

  /// What is tied to a tensor of another shape, or to itself.
  @Test func tiesThatLeadNowhere() throws {
    func network(tiedTo target: String) throws -> Network {
      var text = try #require(Architecture.builtInSource(named: "llama"))
      let written = #""tied": {"model.embed_tokens.weight": "tie_word_embeddings"}"#
      let range = try #require(text.firstRange(of: written))
      text.replaceSubrange(range, with: #""tied": {"\#(target)": true}"#)
      let changed = try Architecture.load(parsing: try JSON(parsing: text), file: "mine.json")
      let checkpoint = try SafetensorsCheckpoint(at: Golden("llama_gqa_untied").path)
      return try Network(Lacking(checkpoint, "lm_head.weight"), architectures: [changed], workers: Golden.workers)
    }
    let problem = #expect(throws: Problem.self) { try network(tiedTo: "model.norm.weight") }
    #expect(problem?.message == "`lm_head.weight` shares it and should be [130, 48], but it is [48]")
    // Nothing is there: what may be missing is left out, and with it the logits.
    let headless = try network(tiedTo: "lm_head.weight")
    #expect(try headless.forward(NetworkInputs(tokens: [[1]])).map(\.name) == ["final"])
  }
}
