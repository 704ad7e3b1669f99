/// Hashing of short byte strings, for tables of tokens and words.
///
/// Multiply and fold, eight bytes at a time. Not keyed: a table that grows slow under chosen keys must bound itself,
/// as ``TokenTable`` does by its size and ``WordCache`` by its probe length.
enum ByteHash {
  @inline(__always)
  static func mix(_ a: UInt64, _ b: UInt64) -> UInt64 {
    let product = a.multipliedFullWidth(by: b)
    return product.high ^ product.low
  }

  @inline(__always)
  static func hash(_ bytes: UnsafePointer<UInt8>, count: Int) -> UInt64 {
    let raw = UnsafeRawPointer(bytes)
    var state: UInt64 = 0x9E37_79B9_7F4A_7C15 ^ UInt64(truncatingIfNeeded: count)
    if count >= 8 {
      var position = 0
      while position + 16 <= count {
        state = mix(
          raw.loadUnaligned(fromByteOffset: position, as: UInt64.self) ^ 0xA076_1D64_78BD_642F,
          raw.loadUnaligned(fromByteOffset: position + 8, as: UInt64.self) ^ state)
        position += 16
      }
      if position + 8 < count {
        state = mix(raw.loadUnaligned(fromByteOffset: position, as: UInt64.self) ^ 0xE703_7ED1_A0B4_28DB, state)
      }
      return mix(raw.loadUnaligned(fromByteOffset: count - 8, as: UInt64.self) ^ 0x8EBC_6AF0_9C88_C6E3, state)
    }
    if count >= 4 {
      let low = UInt64(raw.loadUnaligned(as: UInt32.self))
      let high = UInt64(raw.loadUnaligned(fromByteOffset: count - 4, as: UInt32.self))
      return mix(low << 32 | high, state ^ 0xA076_1D64_78BD_642F)
    }
    guard count > 0 else { return state }
    let word = UInt64(bytes[0]) << 16 | UInt64(bytes[count >> 1]) << 8 | UInt64(bytes[count - 1])
    return mix(word ^ 0xE703_7ED1_A0B4_28DB, state)
  }

  @inline(__always)
  static func equal(_ a: UnsafePointer<UInt8>, _ b: UnsafePointer<UInt8>, count: Int) -> Bool {
    let first = UnsafeRawPointer(a)
    let second = UnsafeRawPointer(b)
    var position = 0
    while position + 8 <= count {
      let left = first.loadUnaligned(fromByteOffset: position, as: UInt64.self)
      if left != second.loadUnaligned(fromByteOffset: position, as: UInt64.self) { return false }
      position += 8
    }
    while position < count {
      if a[position] != b[position] { return false }
      position += 1
    }
    return true
  }
}
