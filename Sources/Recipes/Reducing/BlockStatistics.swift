internal import EspalierBasics
internal import EspalierCalibration
internal import EspalierCheckpoints
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

/// What calibration says of the sites of one block after another: from a file, or from text that runs through the blocks.
struct BlockStatistics {
  /// - Parameters:
  ///   - statistics: nil where nothing is known.
  ///   - sample: of some of the rows, with a moment, where the statistics have none but the rows are at hand: errors are
  ///     measured on it.
  typealias Receiver = (
    _ site: String, _ statistics: SiteStatistics?, _ sample: SiteStatistics?
  ) throws(Problem) -> Void

  private let plan: ReductionPlan
  private let pool: WorkerPool
  private let run: BlockRun?

  init(_ plan: ReductionPlan, workers: WorkerPool) throws(Problem) {
    self.plan = plan
    pool = workers
    if case .text(let text, _) = plan.request.source {
      run = try BlockRun(
        plan.network, sequences: text.windows.sequences,
        spillingTo: plan.spills ? plan.conversion.options.output + ".activations" : nil)
    } else {
      run = nil
    }
  }

  /// Brings the statistics of the sites of some targets of the next block, site by site; each is forgotten when `body`
  /// returns.
  ///
  /// - Parameter backwards: the last site first.
  func forEachSite(
    of block: ReductionPlan.Block, reaching targets: [ReductionTarget], backwards: Bool = false, _ body: Receiver
  ) throws(Problem) {
    let wanted = targets.flatMap(\.matrices).map(\.site)
    guard let run else {
      let sites = wanted.map { ExactString($0) }.uniqued()
      for site in backwards ? sites.reversed() : sites {
        try body("\(site)", try plan.statistics?.statistics(of: "\(site)", moment: true), nil)
      }
      return
    }
    let names = Set(wanted.map { ExactString($0) })
    for pass in backwards ? block.passes.reversed() : block.passes {
      let sites = (backwards ? pass.reversed() : pass).filter { names.contains(ExactString($0.name)) }
      if !sites.isEmpty { try gather(sites, from: run, body) }
    }
  }

  private func gather(_ sites: [InputSite], from run: BlockRun, _ body: Receiver) throws(Problem) {
    let needsMoment = plan.needs == .moment
    let limit = plan.momentLimit
    let all = try SiteGathering(sites, momentLimit: needsMoment ? limit : 0, workers: pool)
    let sample = needsMoment ? nil : try SiteGathering(sites, rows: .sample, momentLimit: limit, workers: pool)
    try run.showBlock(sites: sites.map(\.name)) { (site, rows) throws(Problem) in
      try all.add(site, rows)
      try sample?.add(site, rows)
    }
    for site in sites {
      try body(site.name, try all.finish(site)?.value(), try sample?.finish(site)?.value())
    }
  }

  /// Lets the rows go on to the next block.
  ///
  /// - Parameter network: the same network with other weights; nil for those of its own.
  func advance(through network: Network? = nil) throws(Problem) {
    _ = try run?.runBlock(weightsOf: network, observe: nil)
  }
}
