import CKernels

/// Sums whose bits depend on the data alone: not on threads, tiles or the machine.
///
/// Data is cut into blocks of 4,096 elements (the last may be shorter). Within a block, 16 float64 lanes are added in
/// a fixed tree (`es_sum` and its kin); the blocks' partial sums are then added by ``combine(_:)``. Whoever computes
/// the partial sums, in whatever order, gets the same result. The relative rounding error against the sum of
/// magnitudes is at most `(256 + 4 + log2(blocks)) * 2^-53`.
public enum CanonicalSum {
  /// Elements in a block.
  public static let blockLength = 4096

  /// Adds the partial sums of consecutive blocks: neighbours in pairs, level by level; the tree depends on the count
  /// alone. No partial sums add up to 0.
  public static func combine(_ partials: [Double]) -> Double {
    var level = partials
    while level.count > 1 {
      level = stride(from: 0, to: level.count, by: 2).map { left in
        left + 1 < level.count ? level[left] + level[left + 1] : level[left]
      }
    }
    return level.first ?? 0
  }

  /// Sum of `values[i]`.
  public static func sum(_ values: UnsafeBufferPointer<Float>) -> Double {
    overBlocks(values) { es_sum($0, $1) }
  }

  /// Sum of `|values[i]|`.
  public static func absoluteSum(_ values: UnsafeBufferPointer<Float>) -> Double {
    overBlocks(values) { es_abs_sum($0, $1) }
  }

  /// Sum of `values[i]^2`.
  public static func squaredNorm(_ values: UnsafeBufferPointer<Float>) -> Double {
    overBlocks(values) { es_square_sum($0, $1) }
  }

  /// Sum of `a[i] * b[i]` over two buffers of one length (the shorter one counts).
  public static func dot(_ a: UnsafeBufferPointer<Float>, _ b: UnsafeBufferPointer<Float>) -> Double {
    guard let aStart = a.baseAddress, let bStart = b.baseAddress else { return 0 }
    return combine(
      blocks(of: min(a.count, b.count)).map { es_dot(aStart + $0.lowerBound, bStart + $0.lowerBound, Int64($0.count)) })
  }

  /// The element ranges of the blocks of `count` elements.
  public static func blocks(of count: Int) -> [Range<Int>] {
    stride(from: 0, to: count, by: blockLength).map { $0..<min($0 + blockLength, count) }
  }

  private static func overBlocks(
    _ values: UnsafeBufferPointer<Float>, _ partial: (UnsafePointer<Float>, Int64) -> Double
  ) -> Double {
    guard let start = values.baseAddress else { return 0 }
    return combine(blocks(of: values.count).map { partial(start + $0.lowerBound, Int64($0.count)) })
  }
}
