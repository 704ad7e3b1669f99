public import EspalierLinearMaps
internal import EspalierNumerics

/// A type of tensors in GGUF files, by its number there: what it is called, how large its blocks are, and how to read
/// it.
public struct GGUFTensorType: Sendable, Hashable {
  /// The number in the file.
  public let id: UInt32
  /// The name in llama.cpp, e.g. `Q4_K`.
  public let name: String
  /// Numbers in a block; 1 for plain elements.
  public let blockLength: Int
  /// Bytes of a block.
  public let blockBytes: Int
  /// How its numbers are coded; nil if this version cannot read them.
  public let format: WeightFormat?

  /// The type with a number; nil if there is none.
  public init?(id: UInt32) {
    guard let type = Self.all.first(where: { $0.id == id }) else { return nil }
    self = type
  }

  private init(_ id: UInt32, _ name: String, _ type: ElementType) {
    self.id = id
    self.name = name
    blockLength = 1
    blockBytes = type.byteWidth
    format = .elements(type)
  }

  private init(_ id: UInt32, _ name: String, _ type: BlockType) {
    self.id = id
    self.name = name
    blockLength = type.blockLength
    blockBytes = type.blockBytes
    format = .blocks(type)
  }

  /// A type that is known but not read.
  private init(_ id: UInt32, _ name: String, length: Int, bytes: Int) {
    self.id = id
    self.name = name
    blockLength = length
    blockBytes = bytes
    format = nil
  }

  /// Every type there is; numbers that are missing belonged to types that no file uses any more.
  public static let all: [GGUFTensorType] = [
    GGUFTensorType(0, "F32", .f32), GGUFTensorType(1, "F16", .f16),
    GGUFTensorType(2, "Q4_0", .q4_0), GGUFTensorType(3, "Q4_1", .q4_1),
    GGUFTensorType(6, "Q5_0", .q5_0), GGUFTensorType(7, "Q5_1", .q5_1),
    GGUFTensorType(8, "Q8_0", .q8_0), GGUFTensorType(9, "Q8_1", length: 32, bytes: 36),
    GGUFTensorType(10, "Q2_K", .q2_K), GGUFTensorType(11, "Q3_K", .q3_K),
    GGUFTensorType(12, "Q4_K", .q4_K), GGUFTensorType(13, "Q5_K", .q5_K),
    GGUFTensorType(14, "Q6_K", .q6_K), GGUFTensorType(15, "Q8_K", .q8_K),
    GGUFTensorType(16, "IQ2_XXS", length: 256, bytes: 66), GGUFTensorType(17, "IQ2_XS", length: 256, bytes: 74),
    GGUFTensorType(18, "IQ3_XXS", length: 256, bytes: 98), GGUFTensorType(19, "IQ1_S", length: 256, bytes: 50),
    GGUFTensorType(20, "IQ4_NL", .iq4_nl), GGUFTensorType(21, "IQ3_S", length: 256, bytes: 110),
    GGUFTensorType(22, "IQ2_S", length: 256, bytes: 82), GGUFTensorType(23, "IQ4_XS", .iq4_xs),
    GGUFTensorType(24, "I8", .i8), GGUFTensorType(25, "I16", .i16), GGUFTensorType(26, "I32", .i32),
    GGUFTensorType(27, "I64", .i64), GGUFTensorType(28, "F64", .f64),
    GGUFTensorType(29, "IQ1_M", length: 256, bytes: 56), GGUFTensorType(30, "BF16", .bf16),
    GGUFTensorType(34, "TQ1_0", length: 256, bytes: 54), GGUFTensorType(35, "TQ2_0", length: 256, bytes: 66),
    GGUFTensorType(39, "MXFP4", .mxfp4), GGUFTensorType(40, "NVFP4", length: 64, bytes: 36),
    GGUFTensorType(41, "Q1_0", length: 128, bytes: 18), GGUFTensorType(42, "Q2_0", length: 64, bytes: 18),
  ]
}
