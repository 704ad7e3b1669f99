import CKernels
import EspalierBasics
import Testing

@testable import EspalierNumerics

/// Data in memory, served to a selector block by block.
private struct Tensor: Sendable, CustomTestStringConvertible {
  var name: String
  var values: [Float]
  var testDescription: String { name }
  var blocks: [Range<Int>] { CanonicalSum.blocks(of: values.count) }

  func block(_ index: Int, _ body: (UnsafeBufferPointer<Float>) -> Void) {
    values.withUnsafeBufferPointer { body(UnsafeBufferPointer(rebasing: $0[blocks[index]])) }
  }

  /// What is left of the values after cutting, by definition: a stable sort of everything.
  func sortedAndCut(_ count: Int, _ order: RankOrder) -> [Float] {
    func precedes(_ a: Float, _ b: Float) -> Bool {
      switch order {
      case .largestMagnitude: b.magnitude.isTotallyOrdered(belowOrEqualTo: a.magnitude) && !(a.magnitude == b.magnitude)
      case .smallestMagnitude:
        a.magnitude.isTotallyOrdered(belowOrEqualTo: b.magnitude) && !(a.magnitude == b.magnitude)
      case .largestValue: !a.isTotallyOrdered(belowOrEqualTo: b)
      case .smallestValue: !b.isTotallyOrdered(belowOrEqualTo: a)
      }
    }
    let ranked = values.indices.sorted { a, b in
      precedes(values[a], values[b]) || (!precedes(values[b], values[a]) && a < b)
    }
    var kept = [Float](repeating: 0, count: values.count)
    for index in ranked.prefix(max(0, count)) { kept[index] = values[index] }
    return kept
  }

  func apply(_ cut: RankCut) -> [Float] {
    var result = values
    for (index, range) in blocks.enumerated() {
      result.withUnsafeMutableBufferPointer {
        cut.apply(to: $0.baseAddress! + range.lowerBound, count: range.count, block: index)
      }
    }
    return result
  }
}

/// Runs a selection to its end; the cuts and how many passes it took.
private func select(
  _ channels: [Tensor], _ requests: [RankRequest], reversed: Bool = false, sampled: Bool = true
) throws -> (cuts: [RankCut], passes: Int) {
  let selector = RankSelector(count: channels[0].values.count, requests: requests)
  for block in sampled ? selector.sampleBlocks : [] {
    for (channel, tensor) in channels.enumerated() {
      tensor.block(block) { selector.addSample(channel: channel, values: $0) }
    }
  }
  var passes = 0
  while !selector.isFinished {
    try selector.beginPass()
    let indices = Array(channels[0].blocks.indices)
    for block in reversed ? indices.reversed() : indices {
      for (channel, tensor) in channels.enumerated() where selector.needs(channel: channel) {
        tensor.block(block) { selector.scan(block: block, channel: channel, values: $0) }
      }
    }
    try selector.endPass()
    passes += 1
  }
  return (requests.indices.map { selector.cut(of: $0) }, passes)
}

private func normals(_ count: Int, seed: UInt64, scale: Float = 1) -> [Float] {
  [Float](unsafeUninitializedCapacity: count) {
    KeyedRandom(seed: seed, name: "normals").normals(startingAt: 0, into: $0.baseAddress!, count: count)
    $1 = count
  }.map { $0 * scale }
}

private func asBFloat16(_ values: [Float]) -> [Float] { values.map { Float(bitPattern: $0.bitPattern & 0xffff_0000) } }

private let orders: [RankOrder] = [.largestMagnitude, .smallestMagnitude, .largestValue, .smallestValue]

/// Small tensors of every kind of difficulty.
private let small: [Tensor] = [
  Tensor(name: "one", values: [-3]),
  Tensor(name: "normal", values: normals(9000, seed: 1)),
  Tensor(name: "bf16", values: asBFloat16(normals(9000, seed: 2))),
  Tensor(name: "few values", values: (0..<9000).map { [0, -1, 1, 0.5, -0.0][$0 * 7919 % 5] }),
  Tensor(name: "all equal", values: [Float](repeating: -0.25, count: 8193)),
  Tensor(name: "zeros of both signs", values: (0..<5000).map { $0 % 3 == 0 ? -0.0 : 0 }),
  Tensor(name: "ascending", values: (0..<9000).map { Float($0) - 4500 }),
  Tensor(name: "descending", values: (0..<9000).map { 4500 - Float($0) }),
  Tensor(
    name: "specials",
    values: (0..<5000).map {
      [.infinity, -.infinity, .leastNonzeroMagnitude, .greatestFiniteMagnitude, 0, -0x1p-140][$0 * 31 % 6]
    }),
  Tensor(name: "huge range", values: (0..<8192).map { Float(sign: .plus, exponent: $0 % 277 - 149, significand: 1) }),
]

@Suite struct RankSelectionTests {
  @Test(arguments: small, orders) private func cutsEqualAStableSort(_ tensor: Tensor, _ order: RankOrder) throws {
    let n = tensor.values.count
    for count in [-1, 0, 1, 2, n / 10, n / 2, n - 4097, n - 2, n - 1, n, n + 1] {
      let (cuts, passes) = try select([tensor], [RankRequest(count: count, order: order)])
      #expect(
        tensor.apply(cuts[0]).map(\.bitPattern) == tensor.sortedAndCut(count, order).map(\.bitPattern), "\(count)")
      #expect(passes == (count <= 0 || count >= n ? 0 : 1))
    }
  }

  /// Every split of a short, heavily tied row.
  @Test(arguments: orders) func everySplit(_ order: RankOrder) throws {
    let tensor = Tensor(name: "", values: (0..<64).map { Float([3, -1, 2, -3, 1, 0][$0 * 5 % 6]) })
    for count in 0...64 {
      let (cuts, _) = try select([tensor], [RankRequest(count: count, order: order)])
      #expect(tensor.apply(cuts[0]) == tensor.sortedAndCut(count, order))
    }
  }

  /// Tensors that are sampled: the outcome equals that of one sort, in few passes, with and without the sample.
  @Test(arguments: [
    Tensor(name: "normal", values: normals(600_001, seed: 3)),
    Tensor(name: "bf16", values: asBFloat16(normals(280_000, seed: 4))),
    Tensor(name: "coarse grid", values: normals(280_000, seed: 5).map { ($0 * 4).rounded() }),
    Tensor(name: "all equal", values: [Float](repeating: 2, count: 300_000)),
    Tensor(name: "mostly zero", values: normals(270_000, seed: 6).map { $0 > 2 ? $0 : 0 }),
    Tensor(name: "ascending", values: (0..<270_000).map { Float($0) }),
    Tensor(
      name: "rows of different scale",
      values: normals(294_912, seed: 7).enumerated().map {
        $1 * Float(1 + $0 / 8192 * 37 % 64)
      }),
    Tensor(name: "one dense binade", values: normals(270_000, seed: 8).map { 1 + abs($0) * 1e-5 }),
  ])
  private func largeTensors(_ tensor: Tensor) throws {
    let n = tensor.values.count
    for (count, order) in [(n / 5, RankOrder.largestMagnitude), (n / 2, .smallestValue), (7, .largestMagnitude)] {
      let request = RankRequest(count: count, order: order)
      let expected = tensor.sortedAndCut(count, order)
      let sampled = try select([tensor], [request])
      #expect(tensor.apply(sampled.cuts[0]) == expected)
      #expect(sampled.passes <= 4, "\(count)")
      let unsampled = try select([tensor], [request], reversed: true, sampled: false)
      #expect(unsampled.cuts == sampled.cuts)
      #expect(unsampled.passes <= 5, "\(count)")
    }
  }

  /// A sample that says nothing about the rest of the data costs passes, not the result.
  @Test func misleadingSample() throws {
    var tensor = Tensor(name: "", values: normals(500_000, seed: 9))
    let sampled = Set(RankSelector(count: 500_000, requests: []).sampleBlocks)
    #expect(sampled.count == 16)
    for scale: Float in [1e-6, 1e6] {
      for index in tensor.blocks.indices where !sampled.contains(index) {
        for element in tensor.blocks[index] { tensor.values[element] *= scale }
      }
      let count = 150_000
      let (cuts, passes) = try select([tensor], [RankRequest(count: count)])
      #expect(tensor.apply(cuts[0]) == tensor.sortedAndCut(count, .largestMagnitude))
      #expect(passes <= 6)
    }
  }

  @Test func channelsAndRequestsAreIndependent() throws {
    let channels = [
      Tensor(name: "", values: normals(300_000, seed: 10)),
      Tensor(name: "", values: asBFloat16(normals(300_000, seed: 11))),
    ]
    let requests = [
      RankRequest(channel: 1, count: 60_000), RankRequest(channel: 0, count: 299_999),
      RankRequest(channel: 1, count: 3_000, order: .smallestMagnitude), RankRequest(channel: 0, count: 0),
      RankRequest(channel: 0, count: 3_000, order: .largestMagnitude),
    ]
    let (cuts, _) = try select(channels, requests)
    for (cut, request) in zip(cuts, requests) {
      let tensor = channels[request.channel]
      #expect(tensor.apply(cut) == tensor.sortedAndCut(request.count, request.order))
    }
  }

  @Test func threadsDoNotMatter() async throws {
    let tensor = Tensor(name: "", values: asBFloat16(normals(350_000, seed: 12)))
    let requests = [RankRequest(count: 70_000), RankRequest(count: 7_000, order: .smallestValue)]
    let expected = try select([tensor], requests).cuts
    let selector = RankSelector(count: tensor.values.count, requests: requests)
    while !selector.isFinished {
      try selector.beginPass()
      await withTaskGroup { group in
        for lane in 0..<8 {
          group.addTask {
            for block in stride(from: lane, to: tensor.blocks.count, by: 8) {
              tensor.block(block) { selector.scan(block: block, channel: 0, values: $0) }
            }
          }
        }
      }
      try selector.endPass()
    }
    #expect(requests.indices.map { selector.cut(of: $0) } == expected)
  }

  @Test func valueOfTheCut() throws {
    let values: [Float] = [3, -7, 0.5, -0.25, 2]
    func value(_ count: Int, _ order: RankOrder) throws -> Float {
      try values.withUnsafeBufferPointer { try RankCut.keeping(count, of: $0, order: order).value }
    }
    // The third smallest of five is the median.
    #expect(try value(3, .smallestValue) == 0.5)
    #expect(try value(1, .smallestValue) == -7)
    #expect(try value(2, .largestValue) == 2)
    #expect(try value(2, .largestMagnitude) == 3)
    #expect(try value(2, .smallestMagnitude) == 0.5)
  }

  @Test func changingDataIsAProblem() throws {
    let tensor = Tensor(name: "", values: normals(300_000, seed: 13))
    let selector = RankSelector(count: 300_000, requests: [RankRequest(count: 1000)])
    try selector.beginPass()
    tensor.block(0) { selector.scan(block: 0, channel: 0, values: $0) }
    let missing = #expect(throws: Problem.self) { try selector.endPass() }
    #expect(missing?.code == .passesDisagree)

    // Everything moves out of the bracket that the first pass found.
    let other = Tensor(name: "", values: tensor.values.map { $0 * 1e-20 })
    let problem = #expect(throws: Problem.self) {
      for _ in 0..<10 {
        for data in [tensor, other] where !selector.isFinished {
          try selector.beginPass()
          for index in data.blocks.indices {
            data.block(index) { selector.scan(block: index, channel: 0, values: $0) }
          }
          try selector.endPass()
        }
      }
    }
    #expect(problem?.code.rawValue == "numerics.passes-disagree")
  }

  @Test func memoryIsBounded() {
    #expect(RankSelector.memoryBound(count: 1 << 30, requests: 1) < (1 << 30) / 7)
    #expect(RankSelector.memoryBound(count: 1 << 20, requests: 1) < 3 << 20)
  }
}

@Suite struct SelectKernelTests {
  /// All lengths up to a few vectors, both twins against the definition of a key.
  @Test(arguments: orders) func collectingKernelsAgree(_ order: RankOrder) {
    let specials: [Float] = [.nan, -.nan, .infinity, -.infinity, 0, -0.0, .leastNonzeroMagnitude]
    let values = normals(300, seed: 14) + specials + specials
    let keys = values.map(order.key(of:))
    let sorted = keys.sorted()
    for (low, high) in [(sorted[30], sorted[250]), (sorted[100], sorted[100]), (0, UInt32.max), (sorted[5], sorted[5])]
    {
      for n in 0...values.count {
        let expected = keys.prefix(n).filter { low < $0 && $0 < high }
        let above = keys.prefix(n).count { $0 > high }
        let atHigh = keys.prefix(n).count { $0 == high }
        let atLow = low < high ? keys.prefix(n).count { $0 == low } : 0
        for kernel in [es_collect_in_bracket, es_collect_in_bracket_portable] {
          var inside = [UInt32](repeating: 0, count: n + Int(ES_COLLECT_SLACK))
          let counts = kernel(values, Int64(n), order.keys, low, high, &inside)
          #expect(Array(inside.prefix(Int(counts.inside))) == expected)
          #expect(counts.inside == expected.count && counts.above == above)
          #expect(counts.at_high == atHigh && counts.at_low == atLow)
        }
        let counts = es_count_at_key(values, Int64(n), order.keys, high)
        #expect(counts.above == above && counts.at_high == atHigh && counts.inside == 0)
      }
    }
  }

  @Test func histogramsSelectLikeASort() {
    for seed: UInt64 in 0..<4 {
      let keys = normals(3000, seed: seed).map {
        RankOrder.largestValue.key(of: seed % 2 == 0 ? $0 : ($0 * 3).rounded())
      }
      let sorted = keys.sorted(by: >)
      keys.withUnsafeBufferPointer { keys in
        for rank in [1, 2, 700, 1500, 2999, 3000] {
          let found = KeyHistogram.select(rank: rank, of: keys, in: 0...UInt32.max)
          #expect(found?.key == sorted[rank - 1], "seed \(seed)")
          #expect(found?.above == sorted.firstIndex(of: sorted[rank - 1]), "seed \(seed)")
        }
        #expect(KeyHistogram.select(rank: 3001, of: keys, in: 0...UInt32.max) == nil)
        // Only what lies in the bracket counts.
        let bracket = sorted[2000]...sorted[1000]
        let inside = sorted.filter(bracket.contains)
        #expect(KeyHistogram.select(rank: 10, of: keys, in: bracket)?.key == inside[9])
        #expect(KeyHistogram.select(rank: inside.count + 1, of: keys, in: bracket) == nil)
      }
    }
  }
}
