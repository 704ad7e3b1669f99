import EspalierBasics
import Testing

@testable import EspalierExecution

@Suite struct TilingTests {
  static let layouts: [Tiling.Blocks] = [
    .flat, .rows(length: 1), .rows(length: 7), .rows(length: 4096), .rows(length: 11_008), .rows(length: 16_385),
    .rows(length: (4 << 20) + 1),
  ]

  /// Spans follow each other without gap, begin at a digest chunk for every element width, and hold whole blocks.
  @Test(arguments: layouts) func spansCoverTheTensor(_ blocks: Tiling.Blocks) {
    for count in [0, 1, 4095, 4096, 4097, 16_385, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 45_088_768] {
      let tiling = Tiling(elementCount: count, blocks: blocks)
      var position = 0
      for index in 0..<tiling.spanCount {
        let span = tiling.span(index)
        #expect(span.lowerBound == position && !span.isEmpty)
        #expect(span.lowerBound % tiling.blockLength == 0)
        for width in [1, 2, 4, 8] { #expect(span.lowerBound * width % ChunkedDigest.chunkBytes == 0) }
        position = span.upperBound
      }
      #expect(position == count)
      #expect(tiling.blockCount == (count + tiling.blockLength - 1) / tiling.blockLength)
    }
  }

  /// Tiles hold whole blocks, so that a block is never read in two parts.
  @Test(arguments: layouts) func tilesHoldWholeBlocks(_ blocks: Tiling.Blocks) {
    let tiling = Tiling(elementCount: 1 << 24, blocks: blocks)
    #expect(tiling.tileLength % tiling.blockLength == 0)
    #expect(tiling.spanLength % tiling.blockLength == 0)
  }

  @Test func rowsByHand() {
    // A row of 96 shares 32 with the unit 4 Mi: spans of 3 * 4 Mi elements.
    let tiling = Tiling(elementCount: 30 << 20, blocks: .rows(length: 96))
    #expect(tiling.spanLength == 12 << 20)
    #expect(tiling.tileLength == 170 * 96)
    #expect((0..<tiling.spanCount).map { tiling.span($0).count } == [12 << 20, 12 << 20, 6 << 20])
  }

  /// Where a common multiple of row and unit is no Int, there is one span.
  @Test func hugeRows() {
    let tiling = Tiling(elementCount: 10, blocks: .rows(length: Int.max))
    #expect(tiling.spanCount == 1 && tiling.span(0) == 0..<10)
  }
}
