internal import EspalierBasics

/// The scores that stand for the merges of a byte-pair vocabulary: the inverse of ``ScoreMerges``.
///
/// Joining by score tries any two neighbours whose text is a token, the largest score first. With scores that fall in
/// the order in which merges make tokens, that is what the merges do if two things hold, which are counted here: every
/// way to put a token together is a merge, and merges of one token follow each other.
///
/// Cost: a look-up for every place where a token can be cut.
struct MergeScores {
  /// By id: minus the number of tokens that merges make before this one; tokens that no merge makes come last.
  private(set) var scores: [Float]
  /// Tokens that can be put together from two others in a way that is no merge.
  private(set) var incompleteTokens = 0
  /// Tokens whose merges do not follow each other.
  private(set) var scatteredTokens = 0

  /// - Parameters:
  ///   - tokens: all tokens, by id.
  ///   - isNormal: by id; the others are not put together from parts.
  ///   - merges: by rank.
  init(tokens: TokenTable, isNormal: [Bool], merges: [(String, String)]) {
    scores = Array(repeating: 0, count: isNormal.count)
    var order: [Int32: Int] = [:]
    var scattered: Set<Int32> = []
    var pairs: Set<UInt64> = []
    var last: Int32 = -1
    for (left, right) in merges {
      let whole = Array(left.utf8) + Array(right.utf8)
      guard let leftID = tokens.id(of: Array(left.utf8)), let rightID = tokens.id(of: Array(right.utf8)),
        let id = tokens.id(of: whole), Int(id) < scores.count
      else { continue }
      pairs.insert(Self.pair(leftID, rightID))
      if order[id] == nil {
        order[id] = order.count
      } else if id != last {
        scattered.insert(id)
      }
      last = id
    }
    for id in scores.indices {
      scores[id] = -Float(order[Int32(truncatingIfNeeded: id)] ?? order.count)
      guard isNormal[id], let token = tokens.bytes(Int32(truncatingIfNeeded: id)) else { continue }
      let isComplete = Array(token).withUnsafeBufferPointer { Self.isComplete($0, tokens, isNormal, pairs) }
      if !isComplete { incompleteTokens += 1 }
    }
    scatteredTokens = scattered.count
  }

  private static func pair(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
  }

  private static func isComplete(
    _ token: UnsafeBufferPointer<UInt8>, _ tokens: TokenTable, _ isNormal: [Bool], _ pairs: Set<UInt64>
  ) -> Bool {
    for place in token.indices.dropFirst() where token[place] & 0xC0 != 0x80 {
      let left = UnsafeBufferPointer(rebasing: token[..<place])
      let right = UnsafeBufferPointer(rebasing: token[place...])
      guard isPiece(left, tokens, isNormal), isPiece(right, tokens, isNormal) else { continue }
      guard let leftID = tokens.id(of: left), let rightID = tokens.id(of: right),
        pairs.contains(pair(leftID, rightID))
      else { return false }
    }
    return true
  }

  /// Whether joining by score may come by this text: it is one character, or a token that is put together.
  private static func isPiece(
    _ text: UnsafeBufferPointer<UInt8>, _ tokens: TokenTable, _ isNormal: [Bool]
  ) -> Bool {
    if text.count == UTF8Reading.length(text[0]) { return true }
    guard let id = tokens.id(of: text), Int(id) < isNormal.count else { return false }
    return isNormal[Int(id)]
  }
}
