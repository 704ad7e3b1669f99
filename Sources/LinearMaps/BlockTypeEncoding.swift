internal import CKernels

extension BlockType {
  /// A kernel that encodes rows; `quantize.h` says how it is called.
  typealias Quantizer =
    @convention(c) (
      UnsafePointer<Float>?, Int64, Int64, Int64, UnsafePointer<Float>?, UnsafeMutableRawPointer?
    ) -> Int64

  /// Encodes sixteen blocks at a time. Nil for ``q8_K``, which weights are not stored in.
  var quantizer: Quantizer? {
    switch self {
    case .q4_0: es_quantize_q4_0
    case .q4_1: es_quantize_q4_1
    case .q5_0: es_quantize_q5_0
    case .q5_1: es_quantize_q5_1
    case .q8_0: es_quantize_q8_0
    case .q2_K: es_quantize_q2_K
    case .q3_K: es_quantize_q3_K
    case .q4_K: es_quantize_q4_K
    case .q5_K: es_quantize_q5_K
    case .q6_K: es_quantize_q6_K
    case .iq4_nl: es_quantize_iq4_nl
    case .iq4_xs: es_quantize_iq4_xs
    case .mxfp4: es_quantize_mxfp4
    case .q8_K: nil
    }
  }

  /// Encodes one block after the other: the same bytes.
  var portableQuantizer: Quantizer? {
    switch self {
    case .q4_0: es_quantize_q4_0_portable
    case .q4_1: es_quantize_q4_1_portable
    case .q5_0: es_quantize_q5_0_portable
    case .q5_1: es_quantize_q5_1_portable
    case .q8_0: es_quantize_q8_0_portable
    case .q2_K: es_quantize_q2_K_portable
    case .q3_K: es_quantize_q3_K_portable
    case .q4_K: es_quantize_q4_K_portable
    case .q5_K: es_quantize_q5_K_portable
    case .q6_K: es_quantize_q6_K_portable
    case .iq4_nl: es_quantize_iq4_nl_portable
    case .iq4_xs: es_quantize_iq4_xs_portable
    case .mxfp4: es_quantize_mxfp4_portable
    case .q8_K: nil
    }
  }
}
