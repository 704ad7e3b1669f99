internal import EspalierBasics

/// WordPiece (Schuster and Nakajima 2012) in GGUF's spelling: tokens that begin a word have U+2581 in front, others
/// nothing. It cleans the text and cuts it into words by itself, as llama.cpp does; a word is all the text between
/// special tokens.
struct PhantomSpaceModel: SubwordModel {
  let tokens: TokenTable
  let unknownID: Int32
  let lowercases: Bool
  /// Every character becomes the first of its canonical decomposition, and marks go away.
  let stripsAccents: Bool
  private let longest: Int

  init(tokens: TokenTable, unknownID: Int32, lowercases: Bool, stripsAccents: Bool) {
    self.tokens = tokens
    self.unknownID = unknownID
    self.lowercases = lowercases
    self.stripsAccents = stripsAccents
    longest = tokens.entries.reduce(0) { max($0, $1.bytes.count) }
  }

  /// A word being gathered: its bytes, and where in the text each came from.
  private struct Word {
    static let phantom: [UInt8] = [0xE2, 0x96, 0x81]

    var bytes: [UInt8] = []
    var starts: [Int32] = []
    var ends: [Int32] = []

    mutating func append(_ scalar: UInt32, from range: Range<Int>) {
      if bytes.isEmpty { add(Self.phantom, range.lowerBound..<range.lowerBound) }
      var text: [UInt8] = []
      UTF8Reading.append(scalar, to: &text)
      add(text, range)
    }

    private mutating func add(_ text: [UInt8], _ range: Range<Int>) {
      bytes += text
      for _ in text {
        starts.append(Int32(truncatingIfNeeded: range.lowerBound))
        ends.append(Int32(truncatingIfNeeded: range.upperBound))
      }
    }
  }

  func tokenize(_ text: UnsafeBufferPointer<UInt8>, into result: inout [WordToken]) {
    var word = Word()
    var position = 0
    while position < text.count {
      var (scalar, length) = UTF8Reading.scalar(text, at: position)
      let range = position..<position + length
      position = range.upperBound
      if stripsAccents { scalar = Self.firstOfDecomposition(scalar) }
      if ScalarClass.isWhitespace(scalar) {
        finish(&word, &result)
        continue
      }
      let category = ScalarClass.category(scalar)
      if scalar == 0 || scalar == 0xFFFD || Self.controls.contains(category) { continue }
      if stripsAccents, CategorySet.mark.contains(category) { continue }
      let written = lowercases ? Lowercase.shared[scalar] : scalar
      if CategorySet.punctuation.contains(category) || (scalar < 0x7F && CategorySet.symbol.contains(category))
        || BertCleaning.isChinese(scalar)
      {
        finish(&word, &result)
        word.append(written, from: range)
        finish(&word, &result)
      } else {
        word.append(written, from: range)
      }
    }
    finish(&word, &result)
  }

  private static let controls = CategorySet(.cc, .cf, .cs, .co)

  private static func firstOfDecomposition(_ scalar: UInt32) -> UInt32 {
    guard scalar >= NormalizationForm.nfd.inertBelow else { return scalar }
    var parts: [(scalar: UInt32, change: Int)] = []
    NormalizationForm.nfd.normalize([scalar], into: &parts)
    return parts.first?.scalar ?? scalar
  }

  /// Cuts the word into the longest tokens from the left; if that does not work out, it is unknown.
  private func finish(_ word: inout Word, _ result: inout [WordToken]) {
    defer { word = Word() }
    guard !word.bytes.isEmpty else { return }
    let first = result.count
    word.bytes.withUnsafeBufferPointer { bytes in
      var position = 0
      while position < bytes.count {
        var end = min(bytes.count, position + longest)
        while end > position {
          if let id = tokens.id(of: UnsafeBufferPointer(rebasing: bytes[position..<end])) {
            result.append(WordToken(id: id, start: Int(word.starts[position]), end: Int(word.ends[end - 1])))
            break
          }
          end -= 1
        }
        guard end > position else {
          result.removeSubrange(first...)
          result.append(WordToken(id: unknownID, start: Int(word.starts[0]), end: Int(word.ends[bytes.count - 1])))
          return
        }
        position = end
      }
    }
  }
}
