public import EspalierBasics

/// What is taken of an axis, in the order it is wanted: a subset prunes, all entries in another order permute.
public struct AxisChoice: Sendable, Hashable {
  /// The entries taken: one list, or one for every entry of the outer axis. All lists are equally long.
  public let lists: [[Int]]
  /// ``Axis/instance`` of the axis that the lists go by: heads, where every head keeps channels of its own.
  public let outer: String?

  /// The same entries wherever the axis stands.
  public init(_ entries: [Int]) { (lists, outer) = ([entries], nil) }

  /// Entries of their own for every entry of an outer axis.
  ///
  /// - Parameters:
  ///   - lists: one for every entry of the outer axis as it is now, also of those that do not stay.
  ///   - outer: its ``Axis/instance``.
  /// - Throws: `architecture.config` if the lists are not equally long.
  public init(_ lists: [[Int]], of outer: String) throws(Problem) {
    guard Set(lists.map(\.count)).count <= 1 else {
      throw Problem(.architectureConfig, "the entries taken within `\(outer)` differ in number")
    }
    (self.lists, self.outer) = (lists, outer)
  }

  /// How many entries are taken.
  public var count: Int { lists.first?.count ?? 0 }

  /// - Parameter within: the entries of the axes before it, by instance.
  func entries(of axis: Axis, within places: [String: Int]) throws(Problem) -> [Int] {
    var entries = lists.first ?? []
    if let outer {
      guard let place = places[outer], lists.indices.contains(place) else {
        throw Problem(
          .architectureConfig, "`\(axis.instance)` is not within `\(outer)`, by which its entries are taken")
      }
      entries = lists[place]
    }
    if let wrong = entries.first(where: { $0 < 0 || $0 >= axis.size }) {
      throw Problem(
        .architectureConfig, "index \(wrong) is not on the axis `\(axis.name)`, whose size is \(axis.size)")
    }
    return entries
  }
}
