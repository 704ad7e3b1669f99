internal import CKernels

extension ElementType {
  /// The smallest magnitude that rounding to this type turns into infinity (or NaN where the type has none).
  ///
  /// Halfway between the largest finite value and the next step; the tie goes to the even neighbour, which is the
  /// infinity in all types but f8e4m3, where 464 still rounds to 448. Integers saturate: infinity.
  public var overflowThreshold: Float {
    switch self {
    case .f16: 65520
    case .bf16: 0x1.FFp127
    case .f8e4m3: Float(464).nextUp
    case .f8e5m2: 61440
    default: .infinity
    }
  }

  /// Whether stored elements contain a NaN or an infinity; false for types that have neither.
  public func containsNonFinite(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let base = bytes.baseAddress else { return false }
    let count = bytes.count / byteWidth
    switch self {
    case .f32: return es_has_nonfinite_32(base, Int64(count)) != 0
    case .bf16: return es_has_nonfinite_16(base, Int64(count), 0x7F80) != 0
    case .f16: return es_has_nonfinite_16(base, Int64(count), 0x7C00) != 0
    case .f8e5m2: return bytes.contains { $0 & 0x7C == 0x7C }
    case .f8e4m3: return bytes.contains { $0 & 0x7F == 0x7F }
    case .f64:
      return (0..<count).contains { !bytes.loadUnaligned(fromByteOffset: 8 * $0, as: Double.self).isFinite }
    default: return false
    }
  }
}
