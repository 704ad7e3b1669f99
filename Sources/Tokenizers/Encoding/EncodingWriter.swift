internal import EspalierBasics

/// Fills an ``Encoding`` while a text is encoded from left to right.
struct EncodingWriter {
  private(set) var encoding = Encoding()
  private let typeID: Int32
  private let isDetailed: Bool
  private let unit: OffsetUnit
  private var counter: CodePointCounter
  private var word: Int32 = 0
  /// The run of the text that was written last.
  private var cursor = 0
  /// If the text is the original's bytes, where it begins there; else -1.
  private var copied = -1

  init(_ text: UnsafeBufferPointer<UInt8>, typeID: Int32, _ detail: TokenizerCore.Detail) {
    self.typeID = typeID
    counter = CodePointCounter(text)
    switch detail {
    case .ids: (isDetailed, unit) = (false, .none)
    case .all(let unit): (isDetailed, self.unit) = (true, unit)
    }
    let expected = text.count / 4
    encoding.ids.reserveCapacity(expected)
    guard isDetailed else { return }
    encoding.tokens.reserveCapacity(expected)
    encoding.offsets.reserveCapacity(expected)
    encoding.typeIDs.reserveCapacity(expected)
    encoding.specialTokensMask.reserveCapacity(expected)
    encoding.attentionMask.reserveCapacity(expected)
    encoding.wordIDs.reserveCapacity(expected)
  }

  /// Tokens of another text follow.
  mutating func begin(_ text: AlignedText) {
    cursor = 0
    copied = text.runs.count == 1 && text.runs[0].isCopy ? Int(text.runs[0].original) : -1
  }

  /// An added token in the raw text, at `range`.
  mutating func append(added id: Int32, _ bytes: UnsafeBufferPointer<UInt8>, at range: Range<Int>) {
    encoding.ids.append(id)
    if isDetailed { appendDetail(String(decoding: bytes, as: UTF8.self), range) }
    word += 1
  }

  /// An added token in a normalized text.
  mutating func append(
    added id: Int32, _ bytes: UnsafeBufferPointer<UInt8>, in text: AlignedText, _ range: Range<Int>
  ) {
    let place = isDetailed && unit != .none ? text.original(of: range, cursor: &cursor) : 0..<0
    append(added: id, bytes, at: place)
  }

  /// The tokens of a word, which lies at `range` in the text.
  @inline(__always)
  mutating func append(
    _ tokens: [WordToken], of bytes: UnsafeBufferPointer<UInt8>, in text: AlignedText, _ range: Range<Int>,
    names: [String], _ table: TokenTable
  ) {
    for token in tokens {
      encoding.ids.append(token.id)
      guard isDetailed else { continue }
      let place = unit == .none ? 0..<0 : place(of: Int(token.start)..<Int(token.end), of: bytes, in: text, range)
      let name: String
      if token.isLiteral {
        name = String(decoding: bytes[Int(token.start)..<Int(token.end)], as: UTF8.self)
      } else {
        name = Int(token.id) < names.count ? names[Int(token.id)] : table.token(token.id) ?? ""
      }
      appendDetail(name, place)
    }
    word += 1
  }

  @inline(__always)
  private mutating func place(
    of part: Range<Int>, of bytes: UnsafeBufferPointer<UInt8>, in text: AlignedText, _ range: Range<Int>
  ) -> Range<Int> {
    // A model may say that a token ends behind its word; then it stands where it says, as in the reference.
    guard part.upperBound <= bytes.count, !part.isEmpty else { return part }
    if copied >= 0 {
      var start = part.lowerBound
      while start > 0, bytes[start] & 0xC0 == 0x80 { start -= 1 }
      var end = part.upperBound
      while end < bytes.count, bytes[end] & 0xC0 == 0x80 { end += 1 }
      return copied + range.lowerBound + start..<copied + range.lowerBound + end
    }
    return text.original(
      of: range.lowerBound + part.lowerBound..<range.lowerBound + part.upperBound, cursor: &cursor)
  }

  @inline(__always)
  private mutating func appendDetail(_ token: String, _ place: Range<Int>) {
    encoding.tokens.append(token)
    encoding.offsets.append(unit == .codePoints ? counter.convert(place) : place)
    encoding.typeIDs.append(typeID)
    encoding.specialTokensMask.append(0)
    encoding.attentionMask.append(1)
    encoding.wordIDs.append(word)
  }
}
