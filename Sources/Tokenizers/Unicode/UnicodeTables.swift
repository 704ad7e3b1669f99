/// Unicode data for tokenizing, the same on every platform: the tables are part of the package, not of the system.
///
/// They say what the `tokenizers` library says about every scalar (`scripts/unicode-tables`), whose parts follow
/// different versions of Unicode. They are unpacked once, when first used.
enum UnicodeTables {
  /// The bytes behind base64 text; white space is skipped.
  static func bytes(_ text: StaticString) -> [UInt8] {
    Base64.decode(UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)) ?? []
  }
}

/// Reads numbers written seven bits a byte, lowest first.
struct PackedReader {
  private let bytes: [UInt8]
  private var position = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var isAtEnd: Bool { position >= bytes.count }

  mutating func byte() -> UInt8 {
    defer { position += 1 }
    return position < bytes.count ? bytes[position] : 0
  }

  mutating func number() -> Int {
    var value = 0
    var shift = 0
    while true {
      let next = byte()
      value |= Int(next & 0x7F) << shift
      guard next >= 0x80, shift < 56 else { return value }
      shift += 7
    }
  }

  mutating func take(_ count: Int) -> ArraySlice<UInt8> {
    defer { position += count }
    return bytes[min(position, bytes.count)..<min(position + count, bytes.count)]
  }
}

/// One byte for every scalar, in two stages: blocks of 256 scalars that are alike are stored once.
struct ScalarTable: Sendable {
  private let blocks: [UInt16]
  private let values: [UInt8]

  /// Unpacks runs: value, length.
  init(runs: StaticString) {
    var reader = PackedReader(UnicodeTables.bytes(runs))
    var flat: [UInt8] = []
    flat.reserveCapacity(0x110000)
    while !reader.isAtEnd {
      let value = reader.byte()
      flat.append(contentsOf: repeatElement(value, count: min(reader.number(), 0x110000 - flat.count)))
    }
    flat.append(contentsOf: repeatElement(0, count: 0x110000 - flat.count))
    self.init(flat)
  }

  /// The value of a function for every scalar.
  init(_ value: (UInt32) -> UInt8) { self.init((0..<0x110000 as Range<UInt32>).map(value)) }

  private init(_ flat: [UInt8]) {
    var known: [ArraySlice<UInt8>: UInt16] = [:]
    var blocks: [UInt16] = []
    var values: [UInt8] = []
    for start in stride(from: 0, to: flat.count, by: 256) {
      let block = flat[start..<start + 256]
      if let index = known[block] {
        blocks.append(index)
      } else {
        let index = UInt16(known.count)
        known[block] = index
        blocks.append(index)
        values += block
      }
    }
    self.blocks = blocks
    self.values = values
  }

  subscript(scalar: UInt32) -> UInt8 {
    guard scalar < 0x110000 else { return 0 }
    return values[Int(blocks[Int(scalar >> 8)]) << 8 | Int(scalar & 0xFF)]
  }
}
