internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

/// Reduces the matrices of one transformer block together, by a ``BlockMethod``. It needs what is known of all their
/// inputs at once, so sites are added as they come and reduced when all are there.
struct BlockReduction {
  private typealias Entry = (matrix: NetworkMatrix, statistics: SiteStatistics?, seen: SiteReduction.Seen)

  private let method: any BlockMethod
  private let work: SiteReduction
  private var entries: [Entry] = []

  init(_ method: any BlockMethod, _ work: SiteReduction) {
    self.method = method
    self.work = work
  }

  mutating func add(_ matrices: [NetworkMatrix], _ statistics: SiteStatistics?, sample: SiteStatistics?) {
    guard let first = matrices.first else { return }
    let seen = SiteReduction.Seen(statistics, sample, width: first.inputs)
    entries += matrices.map { ($0, statistics, seen) }
  }

  func results() throws(Problem) -> [SiteReduction.Result] {
    let began = Machine.monotonicSeconds
    var matrices: [BlockMatrix] = []
    for entry in entries {
      let weight = try work.plan.network.weight(of: entry.matrix)
      try SiteReduction.requireFinite(weight, of: entry.matrix)
      matrices.append(BlockMatrix(entry.matrix.name, Self.part(entry.matrix), weight, entry.seen.known))
    }
    let outcomes = try method.reduce(matrices, parallel: work.parallel)
    // All take their part in the time of the block.
    let share = (Machine.monotonicSeconds - began) / Double(max(1, entries.count))
    var results: [SiteReduction.Result] = []
    for (index, entry) in entries.enumerated() {
      let outcome = outcomes[index]
      let began = Machine.monotonicSeconds - share
      let stored = try StoredWeight(
        outcome.form, as: entry.matrix.parameter.elementType, work.plan.request.storage,
        parallel: work.parallel)
      results.append(
        try work.result(
          stored, of: entry.matrix, matrices[index].weight, to: outcome.budget, named: outcome.text, entry.seen,
          rows: entry.statistics?.count ?? 0, began: began))
    }
    return results
  }

  private static func part(_ matrix: NetworkMatrix) -> BlockMatrix.Part {
    switch matrix.part {
    case .feedForwardGate: .gate
    case .feedForwardUp: .up
    case .feedForwardDown: .down
    default: .other
    }
  }
}

// MARK: - What is known before a weight is read

extension BlockReduction {
  private static func type(_ name: String) -> (any BlockMethod.Type)? {
    ReductionMethods.blocks.first { $0.card.name == name }
  }

  static func isMethod(_ name: String) -> Bool { type(name) != nil }

  static func refusal(_ name: String) -> Problem {
    Problem(
      .reduction, "\(name) deals its budget out itself, as one share of the numbers of every block",
      remedy: "Give --parameters, and neither --rank, --size nor --allocate.")
  }

  /// Refuses levels of single matrices for a method of blocks.
  static func refuseLevels(_ request: ReductionRequest) throws(Problem) {
    if isMethod(request.method) { throw refusal(request.method) }
  }

  /// The method that is asked for.
  ///
  /// - Throws: `reduction` for a name that none has, parameters that the card does not allow, and any budget but a share of
  ///   the numbers.
  static func method(_ request: ReductionRequest) throws(Problem) -> any BlockMethod {
    guard let type = type(request.method) else {
      throw Problem(.reduction, "no method `\(request.method)` takes whole blocks")
    }
    guard case .budget(.parameters(let share)) = request.goal else { throw refusal(request.method) }
    guard share > 0, share <= 1 else {
      throw Problem(.reduction, "a share of \(share) of the numbers is not above 0 and at most 1")
    }
    return try type.init(ReductionParameters(request.parameters, for: type.card), share: share)
  }

  /// Whether a matrix is reduced where this method is asked for; every one is by methods that take them one by one.
  static func takes(_ matrix: NetworkMatrix, _ method: String) -> Bool {
    guard let type = type(method) else { return true }
    return type.reducesOthers || part(matrix) != .other || matrix.part == .feedForwardGateUp
  }

  /// What of a plan a method cannot do.
  ///
  /// - Parameter all: the matrices of each block, reduced or not.
  static func complaints(
    _ request: ReductionRequest, _ blocks: [ReductionPlan.Block], of all: [[NetworkMatrix]]
  ) -> [Problem] {
    guard let type = type(request.method) else { return [] }
    let name = type.card.name
    var problems: [Problem] = []
    for (block, all) in zip(blocks, all) {
      let parts = block.matrices.map(part)
      let counts = [BlockMatrix.Part.gate, .up, .down].map { part in parts.count { $0 == part } }
      let gates = all.count { part($0) == .gate }
      let fused = block.matrices.first { $0.part == .feedForwardGateUp }
      if let first = parts.firstIndex(where: { $0 != .other }), fused == nil,
        gates > 1 || counts != [gates, 1, 1]
      {
        problems.append(
          Problem(
            .reduction,
            "\(name) needs one feed-forward sub-layer a block, whole; here are \(counts[0]) matrices gate of "
              + "\(gates), \(counts[1]) up and \(counts[2]) down", remedy: "Leave them out with --keep.",
            tensor: block.matrices[first].name))
      }
      if let fused {
        problems.append(
          Problem(
            .reduction, "\(name) does not take gate and up apart that are one matrix",
            remedy: "Leave it out with --keep.", tensor: fused.name))
      }
      if block.passes.count > 1 {
        problems.append(
          Problem(
            .memoryCeiling, "\(name) needs the statistics of all sites of \(block.name) together, and they do not fit",
            remedy: "Raise --memory, or keep less with --moment-width."))
      }
    }
    return problems
  }
}
