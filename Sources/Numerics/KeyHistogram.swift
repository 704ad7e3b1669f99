/// Keys of a bracket counted in at most 2,048 bins of equal width, with the extremes of each bin: finds the bin in
/// which a rank lies. Bins shrink at least 2^11-fold from bracket to bin, and a bin of equal keys shrinks to that key.
struct KeyHistogram {
  struct Bin {
    var count = 0
    var least = UInt32.max
    var greatest = UInt32.min
  }

  private let low: UInt32
  private let width: UInt32
  private let shift: UInt32
  private var bins: [Bin]

  init(_ bracket: ClosedRange<UInt32>) {
    low = bracket.lowerBound
    width = bracket.upperBound - bracket.lowerBound
    shift = UInt32(max(0, 21 - width.leadingZeroBitCount))
    bins = [Bin](repeating: Bin(), count: Int(width >> shift) + 1)
  }

  /// Counts the keys that lie in the bracket.
  mutating func add(_ keys: UnsafeBufferPointer<UInt32>) {
    bins.withUnsafeMutableBufferPointer { bins in
      for key in keys {
        let offset = key &- low  // wraps far beyond the width for a key below the bracket
        guard offset <= width else { continue }
        let index = Int(offset >> shift)
        bins[index].count += 1
        bins[index].least = min(bins[index].least, key)
        bins[index].greatest = max(bins[index].greatest, key)
      }
    }
  }

  /// The smallest range of keys known to hold rank `rank` (from 1, the largest key first) and how many counted keys
  /// lie above that range; nil if fewer keys were counted.
  func locate(rank: Int) -> (bracket: ClosedRange<UInt32>, above: Int)? {
    var above = 0
    for bin in bins.reversed() where bin.count > 0 {
      if above + bin.count >= rank { return (bin.least...bin.greatest, above) }
      above += bin.count
    }
    return nil
  }

  /// The key of rank `rank` (from 1, the largest first) among the keys inside a bracket, and how many of them are
  /// larger; nil if there are fewer.
  static func select(
    rank: Int, of keys: UnsafeBufferPointer<UInt32>, in bracket: ClosedRange<UInt32>
  ) -> (key: UInt32, above: Int)? {
    var bracket = bracket
    var above = 0
    while bracket.lowerBound < bracket.upperBound {
      var histogram = KeyHistogram(bracket)
      histogram.add(keys)
      guard let found = histogram.locate(rank: rank - above) else { return nil }
      bracket = found.bracket
      above += found.above
    }
    return (bracket.lowerBound, above)
  }
}
