import Testing

@testable import EspalierNumerics

/// Keeping by rank decides as its slow twin: rank the whole row, turn ranks into probabilities, keep each.
@Suite struct KeepByRankTests {
  private func kept(
    _ row: [Float], lowest: Float, slope: Float, rescale: Bool, seed: UInt64
  ) -> (fast: [Float], slow: [Float]) {
    let random = KeyedRandom(seed: seed, name: "row", stream: 1)
    var fast = row
    var scratch = [UInt64](repeating: 0, count: 5 * row.count + 1)
    scratch.withUnsafeMutableBytes { bytes in
      random.keepByRank(
        &fast, startingAt: 37, count: row.count, lowest: lowest, slope: slope, rescale: rescale,
        scratch: bytes.baseAddress!.assumingMemoryBound(to: Float.self))
    }
    // Ranks by a stable sort, independent of the kernels.
    let order = row.indices.sorted { (row[$0].magnitude, $0) < (row[$1].magnitude, $1) }
    var probabilities = [Float](repeating: 0, count: row.count)
    for (rank, index) in order.enumerated() { probabilities[index] = lowest + slope * Float(rank) }
    var slow = row
    random.keep(&slow, startingAt: 37, count: row.count, probabilities: probabilities, rescale: rescale)
    return (fast, slow)
  }

  private func rows(_ count: Int, seed: UInt64) -> [[Float]] {
    var normals = [Float](repeating: 0, count: count)
    KeyedRandom(seed: seed, name: "values").normals(startingAt: 0, into: &normals, count: count)
    let outlier = normals.enumerated().map { $0.offset == count / 2 ? 1e20 : $0.element }
    return [
      normals,
      normals.map { ($0 * 8).rounded() / 8 },
      normals.map { ($0 * 1.5).rounded() * 0.001 },
      normals.map { $0 * 1e-35 },
      outlier,
      normals.map { _ in 0.25 },
      normals.map { _ in 0 },
      normals.sorted(),
    ]
  }

  @Test(arguments: [1, 2, 3, 63, 64, 100, 1000, 2048, 5000])
  func agreesWithRankingTheRow(count: Int) {
    for seed in UInt64(1)...3 {
      for (kind, row) in rows(count, seed: seed).enumerated() {
        for (density, epsilon) in [(0.5, 0.15), (0.3, 0.29), (0.9, 0.05), (0.5, 0)] {
          let slope = count > 1 ? Float(2 * epsilon / Double(count - 1)) : 0
          let lowest = Float(count > 1 ? density - epsilon : density)
          let (fast, slow) = kept(row, lowest: lowest, slope: slope, rescale: false, seed: seed)
          #expect(fast == slow, "kind \(kind), \(count) elements, density \(density), seed \(seed)")
        }
      }
    }
  }

  @Test func rescalingDividesByTheProbability() {
    let row = rows(300, seed: 5)[1]
    let (fast, slow) = kept(row, lowest: 0.2, slope: 0.002, rescale: true, seed: 9)
    #expect(fast == slow)
    #expect(fast != row)
  }
}
