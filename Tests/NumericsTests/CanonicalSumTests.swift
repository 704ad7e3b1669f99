import EspalierNumerics
import Testing

@Suite struct CanonicalSumTests {
  /// 24-bit integers scaled by a power of two: every partial sum is exact in float64, so the sum has one right answer.
  @Test(arguments: [0, 1, 15, 16, 17, 4095, 4096, 4097, 8192, 20_001]) func exactDataIsSummedExactly(_ count: Int) {
    let integers = (0..<count).map { ($0 &* 7_919 &* 104_729) % 16_777_213 - 8_000_000 }
    let a = integers.map { Float($0) * 0x1p-20 }
    let b = integers.map { Float(($0 % 1000) * 3) }
    a.withUnsafeBufferPointer { a in
      b.withUnsafeBufferPointer { b in
        #expect(CanonicalSum.sum(a) == Double(integers.reduce(0, +)) * 0x1p-20)
        #expect(CanonicalSum.absoluteSum(a) == Double(integers.reduce(0) { $0 + abs($1) }) * 0x1p-20)
        #expect(CanonicalSum.dot(a, b) == Double(integers.reduce(0) { $0 + $1 * ($1 % 1000) * 3 }) * 0x1p-20)
        #expect(CanonicalSum.squaredNorm(b) == Double(integers.reduce(0) { $0 + ($1 % 1000) * ($1 % 1000) * 9 }))
      }
    }
  }

  /// The definition, spelled out: lanes, their tree, the tree of blocks.
  private func spelledOut(_ values: [Float]) -> Double {
    let partials = stride(from: 0, to: values.count, by: 4096).map { start -> Double in
      var lanes = [Double](repeating: 0, count: 16)
      for (index, value) in values[start..<min(start + 4096, values.count)].enumerated() {
        lanes[index % 16] += Double(value)
      }
      let eight = (0..<8).map { lanes[$0] + lanes[$0 + 8] }
      let four = (0..<4).map { eight[$0] + eight[$0 + 4] }
      return (four[0] + four[2]) + (four[1] + four[3])
    }
    func tree(_ level: ArraySlice<Double>) -> Double {
      if level.count == 1 { return level.first! }
      var half = 1
      while half * 2 < level.count { half *= 2 }
      return tree(level.prefix(half)) + tree(level.dropFirst(half))
    }
    return tree(partials[...])
  }

  @Test(arguments: [1, 100, 4096, 5000, 4096 * 3, 4096 * 5 + 1, 4096 * 11 + 77])
  func bitsFollowTheDefinition(_ count: Int) {
    let values = (0..<count).map { index -> Float in
      let mixed = UInt32(truncatingIfNeeded: index &* 2_654_435_761 &+ 12_345)
      return Float(Int32(bitPattern: mixed)) * 0x1p-31 * (index % 7 == 0 ? 1e12 : 1e-6)
    }
    let sum = values.withUnsafeBufferPointer(CanonicalSum.sum)
    #expect(sum.bitPattern == spelledOut(values).bitPattern)
  }

  /// Exact products of floats: squares of extreme values neither overflow nor vanish.
  @Test func productsOfExtremesAreExact() {
    let tiny: [Float] = [.leastNonzeroMagnitude]
    let huge: [Float] = [.greatestFiniteMagnitude]
    #expect(tiny.withUnsafeBufferPointer(CanonicalSum.squaredNorm) == 0x1p-298)
    let greatest = Double(Float.greatestFiniteMagnitude)
    #expect(huge.withUnsafeBufferPointer(CanonicalSum.squaredNorm) == greatest * greatest)
  }

  @Test func combiningIsPairwiseByIndex() {
    #expect(CanonicalSum.combine([]) == 0)
    #expect(CanonicalSum.combine([3]) == 3)
    #expect(CanonicalSum.combine([1e16, 1, -1e16]) == (1e16 + 1) - 1e16)
    let five = [1e16, 1, 1, -1e16, 0.5]
    #expect(CanonicalSum.combine(five) == ((1e16 + 1) + (1 - 1e16)) + 0.5)
  }

  @Test func blocksCoverTheRange() {
    #expect(CanonicalSum.blocks(of: 0) == [])
    #expect(CanonicalSum.blocks(of: 4097) == [0..<4096, 4096..<4097])
  }
}
