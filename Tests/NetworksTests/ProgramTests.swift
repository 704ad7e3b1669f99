import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import NetworkTestSupport
import Testing

@testable import EspalierNetworks

/// What programs may say, and what is said about them when they are wrong.
@Suite struct ProgramTests {
  private func network(_ name: String, _ changes: JSON) throws(Problem) -> Network {
    let base: any Checkpoint
    do { base = try SafetensorsCheckpoint(at: Golden(name).path) } catch { throw error.all[0] }
    return try Network(Lacking(base, config: changes), workers: Golden.workers)
  }

  @Test(
    arguments: [
      ("llama_gqa_untied", ["hidden_act": "snake"], "network.program", "snake"),
      ("llama_gqa_untied", ["hidden_act": 3], "architecture.config", "f"),
      ("llama_gqa_untied", ["rope_scaling": ["rope_type": "spiral"]], "architecture.unsupported", "spiral"),
      ("gemma", ["use_bidirectional_attention": true], "architecture.unsupported", "both directions"),
      ("gpt2", ["add_cross_attention": true], "architecture.unsupported", "another model's states"),
      ("gemma2", ["query_pre_attn_scalar": 0], "architecture.config", "query_pre_attn_scalar"),
      ("mixtral", ["num_experts_per_tok": 9], "network.program", "chooses 9 of 4 experts"),
      ("llama_gqa_untied", ["model_type": "camel"], "architecture.unsupported", "camel"),
    ] as [(String, JSON, String, String)])
  func whatAConfigAsksAndNobodyComputesIsNamed(name: String, config: JSON, code: String, part: String) {
    let problem = #expect(throws: Problem.self) { try network(name, config) }
    #expect(problem?.code.rawValue == code)
    #expect(problem?.message.contains(part) ?? false, "\(problem?.message ?? "")")
  }

  @Test func bareWeightsAreNoNetwork() throws {
    let bare = try SafetensorsCheckpoint(at: Golden("llama_gqa_untied").path + "/model.safetensors")
    let problem = #expect(throws: Problem.self) { try Network(bare, workers: Golden.workers) }
    #expect(problem?.code == .architectureConfig)
  }

  private let small = """
    {"name": "small", "modelTypes": ["small"],
     "axes": {"vocabulary": {"scope": "model", "size": "tokens"}, "hidden": {"scope": "model", "size": "width"}},
     "towers": {"text": {"layers": "depth",
       "before": {"embed.weight": {"role": "embedding", "shape": ["vocabulary", "hidden"]}},
       "layer": {"layers.{layer}.weight": {"role": "norm", "shape": ["hidden"]}},
       "program": {"module": "layers.{layer}",
         "before": ["x = embedding(tokens, @embed)"],
         "layer": ["x = rmsNorm(x, @.weight, epsilon: 0)"],
         "outputs": {"before": {"embed": "x"}}}}}}
    """

  private func load(_ replaced: String, _ with: String) throws(Problems) -> Architecture {
    let text = String(small).replacing(replaced, with)
    let json: JSON
    do { json = try JSON(parsing: text) } catch { throw Problems([error]) }
    return try Architecture.load(parsing: json, file: "mine.json")
  }

  @Test(arguments: [
    ("x = embedding(", "embedding(", "expected `=`, found `(`"),
    ("tokens, @embed)", "tokens, @embed", "expected `)`, found the end"),
    ("@.weight", "@.wait", "refers to `layers.{layer}.wait`, which is not described"),
    ("epsilon: 0)", "epsilon: 0) unless x", "expected the end, found `unless`"),
    ("epsilon: 0)", "epsilon: )", "expected a value, found `)`"),
    ("\"before\": {\"embed\"", "\"befor\": {\"embed\"", "unknown section `befor`"),
    ("\"module\":", "\"modul\":", "unknown key `modul`"),
    ("{\"embed\": \"x\"}", "{\"embed\": \"tokens\"}", "no statement writes `tokens`"),
  ])
  func mistakesInAProgramAreNamed(replaced: String, with: String, message: String) {
    let problems = #expect(throws: Problems.self) { try load(replaced, with) }
    #expect(problems?.all.contains { $0.message.contains(message) } ?? false, "\(problems?.description ?? "")")
  }

  private func plan(
    _ replaced: String, _ with: String, _ config: JSON = ["tokens": 5, "width": 4, "depth": 2]
  ) throws -> Plan {
    let program = try load(replaced, with).program(config: config)
    return try Plan(program) { _ in true }
  }

  @Test func aProgramIsBound() throws {
    let plan = try plan("", "")
    #expect(plan.sections.map(\.steps.count) == [1, 1, 1])
    #expect(plan.slots == ["tokens", "x"])
    // Nobody needs the residual stream after it was normalized.
    #expect(plan.sections[1].steps[0].isLastUse == [true])
  }

  @Test(arguments: [
    ("rmsNorm(x", "rootNorm(x", "there is no operation `rootNorm`"),
    ("rmsNorm(x", "rmsNorm(y", "nothing was written to the slot `y`"),
    ("rmsNorm(x", "rmsNorm(x, x", "takes 1 inputs and has 2"),
    ("x = rmsNorm", "x, y = rmsNorm", "has 1 outputs"),
    (", epsilon: 0", "", "lacks `epsilon`"),
    ("(tokens, @embed)", "(tokens)", "needs a table"),
  ])
  func whatCannotBeBoundIsNamed(replaced: String, with: String, message: String) {
    let problem = #expect(throws: Problem.self) { try plan(replaced, with) }
    #expect(problem?.message.contains(message) ?? false, "\(problem?.message ?? "")")
  }

  /// What operations rely on when they run: kinds, rows and widths of what they are given.
  @Test(arguments: [
    ("y = rmsNorm(tokens, @.weight, epsilon: 0)", "the slot `tokens` holds whole numbers where floats belong"),
    ("y = embedding(x, @embed)", "the slot `x` holds floats where whole numbers belong"),
    ("tokens = scale(x, by: 2)", "cannot write to `tokens`, which is an input"),
    ("y = scale(pixels, by: 2)", "`pixels` has as many channels as its pictures"),
    ("y = select(row: 'first')", "takes 1 inputs and has 0"),
    ("y = select(x, x, row: 'last', skipping: 3)", "the slot `x` holds floats where whole numbers belong"),
    ("y = select(x, decoderTokens, row: 'last', skipping: 3)", "rows of the tokens and rows of the decoder's tokens"),
    ("y = rotary(headWidth: 9223372036854775807)", "needs an input"),
    ("y = rotary(x, headWidth: 9223372036854775807)", "turns 9223372036854775807 entries"),
    ("y = rotary(x, headWidth: 4, width: -9223372036854775807)", "rotary embedding of -9223372036854775807 entries"),
    ("y = add(x, d)", "`add` gets rows of the tokens and rows of the decoder's tokens"),
    ("y = pool(x, f: 'max', size: 1)", "slides over rows that are no picture"),
    ("y = pool(x, f: 'max', size: 3, padding: 9223372036854775807)", "has windows that see nothing"),
    (
      "y = attention(x, d, d, heads: 2, scale: 1)",
      "cannot look from rows of the tokens at keys of the decoder's tokens"
    ),
    ("y = attention(x, x, d, heads: 2, scale: 1, causal: false)", "and values of the decoder's tokens"),
    ("y = attention(x, b, b, heads: 1, scale: 1, causal: false)", "share rows of [4, 9, 9]"),
    ("y = attention(x, x, x, x, heads: 2, scale: 1)", "needs the bias of 2 heads from `relativeBias`"),
    ("y = attention(x, x, x, b, heads: 2, scale: 1)", "needs the bias of 2 heads from `relativeBias`"),
    ("y = attention(x, x, x, heads: -2, scale: 1)", "share rows of [4, 4, 4] among -2 heads"),
    ("y = attention(x, x, x, heads: 2, scale: 1, window: -9223372036854775807)", "sees nothing through a window"),
    ("y = map(x, @odd)", "takes rows of 15 and gets rows of 4"),
    ("y = experts(x, x, gate: @embed, up: @.weight, down: @embed, count: 1, f: 'relu')", "needs a matrix of 5 x 4 in"),
    ("y, z = split(x, by: @.weight, into: 'a b')", "has no segment `a`"),
  ])
  func whatCannotRunIsRefusedWhenTheNetworkIsMade(statement: String, message: String) throws {
    let before = """
      "before": ["x = embedding(tokens, @embed)", "d = embedding(decoderTokens, @embed)",
                 "b = relativeBias(@embed, maxDistance: 4, causal: false)"],
      """
    let described = """
      "before": {"embed.weight": {"role": "embedding", "shape": ["vocabulary", "hidden"]},
                 "odd.weight": {"role": "embedding", "shape": ["vocabulary", "3", "5"]}},
      "layer": {
      """
    let text = String(small).replacing(#""before": ["x = embedding(tokens, @embed)"],"#, before)
      .replacing(#""before": {"embed.weight": {"role": "embedding", "shape": ["vocabulary", "hidden"]}},"#, "")
      .replacing(#""layer": {"#, described).replacing("x = rmsNorm(x, @.weight, epsilon: 0)", statement)
    let program = try Architecture.load(parsing: try JSON(parsing: text), file: "mine.json")
      .program(config: ["tokens": 5, "width": 4, "depth": 2])
    let problem = #expect(throws: Problem.self) { try Plan(program) { _ in true } }
    #expect(problem?.message.contains(message) ?? false, "\(problem?.message ?? "")")
  }

  /// Sizes of a config that no tensor has.
  @Test(
    arguments: [
      (["tokens": 5, "width": 0, "depth": 2], "would make rows of 0"),
      (["tokens": 5, "width": 1_000_000_000, "depth": 2], "would make rows of 1000000000"),
      (["tokens": 4_294_967_296, "width": 4_294_967_296, "depth": 2], "no tensor has the shape"),
      (["tokens": 0, "width": 9_223_372_036_854_775_807, "depth": 2], "no tensor has the shape"),
      (["tokens": 5, "width": -4, "depth": 2], "is -4"),
      (["tokens": 5, "width": 4, "depth": -1], "is -1"),
      (["tokens": 5, "width": 4, "depth": 9_223_372_036_854_775_807], "must be between 0 and"),
    ] as [(JSON, String)])
  func sizesThatCannotBeAreRefused(config: JSON, message: String) {
    let problem = #expect(throws: Problem.self) { try plan("", "", config) }
    #expect(problem?.message.contains(message) ?? false, "\(problem?.message ?? "")")
  }
}

extension String {
  /// The text with every occurrence of a part exchanged.
  fileprivate func replacing(_ part: String, _ other: String) -> String {
    guard !part.isEmpty else { return self }
    var (result, rest) = ("", Substring(self))
    while let range = rest.firstRange(of: part) {
      result += rest[..<range.lowerBound] + other
      rest = rest[range.upperBound...]
    }
    return result + rest
  }
}
