/// What a tensor of a GGUF file is, by its name: `blk.12.ffn_down_exps.weight` is the part `ffn_down_exps` of layer 12.
struct GGUFTensorName: Sendable, Hashable {
  /// Nil outside of layers.
  var layer: Int?
  /// Without layer and ending.
  var part: String
  /// `weight`, `bias`, or nothing.
  var ending: String

  init(_ name: String) {
    var components = name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    if components.count > 2, components[0] == "blk", let number = Int(components[1]) {
      layer = number
      components.removeFirst(2)
    }
    ending = ["weight", "bias"].contains(components.last) ? components.removeLast() : ""
    part = components.joined(separator: ".")
  }

  /// Whether llama.cpp multiplies by it in blocks: matrices, but for those that it reads as floats alone.
  func mayBeQuantized(shape: [Int]) -> Bool {
    guard ending == "weight", shape.count >= 2, shape.last ?? 0 > 1 else { return false }
    let floats = ["position_embd", "token_types", "ffn_gate_inp", "ssm_conv1d", "shortconv.conv", "attn_rel_b"]
    return !floats.contains(part) && !part.hasSuffix("_norm")
  }

  /// Whether llama.cpp's converter writes it as float32 whatever the model has.
  func isAlwaysFloat(shape: [Int]) -> Bool {
    shape.count < 2 || !mayBeQuantized(shape: shape) && ending == "weight"
  }
}
