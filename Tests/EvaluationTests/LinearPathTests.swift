import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierEvaluation

@Suite struct LinearPathTests {
  private let set = text(String(repeating: "All roads lead somewhere; ", count: 12))
  private let cut = TextProtocol(.windows(length: 16))

  private func loss(_ model: TableModel, _ name: String = "model") throws -> Perplexity {
    try withOptions { options in
      try Perplexity.measure(
        EvaluatedModel(name: name, model: model, codec: ByteCodec(vocabulary: model.vocabularySize)), on: set,
        cut: cut, options: options)
    }
  }

  /// The rise at each point is its loss above the line between the ends, and the barrier the highest.
  @Test func theBarrierIsTheHighestRise() throws {
    let models = (0..<5).map { TableModel.random(vocabulary: 97, seed: UInt64($0), spread: $0 == 3 ? 6 : 3) }
    let losses = try models.map { try loss($0) }
    let weights = [0, 0.25, 0.5, 0.75, 1]
    let path = try LinearPath(weights: weights, losses: losses)
    let values = losses.map(\.negativeLogLikelihood.value)
    for (point, (weight, value)) in zip(path.points, zip(weights, values)) {
      #expect(point.weight == weight && point.loss.value == value)
      #expect(abs(point.rise.value - (value - ((1 - weight) * values[0] + weight * values[4]))) < 1e-12)
    }
    #expect(path.points[0].rise.value == 0 && path.points[4].rise.value == 0)
    #expect(path.highest == path.points[3])
    let interval = try #require(path.highest.rise.interval)
    #expect(interval.lower < path.highest.rise.value && path.highest.rise.value < interval.upper)
    #expect(path.figure("barrier")?.estimate == path.highest.rise)
    #expect(path.figure("barrier_at")?.estimate.value == 0.75)
  }

  /// Windows of all points are drawn together: where every window rises alike, the interval has no width.
  @Test func equalModelsHaveNoBarrier() throws {
    let same = try loss(.random(vocabulary: 97, seed: 4))
    let path = try LinearPath(weights: [0, 0.5, 1], losses: [same, same, same])
    #expect(path.highest.rise == Estimate(0))
    #expect(abs(path.points[1].rise.value) < 1e-15)
    #expect(path.sentences == ["No point between lies above the line between the ends: no barrier."])
  }

  @Test func whatIsNoPathIsRefused() throws {
    let first = try loss(.random(vocabulary: 97, seed: 4))
    #expect(throws: Problem(.evaluationPair, "a path begins with the one model, at 0, and ends with the other, at 1")) {
      try LinearPath(weights: [0.5, 1], losses: [first, first])
    }
    let shorter = try withOptions { options in
      try Perplexity.measure(
        EvaluatedModel(
          name: "m", model: TableModel.random(vocabulary: 97, seed: 4), codec: ByteCodec(vocabulary: 97)), on: set,
        cut: TextProtocol(.windows(length: 8)), options: options)
    }
    #expect(
      throws: Problem(
        .evaluationPair, "the points of the path were not measured on the same tokens by the same protocol")
    ) {
      try LinearPath(weights: [0, 1], losses: [first, shorter])
    }
  }

  @Test func thePlotShowsEveryPoint() throws {
    let losses = try (0..<3).map { try loss(.random(vocabulary: 97, seed: UInt64($0)), "a<b") }
    let path = try LinearPath(weights: [0, 0.5, 1], losses: losses)
    let svg = PathPlot([path], title: "a < b & c").svg
    #expect(svg.hasPrefix("<svg xmlns=") && svg.hasSuffix("</svg>\n"))
    #expect(svg.contains("a &lt; b &amp; c"))
    #expect(svg.components(of: "<circle") == 3)
    #expect(svg.components(of: "<polyline") == 1)
    for number in ["\"nan", ",nan", " nan", ">nan"] { #expect(!svg.contains(number)) }
  }
}

extension String {
  /// How often a text occurs.
  fileprivate func components(of text: String) -> Int {
    let (whole, part) = (Array(utf8), Array(text.utf8))
    return whole.indices.count { whole[$0...].starts(with: part) }
  }
}
