internal import EspalierBasics

/// The byte-pair encoding of SentencePiece as llama.cpp runs it: of all neighbours that together are a token, those
/// whose token has the largest score are joined, leftmost first, until none is left. Characters that are no token
/// become the tokens of their bytes.
///
/// Unlike ``BytePairModel`` it has no merges: any two pieces whose text is a token can be joined. A word is all the
/// text between special tokens.
struct ScoreMergeModel: SubwordModel {
  let tokens: TokenTable
  private let scores: [Float]
  /// Tokens of single bytes: `<0x..>`, or else the byte itself; -1 where there is neither.
  private let bytes: [Int32]
  private let longest: Int

  /// - Parameter scores: by id.
  init(tokens: TokenTable, scores: [Float]) {
    self.tokens = tokens
    self.scores = scores
    bytes = (0..<256).map { byte in
      tokens.id(of: ByteFallbackTokens.name(UInt8(byte))) ?? tokens.id(of: [UInt8(byte)]) ?? -1
    }
    longest = tokens.entries.reduce(0) { max($0, $1.bytes.count) }
  }

  /// A piece of the word: a linked list in an array. Pieces that were joined to another have no length.
  private struct Piece {
    var start: Int32
    var length: Int32
    var previous: Int32
    var next: Int32
  }

  private struct Candidate {
    var score: Float
    var left: Int32
    var right: Int32
    var length: Int32

    func precedes(_ other: Candidate) -> Bool {
      score > other.score || (score == other.score && left < other.left)
    }
  }

  func tokenize(_ word: UnsafeBufferPointer<UInt8>, into result: inout [WordToken]) throws(Problem) {
    var pieces = characters(word)
    var queue = PriorityQueue<Candidate> { $0.precedes($1) }
    for index in pieces.indices.dropFirst() { offer(index - 1, index, pieces, word, &queue) }
    while let best = queue.pop() {
      let (left, right) = (Int(best.left), Int(best.right))
      // One of them may have been joined since.
      guard pieces[left].length > 0, pieces[right].length > 0,
        pieces[left].length + pieces[right].length == best.length
      else { continue }
      pieces[left].length = best.length
      pieces[right].length = 0
      let next = pieces[right].next
      pieces[left].next = next
      if next >= 0 { pieces[Int(next)].previous = best.left }
      offer(Int(pieces[left].previous), left, pieces, word, &queue)
      offer(left, Int(next), pieces, word, &queue)
    }
    var index: Int32 = pieces.isEmpty ? -1 : 0
    while index >= 0 {
      let piece = pieces[Int(index)]
      try append(Int(piece.start)..<Int(piece.start + piece.length), of: word, to: &result)
      index = piece.next
    }
  }

  private func characters(_ word: UnsafeBufferPointer<UInt8>) -> [Piece] {
    var pieces: [Piece] = []
    pieces.reserveCapacity(word.count)
    var position = 0
    while position < word.count {
      let length = min(UTF8Reading.length(word[position]), word.count - position)
      let index = Int32(truncatingIfNeeded: pieces.count)
      position += length
      pieces.append(
        Piece(
          start: Int32(truncatingIfNeeded: position - length), length: Int32(truncatingIfNeeded: length),
          previous: index - 1, next: position < word.count ? index + 1 : -1))
    }
    return pieces
  }

  @inline(__always)
  private func offer(
    _ left: Int, _ right: Int, _ pieces: [Piece], _ word: UnsafeBufferPointer<UInt8>,
    _ queue: inout PriorityQueue<Candidate>
  ) {
    guard left >= 0, right >= 0 else { return }
    let start = Int(pieces[left].start)
    let length = Int(pieces[left].length + pieces[right].length)
    guard length <= longest,
      let id = tokens.id(of: UnsafeBufferPointer(rebasing: word[start..<start + length]))
    else { return }
    queue.push(
      Candidate(
        score: scores[Int(id)], left: Int32(truncatingIfNeeded: left), right: Int32(truncatingIfNeeded: right),
        length: Int32(truncatingIfNeeded: length)))
  }

  private func append(
    _ range: Range<Int>, of word: UnsafeBufferPointer<UInt8>, to result: inout [WordToken]
  ) throws(Problem) {
    if let id = tokens.id(of: UnsafeBufferPointer(rebasing: word[range])) {
      result.append(WordToken(id: id, start: range.lowerBound, end: range.upperBound))
      return
    }
    for index in range {
      let id = bytes[Int(word[index])]
      guard id >= 0 else {
        throw Problem(
          .tokenizerUnknown,
          "the vocabulary has no token for the byte 0x\(String(word[index], radix: 16, uppercase: true))")
      }
      result.append(WordToken(id: id, start: range.lowerBound, end: range.upperBound))
    }
  }
}

/// A binary heap.
private struct PriorityQueue<Element> {
  private var elements: [Element] = []
  private let precedes: (Element, Element) -> Bool

  init(_ precedes: @escaping (Element, Element) -> Bool) { self.precedes = precedes }

  mutating func push(_ element: Element) {
    elements.append(element)
    var child = elements.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard precedes(elements[child], elements[parent]) else { return }
      elements.swapAt(child, parent)
      child = parent
    }
  }

  mutating func pop() -> Element? {
    guard let first = elements.first else { return nil }
    let last = elements.removeLast()
    if elements.isEmpty { return first }
    elements[0] = last
    var parent = 0
    while true {
      var child = 2 * parent + 1
      guard child < elements.count else { return first }
      if child + 1 < elements.count, precedes(elements[child + 1], elements[child]) { child += 1 }
      guard precedes(elements[child], elements[parent]) else { return first }
      elements.swapAt(child, parent)
      parent = child
    }
  }
}
