/// A pattern as a tree.
indirect enum PatternNode: Sendable, Hashable {
  enum Assertion: Sendable, Hashable {
    case textStart, textEnd, lastLineEnd, lineStart, lineEnd, wordBoundary, notWordBoundary
  }

  enum Greed: Sendable, Hashable {
    /// As much as possible, less if need be.
    case greedy
    /// As little as possible, more if need be.
    case lazy
    /// As much as possible, and no less.
    case possessive
  }

  case empty
  case set(ScalarSet)
  case sequence([PatternNode])
  case alternatives([PatternNode])
  case repeated(PatternNode, minimum: Int, maximum: Int?, Greed)
  case assertion(Assertion)
  case look(PatternNode, behind: Bool, negative: Bool)
  case atomic(PatternNode)

  /// The least and the most scalars it matches; no most if that is not bounded.
  var length: (minimum: Int, maximum: Int?) {
    switch self {
    case .empty, .assertion, .look: return (0, 0)
    case .set: return (1, 1)
    case .atomic(let node): return node.length
    case .sequence(let nodes):
      return nodes.reduce((0, 0)) { sum, node in
        let length = node.length
        return (sum.0 + length.minimum, sum.1.flatMap { a in length.maximum.map { a + $0 } })
      }
    case .alternatives(let nodes):
      let lengths = nodes.map(\.length)
      let most: Int? = lengths.contains { $0.maximum == nil } ? nil : lengths.compactMap(\.maximum).max() ?? 0
      return (lengths.map(\.minimum).min() ?? 0, most)
    case .repeated(let node, let minimum, let maximum, _):
      let length = node.length
      guard let maximum, let most = length.maximum else {
        return (length.minimum * minimum, length.maximum == 0 ? 0 : nil)
      }
      return (length.minimum * minimum, most * maximum)
    }
  }

  /// What a match may begin with: ASCII scalars, whether others, and whether a match may be empty.
  var first: FirstScalars {
    switch self {
    case .empty, .assertion, .look: return FirstScalars(mayBeEmpty: true)
    case .set(let set): return FirstScalars(low: set.ascii.low, high: set.ascii.high, others: true, mayBeEmpty: false)
    case .atomic(let node): return node.first
    case .sequence(let nodes):
      var result = FirstScalars(mayBeEmpty: true)
      for node in nodes where result.mayBeEmpty {
        let first = node.first
        result.formUnion(first)
        result.mayBeEmpty = first.mayBeEmpty
      }
      return result
    case .alternatives(let nodes):
      var result = FirstScalars(mayBeEmpty: nodes.isEmpty)
      for node in nodes {
        let first = node.first
        result.formUnion(first)
        result.mayBeEmpty = result.mayBeEmpty || first.mayBeEmpty
      }
      return result
    case .repeated(let node, let minimum, _, _):
      var first = node.first
      if minimum == 0 { first.mayBeEmpty = true }
      return first
    }
  }
}

/// A bound on what a match begins with, so that a search passes over the rest of a text quickly.
struct FirstScalars: Sendable {
  var low: UInt64 = 0
  var high: UInt64 = 0
  var others = false
  var mayBeEmpty: Bool

  mutating func formUnion(_ other: FirstScalars) {
    low |= other.low
    high |= other.high
    others = others || other.others
  }

  /// Whether a match may begin with the scalar that begins with this byte.
  @inline(__always)
  func allows(_ byte: UInt8) -> Bool {
    if mayBeEmpty { return true }
    if byte >= 128 { return others }
    return (byte < 64 ? low : high) >> UInt64(byte & 63) & 1 != 0
  }
}
