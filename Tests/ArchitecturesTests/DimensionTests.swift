import EspalierBasics
import Testing

@testable import EspalierArchitectures

/// Index lists of fused and interleaved dimensions, worked by hand.
@Suite struct DimensionTests {
  /// A dimension from its notation, with `sizes` for its axes.
  private func dimension(_ source: String, _ sizes: [String: Int]) throws -> Dimension {
    let template = try DimensionTemplate(parsing: source)
    return try template.instantiated(in: Scope(config: [:])) { name, _ throws(Problem) in
      Axis(name: name, instance: name, size: sizes[name] ?? -1, scope: .layer)
    }
  }

  @Test func aProductVariesItsLastFactorFastest() throws {
    let product = try dimension("heads * width", ["heads": 2, "width": 3])
    #expect(try product.size() == 6)
    #expect(try product.indices(selecting: [1], of: "heads") == [3, 4, 5])
    #expect(try product.indices(selecting: [2, 0], of: "width") == [2, 0, 5, 3])
    #expect(try product.indices(selecting: [1, 0], of: "heads") == [3, 4, 5, 0, 1, 2])
  }

  /// GPT-NeoX: 2 heads of width 2, each q q k k v v.
  @Test func fusedHeadByHead() throws {
    let fused = try dimension("heads * (query: width | key: width | value: width)", ["heads": 2, "width": 2])
    #expect(try fused.size() == 12)
    #expect(try fused.indices(selecting: [1], of: "heads") == [6, 7, 8, 9, 10, 11])
    #expect(try fused.indices(selecting: [1], of: "width") == [1, 3, 5, 7, 9, 11])
    #expect(try fused.indices(ofSegment: "query") == [0, 1, 6, 7])
    #expect(try fused.indices(ofSegment: "value") == [4, 5, 10, 11])
  }

  /// Phi 3: 2 key-value heads, 3 queries a group, width 1: 6 queries, then 2 keys, then 2 values.
  @Test func fusedBlockAfterBlock() throws {
    let fused = try dimension(
      "query: kv * group * width | key: kv * width | value: kv * width", ["kv": 2, "group": 3, "width": 1])
    #expect(try fused.size() == 10)
    #expect(try fused.indices(selecting: [1], of: "kv") == [3, 4, 5, 7, 9])
    #expect(try fused.indices(selecting: [0, 2], of: "group") == [0, 2, 3, 5, 6, 7, 8, 9])
    #expect(try fused.indices(ofSegment: "key") == [6, 7])
  }

  /// The example of the architecture notes: for each key-value head its queries, its key, its value.
  @Test func fusedGroupByGroup() throws {
    let fused = try dimension(
      "kv * (query: group * width | key: width | value: width)", ["kv": 2, "group": 2, "width": 2])
    #expect(try fused.size() == 16)
    #expect(try fused.indices(selecting: [1], of: "group") == [2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15])
    #expect(try fused.indices(selecting: [0], of: "width") == [0, 2, 4, 6, 8, 10, 12, 14])
    #expect(try fused.indices(ofSegment: "query") == [0, 1, 2, 3, 8, 9, 10, 11])
  }

  /// gpt-oss: gate and up alternate.
  @Test func gateAndUpAlternating() throws {
    let fused = try dimension("inner * (gate: 1 | up: 1)", ["inner": 3])
    #expect(try fused.indices(ofSegment: "gate") == [0, 2, 4])
    #expect(try fused.indices(ofSegment: "up") == [1, 3, 5])
    #expect(try fused.indices(selecting: [2, 0], of: "inner") == [4, 5, 0, 1])
  }

  @Test func allIndicesInOrderAreTheIdentity() throws {
    let fused = try dimension("a * (b * c | x: 2 | c) | d", ["a": 2, "b": 3, "c": 2, "d": 5])
    let identity = Array(0..<(try fused.size()))
    for axis in ["a", "b", "c", "d"] {
      let size = try #require(fused.axes.first { $0.name == axis }).size
      #expect(try fused.indices(selecting: Array(0..<size), of: axis) == identity, "\(axis)")
    }
  }

  @Test func whatIsNotThereIsNamed() throws {
    let product = try dimension("heads * width", ["heads": 2, "width": 3])
    #expect(throws: Problem(.architectureConfig, "the dimension `heads * width` has no axis `inner`")) {
      try product.indices(selecting: [0], of: "inner")
    }
    #expect(throws: Problem(.architectureConfig, "index 2 is not on the axis `heads`, whose size is 2")) {
      try product.indices(selecting: [0, 2], of: "heads")
    }
    #expect(throws: Problem(.architectureConfig, "the dimension `heads * width` has no segment `key`")) {
      try product.indices(ofSegment: "key")
    }
  }

  @Test func sizesThatOverflowAreRefused() throws {
    let large = ["a": Int.max / 2, "b": 3]
    for source in ["a * b", "a | a | a"] {
      let dimension = try dimension(source, large)
      #expect(throws: Problem(.architectureConfig, "the dimension `\(dimension)` is too large")) {
        try dimension.size()
      }
    }
    let giant = try dimension("a | 1", large)
    #expect(throws: Problem.self) { try giant.indices(selecting: [0], of: "a") }
  }

  @Test func notationIsReadBackAsWritten() throws {
    let source = "kv * (query: group * width | key: width | width) * 3"
    #expect(try dimension(source, ["kv": 1, "group": 1, "width": 1]).description == source)
  }

  @Test(arguments: ["", "a *", "a | ", "(a", "a)", "a b", "label:", "a[", "a[1", "* a", "a ? b", "3a", "'a'"])
  func malformedNotationIsRefused(_ source: String) {
    #expect(throws: Problem.self) { try DimensionTemplate(parsing: source) }
  }
}
