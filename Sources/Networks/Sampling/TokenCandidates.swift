internal import EspalierNumerics

/// Tokens that may come next, with what is known of their probabilities; warpers narrow them.
public struct TokenCandidates: Sendable {
  public struct Candidate: Sendable, Hashable {
    public var token: Int32
    public var logit: Float

    /// Larger logits first, equal ones by token.
    func precedes(_ other: Candidate) -> Bool {
      logit > other.logit || (logit == other.logit && token < other.token)
    }
  }

  /// Those still possible: by token, or, once ``sort()`` or ``keepLargest(_:)`` was called, the most probable first.
  public var all: [Candidate]
  private var isSorted = false

  /// - Parameter logits: one a vocabulary entry. What is not a number cannot come.
  public init(logits: [Float]) {
    all = logits.enumerated().map { Candidate(token: Int32($0), logit: $1.isNaN ? -.infinity : $1) }
  }

  /// The most probable, the first of equal ones.
  public var best: Int32? {
    guard var best = all.first else { return nil }
    for candidate in all where candidate.precedes(best) { best = candidate }
    return best.token
  }

  /// Puts the most probable first.
  public mutating func sort() {
    guard !isSorted else { return }
    all.sort { $0.precedes($1) }
    isSorted = true
  }

  /// Keeps the `count` most probable, one at least, and sorts them.
  public mutating func keepLargest(_ count: Int) {
    let count = min(all.count, max(1, count))
    if !isSorted, count < all.count / 8 {
      // A heap of the best so far, its root the one to go next: most candidates cost one comparison.
      var heap = Array(all[..<count])
      for index in (0..<count / 2).reversed() { TokenCandidates.sink(&heap, index) }
      for candidate in all[count...] where candidate.precedes(heap[0]) {
        heap[0] = candidate
        TokenCandidates.sink(&heap, 0)
      }
      all = heap
    }
    sort()
    keep(first: count)
  }

  private static func sink(_ heap: inout [Candidate], _ start: Int) {
    var index = start
    while 2 * index + 1 < heap.count {
      var child = 2 * index + 1
      if child + 1 < heap.count, heap[child].precedes(heap[child + 1]) { child += 1 }
      guard heap[index].precedes(heap[child]) else { return }
      heap.swapAt(index, child)
      index = child
    }
  }

  /// Keeps the first `count` of a sorted list, one at least.
  public mutating func keep(first count: Int) {
    all.removeLast(all.count - min(all.count, max(1, count)))
  }

  /// Normalized probabilities in the order of ``all``, in float64.
  public var probabilities: [Double] {
    guard let peak = all.map(\.logit).max(), peak.isFinite else {
      return all.map { _ in 1 / Double(all.count) }
    }
    let weights = all.map { Elementary.exp(Double($0.logit - peak)) }
    let sum = weights.reduce(0, +)
    return weights.map { $0 / sum }
  }
}

/// Changes the candidates before one is drawn.
public protocol LogitWarper: Sendable {
  /// - Parameter context: the tokens so far, prompt included.
  func warp(_ candidates: inout TokenCandidates, context: [Int32])
}
