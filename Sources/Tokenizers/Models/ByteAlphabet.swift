/// The alphabet of byte-level tokenizers: a printable character for each of the 256 bytes (GPT-2).
///
/// Printable bytes of Latin-1 stand for themselves, the others get U+0100, U+0101, ... in order.
enum ByteAlphabet {
  /// The scalar of every byte; all are below U+0144, so that two bytes of UTF-8 suffice.
  static let scalars: [UInt32] = {
    var next: UInt32 = 0x100
    return (0..<256).map { byte in
      switch byte {
      case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: return UInt32(byte)
      default:
        defer { next += 1 }
        return next
      }
    }
  }()

  /// The byte of every scalar below U+0144, -1 where there is none.
  private static let bytes: [Int16] = {
    var bytes = [Int16](repeating: -1, count: 0x144)
    for (byte, scalar) in scalars.enumerated() { bytes[Int(scalar)] = Int16(byte) }
    return bytes
  }()

  @inline(__always)
  static func byte(_ scalar: UInt32) -> UInt8? {
    guard scalar < 0x144, bytes[Int(scalar)] >= 0 else { return nil }
    return UInt8(bytes[Int(scalar)])
  }

  /// The bytes that a token written in the alphabet stands for; nil if it has another character.
  static func bytes(of token: some Collection<UInt8>) -> [UInt8]? {
    var result: [UInt8] = []
    result.reserveCapacity(token.count)
    var lead: UInt32 = 0
    for byte in token {
      if byte < 0x80 {
        guard lead == 0, let value = Self.byte(UInt32(byte)) else { return nil }
        result.append(value)
      } else if byte >= 0xC0 {
        guard lead == 0, byte < 0xC6 else { return nil }
        lead = UInt32(byte)
      } else {
        guard lead != 0, let value = Self.byte((lead & 0x1F) << 6 | UInt32(byte & 0x3F)) else { return nil }
        result.append(value)
        lead = 0
      }
    }
    return lead == 0 ? result : nil
  }
}
