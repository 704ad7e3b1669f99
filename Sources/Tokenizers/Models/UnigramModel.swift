public import EspalierBasics

/// Unigram language model (Kudo, arXiv 1804.10959): of all ways to cut a word into pieces, the one with the largest
/// sum of scores, found by Viterbi's algorithm over the places between characters.
public struct UnigramModel: SubwordModel {
  public let tokens: TokenTable
  private let trie: ByteTrie
  private let scores: [Double]
  private let unknownID: Int32?
  private let unknownScore: Double
  private let fallback: [Int32]

  /// - Parameters:
  ///   - pieces: piece and logarithm of its probability; the place is the id.
  ///   - unknownID: stands for characters that are no piece; its score is the smallest of all less 10.
  ///   - byteFallback: unknown text becomes the pieces `<0x00>` to `<0xFF>` of its bytes, if all are there.
  /// - Throws: ``Problem/Code/tokenizerMalformed`` if `unknownID` is no piece.
  public init(pieces: [(piece: String, score: Double)], unknownID: Int?, byteFallback: Bool) throws(Problem) {
    tokens = TokenTable(pieces: pieces.map(\.piece))
    scores = pieces.map(\.score)
    if let unknownID {
      guard pieces.indices.contains(unknownID) else {
        throw Problem(.tokenizerMalformed, "the unknown id \(unknownID) is none of the \(pieces.count) pieces")
      }
      self.unknownID = Int32(unknownID)
    } else {
      self.unknownID = nil
    }
    let smallest = scores.reduce(Double.infinity) { $1 < $0 ? $1 : $0 }
    unknownScore = smallest - 10
    fallback = byteFallback ? ByteFallbackTokens.ids(in: tokens) : []
    trie = try ByteTrie(tokens.entries.map { ($0.bytes, $0.id) })
  }

  /// The best way to a place between two characters.
  private struct Step {
    var score = 0.0
    var start: Int32 = -1
    var id: Int32 = -1
  }

  public func tokenize(_ word: UnsafeBufferPointer<UInt8>, into tokens: inout [WordToken]) throws(Problem) {
    var steps = [Step](repeating: Step(), count: word.count + 1)
    var needsUnknown = false
    steps.withUnsafeMutableBufferPointer { steps in
      var start = 0
      while start < word.count {
        let score = steps[start].score
        let next = min(start + UTF8Reading.length(word[start]), word.count)
        var hasSingle = false
        func offer(_ end: Int, _ id: Int32, _ score: Double) {
          if steps[end].start < 0 || score > steps[end].score {
            steps[end] = Step(score: score, start: Int32(truncatingIfNeeded: start), id: id)
          }
        }
        var node: UInt32 = 0
        var end = start
        while end < word.count, let child = trie.child(of: node, word[end]) {
          node = child
          end += 1
          let id = trie.value(node)
          if id >= 0 {
            offer(end, id, scores[Int(id)] + score)
            if end == next { hasSingle = true }
          }
        }
        if !hasSingle {
          if unknownID == nil, steps[next].start < 0 || unknownScore + score > steps[next].score { needsUnknown = true }
          offer(next, unknownID ?? -1, unknownScore + score)
        }
        start = next
      }
    }
    guard !needsUnknown else {
      throw Problem(.tokenizerUnknown, "the text has characters that are no pieces, and the model has no unknown id")
    }
    let first = tokens.count
    var end = word.count
    while end > 0 {
      var start = Int(steps[end].start)
      guard start >= 0, start < end else { break }
      // Neighbouring unknown characters are one token.
      if let unknownID, steps[end].id == unknownID {
        while start > 0, steps[start].id == unknownID { start = Int(steps[start].start) }
      }
      tokens.append(WordToken(id: steps[end].id, start: start, end: end))
      end = start
    }
    tokens[first...].reverse()
    if let unknownID, tokens[first...].contains(where: { $0.id == unknownID }) {
      spellUnknown(word, &tokens, from: first, unknownID)
    }
  }

  /// Looks at unknown stretches again: joined they may be a piece, or bytes may stand for them.
  private func spellUnknown(
    _ word: UnsafeBufferPointer<UInt8>, _ tokens: inout [WordToken], from first: Int, _ unknownID: Int32
  ) {
    var result: [WordToken] = []
    for token in tokens[first...] {
      let text = UnsafeBufferPointer(rebasing: word[Int(token.start)..<Int(token.end)])
      if token.id != unknownID {
        result.append(token)
      } else if let id = self.tokens.id(of: text) {
        result.append(WordToken(id: id, start: Int(token.start), end: Int(token.end)))
      } else if !fallback.isEmpty, text.allSatisfy({ fallback[Int($0)] >= 0 }) {
        for byte in text {
          result.append(WordToken(id: fallback[Int(byte)], start: Int(token.start), end: Int(token.end)))
        }
      } else {
        result.append(WordToken(id: unknownID, start: Int(token.start), end: Int(token.end), isLiteral: true))
      }
    }
    tokens.replaceSubrange(first..., with: result)
  }
}
