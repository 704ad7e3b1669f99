internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierNetworks
internal import EspalierReduction

/// Carries a choice out: block by block, each parameter in its own form.
struct FitReduction {
  let reductions: FitReductions
  let run: RunOptions
  let pieces: ReductionPieces
  let listener: any ProgressListener
  private(set) var finished: [ReductionPieces.Piece] = []
  private var number = 0

  init(_ reductions: FitReductions, run: RunOptions, pieces: ReductionPieces, listener: any ProgressListener) {
    (self.reductions, self.run, self.pieces, self.listener) = (reductions, run, pieces, listener)
  }

  private var gathering: ReductionPlan { reductions.gathering }
  var parameters: [Parameter] { finished.map(\.parameter) }

  /// A parameter that changes, and the plan that says how.
  private struct Work {
    /// The number of its form.
    let form: Int
    let plan: ReductionPlan
    let target: ReductionTarget
  }

  mutating func reduce() throws(Problem) {
    let began = Machine.monotonicSeconds
    let blocks = gathering.blocks.map { block in block.targets.compactMap { work(on: $0.parameter.name) } }
    let last = blocks.lastIndex { !$0.isEmpty } ?? -1
    listener.receive(
      .began(stage: "reduce", totalBytes: blocks.flatMap { $0 }.reduce(0) { $0 + $1.target.denseBytes }))
    let statistics = last >= 0 ? try BlockStatistics(gathering, workers: run.pool) : nil
    for (index, block) in gathering.blocks.enumerated() where index <= last {
      if let statistics, !blocks[index].isEmpty { try reduce(blocks[index], of: block, by: statistics) }
      if index < last {
        try statistics?.advance(through: gathering.request.isSequential ? try reducedNetwork() : nil)
      }
    }
    listener.receive(.ended(stage: "reduce", seconds: Machine.monotonicSeconds - began))
  }

  private func work(on parameter: String) -> Work? {
    for (form, plan) in reductions.plans.enumerated() {
      guard let plan else { continue }
      let targets = plan.blocks.lazy.flatMap(\.targets)
      if let target = targets.first(where: { ExactString($0.parameter.name) == ExactString(parameter) }) {
        return Work(form: form, plan: plan, target: target)
      }
    }
    return nil
  }

  /// The network with what was reduced so far.
  private func reducedNetwork() throws(Problem) -> Network? {
    guard !finished.isEmpty else { return nil }
    return try Network(
      OverlaidCheckpoint(gathering.checkpoint, replacing: parameters), architectures: run.families, mode: run.mode,
      residency: .streamed, workers: run.pool)
  }

  private mutating func reduce(
    _ works: [Work], of block: ReductionPlan.Block, by statistics: BlockStatistics
  ) throws(Problem) {
    let first = number
    number += works.count
    var done = try works.enumerated().map { (index, work) throws(Problem) in
      try pieces.finished(first + index, of: work.target)
    }
    let waiting = works.indices.filter { done[$0] == nil }
    var results: [ExactString: SiteReduction.Result] = [:]
    let pool = run.pool
    try statistics.forEachSite(of: block, reaching: waiting.map { works[$0].target }) {
      (site, known, sample) throws(Problem) in
      for (form, plan) in reductions.plans.enumerated() {
        guard let plan else { continue }
        let matrices = waiting.filter { works[$0].form == form }
          .flatMap { works[$0].target.matrices }.filter { ExactString($0.site) == ExactString(site) }
        guard !matrices.isEmpty else { continue }
        let reduced = try SiteReduction(plan: plan, pool: pool).reduce(matrices, known, sample: sample)
        for result in reduced.results { results[ExactString(result.outcome.name)] = result }
      }
      for index in waiting where done[index] == nil {
        let target = works[index].target
        let own = target.matrices.compactMap { results[ExactString($0.name)] }
        guard own.count == target.matrices.count else { continue }
        done[index] = try pieces.write(first + index, target, own, of: works[index].plan)
        for matrix in target.matrices { results[ExactString(matrix.name)] = nil }
      }
    }
    for (work, piece) in zip(works, done) {
      guard let piece else {
        throw Problem(.reduction, "no rows of the parameter's matrices were seen", tensor: work.target.parameter.name)
      }
      finished.append(piece)
      listener.receive(.advanced(bytes: work.target.denseBytes))
    }
  }

  /// How the model with its new parameters is written.
  func assembled() throws(Problem) -> MergePlan {
    let packed = reductions.plans.compactMap(\.self).filter { $0.request.storage == .packed }
      .flatMap { $0.blocks.flatMap(\.targets) }
    let section =
      packed.isEmpty ? nil : try ReductionPlan.quantizationConfig(.packQuantized, packed, of: gathering.network)
    return try ReductionAssembly.assembled(
      gathering, finished, keepingForms: true, quantizationConfig: section)
  }
}
