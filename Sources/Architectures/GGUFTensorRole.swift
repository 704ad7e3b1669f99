/// What a tensor of a GGUF file is for, by its name: what mixes of types go by.
public struct GGUFTensorRole: Sendable, Hashable {
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    case tokenEmbedding, positionEmbedding, typeEmbedding
    /// The projection to logits.
    case output
    case attentionQuery, attentionKey, attentionValue, attentionOutput
    /// Queries, keys and values one below the other.
    case attentionQueryKeyValue
    case feedForwardGate, feedForwardUp, feedForwardDown
    /// The same of all experts, stacked.
    case expertGate, expertUp, expertDown
    /// The same of the expert that every token passes.
    case sharedExpertGate, sharedExpertUp, sharedExpertDown
    /// What chooses experts, or weighs the shared one.
    case router
    case norm, bias
    /// Of positions, and of state-space models.
    case relativeBias, convolution
    /// Divisors of rotary frequencies.
    case rotaryFactors
    case other
  }

  public let kind: Kind
  /// The number of its block, nil for what stands outside blocks.
  public let layer: Int?

  /// - Parameter name: as llama.cpp calls it, e.g. `blk.3.attn_q.weight`.
  public init(name: String) {
    var parts = name.split(separator: ".", omittingEmptySubsequences: false)
    if parts.count > 2, parts[0] == "blk", let layer = Int(parts[1]) {
      self.layer = layer
      parts.removeFirst(2)
    } else {
      layer = nil
    }
    let stem = String(parts.first ?? "")
    if parts.last == "bias" {
      kind = .bias
    } else if stem.hasSuffix("_norm") {
      kind = .norm
    } else {
      kind = Self.kinds[stem] ?? .other
    }
  }

  private static let kinds: [String: Kind] = [
    "token_embd": .tokenEmbedding, "position_embd": .positionEmbedding, "token_types": .typeEmbedding,
    "output": .output, "attn_q": .attentionQuery, "attn_k": .attentionKey, "attn_v": .attentionValue,
    "attn_qkv": .attentionQueryKeyValue, "attn_output": .attentionOutput, "ffn_gate": .feedForwardGate,
    "ffn_up": .feedForwardUp, "ffn_down": .feedForwardDown, "ffn_gate_exps": .expertGate, "ffn_up_exps": .expertUp,
    "ffn_down_exps": .expertDown, "ffn_gate_shexp": .sharedExpertGate, "ffn_up_shexp": .sharedExpertUp,
    "ffn_down_shexp": .sharedExpertDown, "ffn_gate_inp": .router, "ffn_gate_inp_shexp": .router,
    "attn_rel_b": .relativeBias, "ssm_conv1d": .convolution, "shortconv": .convolution,
    "rope_freqs": .rotaryFactors, "rope_factors_long": .rotaryFactors, "rope_factors_short": .rotaryFactors,
  ]

  /// Whether the tensor is stored in float32 in files of every type, as llama.cpp's converter and quantizer have it:
  /// vectors, norms, routers, and embeddings of positions and types.
  ///
  /// - Parameter shape: slowest dimension first.
  public func staysFloat32(shape: [Int]) -> Bool {
    switch kind {
    case .norm, .bias, .router, .positionEmbedding, .typeEmbedding, .relativeBias, .convolution, .rotaryFactors: true
    default: shape.drop { $0 == 1 }.count < 2
    }
  }
}

extension GGUFTensorRole {
  /// Tensors in the order of llama.cpp's loader, in which its quantizer writes: what stands outside layers, then layer by
  /// layer, each by name.
  public static func sorted<Tensor>(_ tensors: [Tensor], by name: (Tensor) -> String) -> [Tensor] {
    let places = tensors.map { (layer: GGUFTensorRole(name: name($0)).layer ?? -1, name: name($0), tensor: $0) }
    return places.sorted { a, b in
      a.layer == b.layer ? a.name.utf8.lexicographicallyPrecedes(b.name.utf8) : a.layer < b.layer
    }.map(\.tensor)
  }
}
