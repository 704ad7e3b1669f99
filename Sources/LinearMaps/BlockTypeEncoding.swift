internal import CKernels

extension BlockType {
  /// A kernel that encodes rows; `quantize.h` says how it is called.
  typealias Quantizer =
    @convention(c) (
      UnsafePointer<Float>?, Int64, Int64, Int64, UnsafePointer<Float>?, UnsafeMutableRawPointer?
    ) -> Int64

  /// The kernel of a search. `portable`: the one that takes a block after the other, of which the others must have the
  /// bytes. Nil for ``q8_K``, which weights are not stored in.
  func quantizer(_ search: BlockEncoder.Search, portable: Bool = false) -> Quantizer? {
    let type: es_quantized_type
    switch self {
    case .q4_0: type = es_quantized_q4_0
    case .q4_1: type = es_quantized_q4_1
    case .q5_0: type = es_quantized_q5_0
    case .q5_1: type = es_quantized_q5_1
    case .q8_0: type = es_quantized_q8_0
    case .q2_K: type = es_quantized_q2_K
    case .q3_K: type = es_quantized_q3_K
    case .q4_K: type = es_quantized_q4_K
    case .q5_K: type = es_quantized_q5_K
    case .q6_K: type = es_quantized_q6_K
    case .iq4_nl: type = es_quantized_iq4_nl
    case .iq4_xs: type = es_quantized_iq4_xs
    case .mxfp4: type = es_quantized_mxfp4
    case .q8_K: return nil
    }
    let search = search == .refined ? es_quantizer_refined : es_quantizer_reference
    return portable ? es_portable_quantizer_of(type, search) : es_quantizer_of(type, search)
  }
}
