import EspalierNumerics
import Testing

private func uniform(_ count: Int, seed: UInt64) -> [Float] {
  [Float](unsafeUninitializedCapacity: count) {
    KeyedRandom(seed: seed, name: "rows").uniforms(startingAt: 0, into: $0.baseAddress!, count: count)
    $1 = count
  }
}

@Suite struct RowRanksTests {
  private func check(_ values: [Float], _ comment: Comment) throws {
    var ranks = [UInt32](repeating: .max, count: values.count)
    try RowRanks(capacity: values.count).rank(values, count: values.count, into: &ranks)
    var expected = [UInt32](repeating: 0, count: values.count)
    let keys = values.map { $0.bitPattern & 0x7fff_ffff }
    let sorted = values.indices.sorted { (keys[$0], $0) < (keys[$1], $1) }
    for (rank, index) in sorted.enumerated() { expected[index] = UInt32(rank) }
    #expect(ranks == expected, comment)
  }

  @Test func handWorked() throws {
    var ranks = [UInt32](repeating: 9, count: 5)
    try RowRanks(capacity: 5).rank([-3, 1, 0, -1, 2], count: 5, into: &ranks)
    #expect(ranks == [4, 1, 0, 2, 3])
  }

  @Test(arguments: [0, 1, 2, 3, 15, 512, 1000, 4096, 8191, 70_000]) func ranksEqualAStableSort(_ n: Int) throws {
    for seed: UInt64 in 0..<3 {
      let row = uniform(n, seed: seed)
      try check(row.map { $0 - 0.5 }, "uniform, seed \(seed)")
      try check(row.map { ($0 * 16).rounded() - 8 }, "ties, seed \(seed)")
      try check(row.map { $0 * $0 * $0 * 1e-20 }, "wide range, seed \(seed)")
    }
    try check([Float](repeating: -1, count: n), "all equal")
    try check((0..<n).map { Float($0) }, "ascending")
    try check((0..<n).map { -Float(n - $0) }, "descending")
  }

  /// One element that stretches the range until the leading bits of all others are equal.
  @Test func outliersDoNotMatter() throws {
    for outlier: Float in [0, 1e30, .infinity, .nan] {
      for count in [100, 5000] {
        var row = uniform(count, seed: 3).map { 1 + $0 * 1e-4 }
        row[count / 3] = outlier
        try check(row, "outlier \(outlier)")
        row.sort(by: >)
        try check(row, "outlier \(outlier), descending")
      }
    }
  }
}
