internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

// What is known of one group of axes when all others are as they are.

extension WeightMatching {
  func parallel(_ count: Int, _ body: (Int) throws(Problem) -> Void) throws(Problem) {
    try workers.forEach(count, body)
  }

  /// - Parameter usable: the parameters that tell; nil for all.
  func matched(
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
        let gram = try products.gram(
          pair.reference.recipe, try reordered(partner, others), shape: pair.reference.shape, along: dimension)
        let size = pair.reference.shape[dimension]
        let known = together.firstIndex { $0.expression == expression } ?? together.count
        if known == together.count {
          together.append((expression, size, [Float](repeating: 0, count: gram.count)))
        }
        Self.add(gram, times: Float(hasWeights ? weight : 1), to: &together[known].gram)
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

  private static func add(_ gram: [Float], times share: Float, to sum: inout [Float]) {
    sum.withUnsafeMutableBufferPointer { sum in
      gram.withUnsafeBufferPointer { gram in
        for index in gram.indices { sum[index] += share * gram[index] }
      }
    }
  }

  /// What two experts have in common.
  func expertSheets(
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
  func partner(of place: Int, _ choices: [String: AxisChoice]) -> Int {
    let described = pairs[place].described
    guard let expert = described.expert, let order = choices[described.expertsInstance]?.lists.first,
      order.indices.contains(expert), order[expert] != expert
    else { return place }
    return experts[ExpertKey(described, expert: order[expert])] ?? place
  }

  func reordered(_ place: Int, _ choices: [String: AxisChoice]) throws(Problem) -> StorageRecipe {
    let pair = pairs[place]
    var entries: [[Int]?] = []
    for dimension in pair.described.dimensions {
      let isTouched = dimension.axes.contains { choices[$0.instance] != nil }
      entries.append(isTouched ? try dimension.indices(taking: choices) : nil)
    }
    let selection = try EntrySelection(of: pair.model.shape, entries: entries)
    return selection.takesAll ? pair.model.recipe : .selected(pair.model.recipe, selection)
  }

  /// Matches the groups that activations tell of.
  func match(_ state: inout State, by agreement: ActivationAgreement) throws(Problem) -> Set<Int> {
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
}
