internal import EspalierBasics

/// How a tensor is cut, by its shape alone: never by thread count, memory or file layout.
///
/// A *span* is what one thread works through in order; it begins at a chunk boundary of every digest, whatever the
/// element width. A *tile* is what is read at once. A *block* is what arithmetic sees: 4,096 consecutive elements, or
/// a whole row.
public struct Tiling: Sendable, Hashable {
  public enum Blocks: Sendable, Hashable {
    /// Canonical blocks of 4,096 elements of the flattened tensor.
    case flat
    /// One block a row of this length.
    case rows(length: Int)
  }

  public let elementCount: Int
  public let blocks: Blocks
  public let blockLength: Int
  let tileLength: Int
  let spanLength: Int

  static let flatBlockLength = 4096
  static let targetTileLength = 16384
  /// A multiple of the digest chunk for every element width, the narrowest being one byte.
  static let spanUnit = ChunkedDigest.chunkBytes

  public init(elementCount: Int, blocks: Blocks) {
    self.elementCount = elementCount
    self.blocks = blocks
    switch blocks {
    case .flat:
      blockLength = Self.flatBlockLength
      tileLength = Self.targetTileLength
      spanLength = Self.spanUnit
    case .rows(let length):
      blockLength = max(1, length)
      tileLength = max(1, Self.targetTileLength / blockLength) * blockLength
      // The least common multiple of a row and the unit, unless that is longer than the tensor.
      let common = blockLength / Self.greatestCommonDivisor(blockLength, Self.spanUnit)
      let (product, overflow) = common.multipliedReportingOverflow(by: Self.spanUnit)
      spanLength = overflow ? Int.max : product
    }
  }

  public var blockCount: Int { elementCount / blockLength + (elementCount % blockLength == 0 ? 0 : 1) }
  public var spanCount: Int { elementCount / spanLength + (elementCount % spanLength == 0 ? 0 : 1) }

  func span(_ index: Int) -> Range<Int> {
    let start = index * spanLength
    return start..<min(elementCount, spanLength > elementCount - start ? elementCount : start + spanLength)
  }

  private static func greatestCommonDivisor(_ a: Int, _ b: Int) -> Int {
    var (a, b) = (a, b)
    while b != 0 { (a, b) = (b, a % b) }
    return a
  }
}
