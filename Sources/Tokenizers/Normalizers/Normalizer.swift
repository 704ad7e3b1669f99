internal import EspalierBasics

/// Changes a text before it is cut.
public indirect enum Normalizer: Sendable {
  case bert(BertCleaning)
  case strip(left: Bool, right: Bool)
  /// Combining marks go away; usually after NFD.
  case stripAccents
  case nfc, nfd, nfkc, nfkd
  case lowercase
  /// SentencePiece's rules for machine translation: control characters go away, odd spaces become spaces.
  case nmt
  case precompiled(CharacterMap)
  case replace(Pattern, String)
  /// Put before a text that is not empty.
  case prepend(String)
  /// Bytes become characters of the byte-level alphabet.
  case byteLevel
  case sequence([Normalizer])

  func apply(to text: inout AlignedText) throws(Problem) {
    guard !text.isEmpty else { return }
    switch self {
    case .sequence(let parts): for part in parts { try part.apply(to: &text) }
    case .bert(let cleaning): cleaning.apply(to: &text)
    case .strip(let left, let right): Self.strip(&text, left, right)
    case .stripAccents:
      ScalarEdits.apply(to: &text) { $0 >= 0x300 && ScalarClass.flags($0).contains(.combiningMark) ? .drop : .keep }
    case .nfc: NormalizationForm.nfc.normalize(&text)
    case .nfd: NormalizationForm.nfd.normalize(&text)
    case .nfkc: NormalizationForm.nfkc.normalize(&text)
    case .nfkd: NormalizationForm.nfkd.normalize(&text)
    case .lowercase: Lowercase.shared.normalize(&text)
    case .nmt: ScalarEdits.apply(to: &text, Self.nmt)
    case .precompiled(let map): map.apply(to: &text)
    case .replace(let pattern, let content): try Self.replace(&text, pattern, content.unicodeScalars.map(\.value))
    case .prepend(let prefix): Self.prepend(&text, prefix.unicodeScalars.map(\.value))
    case .byteLevel:
      var edit = TextEdit(text)
      for byte in text.bytes {
        edit.write(ByteAlphabet.scalars[Int(byte)], change: byte & 0xC0 == 0x80 ? 1 : 0)
      }
      text = edit.finished()
    }
  }

  private static func nmt(_ scalar: UInt32) -> ScalarEdits.Edit {
    switch scalar {
    case 0x01...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0x8F, 0x9F: .drop
    case 0x09, 0x0A, 0x0C, 0x0D, 0x1680, 0x200B...0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD: .become(0x20)
    default: .keep
    }
  }

  private static func strip(_ text: inout AlignedText, _ left: Bool, _ right: Bool) {
    let (start, end) = text.withBytes { bytes in
      var start = 0
      var end = bytes.count
      while left, start < end {
        let (scalar, length) = UTF8Reading.scalar(bytes, at: start)
        guard ScalarClass.isWhitespace(scalar) else { break }
        start += length
      }
      while right, end > start {
        let before = UTF8Reading.start(before: end, in: bytes)
        guard ScalarClass.isWhitespace(UTF8Reading.scalar(bytes, at: before).value) else { break }
        end = before
      }
      return (start, end)
    }
    guard start > 0 || end < text.bytes.count else { return }
    var edit = TextEdit(text)
    edit.drop(to: start)
    edit.copy(to: end)
    text = edit.finished()
  }

  private static func prepend(_ text: inout AlignedText, _ prefix: [UInt32]) {
    let (first, length) = text.withBytes { UTF8Reading.scalar($0, at: 0) }
    var edit = TextEdit(text)
    for (index, scalar) in prefix.enumerated() { edit.write(scalar, change: index == 0 ? 0 : 1) }
    edit.write(first, change: 1)
    edit.drop(to: length)
    edit.copy(to: text.bytes.count)
    text = edit.finished()
  }

  private static func replace(_ text: inout AlignedText, _ pattern: Pattern, _ content: [UInt32]) throws(Problem) {
    var edit = TextEdit(text)
    var changed = false
    try text.withBytes { (bytes) throws(Problem) -> Void in
      try pattern.forEachMatch(in: bytes) { match in
        changed = true
        edit.copy(to: match.lowerBound)
        edit.replace(to: match.upperBound, by: content)
      }
    }
    guard changed else { return }
    edit.copy(to: text.bytes.count)
    text = edit.finished()
  }
}
