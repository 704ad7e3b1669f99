public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierNumerics

/// Reorders the axes of a model so that its weights agree with another's as much as they can.
///
///     maximize Σ_p w_p ⟨A_p, P(B_p)⟩       over one permutation an axis, shared by every parameter that carries it
///
/// by coordinate descent: with all other axes as they are, the best order of one is a linear assignment (Ainsworth,
/// Hayase, Srinivasa, ICLR 2023, arXiv:2209.04836, section 3.2 and algorithm 1). Heads are matched with all that lies
/// inside them, as are experts: each pair as well as it can be. The paper's weights w are 1; see
/// ``AlignmentOptions/Weighing``.
///
/// Where the paper starts from the order as it is, this first goes along what is known: an axis is matched by those of
/// its parameters whose other axes are matched already, beginning with those that have no other free axis, such as the
/// embedding, whose tokens do not move. A permuted copy is thereby found at once.
public struct WeightMatching: Sendable {
  /// What the model's parameters mean.
  public let description: ModelDescription
  private let pairs: [AlignmentPair]
  private let groups: [AlignmentGroup]
  private let workers: WorkerPool
  private let files = FilePool()
  /// Places in `pairs` of experts' parameters, those of the parameters along each group, and the groups that share one
  /// with each.
  private let experts: [ExpertKey: Int]
  private let carriers: [[Int]]
  private let neighbours: [Set<Int>]
  private let options: AlignmentOptions

  /// - Parameters:
  ///   - model: what is reordered.
  ///   - reference: what it is brought near: a model of the same family, with the same sizes.
  /// - Throws: everything in which the two do not fit, all at once.
  public init(
    _ model: any Checkpoint, to reference: any Checkpoint, of family: Architecture,
    options: AlignmentOptions = AlignmentOptions(), workers: WorkerPool
  ) throws(Problems) {
    let pairs = try AlignmentPair.all(model, to: reference, of: family)
    let groups: [AlignmentGroup]
    do throws(Problem) {
      description = try family.describe(config: model.config ?? .object([]))
      groups = try AlignmentGroup.all(of: pairs.map(\.described), keeping: options.keeping)
      try Self.check(options.keeping, pairs)
      guard !groups.isEmpty else { throw Problem(.restructuring, "the models have no axis that may be reordered") }
    } catch { throw Problems([error]) }
    let along = groups.map { group in
      pairs.indices.filter { place in
        let described = pairs[place].described
        return described.dimensions.contains { $0.axes.contains(where: group.holds) }
          || (group.hasExperts && described.expert != nil && described.expertsInstance == group.root.instance)
      }
    }
    neighbours = groups.indices.map { group in
      let own = Set(along[group])
      return Set(groups.indices.filter { $0 != group && !own.isDisjoint(with: along[$0]) })
    }
    experts = Dictionary(
      pairs.indices.compactMap { place in
        pairs[place].described.expert.map { (ExpertKey(pairs[place].described, expert: $0), place) }
      }, uniquingKeysWith: { first, _ in first })
    (self.pairs, self.groups, carriers) = (pairs, groups, along)
    (self.workers, self.options) = (workers, options)
  }

  /// - Throws: `restructuring` if an axis that is to stay is none of the models'.
  private static func check(_ keeping: Set<String>, _ pairs: [AlignmentPair]) throws(Problem) {
    let axes = pairs.flatMap { $0.described.dimensions.flatMap(\.axes) }
    let known = Set(axes.filter { $0.permutation == .free && !$0.isVocabulary }.map(\.name))
    guard let unknown = keeping.subtracting(known).min() else { return }
    throw Problem(
      .restructuring, "the models have no axis `\(unknown)` that could change its order",
      remedy: "Axes that can: \(known.sorted().joined(separator: ", ")).")
  }

  /// Bytes that matching takes at the most: two copies of the largest matrix, or of pieces of one, and the agreements of
  /// an axis.
  ///
  /// - Parameter threads: that compare experts at once.
  public func workingBytes(threads: Int) -> Int {
    let matrices = pairs.filter { $0.described.vocabularyDimension == nil }
    let largest = matrices.map(\.reference.elementCount).max() ?? 0
    let widest = groups.map { $0.root.size * $0.inner.reduce(1) { $0 * $1.size } }.max() ?? 0
    let floats = 3 * max(largest, ParameterProducts.pieceFloats) * (experts.isEmpty ? 1 : threads)
    // Gains and the assignment are in float64; grams are of the widest axis, a few of them.
    return MemoryLayout<Float>.stride * (floats + 10 * widest * widest)
  }

  // MARK: - The search

  /// A matching of every group.
  private struct State {
    var orders: [GroupOrder]
    var mutual: [Double]
    /// The axes' orders as choices of entries.
    var choices: [String: AxisChoice] = [:]
    var sweeps = 0
    /// Norms of the reference's parameters and of the model's.
    var norms: [(reference: Double, model: Double)] = []
  }

  /// What the inner product of two parameters counts.
  private func weight(of place: Int, with partner: Int, _ state: State) -> Double {
    guard options.weighing == .balanced else { return 1 }
    guard pairs[place].reference.shape.count > 1 else { return 0 }
    let norms = state.norms[place].reference * state.norms[partner].model
    return norms > 0 && norms.isFinite ? 1 / norms : 0
  }

  /// - Parameters:
  ///   - activations: orders that activations have told; they stay.
  ///   - progress: receives a line for each step.
  public func align(
    activations: ActivationAgreement? = nil, progress: (String) -> Void = { _ in }
  ) throws(Problem) -> Alignment {
    var start = State(
      orders: groups.map { GroupOrder(unchanged: $0) }, mutual: [Double](repeating: 1, count: groups.count))
    start.norms = try products(each: Array(pairs.indices), start.choices).map {
      ($0.first.squareRoot(), $0.second.squareRoot())
    }
    let before = try products(of: Array(pairs.indices), start)
    var told: Set<Int> = []
    var best: (state: State, products: AlignmentProducts)?
    for run in 0...max(0, options.restarts) {
      var state = start
      var order = Array(groups.indices)
      if let activations { told = try match(&state, by: activations) }
      if run == 0 {
        order = try begin(&state, known: told, progress)
      } else {
        order = Self.shuffled(order, seed: options.seed, run: run)
      }
      try descend(&state, order.filter { !told.contains($0) }, progress)
      let products = try products(of: Array(pairs.indices), state)
      progress("\(state.sweeps) sweeps: the cosine of all weights is \(products.cosine)")
      if products.agreement > best?.products.agreement ?? -.infinity { best = (state, products) }
    }
    guard let best else { throw Problem(.restructuring, "nothing was matched") }
    return Alignment(
      change: StructuralChange(choices: best.state.choices), axes: matches(best.state, told), before: before,
      after: best.products, sweeps: best.state.sweeps)
  }

  /// Matches every group once, by what is known when its turn comes.
  ///
  /// - Returns: the groups in the order in which they were matched.
  private func begin(
    _ state: inout State, known: Set<Int>, _ progress: (String) -> Void
  ) throws(Problem) -> [Int] {
    var open = Set(groups.indices).subtracting(known)
    var order: [Int] = []
    while !open.isEmpty {
      let shares = groups.indices.map { group in open.contains(group) ? share(of: group, unknown: open) : -1 }
      guard let group = shares.indices.max(by: { shares[$0] < shares[$1] || (shares[$0] == shares[$1] && $0 > $1) })
      else { break }
      let usable = shares[group] > 0 ? carriers[group].filter { isKnown($0, to: group, unknown: open) } : nil
      let result = try matched(group, state, by: usable)
      try take(result, group, &state)
      progress("\(groups[group].root.instance): first match")
      open.remove(group)
      order.append(group)
    }
    return order
  }

  private func descend(_ state: inout State, _ order: [Int], _ progress: (String) -> Void) throws(Problem) {
    // A group whose neighbours have not changed since would be matched as it was.
    var waiting = Set(order)
    while !waiting.isEmpty, state.sweeps < options.sweeps {
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

  private func take(_ result: GroupMatching.Result, _ group: Int, _ state: inout State) throws(Problem) {
    state.orders[group] = result.order
    state.mutual[group] = result.mutual
    try groups[group].write(result.order, to: &state.choices)
  }

  private static func shuffled(_ order: [Int], seed: UInt64, run: Int) -> [Int] {
    let random = KeyedRandom(seed: seed, name: "alignment", stream: UInt32(truncatingIfNeeded: run))
    var keys = [UInt32](repeating: 0, count: order.count)
    keys.withUnsafeMutableBufferPointer { keys in
      if let start = keys.baseAddress { random.words(startingAt: 0, into: start, count: keys.count) }
    }
    return order.indices.sorted { (keys[$0], $0) < (keys[$1], $1) }.map { order[$0] }
  }

  // MARK: - One group

  private func parallel(_ count: Int, _ body: (Int) throws(Problem) -> Void) throws(Problem) {
    try workers.forEach(count, body)
  }

  /// - Parameter usable: the parameters that tell; nil for all.
  private func matched(
    _ number: Int, _ state: State, by usable: [Int]?
  ) throws(Problem) -> GroupMatching.Result {
    let group = groups[number]
    let others = state.choices.filter { !group.instances.contains($0.key) }
    let products = ParameterProducts(files: files, parallel: parallel)
    var experts: [[Int]] = []
    var places: [Int] = []
    for place in usable ?? carriers[number] {
      let described = pairs[place].described
      if group.hasExperts, let expert = described.expert, described.expertsInstance == group.root.instance {
        while experts.count <= expert { experts.append([]) }
        experts[expert].append(place)
      } else {
        places.append(place)
      }
    }
    // Where nothing but vectors carries the axes, they tell all the same.
    let weights = places.map { weight(of: $0, with: partner(of: $0, state.choices), state) }
    let hasWeights = !experts.isEmpty || weights.contains { $0 > 0 }
    // Parameters along one expression say one thing together.
    var together: [(expression: Dimension, size: Int, gram: [Float])] = []
    for (place, weight) in zip(places, weights) where !hasWeights || weight > 0 {
      let pair = pairs[place]
      for (dimension, expression) in pair.described.dimensions.enumerated()
      where expression.axes.contains(where: group.holds) {
        let partner = partner(of: place, state.choices)
        var gram = try products.gram(
          pair.reference.recipe, try reordered(partner, others), shape: pair.reference.shape, along: dimension)
        let share = Float(hasWeights ? weight : 1)
        for index in gram.indices { gram[index] *= share }
        if let known = together.firstIndex(where: { $0.expression == expression }) {
          for index in gram.indices { together[known].gram[index] += gram[index] }
        } else {
          together.append((expression, pair.reference.shape[dimension], gram))
        }
      }
    }
    let evidence = together.map {
      AlignmentEvidence(layout: SheetLayout($0.expression, of: group), gram: $0.gram, size: $0.size, weight: 1)
    }
    var matching = GroupMatching(group: group, evidence: evidence)
    if group.hasExperts, experts.count == group.root.size {
      matching.experts = { (entry, other) throws(Problem) in
        try expertSheets(group, experts, entry, other, others, state)
      }
    }
    return try matching.match(from: state.orders[number], workers: workers)
  }

  /// What two experts have in common.
  private func expertSheets(
    _ group: AlignmentGroup, _ experts: [[Int]], _ entry: Int, _ other: Int, _ choices: [String: AxisChoice],
    _ state: State
  ) throws(Problem) -> [PairSheet] {
    let products = ParameterProducts(files: files, parallel: MatrixProduct.serially)
    var sheets: [PairSheet] = []
    for (first, second) in zip(experts[entry], experts[other]) {
      let (reference, model) = (pairs[first], pairs[second])
      let weight = weight(of: first, with: second, state)
      guard reference.described.familyName == model.described.familyName, weight > 0 else { continue }
      let dimension = model.described.dimensions.firstIndex { $0.axes.contains(where: group.holds) } ?? 0
      let gram = try products.gram(
        reference.reference.recipe, try reordered(second, choices), shape: reference.reference.shape,
        along: dimension)
      let evidence = AlignmentEvidence(
        layout: SheetLayout(model.described.dimensions[dimension], of: group, isExpert: true), gram: gram,
        size: reference.reference.shape[dimension], weight: weight)
      sheets.append(
        PairSheet(evidence: evidence, rows: evidence.layout.positions[0], columns: evidence.layout.positions[0]))
    }
    return sheets
  }

  /// The model's parameter that stands for one of the reference: another expert's, where experts were matched.
  private func partner(of place: Int, _ choices: [String: AxisChoice]) -> Int {
    let described = pairs[place].described
    guard let expert = described.expert, let order = choices[described.expertsInstance]?.lists.first,
      order.indices.contains(expert), order[expert] != expert
    else { return place }
    return experts[ExpertKey(described, expert: order[expert])] ?? place
  }

  private struct ExpertKey: Hashable {
    let tower: String
    let familyName: String
    let layer: Int?
    let expert: Int

    init(_ described: ParameterDescription, expert: Int) {
      (tower, familyName) = (described.tower, described.familyName)
      (layer, self.expert) = (described.layer, expert)
    }
  }

  private func reordered(_ place: Int, _ choices: [String: AxisChoice]) throws(Problem) -> StorageRecipe {
    let pair = pairs[place]
    var entries: [[Int]?] = []
    for dimension in pair.described.dimensions {
      let isTouched = dimension.axes.contains { choices[$0.instance] != nil }
      entries.append(isTouched ? try dimension.indices(taking: choices) : nil)
    }
    let selection = try EntrySelection(of: pair.model.shape, entries: entries)
    return selection.takesAll ? pair.model.recipe : .selected(pair.model.recipe, selection)
  }

  // MARK: - Activations

  /// Matches the groups that activations tell of.
  private func match(_ state: inout State, by agreement: ActivationAgreement) throws(Problem) -> Set<Int> {
    var told: Set<Int> = []
    for (number, group) in groups.enumerated() where !group.hasExperts {
      let found = agreement.grams.filter { $0.dimension.axes.contains { $0.instance == group.root.instance } }
      guard !found.isEmpty else { continue }
      let evidence = found.map { gram in
        AlignmentEvidence(layout: SheetLayout(gram.dimension, of: group), gram: gram.values, size: gram.size, weight: 1)
      }
      // Inner axes of which nothing is seen would be matched by nothing.
      guard group.inner.indices.allSatisfy({ axis in evidence.contains { $0.layout.axes.contains(axis) } }) else {
        continue
      }
      let result = try GroupMatching(group: group, evidence: evidence).match(
        from: state.orders[number], workers: workers)
      try take(result, number, &state)
      told.insert(number)
    }
    return told
  }

  // MARK: - What came of it

  private func products(of places: [Int], _ state: State) throws(Problem) -> AlignmentProducts {
    zip(places, try products(each: places, state.choices)).reduce(AlignmentProducts()) { sum, entry in
      var products = entry.1
      products.agreement =
        products.both * weight(of: entry.0, with: partner(of: entry.0, state.choices), state)
      return sum + products
    }
  }

  private func products(
    each places: [Int], _ choices: [String: AxisChoice]
  ) throws(Problem) -> [AlignmentProducts] {
    let products = ParameterProducts(files: files, parallel: MatrixProduct.serially)
    return try workers.map(places.count) { (index) throws(Problem) in
      let place = places[index]
      return try products.products(
        pairs[place].reference.recipe, try reordered(partner(of: place, choices), choices))
    }
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
