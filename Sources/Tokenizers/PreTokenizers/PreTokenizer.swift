internal import EspalierBasics

/// Cuts a normalized text into words, each of which the model cuts by itself.
public indirect enum PreTokenizer: Sendable {
  /// BERT: white space separates, punctuation stands alone.
  case bert
  /// A space in front if there is none and it is asked for; the pattern of GPT-2 if it is; then bytes become
  /// characters of the byte-level alphabet.
  case byteLevel(addPrefixSpace: Bool, usesPattern: Bool)
  /// One character separates.
  case delimiter(Unicode.Scalar)
  /// Spaces become `replacement`, which also begins the text or every piece; pieces begin at it if `splits`.
  case metaspace(replacement: Unicode.Scalar, prepend: MetaspacePrepend, splits: Bool)
  /// Runs of word characters, and of others but white space.
  case whitespace
  /// White space separates.
  case whitespaceSplit
  case punctuation(SplitBehavior)
  /// Digits, and other numbers, together or one by one.
  case digits(individual: Bool)
  case split(Pattern, SplitBehavior, inverted: Bool)
  /// A new piece begins where the script changes.
  case scripts
  /// Pieces of so many characters.
  case fixedLength(Int)
  case sequence([PreTokenizer])

  /// The steps of nested sequences, one after the other.
  var steps: [PreTokenizer] {
    if case .sequence(let parts) = self { return parts.flatMap(\.steps) }
    return [self]
  }

  /// - Parameter mapsBytes: whether `byteLevel` writes its alphabet; else the bytes stay what they are.
  func apply(to text: inout PieceText, mapsBytes: Bool) throws(Problem) {
    switch self {
    case .sequence(let parts): for part in parts { try part.apply(to: &text, mapsBytes: mapsBytes) }
    case .bert: text.split { ScalarSplits.bert($0, &$1) }
    case .whitespace: text.split { ScalarSplits.words($0, &$1) }
    case .whitespaceSplit: text.split { ScalarSplits.split($0, .removed, &$1, ScalarClass.isWhitespace) }
    case .punctuation(let behavior): text.split { ScalarSplits.split($0, behavior, &$1, ScalarSplits.isPunctuation) }
    case .digits(let individual):
      text.split { bytes, pieces in
        ScalarSplits.split(bytes, individual ? .isolated : .contiguous, &pieces) {
          $0 < 0x80 ? $0 >= 0x30 && $0 <= 0x39 : ScalarClass.flags($0).contains(.numeric)
        }
      }
    case .delimiter(let delimiter): text.split { ScalarSplits.split($0, .removed, &$1) { $0 == delimiter.value } }
    case .split(let pattern, let behavior, let inverted):
      try text.split { (bytes, pieces) throws(Problem) in
        try Self.split(bytes, pattern, behavior, inverted: inverted, &pieces)
      }
    case .scripts: text.split { ScalarSplits.scripts($0, &$1) }
    case .fixedLength(let length): text.split { ScalarSplits.fixed($0, length, &$1) }
    case .metaspace(let replacement, let prepend, let splits):
      Metaspace.apply(to: &text, replacement.value, prepend, splits: splits)
    case .byteLevel(let addPrefixSpace, let usesPattern):
      if addPrefixSpace { Self.addPrefixSpace(&text) }
      if usesPattern {
        text.split { bytes, pieces in
          var position = 0
          while position < bytes.count {
            let end = WordScanner.gpt2.end(of: bytes, from: position)
            pieces.append(position..<end)
            position = end
          }
        }
      }
      if mapsBytes { Self.mapBytes(&text) }
    }
  }

  private static func split(
    _ bytes: UnsafeBufferPointer<UInt8>, _ pattern: Pattern, _ behavior: SplitBehavior, inverted: Bool,
    _ pieces: inout PieceCollector
  ) throws(Problem) {
    var splitter = Splitter(behavior, inverted: inverted)
    try pattern.forEachMatch(in: bytes) { splitter.match($0, &pieces) }
    splitter.finish(bytes.count, &pieces)
  }

  private static func addPrefixSpace(_ text: inout PieceText) {
    text.rewrite { bytes, range, edit in
      if bytes[range.lowerBound] != 0x20 { Metaspace.prepend(0x20, bytes, range, &edit) }
      edit.copy(to: range.upperBound)
    }
  }

  private static func mapBytes(_ text: inout PieceText) {
    text.rewrite { bytes, range, edit in
      for index in range {
        edit.write(ByteAlphabet.scalars[Int(bytes[index])], change: bytes[index] & 0xC0 == 0x80 ? 1 : 0)
      }
    }
  }
}
