/// Lowercase mapping of single scalars, without context (no final sigma).
struct Lowercase: Sendable {
  static let shared = Lowercase()

  private let mapping: [UInt32: UInt32]

  private init() {
    var reader = PackedReader(UnicodeTables.bytes(UnicodeTables.lowercase))
    var mapping: [UInt32: UInt32] = [:]
    var scalar = 0
    while !reader.isAtEnd {
      scalar += reader.number()
      let step = Int(reader.byte())
      let count = reader.number()
      let zigzag = reader.number()
      let distance = zigzag & 1 == 0 ? zigzag / 2 : -(zigzag + 1) / 2
      for index in 0..<count { mapping[UInt32(scalar + step * index)] = UInt32(scalar + step * index + distance) }
      scalar += step * (count - 1)
    }
    self.mapping = mapping
  }

  subscript(scalar: UInt32) -> UInt32 {
    if scalar < 0x80 { return scalar >= 0x41 && scalar <= 0x5A ? scalar + 0x20 : scalar }
    return mapping[scalar] ?? scalar
  }

  /// A capital I with a dot becomes an i and a combining dot: the only scalar that becomes two.
  static let dottedCapitalI: UInt32 = 0x130

  func normalize(_ text: inout AlignedText) {
    if !text.bytes.contains(where: { $0 >= 0x80 }) {
      text.mapASCII(Self.ascii)
      return
    }
    var edit = TextEdit(text)
    text.bytes.withUnsafeBufferPointer { bytes in
      var position = 0
      while position < bytes.count {
        let (scalar, length) = UTF8Reading.scalar(bytes, at: position)
        if scalar == Self.dottedCapitalI {
          edit.copy(to: position)
          edit.write(0x69)
          edit.write(0x307, change: 1)
        } else if self[scalar] != scalar {
          edit.copy(to: position)
          edit.write(self[scalar])
        }
        position += length
      }
      edit.copy(to: position)
    }
    text = edit.finished()
  }

  private static let ascii = (0..<256).map { UInt8($0 >= 0x41 && $0 <= 0x5A ? $0 + 0x20 : $0) }
}
