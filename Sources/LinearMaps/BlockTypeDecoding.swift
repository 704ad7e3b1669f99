internal import CKernels

extension BlockType {
  /// Widens `count` coded numbers to float32, with the bits that llama.cpp's decoders give.
  ///
  /// A block whose scale is infinite or not a number gives such values.
  ///
  /// - Parameters:
  ///   - source: ``byteCount(of:)`` bytes at any alignment, little-endian.
  ///   - destination: room for `count` floats, not overlapping the source.
  ///   - count: a multiple of ``blockLength``.
  public func decode(_ source: UnsafeRawPointer, into destination: UnsafeMutablePointer<Float>, count: Int) {
    precondition(count % blockLength == 0, "blocks are decoded whole")
    let n = Int64(count)
    switch self {
    case .q4_0: es_decode_q4_0(source, destination, n)
    case .q4_1: es_decode_q4_1(source, destination, n)
    case .q5_0: es_decode_q5_0(source, destination, n)
    case .q5_1: es_decode_q5_1(source, destination, n)
    case .q8_0: es_decode_q8_0(source, destination, n)
    case .q2_K: es_decode_q2_K(source, destination, n)
    case .q3_K: es_decode_q3_K(source, destination, n)
    case .q4_K: es_decode_q4_K(source, destination, n)
    case .q5_K: es_decode_q5_K(source, destination, n)
    case .q6_K: es_decode_q6_K(source, destination, n)
    case .q8_K: es_decode_q8_K(source, destination, n)
    case .iq4_nl: es_decode_iq4_nl(source, destination, n)
    case .iq4_xs: es_decode_iq4_xs(source, destination, n)
    case .mxfp4: es_decode_mxfp4(source, destination, n)
    }
  }
}
