internal import EspalierBasics

/// The merges that stand for the scores of a SentencePiece vocabulary.
///
/// Every way to put a token together from two others is a merge; they are tried in the order of the token's scores, the
/// largest first, which is what joining by score does as long as no two tokens share one. Ties are ordered as
/// transformers' converter orders them: the longer left part first, then the longer right part, then by id.
///
/// Cost: a look-up for every place where a token can be cut.
struct ScoreMerges {
  /// Left and right parts, by rank.
  private(set) var pairs: [(String, String)] = []
  /// Normal tokens that can be joined from others and share their score with another such token.
  private(set) var tiedTokens = 0

  private struct Merge {
    var score: Float
    var leftLength: Int
    var rightLength: Int
    var id: Int
    var left: Int32
    var right: Int32

    func precedes(_ other: Merge) -> Bool {
      if score != other.score { return score > other.score }
      if leftLength != other.leftLength { return leftLength > other.leftLength }
      if rightLength != other.rightLength { return rightLength > other.rightLength }
      return (id, left, right) < (other.id, other.left, other.right)
    }
  }

  /// - Throws: ``Problem/Code/tokenizerUnsupported`` for tokens that JSON cannot hold, and scores that are no numbers.
  init(_ assembly: GGUFAssembly) throws(Problem) {
    var merges: [Merge] = []
    var counts: [Float: Int] = [:]
    for (id, token) in assembly.vocabulary.tokens.enumerated() {
      let before = merges.count
      token.withUnsafeBufferPointer { Self.cut($0, id, assembly, into: &merges) }
      guard merges.count > before else { continue }
      guard !assembly.scores[id].isNaN else {
        throw Problem(.tokenizerUnsupported, "the score of token \(id) of the GGUF vocabulary is no number")
      }
      if assembly.kinds[id] == .normal { counts[assembly.scores[id], default: 0] += 1 }
    }
    tiedTokens = counts.values.reduce(0) { $0 + ($1 > 1 ? $1 : 0) }
    merges.sort { $0.precedes($1) }
    pairs.reserveCapacity(merges.count)
    for merge in merges {
      pairs.append((try assembly.text(of: Int(merge.left)), try assembly.text(of: Int(merge.right))))
    }
  }

  private static func cut(
    _ token: UnsafeBufferPointer<UInt8>, _ id: Int, _ assembly: GGUFAssembly, into merges: inout [Merge]
  ) {
    let characters = token.count { $0 & 0xC0 != 0x80 }
    var length = 1
    for place in token.indices.dropFirst() where token[place] & 0xC0 != 0x80 {
      defer { length += 1 }
      guard let left = assembly.tokens.id(of: UnsafeBufferPointer(rebasing: token[..<place])),
        let right = assembly.tokens.id(of: UnsafeBufferPointer(rebasing: token[place...]))
      else { continue }
      merges.append(
        Merge(
          score: assembly.scores[id], leftLength: length, rightLength: characters - length, id: id, left: left,
          right: right))
    }
  }
}
