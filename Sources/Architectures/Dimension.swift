public import EspalierBasics

/// One dimension of a stored tensor as an ordered product or concatenation of axes.
///
/// `keyValueHeads * (queriesPerGroup * headWidth | headWidth | headWidth)` reads: for each key-value head, first the
/// queries of its group one after another, then its key, then its value. In a product the last factor varies fastest,
/// in a concatenation the segments follow each other.
public indirect enum Dimension: Sendable, Hashable {
  case axis(Axis)
  case literal(Int)
  case product([Dimension])
  case concatenation([Segment])

  /// A part of a concatenation, with a label where the parts mean different things (`query`, `key`, `value`).
  public struct Segment: Sendable, Hashable {
    public let label: String?
    public let dimension: Dimension
    public init(label: String? = nil, _ dimension: Dimension) {
      self.label = label
      self.dimension = dimension
    }
  }

  /// The number of entries.
  /// - Throws: `architecture.config` if it does not fit `Int` or a factor is negative.
  public func size() throws(Problem) -> Int {
    switch self {
    case .axis(let axis): return try Dimension.nonnegative(axis.size, axis.name)
    case .literal(let value): return try Dimension.nonnegative(value, "\(value)")
    case .product(let factors):
      var size = 1
      for factor in factors {
        let (product, overflow) = size.multipliedReportingOverflow(by: try factor.size())
        guard !overflow else { throw Dimension.tooLarge(description) }
        size = product
      }
      return size
    case .concatenation(let segments):
      var size = 0
      for segment in segments {
        let (sum, overflow) = size.addingReportingOverflow(try segment.dimension.size())
        guard !overflow else { throw Dimension.tooLarge(description) }
        size = sum
      }
      return size
    }
  }

  /// Every axis that occurs, in order, once for each occurrence.
  public var axes: [Axis] {
    switch self {
    case .axis(let axis): [axis]
    case .literal: []
    case .product(let factors): factors.flatMap(\.axes)
    case .concatenation(let segments): segments.flatMap(\.dimension.axes)
    }
  }

  /// The labels of all segments, in order.
  public var labels: [String] {
    switch self {
    case .axis, .literal: []
    case .product(let factors): factors.flatMap(\.labels)
    case .concatenation(let segments): segments.flatMap { [$0.label].compactMap(\.self) + $0.dimension.labels }
    }
  }

  private static func nonnegative(_ size: Int, _ name: String) throws(Problem) -> Int {
    guard size >= 0 else { throw Problem(.architectureConfig, "the size of `\(name)` is \(size)") }
    return size
  }

  private static func tooLarge(_ name: String) -> Problem {
    Problem(.architectureConfig, "the dimension `\(name)` is too large")
  }
}

// MARK: - Index lists

extension Dimension {
  /// The stored positions that stay, in the order they are wanted, when `selection` is taken of the axis `name`.
  ///
  /// A gather along this dimension with the result performs the selection (or the permutation, if all indices occur)
  /// wherever the axis occurs; parts without the axis stay whole. For `heads * width` of sizes 2 and 3, taking head 1
  /// gives `[3, 4, 5]`, taking width 2, 0 gives `[2, 0, 5, 3]`.
  /// - Parameter selection: indices on the axis, from 0 to its size; repeats are allowed.
  /// - Throws: `architecture.config` if the axis does not occur, or an index is not on it, or a size is impossible.
  /// - Complexity: the size of the result plus the size of the dimension.
  public func indices(selecting selection: [Int], of name: String) throws(Problem) -> [Int] {
    guard axes.contains(where: { $0.name == name }) else {
      throw Problem(.architectureConfig, "the dimension `\(description)` has no axis `\(name)`")
    }
    return try indices { axis in axis.name == name ? selection : nil }
  }

  /// The stored positions that stay when of every axis the entries are taken that `choice` gives for it; of an axis for
  /// which it gives nil, all.
  ///
  /// - Throws: `architecture.config` if an index is not on its axis or a size is impossible.
  public func indices(taking choice: (Axis) -> [Int]?) throws(Problem) -> [Int] {
    try refuseGiant()
    return try indices(within: [:]) { axis, _ throws(Problem) in
      guard let chosen = choice(axis) else { return nil }
      return try AxisChoice(chosen).entries(of: axis, within: [:])
    }
  }

  /// The stored positions that stay, in the order they are wanted, when these choices are made on axes, by
  /// ``Axis/instance``; axes without a choice stay whole.
  ///
  /// Where a choice differs from entry to entry of an outer axis, that axis must stand before it in a product:
  /// `heads * width` with another choice of `width` in every head.
  /// - Throws: `architecture.config` if an index is not on its axis, or the outer axis of a choice does not occur.
  /// - Complexity: the size of the result plus the size of the dimension.
  public func indices(taking choices: [String: AxisChoice]) throws(Problem) -> [Int] {
    try refuseGiant()
    return try indices(within: [:]) { axis, outer throws(Problem) in
      guard let choice = choices[axis.instance] else { return nil }
      return try choice.entries(of: axis, within: outer)
    }
  }

  /// The stored positions of the segments labelled `label`, e.g. of the queries in a fused q/k/v, in stored order.
  /// - Throws: `architecture.config` if there is no such segment or a size is impossible.
  public func indices(ofSegment label: String) throws(Problem) -> [Int] {
    try refuseGiant()
    guard labels.contains(label) else {
      throw Problem(.architectureConfig, "the dimension `\(description)` has no segment `\(label)`")
    }
    return try indices(ofSegment: label, inside: false)
  }

  /// No dimension of a real tensor comes near 2^31; a damaged config may claim one that would exhaust memory.
  private func refuseGiant() throws(Problem) {
    guard try size() < 1 << 31 else { throw Dimension.tooLarge(description) }
  }

  /// - Parameter outer: for the axes that stand before this in products, by instance, the entry that it is within.
  private func indices(
    within outer: [String: Int], taking choice: (Axis, [String: Int]) throws(Problem) -> [Int]?
  ) throws(Problem) -> [Int] {
    switch self {
    case .axis(let axis):
      if let chosen = try choice(axis, outer) { return chosen }
      return try every()
    case .literal: return try every()
    case .product(let factors):
      // Beside a factor of 0, the others may be of any size.
      for factor in factors where try factor.size() == 0 { return [] }
      return try Dimension.product(factors[...], within: outer, taking: choice)
    case .concatenation(let segments):
      return try Dimension.append(segments) { segment throws(Problem) in
        try segment.dimension.indices(within: outer, taking: choice)
      }
    }
  }

  private static func product(
    _ factors: ArraySlice<Dimension>, within outer: [String: Int],
    taking choice: (Axis, [String: Int]) throws(Problem) -> [Int]?
  ) throws(Problem) -> [Int] {
    guard let first = factors.first else { return [0] }
    let rest = factors.dropFirst()
    if rest.isEmpty { return try first.indices(within: outer, taking: choice) }
    var step = 1
    for factor in rest { step *= try factor.size() }
    var result: [Int] = []
    for place in try first.indices(within: outer, taking: choice) {
      var outer = outer
      if case .axis(let axis) = first { outer[axis.instance] = place }
      result += try product(rest, within: outer, taking: choice).map { place * step + $0 }
    }
    return result
  }

  private func indices(ofSegment label: String, inside: Bool) throws(Problem) -> [Int] {
    switch self {
    case .axis, .literal: return inside ? try every() : []
    case .product(let factors):
      return try Dimension.combine(factors) { factor throws(Problem) in
        // A factor beside the labelled one is taken whole: `heads * (query: width | ...)` has a query in every head.
        try factor.indices(ofSegment: label, inside: inside || !factor.labels.contains(label))
      }
    case .concatenation(let segments):
      return try Dimension.append(segments) { segment throws(Problem) in
        let dimension = segment.dimension
        if inside || segment.label == label { return try dimension.indices(ofSegment: label, inside: true) }
        return dimension.labels.contains(label) ? try dimension.indices(ofSegment: label, inside: false) : []
      }
    }
  }

  private func every() throws(Problem) -> [Int] {
    try refuseGiant()
    return Array(0..<(try size()))
  }

  private static func combine(
    _ factors: [Dimension], _ indices: (Dimension) throws(Problem) -> [Int]
  ) throws(Problem) -> [Int] {
    var result = [0]
    // Beside a factor of 0, the others may be of any size.
    for factor in factors where try factor.size() == 0 { return [] }
    for factor in factors {
      let size = try factor.size()
      let inner = try indices(factor)
      result = result.flatMap { outer in inner.map { outer * size + $0 } }
    }
    return result
  }

  private static func append(
    _ segments: [Segment], _ indices: (Segment) throws(Problem) -> [Int]
  ) throws(Problem) -> [Int] {
    var result: [Int] = []
    var start = 0
    for segment in segments {
      result += try indices(segment).map { start + $0 }
      start += try segment.dimension.size()
    }
    return result
  }
}

// MARK: - Text

extension Dimension: CustomStringConvertible {
  /// The expression in the notation of the descriptions.
  public var description: String {
    switch self {
    case .axis(let axis): axis.name
    case .literal(let value): "\(value)"
    case .product(let factors): factors.map(\.parenthesized).joined(separator: " * ")
    case .concatenation(let segments):
      segments.map { ($0.label.map { "\($0): " } ?? "") + $0.dimension.parenthesized }.joined(separator: " | ")
    }
  }

  private var parenthesized: String {
    if case .concatenation = self { "(\(self))" } else { description }
  }
}
