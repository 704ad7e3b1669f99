/// A sample of a tensor by whole blocks, thinned: brackets the key at which a ranking will be cut.
struct RankSample {
  private var values: [Float] = []
  /// Where the values of each sampled block end.
  private var ends: [Int] = []

  /// Takes every `stride`-th value of a block, starting at another residue for each block.
  mutating func add(_ block: UnsafeBufferPointer<Float>, stride: Int) {
    values.append(contentsOf: Swift.stride(from: ends.count % stride, to: block.count, by: stride).map { block[$0] })
    ends.append(values.count)
  }

  /// A range of keys that very likely holds the key of rank `rank` of all `count` elements.
  ///
  /// Woodruff's interval: the share of elements above the sample's own quantile has a standard error, estimated from
  /// its spread over the blocks, since elements of one block are alike (but no less than that of independent
  /// elements); the bracket reaches from the sample's quantile five such errors below to five above (Woodruff,
  /// "Confidence intervals for medians and other position measures", JASA 47, 1952).
  func bracket(rank: Int, of count: Int, order: RankOrder) -> ClosedRange<UInt32> {
    let keys = values.map(order.key(of:))
    let everything = 0...order.greatestKey
    guard let quantile = Self.key(rank: Double(rank) / Double(count) * Double(keys.count), of: keys, order) else {
      return everything
    }
    let size = Double(keys.count)
    let share = Double(rank) / Double(count)
    let independent = (share * (1 - share) / size).squareRoot()
    let margin = 5 * max(independent, standardError(ofKeys: keys, notBelow: quantile)) * size + 16
    let low = Self.key(rank: share * size + margin, of: keys, order) ?? 0
    let high = Self.key(rank: share * size - margin, of: keys, order) ?? order.greatestKey
    return low...max(low, high)
  }

  /// The key of a rank (from 1, the largest first), nil if there is no such rank.
  private static func key(rank: Double, of keys: [UInt32], _ order: RankOrder) -> UInt32? {
    let rank = Int(rank.rounded())
    guard rank >= 1, rank <= keys.count else { return nil }
    return keys.withUnsafeBufferPointer {
      KeyHistogram.select(rank: rank, of: $0, in: 0...order.greatestKey)?.key
    }
  }

  /// The standard error of the share of keys at or above a key, from the shares of the blocks.
  private func standardError(ofKeys keys: [UInt32], notBelow limit: UInt32) -> Double {
    let starts = [0] + ends.dropLast()
    let shares = zip(starts, ends).filter { $0 < $1 }.map { start, end in
      Double(keys[start..<end].count { $0 >= limit }) / Double(end - start)
    }
    guard shares.count > 1 else { return 0 }
    let mean = shares.reduce(0, +) / Double(shares.count)
    let variance = shares.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(shares.count - 1)
    return (variance / Double(shares.count)).squareRoot()
  }
}
