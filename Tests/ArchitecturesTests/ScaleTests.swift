import EspalierBasics
import Testing

@testable import EspalierArchitectures

/// The largest published models are described.
@Suite struct ScaleTests {
  /// DeepSeek V3's own sizes: 58 layers of 256 experts.
  @Test func deepseek() throws {
    let config: JSON = [
      "model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
      "num_hidden_layers": 61, "num_attention_heads": 128, "q_lora_rank": 1536, "kv_lora_rank": 512,
      "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 256,
      "n_shared_experts": 1, "first_k_dense_replace": 3, "vocab_size": 129280,
    ]
    let parameters = try family("deepseek_v3").describe(config: config).parameters.filter { !$0.isOptional }
    // 671 billion, as published, without the layer for multi-token prediction.
    #expect(parameters.count == 45_395)
    #expect(parameters.map { $0.shape.reduce(1, *) }.reduce(0, +) == 671_026_419_200)
  }
}
