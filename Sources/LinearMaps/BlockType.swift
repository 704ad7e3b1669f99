/// Quantized types whose numbers lie in blocks that share scales, as llama.cpp stores them in GGUF files.
///
/// A row of a matrix is a whole number of blocks. The names are those of the formats.
// swift-format-ignore: AlwaysUseLowerCamelCase
public enum BlockType: String, Sendable, Hashable, Codable, CaseIterable {
  case q4_0, q4_1, q5_0, q5_1, q8_0
  case q2_K, q3_K, q4_K, q5_K, q6_K, q8_K
  case iq4_nl, iq4_xs, mxfp4

  /// Numbers in a block.
  public var blockLength: Int {
    switch self {
    case .q4_0, .q4_1, .q5_0, .q5_1, .q8_0, .iq4_nl, .mxfp4: 32
    case .q2_K, .q3_K, .q4_K, .q5_K, .q6_K, .q8_K, .iq4_xs: 256
    }
  }

  /// Bytes of a block.
  public var blockBytes: Int {
    switch self {
    case .mxfp4: 17
    case .q4_0, .iq4_nl: 18
    case .q4_1: 20
    case .q5_0: 22
    case .q5_1: 24
    case .q8_0: 34
    case .q2_K: 84
    case .q3_K: 110
    case .iq4_xs: 136
    case .q4_K: 144
    case .q5_K: 176
    case .q6_K: 210
    case .q8_K: 292
    }
  }

  /// Bytes of `count` numbers, a multiple of ``blockLength``.
  public func byteCount(of count: Int) -> Int { count / blockLength * blockBytes }
}
