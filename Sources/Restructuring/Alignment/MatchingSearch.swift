internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

// Coordinate descent: which group is matched when, and when it ends.

extension WeightMatching {
  /// - Parameters:
  ///   - activations: orders that activations have told; they stay.
  ///   - progress: receives a line for each step.
  public func align(
    activations: ActivationAgreement? = nil, progress: (String) -> Void = { _ in }
  ) throws(Problem) -> Alignment {
    let start = try state(as: nil)
    let before = try products(of: Array(pairs.indices), start)
    var told: Set<Int> = []
    var best: (state: State, products: AlignmentProducts)?
    for run in 0...max(0, options.restarts) {
      var state = start
      var order = Array(groups.indices)
      var settled: Set<Int> = []
      if let activations { told = try match(&state, by: activations) }
      if run == 0 {
        (order, settled) = try begin(&state, known: told, progress)
      } else {
        order = KeyedRandom.shuffled(order, seed: options.seed, name: "alignment", run: run)
      }
      try descend(&state, order.filter { !told.contains($0) }, settled, progress)
      let products = try products(of: Array(pairs.indices), state)
      progress("\(state.sweeps) sweeps: the cosine of all weights is \(products.cosine)")
      if products.agreement > best?.products.agreement ?? -.infinity { best = (state, products) }
    }
    guard let best else { throw Problem(.restructuring, "nothing was matched") }
    return alignment(best.state, told, before: before, after: best.products)
  }

  /// Goes on from orders that are known: the best order of one axis after the other, so that the agreement never falls.
  ///
  /// - Parameters:
  ///   - known: orders of models with the same axes; nil: as they are.
  ///   - sweeps: nil for those of the options; 0 only measures.
  func improved(_ known: [GroupOrder]?, sweeps: Int? = nil) throws(Problem) -> Alignment {
    var state = try state(as: known)
    let before = try products(of: Array(pairs.indices), state)
    try descend(&state, Array(groups.indices), [], atMost: sweeps) { _ in }
    return alignment(state, [], before: before, after: try products(of: Array(pairs.indices), state))
  }

  /// - Parameter known: orders to begin with; nil: everything as it is.
  private func state(as known: [GroupOrder]?) throws(Problem) -> State {
    var state = State(
      orders: known ?? groups.map { GroupOrder(unchanged: $0) },
      mutual: [Double](repeating: 1, count: groups.count))
    state.norms = try products(each: Array(pairs.indices), [:]).map {
      ($0.first.squareRoot(), $0.second.squareRoot())
    }
    for (group, order) in zip(groups, state.orders) { try group.write(order, to: &state.choices) }
    return state
  }

  /// Matches every group once, by what is known when its turn comes.
  ///
  /// - Returns: the groups in the order in which they were matched, and those of them that would be matched the same
  ///   once more, since all that lies along them was known and has not changed.
  private func begin(
    _ state: inout State, known: Set<Int>, _ progress: (String) -> Void
  ) throws(Problem) -> (order: [Int], settled: Set<Int>) {
    var open = Set(groups.indices).subtracting(known)
    var order: [Int] = []
    var settled: Set<Int> = []
    while !open.isEmpty {
      let shares = groups.indices.map { group in open.contains(group) ? share(of: group, unknown: open) : -1 }
      guard let group = shares.indices.max(by: { shares[$0] < shares[$1] || (shares[$0] == shares[$1] && $0 > $1) })
      else { break }
      let usable = shares[group] > 0 ? carriers[group].filter { isKnown($0, to: group, unknown: open) } : nil
      let result = try matched(group, state, by: usable)
      if result.order != state.orders[group] { settled.subtract(neighbours[group]) }
      if usable?.count ?? carriers[group].count == carriers[group].count, !isQuadratic(group) { settled.insert(group) }
      try take(result, group, &state)
      progress("\(groups[group].root.instance): first match")
      open.remove(group)
      order.append(group)
    }
    return (order, settled)
  }

  /// - Parameter settled: groups that would be matched as they are.
  private func descend(
    _ state: inout State, _ order: [Int], _ settled: Set<Int>, atMost sweeps: Int? = nil,
    _ progress: (String) -> Void
  ) throws(Problem) {
    // A group whose neighbours have not changed since would be matched as it was.
    var waiting = Set(order).subtracting(settled)
    while !waiting.isEmpty, state.sweeps < sweeps ?? options.sweeps {
      state.sweeps += 1
      for group in order where waiting.contains(group) {
        waiting.remove(group)
        let result = try matched(group, state, by: nil)
        state.mutual[group] = result.mutual
        guard result.order != state.orders[group], result.gain > result.gainBefore + 1e-7 * abs(result.gainBefore)
        else { continue }
        if isQuadratic(group) {
          let before = try products(of: carriers[group], state).agreement
          var changed = state
          try take(result, group, &changed)
          guard try products(of: carriers[group], changed).agreement > before else { continue }
          state = changed
        } else {
          try take(result, group, &state)
        }
        waiting.formUnion(neighbours[group].intersection(order))
        progress("sweep \(state.sweeps), \(groups[group].root.instance): \(result.gainBefore) to \(result.gain)")
      }
    }
  }

  /// The share of a group's weights whose other axes are all matched.
  private func share(of group: Int, unknown: Set<Int>) -> Double {
    var (known, all) = (0, 0)
    for place in carriers[group] {
      let count = pairs[place].reference.elementCount
      all += count
      if isKnown(place, to: group, unknown: unknown) { known += count }
    }
    return all == 0 ? 0 : Double(known) / Double(all)
  }

  private func isKnown(_ place: Int, to group: Int, unknown: Set<Int>) -> Bool {
    !unknown.contains { other in other != group && carriers[other].contains(place) }
  }

  /// Whether a parameter carries the root along two dimensions, so that its order multiplies itself.
  private func isQuadratic(_ group: Int) -> Bool {
    carriers[group].contains { place in
      pairs[place].described.dimensions.count { $0.axes.contains(where: groups[group].holds) } > 1
    }
  }

  func take(_ result: GroupMatching.Result, _ group: Int, _ state: inout State) throws(Problem) {
    state.orders[group] = result.order
    state.mutual[group] = result.mutual
    try groups[group].write(result.order, to: &state.choices)
  }
}

extension AlignmentGroup {
  /// An order as choices of entries; axes that stay as they are have none.
  fileprivate func write(_ order: GroupOrder, to choices: inout [String: AxisChoice]) throws(Problem) {
    func isIdentity(_ list: [Int]) -> Bool { list.indices.allSatisfy { list[$0] == $0 } }
    choices[root.instance] = isIdentity(order.root) ? nil : AxisChoice(order.root)
    for (inner, lists) in zip(inner, order.inner) {
      if inner.instances.count == 1 {
        choices[inner.instances[0]] =
          lists.allSatisfy(isIdentity) ? nil : try AxisChoice(lists, of: root.instance)
      } else {
        for (instance, list) in zip(inner.instances, lists) {
          choices[instance] = isIdentity(list) ? nil : AxisChoice(list)
        }
      }
    }
  }
}

extension KeyedRandom {
  /// A list in an order of chance, which the seed, the name and the number of the run tell alone.
  static func shuffled(_ order: [Int], seed: UInt64, name: String, run: Int) -> [Int] {
    let random = KeyedRandom(seed: seed, name: name, stream: UInt32(truncatingIfNeeded: run))
    var keys = [UInt32](repeating: 0, count: order.count)
    keys.withUnsafeMutableBufferPointer { keys in
      if let start = keys.baseAddress { random.words(startingAt: 0, into: start, count: keys.count) }
    }
    return order.indices.sorted { (keys[$0], $0) < (keys[$1], $1) }.map { order[$0] }
  }
}
