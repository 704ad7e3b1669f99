public import EspalierBasics

extension Problem.Code {
  /// Coded bytes are not what the encoder writes.
  public static let codingDamaged = Problem.Code("coding.damaged")
  /// A chunk was coded against a base, and the base is missing or has another length.
  public static let codingBase = Problem.Code("coding.base")
}

/// Writes coded bytes as far as there is room, and remembers when there was none.
struct CodedWriter {
  private let bytes: UnsafeMutableRawBufferPointer
  private(set) var count = 0
  private(set) var hasOverflown = false

  init(into bytes: UnsafeMutableRawBufferPointer) { self.bytes = bytes }

  mutating func append(_ byte: UInt8) {
    guard count < bytes.count else {
      hasOverflown = true
      return
    }
    bytes[count] = byte
    count += 1
  }

  mutating func append(_ added: UnsafeRawBufferPointer) {
    guard added.count <= bytes.count - count else {
      hasOverflown = true
      return
    }
    guard let address = added.baseAddress, added.count > 0 else { return }
    (bytes.baseAddress! + count).copyMemory(from: address, byteCount: added.count)
    count += added.count
  }

  /// Room for `count` bytes that the caller fills; nil if there is none.
  mutating func reserve(_ count: Int) -> UnsafeMutablePointer<UInt8>? {
    guard count <= bytes.count - self.count, let address = bytes.baseAddress else {
      hasOverflown = true
      return nil
    }
    self.count += count
    return (address + self.count - count).assumingMemoryBound(to: UInt8.self)
  }

  mutating func append<T: FixedWidthInteger>(integer: T) {
    withUnsafeBytes(of: integer.littleEndian) { append($0) }
  }
}

/// Reads coded bytes, never beyond their end.
struct CodedReader {
  private let bytes: UnsafeRawBufferPointer
  private var offset = 0

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  var isAtEnd: Bool { offset == bytes.count }

  mutating func take(_ count: Int) throws(Problem) -> UnsafeRawBufferPointer {
    guard count >= 0, count <= bytes.count - offset else { throw Self.damaged("it ends early") }
    offset += count
    return UnsafeRawBufferPointer(rebasing: bytes[(offset - count)..<offset])
  }

  mutating func byte() throws(Problem) -> UInt8 { try take(1)[0] }

  mutating func integer<T: FixedWidthInteger>(_ type: T.Type) throws(Problem) -> T {
    T(littleEndian: try take(MemoryLayout<T>.size).loadUnaligned(as: T.self))
  }

  static func damaged(_ what: String) -> Problem {
    Problem(
      .codingDamaged, "a coded chunk is damaged: \(what)", remedy: "fetch or make the file again; it has changed since")
  }
}

/// Bits from the lowest of the first byte on.
struct BitWriter {
  private var held: UInt64 = 0
  private var fill = 0

  /// At most 32 bits.
  mutating func append(_ bits: UInt32, count: Int, to writer: inout CodedWriter) {
    held |= UInt64(bits) << UInt64(fill)
    fill += count
    while fill >= 8 {
      writer.append(UInt8(truncatingIfNeeded: held))
      held >>= 8
      fill -= 8
    }
  }

  mutating func finish(_ writer: inout CodedWriter) {
    if fill > 0 { writer.append(UInt8(truncatingIfNeeded: held)) }
    held = 0
    fill = 0
  }
}

/// The inverse of ``BitWriter``.
struct BitReader {
  private var held: UInt64 = 0
  private var fill = 0

  mutating func take(_ count: Int, from reader: inout CodedReader) throws(Problem) -> UInt32 {
    while fill < count {
      held |= UInt64(try reader.byte()) << UInt64(fill)
      fill += 8
    }
    let bits = UInt32(truncatingIfNeeded: held & (1 << UInt64(count) - 1))
    held >>= UInt64(count)
    fill -= count
    return bits
  }
}
