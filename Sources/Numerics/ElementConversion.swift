import CKernels

extension ElementType {
  /// Widens `count` stored elements to float32.
  ///
  /// Exact for the float types up to 32 bits. `f64` and integers beyond 24 bits are rounded to nearest, ties to even;
  /// booleans become 0 or 1. A NaN keeps its sign and its leading payload bits and is made quiet (`f32` is copied bit
  /// by bit).
  ///
  /// - Parameters:
  ///   - source: `count * byteWidth` bytes at any alignment, little-endian.
  ///   - destination: room for `count` floats, not overlapping the source.
  public func decode(_ source: UnsafeRawPointer, into destination: UnsafeMutablePointer<Float>, count: Int) {
    let n = Int64(count)
    switch self {
    case .f64: es_decode_f64(source, destination, n)
    case .f32: UnsafeMutableRawPointer(destination).copyMemory(from: source, byteCount: count * 4)
    case .f16: es_decode_f16(source, destination, n)
    case .bf16: es_decode_bf16(source, destination, n)
    case .f8e4m3: es_decode_f8e4m3(source, destination, n)
    case .f8e5m2: es_decode_f8e5m2(source, destination, n)
    case .i64: es_decode_i64(source, destination, n)
    case .i32: es_decode_i32(source, destination, n)
    case .i16: es_decode_i16(source, destination, n)
    case .i8: es_decode_i8(source, destination, n)
    case .u64: es_decode_u64(source, destination, n)
    case .u32: es_decode_u32(source, destination, n)
    case .u16: es_decode_u16(source, destination, n)
    case .u8: es_decode_u8(source, destination, n)
    case .bool: es_decode_bool(source, destination, n)
    }
  }

  /// Narrows `count` floats to stored elements: the one rounding that ends a computation.
  ///
  /// To nearest, ties to even, subnormals included. Past the largest finite value `f16`, `bf16` and `f8e5m2` give
  /// infinity, and `f8e4m3`, which has none, gives NaN (so does PyTorch). A NaN stays one: sign and leading payload
  /// bits are kept, the quiet bit is set. Integers saturate and take NaN to 0; a boolean is true for whatever differs
  /// from zero, NaN included.
  ///
  /// - Parameters:
  ///   - destination: room for `count * byteWidth` bytes at any alignment, not overlapping the source; little-endian.
  public func encode(_ source: UnsafePointer<Float>, into destination: UnsafeMutableRawPointer, count: Int) {
    let n = Int64(count)
    switch self {
    case .f64: es_encode_f64(source, destination, n)
    case .f32: destination.copyMemory(from: source, byteCount: count * 4)
    case .f16: es_encode_f16(source, destination, n)
    case .bf16: es_encode_bf16(source, destination, n)
    case .f8e4m3: es_encode_f8e4m3(source, destination, n)
    case .f8e5m2: es_encode_f8e5m2(source, destination, n)
    case .i64: es_encode_i64(source, destination, n)
    case .i32: es_encode_i32(source, destination, n)
    case .i16: es_encode_i16(source, destination, n)
    case .i8: es_encode_i8(source, destination, n)
    case .u64: es_encode_u64(source, destination, n)
    case .u32: es_encode_u32(source, destination, n)
    case .u16: es_encode_u16(source, destination, n)
    case .u8: es_encode_u8(source, destination, n)
    case .bool: es_encode_bool(source, destination, n)
    }
  }
}

/// The index of the first NaN or infinity among `count` values, nil if all are finite.
public func firstNonfinite(_ values: UnsafePointer<Float>, count: Int) -> Int? {
  let index = es_first_nonfinite(values, Int64(count))
  return index < 0 ? nil : Int(index)
}
