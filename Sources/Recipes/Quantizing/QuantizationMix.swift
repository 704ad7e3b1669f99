public import EspalierLinearMaps
internal import EspalierNumerics

/// A named choice of types for the tensors of a model, as llama.cpp's quantizer makes it: what an error costs differs
/// from part to part, and so do the types.
public struct QuantizationMix: Sendable, Hashable {
  /// `Q4_K_M`.
  public let name: String
  /// `general.file_type` of files that were made with it.
  public let fileType: UInt32
  /// The type of matrices of which nothing else is said.
  public let base: WeightFormat

  private init(_ name: String, _ fileType: UInt32, _ base: WeightFormat) {
    self.name = name
    self.fileType = fileType
    self.base = base
  }

  private init(_ name: String, _ fileType: UInt32, _ base: BlockType) { self.init(name, fileType, .blocks(base)) }

  /// What most files are made with.
  public static let standard = QuantizationMix("Q4_K_M", 15, .q4_K)

  /// From the smallest to the largest.
  public static let all: [QuantizationMix] = [
    .init("Q2_K_S", 21, .q2_K), .init("Q2_K", 10, .q2_K), .init("Q3_K_S", 11, .q3_K), .init("Q3_K_M", 12, .q3_K),
    .init("Q3_K_L", 13, .q3_K), .init("IQ4_XS", 30, .iq4_xs), .init("IQ4_NL", 25, .iq4_nl), .init("Q4_0", 2, .q4_0),
    .init("Q4_1", 3, .q4_1), .init("Q4_K_S", 14, .q4_K), standard, .init("Q5_0", 8, .q5_0),
    .init("Q5_1", 9, .q5_1), .init("Q5_K_S", 16, .q5_K), .init("Q5_K_M", 17, .q5_K), .init("Q6_K", 18, .q6_K),
    .init("MXFP4_MOE", 38, .q8_0), .init("Q8_0", 7, .q8_0), .init("F16", 1, .elements(.f16)),
    .init("BF16", 32, .elements(.bf16)), .init("F32", 0, .elements(.f32)),
  ]

  /// The mix of a name in any case; `Q3_K`, `Q4_K` and `Q5_K` are the middle ones.
  public static func named(_ name: String) -> QuantizationMix? {
    let upper = name.uppercased()
    let whole = ["Q3_K", "Q4_K", "Q5_K"].contains(upper) ? upper + "_M" : upper
    return all.first { $0.name == whole }
  }

  /// The mix whose matrices have mostly this type: what a file says of itself whose types were chosen one by one.
  static func nearest(to format: WeightFormat) -> QuantizationMix? {
    all.last { $0.base == format && !["MXFP4_MOE", "Q3_K_L"].contains($0.name) }
  }

  var isBlocks: Bool { if case .blocks = base { true } else { false } }
}

extension WeightFormat {
  /// Formats that tensors of GGUF files can be written in.
  public static let ggufWritable: [WeightFormat] =
    [.elements(.f32), .elements(.f16), .elements(.bf16)]
    + BlockType.allCases.filter { (try? BlockEncoder($0)) != nil }.map { .blocks($0) }

  /// The writable format of a name in any case: `q6_k`, `BF16`.
  public static func gguf(named name: String) -> WeightFormat? {
    ggufWritable.first { $0.name == name.uppercased() }
  }
}
