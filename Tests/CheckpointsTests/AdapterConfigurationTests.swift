import EspalierBasics
import TestSupport
import Testing

@testable import EspalierCheckpoints

@Suite struct AdapterConfigurationTests {
  private func configuration(_ text: String) throws -> AdapterConfiguration {
    try AdapterConfiguration(try JSON(parsing: text))
  }

  private func messages(_ text: String) throws -> [String] {
    let json = try JSON(parsing: text)
    return problems { () throws(Problems) in try AdapterConfiguration(json) }.map(\.message)
  }

  @Test func ranksAndAlphasByPattern() throws {
    let adapter = try configuration(
      """
      {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "rank_pattern": {"down_proj": 8, "layers.0.q_proj": 2},
       "alpha_pattern": {"layers.(1|2)..*k_proj": 3}}
      """)
    #expect(adapter.rank(of: "model.layers.1.q_proj") == 4)
    #expect(adapter.rank(of: "model.layers.0.q_proj") == 2)
    #expect(adapter.rank(of: "layers.0.q_proj") == 2)
    #expect(adapter.rank(of: "model.xlayers.0.q_proj") == 4)
    #expect(adapter.rank(of: "model.layersx0.q_proj") == 2)  // The dot is any character, as in PEFT.
    #expect(adapter.rank(of: "mlp.up_down_proj") == 4)
    #expect(adapter.scale(of: "model.layers.0.q_proj") == 4)
    #expect(adapter.scale(of: "model.layers.2.attn.k_proj") == 0.75)
    #expect(adapter.scale(of: "model.layers.3.attn.k_proj") == 2)
  }

  @Test func targetsByListPatternOrAll() throws {
    let named = try configuration(
      #"{"peft_type": "LORA", "target_modules": ["q_proj", "model.head"], "exclude_modules": "model.layers.3..*"}"#)
    #expect(named.targets("model.layers.0.q_proj") && named.targets("model.head") && named.targets("q_proj"))
    #expect(!named.targets("model.layers.0.xq_proj") && !named.targets("model.layers.3.q_proj"))
    let pattern = try configuration(#"{"peft_type": "LORA", "target_modules": ".*[qk]_proj"}"#)
    #expect(pattern.targets("a.k_proj") && !pattern.targets("a.v_proj"))
    #expect(try configuration(#"{"peft_type": "LORA", "target_modules": "all-linear"}"#).targets("anything"))
  }

  @Test func layersRestrictEndsOfPaths() throws {
    let any = try configuration(
      #"{"peft_type": "LORA", "target_modules": ["q_proj", "h.0.q_proj"], "layers_to_transform": [1, 3]}"#)
    #expect(any.targets("model.layers.1.q_proj") && !any.targets("model.layers.2.q_proj"))
    #expect(any.targets("h.0.q_proj"))
    #expect(!any.targets("model.q_proj") && !any.targets("layers.1.q_proj"))
    // The last number counts.
    #expect(any.targets("model.layers.2.experts.1.q_proj"))
    let pattern = try configuration(
      """
      {"peft_type": "LORA", "target_modules": ["q_proj"], "layers_to_transform": 1, "layers_pattern": "layers"}
      """)
    #expect(pattern.targets("model.layers.1.experts.2.q_proj") && !pattern.targets("model.blocks.1.q_proj"))
  }

  @Test(arguments: [
    #""r": 0"#, #""r": 1.5"#, #""lora_alpha": "x""#, #""use_dora": 1"#, #""rank_pattern": {"a": 0}"#,
    #""alpha_pattern": {"(": 1}"#, #""target_modules": [1]"#, #""target_modules": "(""#, #""modules_to_save": 3"#,
    #""layers_to_transform": "x""#, #""bias": "some""#, #""layer_replication": [[0, 2]]"#,
    #""target_parameters": ["x"]"#, #""trainable_token_indices": [1]"#, #""lora_bias": true"#, #""use_qalora": true"#,
    #""ensure_weight_tying": true"#, #""lora_alpha": 1e999"#, #""a_later_option": 1"#,
  ])
  func whatIsWrongIsNamed(_ option: String) throws {
    let name = try #require(option.split(separator: "\"").first)
    let found = try messages(#"{"peft_type": "LORA", \#(option)}"#)
    #expect(found.count == 1)
    #expect(found[0].contains(name) || found[0].contains("the pattern"), "\(found)")
  }

  @Test func optionsThatAreOffAreNotQuestioned() throws {
    #expect(try messages(#"{"peft_type": "LORA", "a_later_option": null, "another": {}, "third": false}"#).isEmpty)
  }

  @Test(arguments: ["{}", "[]", #"{"peft_type": "VERA"}"#, #"{"peft_type": 3}"#])
  func otherMethodsAreRefused(_ text: String) throws {
    #expect(try messages(text).count == 1)
  }

  @Test(arguments: [("true", 0), (#""gaussian""#, 0), (#""pissa_niter_4""#, 1), (#""loftq""#, 1), (#""olora""#, 1)])
  func initializationsThatChangeTheBaseWarn(_ value: String, _ count: Int) throws {
    #expect(try configuration(#"{"peft_type": "LORA", "init_lora_weights": \#(value)}"#).warnings.count == count)
  }
}
