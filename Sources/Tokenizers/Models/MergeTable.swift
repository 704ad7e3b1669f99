internal import EspalierBasics

/// The merges of a byte-pair model, and the merging.
struct MergeTable: Sendable {
  /// Open addressing: a pair of ids, then the merge's rank and the id it makes. An empty slot has `rank` -1.
  private struct Slot {
    var first: Int32 = 0
    var second: Int32 = 0
    var rank: Int32 = -1
    var merged: Int32 = 0
  }

  private var slots: [Slot]
  private let shift: UInt64

  /// Ranks are places in the list; of a pair that is there twice, the last counts.
  init(_ merges: [(String, String)], tokens: TokenTable, prefixLength: Int) throws(Problem) {
    var bits: UInt64 = 4
    while 1 << bits < 2 * merges.count { bits += 1 }
    slots = [Slot](repeating: Slot(), count: 1 << bits)
    shift = 64 - bits
    for (rank, (left, right)) in merges.enumerated() {
      func id(_ text: [UInt8]) throws(Problem) -> Int32 {
        if let id = tokens.id(of: text) { return id }
        throw Problem(
          .tokenizerMalformed,
          "merge \(rank) needs the token \(quoted(ExactString(String(decoding: text, as: UTF8.self)))), which is not in the vocabulary"
        )
      }
      let leftText = Array(left.utf8)
      let rightText = Array(right.utf8)
      let first = try id(leftText)
      let second = try id(rightText)
      guard rightText.count >= prefixLength else {
        throw Problem(
          .tokenizerMalformed, "merge \(rank) has a second part shorter than the prefix of continuing parts")
      }
      let merged = try id(leftText + rightText[prefixLength...])
      let slot = index(first, second)
      slots[slot] = Slot(first: first, second: second, rank: Int32(truncatingIfNeeded: rank), merged: merged)
    }
  }

  private func index(_ first: Int32, _ second: Int32) -> Int {
    slots.withUnsafeBufferPointer { Self.index(first, second, $0, shift) }
  }

  /// The slot of a pair, or the empty one where it belongs.
  @inline(__always)
  private static func index(
    _ first: Int32, _ second: Int32, _ slots: UnsafeBufferPointer<Slot>, _ shift: UInt64
  ) -> Int {
    let key = UInt64(UInt32(bitPattern: first)) << 32 | UInt64(UInt32(bitPattern: second))
    var slot = Int(truncatingIfNeeded: ((key ^ key >> 32) &* 0x9E37_79B9_7F4A_7C15) >> shift)
    let mask = slots.count - 1
    while slots[slot].rank >= 0, slots[slot].first != first || slots[slot].second != second {
      slot = (slot + 1) & mask
    }
    return slot
  }

  /// The tokens of a word while it is merged: a linked list in arrays.
  struct Symbols: ~Copyable {
    fileprivate var ids: [Int32] = []
    fileprivate var lengths: [Int32] = []

    init(capacity: Int) {
      ids.reserveCapacity(capacity)
      lengths.reserveCapacity(capacity)
    }

    mutating func append(_ id: Int32, length: Int) {
      ids.append(id)
      lengths.append(Int32(truncatingIfNeeded: length))
    }

    /// Writes what is left, from the left.
    func write(into tokens: inout [WordToken]) {
      var position = 0
      for index in ids.indices {
        let end = position + Int(lengths[index])
        tokens.append(WordToken(id: ids[index], start: position, end: end))
        position = end
      }
    }
  }

  /// Longest word that is searched through again after every merge; longer ones use a queue.
  private static let shortWord = 48

  func merge(_ symbols: inout Symbols) {
    if symbols.ids.count < 2 { return }
    if symbols.ids.count <= Self.shortWord { mergeShort(&symbols) } else { mergeLong(&symbols) }
  }

  /// Keeps the rank of every pair of neighbours, finds the smallest, joins it, closes the gap.
  private func mergeShort(_ symbols: inout Symbols) {
    var count = symbols.ids.count
    slots.withUnsafeBufferPointer { slots in
      symbols.ids.withUnsafeMutableBufferPointer { ids in
        symbols.lengths.withUnsafeMutableBufferPointer { lengths in
          withUnsafeTemporaryAllocation(of: Int32.self, capacity: 2 * Self.shortWord) { scratch in
            let ranks = scratch.baseAddress.unsafelyUnwrapped
            let merged = ranks + Self.shortWord
            func look(_ index: Int) {
              let slot = slots[Self.index(ids[index], ids[index + 1], slots, shift)]
              ranks[index] = slot.rank >= 0 ? slot.rank : Int32.max
              merged[index] = slot.merged
            }
            for index in 0..<count - 1 { look(index) }
            while true {
              var best = -1
              var bestRank = Int32.max
              for index in 0..<count - 1 where ranks[index] < bestRank {
                bestRank = ranks[index]
                best = index
              }
              guard best >= 0 else { break }
              ids[best] = merged[best]
              lengths[best] += lengths[best + 1]
              count -= 1
              var index = best + 1
              while index < count {
                ids[index] = ids[index + 1]
                lengths[index] = lengths[index + 1]
                ranks[index - 1] = ranks[index]
                merged[index - 1] = merged[index]
                index += 1
              }
              if best > 0 { look(best - 1) }
              if best < count - 1 { look(best) }
            }
          }
        }
      }
    }
    symbols.ids.removeLast(symbols.ids.count - count)
    symbols.lengths.removeLast(symbols.lengths.count - count)
  }

  /// The same with a queue of candidates, in time n log n.
  private func mergeLong(_ symbols: inout Symbols) {
    let count = symbols.ids.count
    var previous = (0..<Int32(count)).map { $0 - 1 }
    var next = (0..<Int32(count)).map { $0 + 1 }
    var queue = CandidateQueue()
    slots.withUnsafeBufferPointer { slots in
      symbols.ids.withUnsafeMutableBufferPointer { ids in
        symbols.lengths.withUnsafeMutableBufferPointer { lengths in
          func offer(_ left: Int, _ right: Int) {
            let slot = slots[Self.index(ids[left], ids[right], slots, shift)]
            if slot.rank >= 0 {
              queue.push(CandidateQueue.Candidate(rank: slot.rank, position: Int32(left), merged: slot.merged))
            }
          }
          for index in 0..<count - 1 { offer(index, index + 1) }
          while let candidate = queue.pop() {
            let left = Int(candidate.position)
            guard lengths[left] != 0, Int(next[left]) < count else { continue }
            let right = Int(next[left])
            let slot = slots[Self.index(ids[left], ids[right], slots, shift)]
            // The neighbours may have changed since the candidate was queued.
            guard slot.rank >= 0, slot.merged == candidate.merged else { continue }
            ids[left] = candidate.merged
            lengths[left] += lengths[right]
            lengths[right] = 0
            next[left] = next[right]
            if Int(next[right]) < count { previous[Int(next[right])] = Int32(left) }
            if previous[left] >= 0 { offer(Int(previous[left]), left) }
            if Int(next[left]) < count { offer(left, Int(next[left])) }
          }
        }
      }
    }
    var end = 0
    for index in 0..<count where symbols.lengths[index] != 0 {
      symbols.ids[end] = symbols.ids[index]
      symbols.lengths[end] = symbols.lengths[index]
      end += 1
    }
    symbols.ids.removeLast(count - end)
    symbols.lengths.removeLast(count - end)
  }
}

/// A heap of possible merges: the earliest first, the leftmost of equals.
struct CandidateQueue {
  struct Candidate {
    var rank: Int32
    var position: Int32
    var merged: Int32

    var key: UInt64 { UInt64(UInt32(bitPattern: rank)) << 32 | UInt64(UInt32(bitPattern: position)) }
  }

  private var heap: [Candidate] = []

  mutating func push(_ candidate: Candidate) {
    heap.append(candidate)
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 4
      guard candidate.key < heap[parent].key else { break }
      heap[child] = heap[parent]
      child = parent
    }
    heap[child] = candidate
  }

  mutating func pop() -> Candidate? {
    guard let top = heap.first, let last = heap.popLast() else { return nil }
    guard !heap.isEmpty else { return top }
    let count = heap.count
    heap.withUnsafeMutableBufferPointer { heap in
      var parent = 0
      while true {
        let first = 4 * parent + 1
        guard first < count else { break }
        var smallest = first
        for child in first + 1..<max(first + 1, min(first + 4, count)) where heap[child].key < heap[smallest].key {
          smallest = child
        }
        guard heap[smallest].key < last.key else { break }
        heap[parent] = heap[smallest]
        parent = smallest
      }
      heap[parent] = last
    }
    return top
  }
}
