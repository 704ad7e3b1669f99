import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport
import Testing

@Suite struct AccumulationTests {
  private func add(_ values: [Float], width: Int, to accumulator: SiteAccumulator, workers: WorkerPool? = nil) throws {
    func share(_ count: Int, _ body: (Int) throws(Problem) -> Void) throws(Problem) {
      if let workers { try workers.forEach(count, body) } else { try MatrixProduct.serially(count, body) }
    }
    try values.withUnsafeBufferPointer { buffer in
      try accumulator.add(try MatrixView(buffer, rows: buffer.count / width, columns: width), parallel: share)
    }
  }

  @Test func twoRows() throws {
    let accumulator = try SiteAccumulator(width: 2, momentLimit: 8)
    try add([1, -2, 3, 4], width: 2, to: accumulator)
    let statistics = try accumulator.statistics()
    #expect(statistics.count == 2)
    #expect(statistics.sums == [4, 2])
    #expect(statistics.squareSums == [10, 20])
    #expect(statistics.absoluteSums == [4, 6])
    guard case .full(let moment)? = statistics.moment else {
      Issue.record("the moment is not whole")
      return
    }
    #expect(moment.elements == [10, 10, 10, 20])
  }

  /// Widths around the tiles of the product, rows around the length of a product.
  @Test(arguments: [(1, 1), (7, 511), (64, 512), (255, 513), (300, 1100), (1030, 600)])
  func agreesWithSumsInDouble(width: Int, rows: Int) throws {
    var generator = SeededGenerator(seed: 5)
    let values = generator.floats(rows * width)
    let accumulator = try SiteAccumulator(width: width, momentLimit: 8192)
    try add(values, width: width, to: accumulator, workers: Model.workers)
    let expected = reference((0..<rows).map { row in values[row * width..<(row + 1) * width].map(Double.init) })
    // A float32 sum of 512 terms.
    #expect(try accumulator.statistics().distance(to: expected) < 1e-6)
  }

  @Test func howRowsComeChangesNoBit() throws {
    var generator = SeededGenerator(seed: 6)
    let (width, rows) = (130, 1500)
    let values = generator.floats(rows * width)
    func gathered(_ cuts: [Int], _ workers: WorkerPool?) throws -> SiteStatistics {
      let accumulator = try SiteAccumulator(width: width, momentLimit: 8192)
      for (first, end) in zip([0] + cuts, cuts + [rows]) {
        try add(Array(values[first * width..<end * width]), width: width, to: accumulator, workers: workers)
      }
      return try accumulator.statistics()
    }
    let whole = try gathered([], nil)
    for (cuts, workers) in [
      ([1, 2, 600], nil), ([511, 512, 513, 1024], Model.workers), ([700], WorkerPool(threads: 3)),
    ] {
      #expect(try gathered(cuts, workers).distance(to: whole) == 0)
    }
  }

  @Test func wideMomentsAreSquaresAlongTheDiagonal() throws {
    var generator = SeededGenerator(seed: 7)
    let (width, rows) = (10, 20)
    let values = generator.floats(rows * width)
    let (whole, parts) = (
      try SiteAccumulator(width: width, momentLimit: 10), try SiteAccumulator(width: width, momentLimit: 4)
    )
    for accumulator in [whole, parts] { try add(values, width: width, to: accumulator) }
    guard case .full(let moment)? = try whole.statistics().moment,
      case .blocks(let blocks)? = try parts.statistics().moment
    else {
      Issue.record("the moments are of other forms")
      return
    }
    #expect(blocks.map(\.rows) == [3, 3, 4])
    var first = 0
    for block in blocks {
      for i in 0..<block.rows { for j in 0..<block.rows { #expect(block[i, j] == moment[first + i, first + j]) } }
      first += block.rows
    }
  }

  @Test func rowsOfAnotherWidthAreRefused() throws {
    let accumulator = try SiteAccumulator(width: 3, momentLimit: 3)
    #expect(problem { try add([1, 2], width: 2, to: accumulator) }?.code == .matrixShape)
  }
}
