/// A metadata value with the type it is to be stored in.
public enum GGUFTypedValue: Sendable, Hashable {
  case u8(UInt8)
  case u16(UInt16)
  case u32(UInt32)
  case i32(Int32)
  case u64(UInt64)
  case f32(Float)
  case truth(Bool)
  case text(String)
  /// A string's bytes.
  case string([UInt8])
  case u8s([UInt8])
  case u32s([UInt32])
  case i32s([Int32])
  case f32s([Float])
  case truths([Bool])
  /// An array of strings, each as bytes.
  case strings([[UInt8]])

  var type: GGUFValueType {
    switch self {
    case .u8: .u8
    case .u16: .u16
    case .u32: .u32
    case .i32: .i32
    case .u64: .u64
    case .f32: .f32
    case .truth: .bool
    case .text, .string: .string
    case .u8s, .u32s, .i32s, .f32s, .truths, .strings: .array
    }
  }

  /// Of an array: the type of its elements and their number.
  var array: (type: GGUFValueType, count: Int)? {
    switch self {
    case .u8s(let values): (.u8, values.count)
    case .u32s(let values): (.u32, values.count)
    case .i32s(let values): (.i32, values.count)
    case .f32s(let values): (.f32, values.count)
    case .truths(let values): (.bool, values.count)
    case .strings(let values): (.string, values.count)
    default: nil
    }
  }

  /// The value as it lies in a file, without what says its type and length (elements of arrays have their lengths).
  var bytes: [UInt8] {
    var bytes: [UInt8] = []
    switch self {
    case .u8(let value): bytes.append(value)
    case .u16(let value): bytes.append(littleEndian: value)
    case .u32(let value): bytes.append(littleEndian: value)
    case .i32(let value): bytes.append(littleEndian: value)
    case .u64(let value): bytes.append(littleEndian: value)
    case .f32(let value): bytes.append(littleEndian: value.bitPattern)
    case .truth(let value): bytes.append(value ? 1 : 0)
    case .text(let value): bytes += value.utf8
    case .string(let value): bytes = value
    case .u8s(let values): bytes = values
    case .u32s(let values): for value in values { bytes.append(littleEndian: value) }
    case .i32s(let values): for value in values { bytes.append(littleEndian: value) }
    case .f32s(let values): for value in values { bytes.append(littleEndian: value.bitPattern) }
    case .truths(let values): bytes = values.map { $0 ? 1 : 0 }
    case .strings(let values): for value in values { bytes.append(ggufString: value) }
    }
    return bytes
  }
}

extension [UInt8] {
  mutating func append(littleEndian value: some FixedWidthInteger) {
    Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
  }

  /// A length and the bytes.
  mutating func append(ggufString bytes: some Collection<UInt8>) {
    append(littleEndian: UInt64(bytes.count))
    append(contentsOf: bytes)
  }
}

extension GGUFMetadata {
  /// The metadata as a file has them: keys, types and values, in order.
  var encoded: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(storedBytes)
    forEachEntry { key, type, array, value in
      bytes.append(ggufString: key.utf8)
      bytes.append(littleEndian: type.rawValue)
      if let array {
        bytes.append(littleEndian: array.type.rawValue)
        bytes.append(littleEndian: UInt64(array.count))
      } else if type == .string {
        bytes.append(littleEndian: UInt64(value.count))
      }
      bytes.append(contentsOf: value)
    }
    return bytes
  }
}
