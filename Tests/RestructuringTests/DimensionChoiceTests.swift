import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import TestSupport
import Testing

/// Choices of entries turned into stored positions, by hand.
@Suite struct DimensionChoiceTests {
  private func axis(_ name: String, _ size: Int) -> Axis {
    Axis(name: name, instance: "text/0/\(name)", size: size, scope: .layer, permutation: .free, selection: .exact)
  }

  @Test func everyHeadMayKeepChannelsOfItsOwn() throws {
    let dimension = Dimension.product([.axis(axis("heads", 2)), .axis(axis("width", 3))])
    let choice = try AxisChoice([[0, 2], [1, 0]], of: "text/0/heads")
    #expect(try dimension.indices(taking: ["text/0/width": choice]) == [0, 2, 4, 3])
    // Lists go by the heads as they were.
    let both = ["text/0/heads": AxisChoice([1]), "text/0/width": choice]
    #expect(try dimension.indices(taking: both) == [4, 3])
  }

  @Test func fusedPartsFollow() throws {
    let (heads, width) = (axis("heads", 2), axis("width", 2))
    let dimension = Dimension.product([
      .axis(heads), .concatenation([.init(label: "key", .axis(width)), .init(label: "value", .literal(1))]),
    ])
    #expect(try dimension.indices(taking: ["text/0/width": AxisChoice([1])]) == [1, 2, 4, 5])
    #expect(try dimension.indices(taking: ["text/0/heads": AxisChoice([1, 0])]) == [3, 4, 5, 0, 1, 2])
  }

  @Test func wrongChoicesAreRefused() throws {
    #expect(problem { try AxisChoice([[0], [0, 1]], of: "x") } != nil)
    let dimension = Dimension.axis(axis("width", 3))
    #expect(problem { try dimension.indices(taking: ["text/0/width": AxisChoice([3])]) } != nil)
    let lost = try AxisChoice([[0], [1]], of: "text/0/heads")
    #expect(problem { try dimension.indices(taking: ["text/0/width": lost]) }?.message.contains("not within") == true)
  }
}
