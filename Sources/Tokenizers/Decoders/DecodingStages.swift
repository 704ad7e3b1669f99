internal import EspalierBasics

/// Finding byte strings in byte strings.
enum ByteText {
  static func replacing(_ text: TokenText, _ old: TokenText, by new: TokenText) -> TokenText {
    // An empty string is found between all scalars.
    if old.isEmpty {
      var result = new
      for (index, byte) in text.enumerated() {
        result.append(byte)
        if index + 1 == text.count || text[index + 1] & 0xC0 != 0x80 { result += new }
      }
      return result
    }
    guard text.count >= old.count else { return text }
    var result: TokenText = []
    var position = 0
    while position < text.count {
      if text[position] == old[0], position + old.count <= text.count,
        text[position..<position + old.count].elementsEqual(old)
      {
        result += new
        position += old.count
      } else {
        result.append(text[position])
        position += 1
      }
    }
    return result
  }

  private static let cleanups: [(TokenText, TokenText)] = [
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
    (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
  ].map { (Array($0.utf8), Array($1.utf8)) }

  /// Takes away spaces before punctuation and English contractions.
  static func cleanedUp(_ text: TokenText) -> TokenText {
    guard text.contains(0x20) else { return text }
    return cleanups.reduce(text) { replacing($0, $1.0, by: $1.1) }
  }
}

/// Passes tokens on; that they are one from here on is known to the chain.
struct FuseStage: DecodingStage {
  func take(_ token: TokenText, _ output: inout [TokenText]) { output.append(token) }
}

struct MetaspaceStage: DecodingStage {
  let replacement: UInt32
  let dropsFirst: Bool
  /// All that comes is one token.
  let staysFirst: Bool
  private var isFirst = true

  init(replacement: UInt32, dropsFirst: Bool, staysFirst: Bool) {
    self.replacement = replacement
    self.dropsFirst = dropsFirst
    self.staysFirst = staysFirst
  }

  mutating func take(_ token: TokenText, _ output: inout [TokenText]) {
    var sign: TokenText = []
    UTF8Reading.append(replacement, to: &sign)
    output.append(ByteText.replacing(token, sign, by: isFirst && dropsFirst ? [] : [0x20]))
    if !staysFirst { isFirst = false }
  }
}

struct ReplaceStage: DecodingStage {
  let pattern: Pattern
  let content: TokenText

  func take(_ token: TokenText, _ output: inout [TokenText]) throws(Problem) {
    guard !token.isEmpty else { return output.append(token) }
    var result: TokenText = []
    var rest = 0
    let matches: Result<Void, Problem> = token.withUnsafeBufferPointer { bytes in
      do throws(Problem) {
        return .success(
          try pattern.forEachMatch(in: bytes) { match in
            result += bytes[rest..<match.lowerBound]
            result += content
            rest = match.upperBound
          })
      } catch { return .failure(error) }
    }
    try matches.get()
    output.append(result + token[rest...])
  }
}

struct StripStage: DecodingStage {
  /// UTF-8 of the character that is stripped.
  let character: TokenText
  let start: Int
  let stop: Int

  /// How many bytes of the text, at most `count` characters, are to be taken from its beginning.
  func leading(_ text: ArraySlice<UInt8>, atMost count: Int) -> Int {
    var position = text.startIndex
    for _ in 0..<count where text[position...].starts(with: character) { position += character.count }
    return position - text.startIndex
  }

  /// The same at its end.
  func trailing(_ text: ArraySlice<UInt8>, atMost count: Int) -> Int {
    var end = text.endIndex
    for _ in 0..<count where end - text.startIndex >= character.count {
      guard text[(end - character.count)..<end].elementsEqual(character) else { break }
      end -= character.count
    }
    return text.endIndex - end
  }

  func take(_ token: TokenText, _ output: inout [TokenText]) {
    let rest = token[leading(token[...], atMost: start)...]
    output.append(Array(rest.dropLast(trailing(rest, atMost: stop))))
  }
}

/// Strips one token that comes in parts: the end waits.
struct FusedStripStage: DecodingStage {
  private let stage: StripStage
  private var left: Int
  private var pending: TokenText = []

  init(_ stage: StripStage) {
    self.stage = stage
    left = stage.start
  }

  mutating func take(_ token: TokenText, _ output: inout [TokenText]) {
    pending += token
    if left > 0 {
      let count = stage.leading(pending[...], atMost: left)
      left -= count / max(1, stage.character.count)
      pending.removeFirst(count)
      if !pending.isEmpty { left = 0 }
    }
    let waits = stage.trailing(pending[...], atMost: stage.stop)
    output.append(Array(pending.dropLast(waits)))
    pending.removeFirst(pending.count - waits)
  }

  mutating func finish(_ output: inout [TokenText]) { pending = [] }
}

struct WordPieceStage: DecodingStage {
  let prefix: TokenText
  let cleansUp: Bool
  private var isFirst = true

  init(prefix: TokenText, cleansUp: Bool) {
    self.prefix = prefix
    self.cleansUp = cleansUp
  }

  mutating func take(_ token: TokenText, _ output: inout [TokenText]) {
    var text = token
    if !isFirst { text = token.starts(with: prefix) ? Array(token.dropFirst(prefix.count)) : [0x20] + token }
    isFirst = false
    output.append(cleansUp ? ByteText.cleanedUp(text) : text)
  }
}

struct BytePairStage: DecodingStage {
  let suffix: TokenText
  private var last: TokenText?

  init(suffix: TokenText) { self.suffix = suffix }

  mutating func take(_ token: TokenText, _ output: inout [TokenText]) {
    if let last { output.append(ByteText.replacing(last, suffix, by: [0x20])) }
    last = token
  }

  mutating func finish(_ output: inout [TokenText]) {
    if let last { output.append(ByteText.replacing(last, suffix, by: [])) }
    last = nil
  }
}

struct CTCStage: DecodingStage {
  let padding: TokenText
  let delimiter: TokenText
  let cleansUp: Bool
  private var last: TokenText?

  init(padding: TokenText, delimiter: TokenText, cleansUp: Bool) {
    self.padding = padding
    self.delimiter = delimiter
    self.cleansUp = cleansUp
  }

  mutating func take(_ token: TokenText, _ output: inout [TokenText]) {
    defer { last = token }
    guard token != last else { return }
    var text = ByteText.replacing(token, padding, by: [])
    if cleansUp { text = ByteText.replacing(ByteText.cleanedUp(text), delimiter, by: [0x20]) }
    if !text.isEmpty { output.append(text) }
  }
}
