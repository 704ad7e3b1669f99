import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import Testing

@testable import EspalierNetworks

/// What programs may say, and what is said about them when they are wrong.
@Suite struct ProgramTests {
  private func network(_ name: String, _ changes: JSON) throws(Problem) -> Network {
    let base: any Checkpoint
    do { base = try SafetensorsCheckpoint(at: Golden(name: name).path) } catch { throw error.all[0] }
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
    let bare = try SafetensorsCheckpoint(at: Golden(name: "llama_gqa_untied").path + "/model.safetensors")
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
  ])
  func mistakesInAProgramAreNamed(replaced: String, with: String, message: String) {
    let problems = #expect(throws: Problems.self) { try load(replaced, with) }
    #expect(problems?.all.contains { $0.message.contains(message) } ?? false, "\(problems?.description ?? "")")
  }

  private func plan(_ replaced: String, _ with: String) throws -> Plan {
    let program = try load(replaced, with).program(config: ["tokens": 5, "width": 4, "depth": 2])
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
