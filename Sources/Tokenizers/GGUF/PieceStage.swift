internal import EspalierBasics

/// The bytes that tokens stand for, by id, where that is not what the model's table says.
struct TokenPieces: Sendable {
  var bytes: [[UInt8]]
  /// Those to be left out when special tokens are.
  var special: Set<Int32>

  func bytes(of id: Int32, skippingSpecial: Bool) -> [UInt8]? {
    guard id >= 0, Int(id) < bytes.count, !(skippingSpecial && special.contains(id)) else { return nil }
    return bytes[Int(id)]
  }
}

/// Joins pieces as llama.cpp does: one space goes from the first, bytes become text, and if asked for, spaces before
/// punctuation and English contractions go away.
struct PieceStage: DecodingStage {
  private var stripsNext: Bool
  private var repair = UTF8Repair()
  private var cleanups: [StreamingReplacement]

  init(stripsFirstSpace: Bool, cleansSpaces: Bool) {
    stripsNext = stripsFirstSpace
    cleanups = cleansSpaces ? Self.cleanups : []
  }

  private static let cleanups = [
    StreamingReplacement([(" ?", "?"), (" !", "!"), (" .", "."), (" ,", ",")]),
    StreamingReplacement([(" ' ", "'")]),
    StreamingReplacement([(" 's", "'s"), (" 'm", "'m"), (" 're", "'re"), (" 've", "'ve")]),
  ]

  mutating func take(_ token: TokenText, _ output: inout [TokenText]) {
    var piece = token[...]
    if stripsNext, piece.first == 0x20 { piece = piece.dropFirst() }
    stripsNext = false
    var text: TokenText = []
    repair.take(piece, &text)
    for index in cleanups.indices { text = cleanups[index].take(text) }
    output.append(text)
  }

  mutating func finish(_ output: inout [TokenText]) {
    var text: TokenText = []
    repair.finish(&text)
    for index in cleanups.indices { text = cleanups[index].take(text) + cleanups[index].finish() }
    output.append(text)
  }
}

/// Replaces strings in a text that comes in parts; what may be the beginning of one waits.
struct StreamingReplacement: Sendable {
  private let pairs: [(old: TokenText, new: TokenText)]
  private var pending: TokenText = []

  /// The strings to replace must not be beginnings of one another.
  init(_ pairs: [(String, String)]) { self.pairs = pairs.map { (Array($0.utf8), Array($1.utf8)) } }

  mutating func take(_ text: TokenText) -> TokenText {
    guard !pending.isEmpty || text.contains(0x20) else { return text }
    pending += text
    var out: TokenText = []
    var position = 0
    while position < pending.count {
      let rest = pending[position...]
      if let (old, new) = pairs.first(where: { rest.starts(with: $0.old) }) {
        out += new
        position += old.count
      } else if pairs.contains(where: { rest.count < $0.old.count && $0.old.starts(with: rest) }) {
        break
      } else {
        out.append(pending[position])
        position += 1
      }
    }
    pending.removeFirst(position)
    return out
  }

  mutating func finish() -> TokenText {
    defer { pending = [] }
    return pending
  }
}
