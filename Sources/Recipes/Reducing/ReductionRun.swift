public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

/// Carries a plan out: block by block, each matrix by the rows that reach it.
///
/// In sequence a block is shown the rows, its matrices are reduced, and the rows go on through what they became; in one
/// shot they go on through the block as it was. The result depends on neither threads nor memory.
public struct ReductionRun {
  private let plan: ReductionPlan
  private let pool: WorkerPool
  private let listener: any ProgressListener
  private let pieces: ReductionPieces
  private var finished: [ReductionPieces.Piece] = []
  private var outcomes: [MatrixOutcome] = []
  private var resumed = 0
  /// What each matrix loses, where all have one threshold.
  private var global: GlobalPruning?

  /// Reduces, measures and writes.
  ///
  /// - Parameter measure: compares the reduced model, which is given, with the original, before it is written.
  /// - Throws: what reading, the method and writing throw. Finished matrices stay for `--resume`.
  public static func execute(
    _ plan: ReductionPlan, workers: WorkerPool, listener: any ProgressListener,
    measure: ((any Checkpoint) throws(Problem) -> ReductionReport.Evaluation?)? = nil
  ) throws(Problem) -> ReductionReport {
    let began = Machine.monotonicSeconds
    var run = try ReductionRun(plan, workers: workers, listener: listener)
    try run.reduceAll()
    let reduced = Machine.monotonicSeconds
    let peak = Machine.peakResidentBytes
    let overlay = OverlaidCheckpoint(plan.checkpoint, replacing: run.parameters)
    let evaluation = try measure?(overlay)
    var report = ReductionReport(
      plan, outcomes: run.outcomes, parameters: run.parameters, resumed: run.resumed, evaluation: evaluation,
      secondsReducing: reduced - began, secondsMeasuring: Machine.monotonicSeconds - reduced, peakBytes: peak)
    try ReductionAssembly.write(plan, run.finished, report: &report, listener: listener)
    try run.pieces.remove()
    return report
  }

  /// A model with its reduced parameters in place, which lie in files that are there while it is used.
  struct Reduced {
    let checkpoint: OverlaidCheckpoint
    let outcomes: [MatrixOutcome]
    /// Parameters that an earlier run finished.
    let resumed: Int
    /// Whether all of them were there.
    let wasThere: Bool
    let seconds: Double
  }

  /// Reduces, and lends the reduced model to what makes something else of it than a folder.
  ///
  /// - Throws: what reducing and `body` throw. Finished matrices stay for `--resume`.
  static func lend<Result>(
    _ plan: ReductionPlan, workers: WorkerPool, listener: any ProgressListener,
    to body: (Reduced) throws(Problem) -> Result
  ) throws(Problem) -> Result {
    let began = Machine.monotonicSeconds
    var run = try ReductionRun(plan, workers: workers, listener: listener)
    try run.reduceAll()
    let result = try body(
      Reduced(
        checkpoint: OverlaidCheckpoint(plan.checkpoint, replacing: run.parameters), outcomes: run.outcomes,
        resumed: run.resumed, wasThere: run.resumed == plan.blocks.reduce(0) { $0 + $1.targets.count },
        seconds: Machine.monotonicSeconds - began))
    try run.pieces.remove()
    return result
  }

  private var parameters: [Parameter] { finished.map(\.parameter) }

  private init(_ plan: ReductionPlan, workers: WorkerPool, listener: any ProgressListener) throws(Problem) {
    self.plan = plan
    pool = workers
    self.listener = listener
    try plan.requireOwnStatistics(workers)
    pieces = try ReductionPieces(
      beside: plan.conversion.options.output, fingerprint: try Self.fingerprint(plan),
      policy: plan.conversion.options.policy)
  }

  /// Everything that the pieces depend on.
  static func fingerprint(_ plan: ReductionPlan) throws(Problem) -> JSON {
    var members: [(String, JSON)] = [
      ("version", .string(MergeRun.version)), ("request", .string(plan.request.text)),
      ("mode", .string(plan.network.mode.rawValue)),
      ("config", .string(Digest(of: plan.checkpoint.config?.text() ?? "").description)),
    ]
    if plan.request.storage == .blocks {
      let types = plan.request.blockTypes.map { "\($0.key) \($0.value.rawValue)" }.sorted()
      members.append(("types", .string(Digest(of: types.joined(separator: "\n")).description)))
    }
    for path in plan.checkpoint.weightFiles + (plan.statistics.map { [$0.path] } ?? []) {
      let identity = try WeightFile.identity(path)
      members.append(
        ("input \(path)", ["size": .number(identity.size), "modified": .number(identity.modifiedNanoseconds)]))
    }
    return .object(members)
  }

  // MARK: - Blocks

  private mutating func reduceAll() throws(Problem) {
    let began = Machine.monotonicSeconds
    listener.receive(.began(stage: "reduce", totalBytes: plan.blocks.reduce(0) { $0 + $1.targetedBytes }))
    var found: [[ReductionPieces.Piece?]] = []
    var number = 0
    for block in plan.blocks {
      var own = try block.targets.enumerated().map { (index, target) throws(Problem) in
        try pieces.finished(number + index, of: target)
      }
      for parameter in block.divided { own.append(try pieces.finished(number + own.count, of: parameter)) }
      // A block that is reduced together is together finished or not at all.
      if plan.treatment.blockMethod != nil || !block.folds.isEmpty, own.contains(where: { $0 == nil }) {
        own = own.map { _ in nil }
      }
      found.append(own)
      number += own.count
    }
    let last = found.lastIndex { $0.contains { $0 == nil } } ?? -1
    let statistics = last >= 0 ? try BlockStatistics(plan, workers: pool) : nil
    if last >= 0, GlobalPruning.isAsked(plan.request) {
      let found = try GlobalPruning(plan)
      listener.receive(.note(found.text))
      global = found
    }
    number = 0
    for (index, block) in plan.blocks.enumerated() {
      try reduce(block, from: number, found[index], by: statistics)
      number += found[index].count
      if index < last { try statistics?.advance(through: plan.request.isSequential ? try reducedNetwork() : nil) }
    }
    listener.receive(.ended(stage: "reduce", seconds: Machine.monotonicSeconds - began))
  }

  /// The network with what was reduced so far.
  private func reducedNetwork() throws(Problem) -> Network? {
    guard !parameters.isEmpty else { return nil }
    return try Network(
      OverlaidCheckpoint(plan.checkpoint, replacing: parameters), architectures: plan.families,
      mode: plan.network.mode, residency: .streamed, workers: pool)
  }

  /// - Parameters:
  ///   - first: the number of the block's first piece.
  ///   - found: pieces that an earlier run finished.
  private mutating func reduce(
    _ block: ReductionPlan.Block, from first: Int, _ found: [ReductionPieces.Piece?], by statistics: BlockStatistics?
  ) throws(Problem) {
    var written = found
    var waiting = block.targets.indices.filter { found[$0] == nil }
    let targets = waiting.map { block.targets[$0] }
    let work = SiteReduction(plan: plan, pool: pool, global: global)
    var together = plan.treatment.blockMethod.map { BlockReduction($0, work) }
    var results: [ExactString: SiteReduction.Result] = [:]
    // What is whole is written at once: a mixture's experts together would not fit.
    func writeWhatIsWhole() throws(Problem) {
      for offset in waiting {
        let target = block.targets[offset]
        let own = target.matrices.compactMap { results[ExactString($0.name)] }
        guard own.count == target.matrices.count else { continue }
        written[offset] = try pieces.write(first + offset, target, own, of: plan)
        for matrix in target.matrices { results[ExactString(matrix.name)] = nil }
      }
      waiting.removeAll { written[$0] != nil }
    }
    // What factors of columns go into comes before what they are of: its rows are divided before it is rounded.
    var divisors: [ExactString: [Float]] = [:]
    try statistics?.forEachSite(of: block, reaching: targets, backwards: !block.folds.isEmpty) {
      (site, statistics, sample) throws(Problem) in
      let matrices = targets.flatMap(\.matrices).filter { ExactString($0.site) == ExactString(site) }
      if together != nil {
        together?.add(matrices, statistics, sample: sample)
        return
      }
      let fold = block.folds.first { ExactString($0.site) == ExactString(site) }
      let reduced = try work.reduce(matrices, statistics, sample: sample, fold, divisors)
      for result in reduced.results { results[ExactString(result.outcome.name)] = result }
      if let fold, let own = reduced.divided?.divisors { divisors[ExactString(fold.target)] = own }
      for part in reduced.divided?.parts ?? [] {
        guard let place = block.divided.firstIndex(where: { ExactString($0.name) == ExactString(part.name) }) else {
          throw Problem(.reduction, "the parameter is none that takes factors", tensor: part.name)
        }
        let index = block.targets.count + place
        written[index] = try pieces.write(first + index, [part], outcomes: [])
      }
      try writeWhatIsWhole()
    }
    for result in try together?.results() ?? [] { results[ExactString(result.outcome.name)] = result }
    try writeWhatIsWhole()
    resumed += found.prefix(block.targets.count).count { $0 != nil }
    for (offset, target) in block.targets.enumerated() {
      guard let piece = written[offset] else {
        throw Problem(.reduction, "no rows of the parameter's matrices were seen", tensor: target.parameter.name)
      }
      finished.append(piece)
      outcomes += piece.outcomes
      listener.receive(.advanced(bytes: target.bytes))
    }
    finished += written.dropFirst(block.targets.count).compactMap(\.self)
  }
}

extension ReductionTarget {
  /// Bytes of its matrices, were they stored plainly.
  var bytes: Int { matrices.reduce(0) { $0 + $1.outputs * $1.inputs * parameter.elementType.byteWidth } }
}

extension ReductionPlan.Block {
  var targetedBytes: Int { targets.reduce(0) { $0 + $1.bytes } }
}

extension MatrixBudget {
  /// How the zeros of a matrix are stored.
  var sparsePattern: SparsePattern {
    guard case .pattern(let keep, let of) = self, of.nonzeroBitCount == 1, of <= 64, keep > 0 else {
      return .unstructured
    }
    return .groups(keep: keep, of: of)
  }
}
