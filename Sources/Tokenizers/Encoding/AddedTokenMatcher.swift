internal import EspalierBasics

/// Finds added tokens in a text: leftmost, the longest of those that begin at the same place; or the longest of all
/// that overlap.
struct AddedTokenMatcher: Sendable {
  private struct Entry: Sendable {
    var id: Int32
    var singleWord: Bool
    var leftStrip: Bool
    var rightStrip: Bool
  }

  private let trie: ByteTrie
  private let entries: [Entry]
  private let firstBytes: [Bool]
  let isEmpty: Bool
  private let longestFirst: Bool

  /// - Parameter tokens: tokens with the text they are found by; empty texts are never found.
  init(_ tokens: [(text: [UInt8], token: AddedToken)], longestFirst: Bool = false) throws(Problem) {
    self.longestFirst = longestFirst
    var firstBytes = [Bool](repeating: false, count: 256)
    for (text, _) in tokens { if let first = text.first { firstBytes[Int(first)] = true } }
    self.firstBytes = firstBytes
    entries = tokens.map { text, token in
      Entry(
        id: Int32(truncatingIfNeeded: token.id), singleWord: token.singleWord, leftStrip: token.leftStrip,
        rightStrip: token.rightStrip)
    }
    trie = try ByteTrie(tokens.enumerated().map { ($0.element.text[...], Int32($0.offset)) })
    isEmpty = tokens.allSatisfy { $0.text.isEmpty }
  }

  /// Cuts `text` into added tokens, and what lies between them (with token -1).
  func cut(_ text: UnsafeBufferPointer<UInt8>) -> [(range: Range<Int>, token: Int32)] {
    var result: [(range: Range<Int>, token: Int32)] = []
    var rest = 0
    var position = 0
    var chosen = (longestFirst ? longestMatches(in: text) : []).makeIterator()
    while let (match, entry) = longestFirst ? chosen.next() : next(in: text, from: position) {
      position = match.upperBound
      var (start, end) = (match.lowerBound, match.upperBound)
      if entry.singleWord, isWord(before: start, in: text) || isWord(at: end, in: text) { continue }
      if entry.leftStrip {
        while start > rest {
          let before = UTF8Reading.start(before: start, in: text)
          guard ScalarClass.isWhitespace(UTF8Reading.scalar(text, at: before).value) else { break }
          start = before
        }
        start = max(start, rest)
      }
      while entry.rightStrip, end < text.count {
        let (scalar, length) = UTF8Reading.scalar(text, at: end)
        guard ScalarClass.isWhitespace(scalar) else { break }
        end += length
      }
      if rest < start { result.append((rest..<start, -1)) }
      result.append((start..<max(start, end), entry.id))
      rest = end
    }
    if rest < text.count { result.append((rest..<text.count, -1)) }
    return result
  }

  private func next(in text: UnsafeBufferPointer<UInt8>, from start: Int) -> (Range<Int>, Entry)? {
    var position = start
    while position < text.count {
      if firstBytes[Int(text[position])] {
        var node: UInt32 = 0
        var end = position
        var best: (end: Int, entry: Int32)?
        while end < text.count, let child = trie.child(of: node, text[end]) {
          node = child
          end += 1
          if trie.value(node) >= 0 { best = (end, trie.value(node)) }
        }
        if let best { return (position..<best.end, entries[Int(best.entry)]) }
      }
      position += 1
    }
    return nil
  }

  /// Of all matches, the longest that overlap none that is longer, or as long and further left; in order.
  private func longestMatches(in text: UnsafeBufferPointer<UInt8>) -> [(Range<Int>, Entry)] {
    var matches: [(range: Range<Int>, entry: Int32)] = []
    for start in text.indices where firstBytes[Int(text[start])] {
      var node: UInt32 = 0
      var end = start
      while end < text.count, let child = trie.child(of: node, text[end]) {
        node = child
        end += 1
        if trie.value(node) >= 0 { matches.append((start..<end, trie.value(node))) }
      }
    }
    matches.sort { ($1.range.count, $0.range.lowerBound) < ($0.range.count, $1.range.lowerBound) }
    var taken = [Bool](repeating: false, count: matches.isEmpty ? 0 : text.count)
    var chosen: [(Range<Int>, Entry)] = []
    for (range, entry) in matches where !taken[range.lowerBound] && !taken[range.upperBound - 1] {
      for index in range { taken[index] = true }
      chosen.append((range, entries[Int(entry)]))
    }
    return chosen.sorted { $0.0.lowerBound < $1.0.lowerBound }
  }

  private func isWord(before position: Int, in text: UnsafeBufferPointer<UInt8>) -> Bool {
    guard position > 0 else { return false }
    let scalar = UTF8Reading.scalar(text, at: UTF8Reading.start(before: position, in: text)).value
    return ScalarClass.flags(scalar).contains(.word)
  }

  private func isWord(at position: Int, in text: UnsafeBufferPointer<UInt8>) -> Bool {
    position < text.count && ScalarClass.flags(UTF8Reading.scalar(text, at: position).value).contains(.word)
  }
}
