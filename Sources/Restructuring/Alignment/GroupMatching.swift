internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierNumerics

/// A matching of all entries of a group.
struct GroupOrder: Hashable {
  /// The entry of the other model that each entry is matched with.
  var root: [Int]
  /// For each inner axis, and each entry of the other model's root, the partner of every inner entry.
  var inner: [[[Int]]]

  /// Everything stays where it is.
  init(unchanged group: AlignmentGroup) {
    root = Array(0..<group.root.size)
    inner = group.inner.map { [[Int]](repeating: Array(0..<$0.size), count: group.root.size) }
  }
}

/// Matches the entries of a group: each pair of entries as well as it can be, then entries to entries.
struct GroupMatching {
  let group: AlignmentGroup
  /// What lies along the root.
  let evidence: [AlignmentEvidence]
  /// What experts that are stored apart have in common, of one pair.
  var experts: ((_ entry: Int, _ other: Int) throws(Problem) -> [PairSheet])?

  struct Result {
    var order: GroupOrder
    /// The sum of agreements, and the same as it was.
    var gain: Double
    var gainBefore: Double
    /// Of the root's entries those that agree with their partner more than with any other, and the partner with them.
    var mutual: Double
  }

  func match(from current: GroupOrder, workers: WorkerPool) throws(Problem) -> Result {
    let size = group.root.size
    if group.inner.isEmpty, !group.hasExperts { return try matchPlain(from: current) }
    let pairs = try workers.map(size * size) { (index) throws(Problem) -> PairMatching.Match in
      let (entry, other) = (index / size, index % size)
      let isCurrent = current.root[entry] == other
      return try matching(entry, other).best(from: isCurrent ? inner(current, other) : nil)
    }
    let root = try LinearAssignment.maximize(
      try Matrix(rows: size, columns: size, elements: pairs.map(\.gain)))
    var order = GroupOrder(unchanged: group)
    order.root = root
    var (gain, before) = (0.0, 0.0)
    for entry in 0..<size {
      let match = pairs[entry * size + root[entry]]
      gain += match.gain
      for axis in group.inner.indices { order.inner[axis][root[entry]] = match.orders[axis] }
      let known = current.root[entry]
      before += try matching(entry, known).gain(inner(current, known))
    }
    return Result(
      order: order, gain: gain, gainBefore: before, mutual: Self.mutual(pairs.map(\.gain), root))
  }

  private func inner(_ order: GroupOrder, _ other: Int) -> [[Int]] { order.inner.map { $0[other] } }

  private func matching(_ entry: Int, _ other: Int) throws(Problem) -> PairMatching {
    var sheets = evidence.map {
      PairSheet(evidence: $0, rows: $0.layout.positions[entry], columns: $0.layout.positions[other])
    }
    if let experts { sheets += try experts(entry, other) }
    return PairMatching(sizes: group.inner.map(\.size), sheets: sheets)
  }

  /// Entries without anything inside.
  private func matchPlain(from current: GroupOrder) throws(Problem) -> Result {
    let size = group.root.size
    var gains = [Double](repeating: 0, count: size * size)
    for evidence in evidence {
      for slot in 0..<evidence.layout.slotCount {
        let places = evidence.layout.positions.map { $0[slot] }
        for entry in 0..<size {
          for other in 0..<size { gains[entry * size + other] += evidence.value(places[entry], places[other]) }
        }
      }
    }
    let root = try LinearAssignment.maximize(try Matrix(rows: size, columns: size, elements: gains))
    var order = GroupOrder(unchanged: group)
    order.root = root
    return Result(
      order: order, gain: root.indices.reduce(0) { $0 + gains[$1 * size + root[$1]] },
      gainBefore: root.indices.reduce(0) { $0 + gains[$1 * size + current.root[$1]] },
      mutual: Self.mutual(gains, root))
  }

  /// In the order in which gains lie in memory: the best that every entry and every partner has but each other.
  private static func mutual(_ gains: [Double], _ root: [Int]) -> Double {
    let size = root.count
    var rows = [Double](repeating: -.infinity, count: size)
    var columns = rows
    for entry in 0..<size {
      for other in 0..<size where other != root[entry] {
        let gain = gains[entry * size + other]
        if !(gain < rows[entry]) { rows[entry] = gain }
        if !(gain < columns[other]) { columns[other] = gain }
      }
    }
    let count = root.indices.count { entry in
      let gain = gains[entry * size + root[entry]]
      return rows[entry] < gain && columns[root[entry]] < gain
    }
    return Double(count) / Double(max(1, size))
  }
}
