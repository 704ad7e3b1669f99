internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

// How near the models come in an order, and what is told of it.

extension WeightMatching {
  /// What the inner product of two parameters counts.
  func weight(of place: Int, with partner: Int, _ state: State) -> Double {
    guard options.weighing == .balanced else { return 1 }
    guard pairs[place].reference.shape.count > 1 else { return 0 }
    let norms = state.norms[place].reference * state.norms[partner].model
    return norms > 0 && norms.isFinite ? 1 / norms : 0
  }

  func products(of places: [Int], _ state: State) throws(Problem) -> AlignmentProducts {
    zip(places, try products(each: places, state.choices)).reduce(AlignmentProducts()) { sum, entry in
      var products = entry.1
      products.agreement =
        products.both * weight(of: entry.0, with: partner(of: entry.0, state.choices), state)
      return sum + products
    }
  }

  func products(
    each places: [Int], _ choices: [String: AxisChoice]
  ) throws(Problem) -> [AlignmentProducts] {
    let products = ParameterProducts(files: files, parallel: MatrixProduct.serially)
    return try workers.map(places.count) { (index) throws(Problem) in
      let place = places[index]
      return try products.products(
        pairs[place].reference.recipe, try reordered(partner(of: place, choices), choices))
    }
  }

  func alignment(
    _ state: State, _ told: Set<Int>, before: AlignmentProducts, after: AlignmentProducts
  ) -> Alignment {
    Alignment(
      change: StructuralChange(choices: state.choices), axes: matches(state, told), before: before, after: after,
      sweeps: state.sweeps, orders: state.orders)
  }

  private func matches(_ state: State, _ told: Set<Int>) -> [Alignment.AxisMatch] {
    groups.indices.flatMap { number in
      let (group, order) = (groups[number], state.orders[number])
      func moved(_ lists: [[Int]]) -> Double {
        let (entries, moved) = lists.reduce((0, 0)) { counts, list in
          (counts.0 + list.count, counts.1 + list.indices.count { list[$0] != $0 })
        }
        return entries == 0 ? 0 : Double(moved) / Double(entries)
      }
      let isByActivations = told.contains(number)
      var matches = [
        Alignment.AxisMatch(
          axis: group.root.instance, entries: group.root.size, moved: moved([order.root]),
          mutual: state.mutual[number], isByActivations: isByActivations)
      ]
      for (inner, lists) in zip(group.inner, order.inner) {
        matches.append(
          Alignment.AxisMatch(
            axis: inner.instances.count == 1 ? inner.instances[0] : "\(group.root.instance)/*", entries: inner.size,
            moved: moved(lists), mutual: state.mutual[number], isByActivations: isByActivations))
      }
      return matches
    }
  }
}
