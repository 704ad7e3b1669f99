/// What offsets count.
public enum OffsetUnit: Sendable, Hashable {
  /// Unicode scalars, as the reference library reports in Python.
  case codePoints
  /// Bytes of UTF-8.
  case bytes
  /// Nothing: offsets are left empty, which is faster.
  case none
}

/// Turns places in a text from bytes into code points.
struct CodePointCounter {
  private let text: UnsafeBufferPointer<UInt8>
  private let isASCII: Bool
  /// Number of scalars that begin before `position`.
  private var count = 0
  private var position = 0

  init(_ text: UnsafeBufferPointer<UInt8>) {
    self.text = text
    isASCII = !text.contains { $0 >= 0x80 }
  }

  /// A range in code points. An end inside a scalar belongs to it; an empty range at the very end stays in bytes, as
  /// the reference has it.
  @inline(__always)
  mutating func convert(_ range: Range<Int>) -> Range<Int> {
    if isASCII { return range }
    guard range.lowerBound < text.count else { return range }
    let start = index(of: range.lowerBound)
    let end = range.upperBound < text.count ? index(of: range.upperBound) : index(of: text.count - 1) + 1
    return start..<max(start, end)
  }

  /// Number of the scalar that the byte at `place` is part of.
  private mutating func index(of place: Int) -> Int {
    while position <= place {
      if text[position] & 0xC0 != 0x80 { count += 1 }
      position += 1
    }
    while position > place + 1 {
      position -= 1
      if text[position] & 0xC0 != 0x80 { count -= 1 }
    }
    return count - 1
  }
}
