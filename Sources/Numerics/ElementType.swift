/// The type of a stored element: how many bytes it takes and what the formats call it.
///
/// Conversions to and from float32 are in ``ElementType/decode(_:into:count:)`` and
/// ``ElementType/encode(_:into:count:)``.
public enum ElementType: String, Sendable, Hashable, Codable, CaseIterable {
  case f64, f32, f16, bf16, f8e4m3, f8e5m2
  case i64, i32, i16, i8, u64, u32, u16, u8, bool

  public var byteWidth: Int {
    switch self {
    case .f64, .i64, .u64: 8
    case .f32, .i32, .u32: 4
    case .f16, .bf16, .i16, .u16: 2
    case .f8e4m3, .f8e5m2, .i8, .u8, .bool: 1
    }
  }

  /// Whether merging may compute with it; integers and booleans are only copied.
  public var isFloat: Bool {
    switch self {
    case .f64, .f32, .f16, .bf16, .f8e4m3, .f8e5m2: true
    default: false
    }
  }

  /// The name in a safetensors header.
  public var safetensorsName: String {
    switch self {
    case .f8e4m3: "F8_E4M3"
    case .f8e5m2: "F8_E5M2"
    default: rawValue.uppercased()
    }
  }

  public init?(safetensorsName: String) {
    guard let type = Self.allCases.first(where: { $0.safetensorsName == safetensorsName }) else { return nil }
    self = type
  }
}
