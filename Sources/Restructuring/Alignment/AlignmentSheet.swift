internal import EspalierArchitectures
internal import EspalierBasics

/// How a group's entries lie along one dimension of a parameter, and which places of it stand for each other when entries
/// are matched.
///
/// Every entry of the root has as many places, its slots; a slot has an entry of some of the inner axes, and a number
/// among those that have the same.
struct SheetLayout {
  /// Places of the dimension by entry of the root, then slot.
  let positions: [[Int]]
  /// Inner axes of the group that occur.
  let axes: [Int]
  /// Entries of these axes by slot, -1 where a slot has none.
  let coordinates: [[Int]]
  private let codes: [Int]
  private let strides: [Int]
  private let slots: [Int: Int]

  var slotCount: Int { coordinates.count }

  /// - Parameter experts: the dimension belongs to one expert, which is one entry of the root.
  init(_ dimension: Dimension, of group: AlignmentGroup, isExpert: Bool = false) {
    var instances = group.places.mapValues { $0 + 1 }
    if !isExpert { instances[group.root.instance] = 0 }
    let all = dimension.coordinates(of: instances, count: group.inner.count + 1)
    let axes = group.inner.indices.filter { place in all.contains { $0[place + 1] >= 0 } }
    var positions = [[Int]](repeating: [], count: isExpert ? 1 : group.root.size)
    for (position, found) in all.enumerated() {
      if isExpert {
        // Places without the inner axes are slots too: they stand for themselves.
        positions[0].append(position)
      } else if found[0] >= 0 {
        positions[found[0]].append(position)
      }
    }
    coordinates = (positions.first ?? []).map { position in axes.map { all[position][$0 + 1] } }
    var (strides, step) = ([Int](repeating: 0, count: axes.count), 1)
    for (place, axis) in axes.enumerated() {
      strides[place] = step
      step *= group.inner[axis].size + 1
    }
    var seen: [Int: Int] = [:]
    codes = coordinates.map { found in
      let code = zip(found, strides).reduce(0) { $0 + ($1.0 + 1) * $1.1 }
      defer { seen[code, default: 0] += 1 }
      return code + seen[code, default: 0] * step
    }
    slots = Dictionary(uniqueKeysWithValues: codes.enumerated().map { ($1, $0) })
    (self.positions, self.axes, self.strides) = (positions, axes, strides)
  }

  /// The slot that stands for `slot` when inner entries are matched as `orders` says (by inner axis of the group).
  func partner(of slot: Int, _ orders: [[Int]]) -> Int {
    guard !axes.isEmpty else { return slot }
    var code = codes[slot]
    for (place, axis) in axes.enumerated() {
      let entry = coordinates[slot][place]
      if entry >= 0 { code += (orders[axis][entry] - entry) * strides[place] }
    }
    return slots[code] ?? slot
  }

  /// From the slot that stands for one when an inner entry is matched with 0: what a match with `entry` adds to its code.
  func partners(of slot: Int, along place: Int, _ orders: [[Int]], size: Int) -> [Int] {
    var code = codes[slot]
    for (other, axis) in axes.enumerated() where other != place {
      let entry = coordinates[slot][other]
      if entry >= 0 { code += (orders[axis][entry] - entry) * strides[other] }
    }
    code -= coordinates[slot][place] * strides[place]
    return (0..<size).map { slots[code + $0 * strides[place]] ?? slot }
  }
}

/// What is known of how well places of a dimension of one model agree with places of the other: `gram[p, q]`.
struct AlignmentEvidence {
  let layout: SheetLayout
  let gram: [Float]
  let size: Int
  /// What it counts beside other evidence.
  let weight: Double

  func value(_ p: Int, _ q: Int) -> Double { weight * Double(gram[p * size + q]) }
}

/// Agreements of the slots of one entry with those of another.
struct PairSheet {
  let evidence: AlignmentEvidence
  let rows: [Int]
  let columns: [Int]

  func value(_ slot: Int, _ partner: Int) -> Double { evidence.value(rows[slot], columns[partner]) }
}
