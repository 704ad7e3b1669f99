internal import EspalierBasics
internal import EspalierNumerics

/// How two entries of a root agree at best: their inner axes are matched by linear assignment, one after the other, until
/// none improves.
struct PairMatching {
  let sizes: [Int]
  let sheets: [PairSheet]

  struct Match {
    var gain: Double
    /// For each inner axis the partner of every entry.
    var orders: [[Int]]
  }

  private static let sweeps = 20

  /// - Parameter known: orders to begin with besides those found from nothing; the better result counts.
  func best(from known: [[Int]]?) throws(Problem) -> Match {
    guard !sizes.isEmpty else { return Match(gain: gain([]), orders: []) }
    let found = try improved(try begun())
    guard let known else { return found }
    let kept = try improved(known)
    return kept.gain >= found.gain ? kept : found
  }

  func gain(_ orders: [[Int]]) -> Double {
    var sum = 0.0
    for sheet in sheets {
      for slot in 0..<sheet.rows.count { sum += sheet.value(slot, sheet.evidence.layout.partner(of: slot, orders)) }
    }
    return sum
  }

  /// Orders from nothing: first of the axis of which most is known when all that lies along axes not yet known is left
  /// out.
  private func begun() throws(Problem) -> [[Int]] {
    var orders = sizes.map { Array(0..<$0) }
    var unknown = Set(sizes.indices)
    while !unknown.isEmpty {
      let counts = sizes.indices.map { axis in unknown.contains(axis) ? usable(axis, unknown.subtracting([axis])) : -1 }
      guard let axis = counts.indices.max(by: { counts[$0] < counts[$1] || (counts[$0] == counts[$1] && $0 > $1) })
      else { break }
      // Where nothing is known without the others, they are taken as they stand.
      orders[axis] = try matched(axis, orders, leavingOut: counts[axis] > 0 ? unknown.subtracting([axis]) : [])
      unknown.remove(axis)
    }
    return orders
  }

  private func improved(_ begun: [[Int]]) throws(Problem) -> Match {
    var match = Match(gain: gain(begun), orders: begun)
    for _ in 0..<Self.sweeps {
      var changed = false
      for axis in sizes.indices {
        var orders = match.orders
        orders[axis] = try matched(axis, orders, leavingOut: [])
        guard orders[axis] != match.orders[axis] else { continue }
        let gain = gain(orders)
        // Rounding alone is no improvement.
        guard gain > match.gain + 1e-9 * abs(match.gain) else { continue }
        match = Match(gain: gain, orders: orders)
        changed = true
      }
      if !changed { break }
    }
    return match
  }

  /// Slots that tell of an axis and of none of some others.
  private func usable(_ axis: Int, _ others: Set<Int>) -> Int {
    sheets.reduce(0) { sum, sheet in
      let layout = sheet.evidence.layout
      guard let place = layout.axes.firstIndex(of: axis) else { return sum }
      return sum + layout.coordinates.count { $0[place] >= 0 && !tells($0, of: others, layout) }
    }
  }

  private func tells(_ coordinates: [Int], of others: Set<Int>, _ layout: SheetLayout) -> Bool {
    layout.axes.indices.contains { coordinates[$0] >= 0 && others.contains(layout.axes[$0]) }
  }

  private func matched(_ axis: Int, _ orders: [[Int]], leavingOut others: Set<Int>) throws(Problem) -> [Int] {
    let size = sizes[axis]
    var gains = [Double](repeating: 0, count: size * size)
    for sheet in sheets {
      let layout = sheet.evidence.layout
      guard let place = layout.axes.firstIndex(of: axis) else { continue }
      for (slot, coordinates) in layout.coordinates.enumerated() {
        let entry = coordinates[place]
        guard entry >= 0, !tells(coordinates, of: others, layout) else { continue }
        for (other, partner) in layout.partners(of: slot, along: place, orders, size: size).enumerated() {
          gains[entry * size + other] += sheet.value(slot, partner)
        }
      }
    }
    return try LinearAssignment.maximize(try Matrix(rows: size, columns: size, elements: gains))
  }
}
