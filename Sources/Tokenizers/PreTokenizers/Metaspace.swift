/// When a metaspace is put in front.
public enum MetaspacePrepend: String, Sendable, Hashable {
  /// Where the text begins.
  case first
  case never
  /// Where any piece begins.
  case always
}

/// Spaces written as a visible character (SentencePiece's `▁`).
enum Metaspace {
  static func apply(to text: inout PieceText, _ replacement: UInt32, _ prepend: MetaspacePrepend, splits: Bool) {
    var cursor = 0
    let old = text.text
    text.rewrite { bytes, range, edit in
      let begins =
        bytes[range.lowerBound] == 0x20 || UTF8Reading.scalar(bytes, at: range.lowerBound).value == replacement
      let isFirst = prepend == .first && old.place(of: range.lowerBound, cursor: &cursor).lowerBound == 0
      if !begins, prepend == .always || isFirst { self.prepend(replacement, bytes, range, &edit) }
      for index in range where bytes[index] == 0x20 && index >= edit.offset {
        edit.copy(to: index)
        edit.write(replacement)
      }
      edit.copy(to: range.upperBound)
    }
    if splits { text.split { ScalarSplits.split($0, .mergedWithNext, &$1) { $0 == replacement } } }
  }

  /// Writes a scalar before the first one of a piece; both stand for what that one stood for.
  static func prepend(
    _ scalar: UInt32, _ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ edit: inout TextEdit
  ) {
    edit.write(scalar)
    edit.write(UTF8Reading.scalar(bytes, at: range.lowerBound).value, change: 1)
  }
}
