import CKernels
import EspalierBasics
import Synchronization

/// The search for one cut: a bracket of keys that narrows from pass to pass until the cut inside it is found.
///
/// A pass counts the keys above the bracket and at its two ends, and collects those between, up to a capacity; if they
/// exceed it, it counts them in a histogram instead, whose bin of the cut is the next bracket. That the ends are only
/// counted matters for data on a grid, such as changes of bf16 weights: a value that many elements share is likely an
/// end, and would overflow the capacity.
/// Whatever the data: one pass if the first bracket holds the cut and little else; one more if it missed; at most three
/// more for the histograms to narrow to one key; and one to count it.
///
/// ``scan(block:values:)`` may run on several threads at once; everything else is called between passes.
final class RankSearch: @unchecked Sendable {
  /// The keys of a block at the bracket's ends and between them.
  private struct Run {
    var block: Int
    var atHigh: Int
    var inside: Int
    var atLow: Int
  }

  /// The elements of a block that equal the key of the cut.
  private struct Ties {
    var block: Int
    var count: Int
  }

  private struct Tally {
    var scanned = 0
    var above = 0
    var atHigh = 0
    var inside = 0
    var atLow = 0
    /// Of the blocks with keys in the bracket, as they came; the keys between are stored in this order.
    var runs: [Run] = []
    /// From the moment the keys inside exceed the capacity.
    var histogram: KeyHistogram?

    mutating func add(_ counts: es_bracket_count, block: Int, of elements: Int) {
      scanned += elements
      let run = Run(
        block: block, atHigh: Int(counts.at_high), inside: Int(counts.inside), atLow: Int(counts.at_low))
      above += Int(counts.above)
      atHigh += run.atHigh
      inside += run.inside
      atLow += run.atLow
      if run.atHigh + run.inside + run.atLow > 0 { runs.append(run) }
    }
  }

  private let rank: Int
  private let order: RankOrder
  private let count: Int
  private let capacity: Int
  /// The key of the cut is known to lie here.
  private var known: ClosedRange<UInt32>
  private var bracket: ClosedRange<UInt32>
  private var keys: AlignedBuffer?
  private let tally = Mutex(Tally())
  private(set) var cut: RankCut?

  /// - Parameters:
  ///   - rank: how many of `count` elements are kept.
  ///   - capacity: how many keys may be collected, at least those of one block.
  init(rank: Int, of count: Int, order: RankOrder, capacity: Int) {
    self.rank = rank
    self.order = order
    self.count = count
    self.capacity = capacity
    known = 0...order.greatestKey
    bracket = known
    if rank <= 0 { cut = RankCut.none(order) } else if rank >= count { cut = .all(order) }
  }

  /// Narrows the first bracket by a sample.
  func estimate(from sample: RankSample) { bracket = sample.bracket(rank: rank, of: count, order: order) }

  func beginPass() throws(Problem) {
    tally.withLock { $0 = Tally() }
    if keys == nil { keys = try AlignedBuffer(count: capacity, of: UInt32.self) }
  }

  func scan(block: Int, values: UnsafeBufferPointer<Float>) {
    guard cut == nil, let start = values.baseAddress else { return }
    let n = Int64(values.count)
    if bracket.lowerBound == bracket.upperBound {
      let counts = es_count_at_key(start, n, order.keys, bracket.lowerBound)
      tally.withLock { $0.add(counts, block: block, of: values.count) }
      return
    }
    withUnsafeTemporaryAllocation(of: UInt32.self, capacity: values.count + Int(ES_COLLECT_SLACK)) { inside in
      guard let collected = inside.baseAddress else { return }
      let counts = es_collect_in_bracket(
        start, n, order.keys, bracket.lowerBound, bracket.upperBound, collected)
      let new = UnsafeBufferPointer(start: collected, count: Int(counts.inside))
      tally.withLock { tally in
        store(new, in: &tally)
        tally.add(counts, block: block, of: values.count)
      }
    }
  }

  /// Stores keys behind those stored before, or counts them once there are too many.
  private func store(_ new: UnsafeBufferPointer<UInt32>, in tally: inout Tally) {
    guard let keys else { return }
    let stored = keys.values(of: UInt32.self)
    if tally.histogram == nil, tally.inside + new.count > capacity, let between {
      tally.histogram = KeyHistogram(between)
      tally.histogram?.add(UnsafeBufferPointer(rebasing: stored[..<tally.inside]))
    }
    if tally.histogram != nil {
      tally.histogram?.add(new)
    } else {
      _ = UnsafeMutableBufferPointer(rebasing: stored[tally.inside...]).update(fromContentsOf: new)
    }
  }

  func endPass() throws(Problem) {
    let tally = tally.withLock { $0 }
    guard tally.scanned == count else {
      throw Problem(.passesDisagree, "a pass over \(count) elements brought \(tally.scanned)")
    }
    let fromHigh = tally.above + tally.atHigh
    let aboveLow = fromHigh + tally.inside
    if rank <= tally.above {
      try expect(bracket.upperBound < known.upperBound)
      known = bracket.upperBound + 1...known.upperBound
      bracket = known
    } else if rank <= fromHigh {
      let ties = tally.runs.map { Ties(block: $0.block, count: $0.atHigh) }
      try finish(key: bracket.upperBound, quota: rank - tally.above, ties: ties)
    } else if rank > aboveLow + tally.atLow {
      try expect(known.lowerBound < bracket.lowerBound)
      known = known.lowerBound...bracket.lowerBound - 1
      bracket = known
    } else if rank > aboveLow {
      let ties = tally.runs.map { Ties(block: $0.block, count: $0.atLow) }
      try finish(key: bracket.lowerBound, quota: rank - aboveLow, ties: ties)
    } else if let histogram = tally.histogram {
      guard let found = histogram.locate(rank: rank - fromHigh) else { return try expect(false) }
      known = found.bracket
      bracket = known
    } else {
      try finishBetween(tally, rank: rank - fromHigh)
    }
  }

  /// The keys strictly inside the bracket.
  private var between: ClosedRange<UInt32>? {
    guard bracket.upperBound - bracket.lowerBound > 1 else { return nil }
    return bracket.lowerBound + 1...bracket.upperBound - 1
  }

  /// What the data itself guarantees, as long as every pass sees the same.
  private func expect(_ condition: Bool) throws(Problem) {
    guard condition else { throw Problem(.passesDisagree, "the passes over \(count) elements saw different values") }
  }

  /// Finds the cut among the collected keys, and the block in which its quota runs out.
  private func finishBetween(_ tally: Tally, rank: Int) throws(Problem) {
    guard let between, let stored = keys?.values(of: UInt32.self) else { return try expect(false) }
    let collected = UnsafeBufferPointer(rebasing: stored[..<tally.inside])
    guard let found = KeyHistogram.select(rank: rank, of: collected, in: between) else { return try expect(false) }
    try finish(key: found.key, quota: rank - found.above, ties: Self.ties(found.key, in: collected, runs: tally.runs))
  }

  private func finish(key: UInt32, quota: Int, ties: [Ties]) throws(Problem) {
    var quota = quota
    for run in ties.sorted(by: { $0.block < $1.block }) {
      if quota <= run.count {
        cut = RankCut(order: order, key: key, block: run.block, quota: quota)
        keys = nil
        return
      }
      quota -= run.count
    }
    try expect(false)
  }

  /// How many of the keys of each block equal one key.
  private static func ties(_ key: UInt32, in collected: UnsafeBufferPointer<UInt32>, runs: [Run]) -> [Ties] {
    var start = 0
    return runs.map { run in
      defer { start += run.inside }
      return Ties(block: run.block, count: collected[start..<start + run.inside].count { $0 == key })
    }
  }
}
