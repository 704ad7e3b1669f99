public import EspalierBasics

/// SentencePiece's precompiled character map: a double-array trie of byte strings with their replacements.
///
/// The format: u32 size of the trie in bytes, the trie as u32 units, then the replacements, each ended by a zero byte.
/// A unit has the label of its node in bits 0-7 and 31, whether a value follows in bit 8, and the offset of its
/// children in bits 10-30, shifted by 8 if bit 9 is set; a value is where a replacement begins.
public struct CharacterMap: Sendable {
  private let units: [UInt32]
  private let replacements: [UInt8]

  /// - Throws: ``Problem/Code/tokenizerMalformed`` if the bytes are no such map.
  public init(bytes: [UInt8]) throws(Problem) {
    func word(_ index: Int) -> UInt32 {
      (0..<4).reduce(0) { $0 | UInt32(bytes[4 * index + $1]) << UInt32(8 * $1) }
    }
    guard bytes.count >= 4, Int(word(0)) <= bytes.count - 4 else {
      throw Problem(.tokenizerMalformed, "the precompiled character map is cut off")
    }
    let count = Int(word(0)) / 4
    units = (0..<count).map { word($0 + 1) }
    replacements = Array(bytes[(4 + 4 * count)...])
    guard String(validating: replacements, as: UTF8.self) != nil else {
      throw Problem(.tokenizerMalformed, "the replacements of the precompiled character map are not UTF-8")
    }
  }

  /// What a string becomes: the replacement of its *shortest* prefix that has one, as the reference reads it.
  func replacement(of text: UnsafeBufferPointer<UInt8>) -> [UInt32]? {
    guard !units.isEmpty else { return nil }
    var node = offset(units[0])
    for byte in text {
      guard byte != 0 else { return nil }
      node ^= Int(byte)
      guard node < units.count else { return nil }
      let unit = units[node]
      guard unit & 0x8000_00FF == UInt32(byte) else { return nil }
      node ^= offset(unit)
      guard node < units.count else { return nil }
      if unit >> 8 & 1 == 1 { return replacement(at: Int(units[node] & 0x7FFF_FFFF)) }
    }
    return nil
  }

  /// The replacement of the *longest* beginning of a text that has one, and how long that is.
  func longestReplacement(of text: UnsafeBufferPointer<UInt8>) -> (text: [UInt8], length: Int)? {
    guard !units.isEmpty else { return nil }
    var node = offset(units[0])
    var best: (start: Int, length: Int)?
    for (index, byte) in text.enumerated() {
      guard byte != 0 else { break }
      node ^= Int(byte)
      guard node < units.count, units[node] & 0x8000_00FF == UInt32(byte) else { break }
      let unit = units[node]
      node ^= offset(unit)
      guard node < units.count else { break }
      if unit >> 8 & 1 == 1 { best = (Int(units[node] & 0x7FFF_FFFF), index + 1) }
    }
    guard let best, best.start <= replacements.count else { return nil }
    return (Array(replacements[best.start...].prefix { $0 != 0 }), best.length)
  }

  private func offset(_ unit: UInt32) -> Int { Int(unit >> 10) << Int((unit & 0x200) >> 6) }

  private func replacement(at start: Int) -> [UInt32]? {
    guard start <= replacements.count else { return nil }
    let text = replacements[start...].prefix { $0 != 0 }
    return Array(text).withUnsafeBufferPointer { UTF8Reading.scalars($0) }
  }

  /// Replaces user-perceived characters of less than six bytes as a whole where there is a replacement, and what is
  /// left scalar by scalar.
  func apply(to text: inout AlignedText) {
    var edit = TextEdit(text)
    // What is being written waits one scalar: a removal is counted on the scalar before it.
    var pending: (scalar: UInt32, change: Int)?
    var isChanged = false
    func write(_ scalar: UInt32, _ change: Int) {
      if let pending { edit.write(pending.scalar, change: pending.change) }
      pending = (scalar, change)
    }
    func replace(_ old: UnsafeBufferPointer<UInt8>, by new: [UInt32]) {
      isChanged = true
      let oldCount = old.count { $0 & 0xC0 != 0x80 }
      for (index, scalar) in new.enumerated() { write(scalar, index < oldCount ? 0 : 1) }
      if new.count < oldCount, let last = pending { pending = (last.scalar, last.change + new.count - oldCount) }
    }
    text.withBytes { bytes in
      Graphemes.forEach(in: bytes) { range in
        let grapheme = UnsafeBufferPointer(rebasing: bytes[range])
        if grapheme.count < 6, let new = replacement(of: grapheme) { return replace(grapheme, by: new) }
        var position = range.lowerBound
        while position < range.upperBound {
          let (scalar, length) = UTF8Reading.scalar(bytes, at: position)
          let part = UnsafeBufferPointer(rebasing: bytes[position..<position + length])
          if let new = replacement(of: part) { replace(part, by: new) } else { write(scalar, 0) }
          position += length
        }
      }
    }
    guard isChanged else { return }
    if let pending { edit.write(pending.scalar, change: pending.change) }
    text = edit.finished()
  }
}

/// User-perceived characters (extended grapheme clusters, UAX #29), by the standard library's rules.
enum Graphemes {
  static func forEach(in bytes: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void) {
    var position = 0
    while position < bytes.count {
      // Two ASCII characters are never one, but for a line break of two.
      var end = position
      while end < bytes.count, bytes[end] < 0x80, bytes[end] != 0x0D { end += 1 }
      if end < bytes.count, end > position { end -= 1 }
      for index in position..<end { body(index..<index + 1) }
      position = end
      guard position < bytes.count else { return }
      // Up to the next place between two plain ASCII characters.
      end = position + 1
      while end < bytes.count, !(bytes[end - 1] < 0x80 && bytes[end - 1] != 0x0D && bytes[end] < 0x80) { end += 1 }
      for character in String(decoding: bytes[position..<end], as: UTF8.self) {
        let count = character.utf8.count
        body(position..<position + count)
        position += count
      }
    }
  }
}
