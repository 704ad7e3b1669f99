public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNetworks

extension Problem.Code {
  /// NaN or infinity where statistics are gathered.
  public static let calibrationNotFinite = Problem.Code("calibration.nonfinite")
}

/// Runs text through a model block by block and writes what it says of the inputs of every matrix.
///
/// In exact mode the bytes of the file depend on the model, the tokens and the limit of second moments alone: neither on
/// threads, nor on the memory ceiling, nor on whether the run was interrupted.
public struct Calibration: Sendable {
  /// What was done.
  public struct Report: Sendable {
    public var tokens: Int
    public var sites: Int
    /// Blocks that an earlier run had finished.
    public var resumedBlocks: Int
    public var seconds: Double
  }

  public let network: Network
  public let sequences: [[Int32]]
  public let plan: CalibrationPlan
  private let pool: WorkerPool

  /// - Parameters:
  ///   - network: best one that keeps no weights in memory: each block is used once.
  ///   - memory: a ceiling on resident memory in bytes.
  ///   - reading: of it, what reading the weights takes for itself.
  ///   - momentLimit: as ``MomentShape/init(width:limit:)``.
  /// - Throws: as ``CalibrationPlan``.
  public init(
    _ network: Network, sequences: [[Int32]], memory: Int, reading: Int = 0, momentLimit: Int = 8192,
    workers: WorkerPool
  ) throws(Problem) {
    self.network = network
    self.sequences = sequences
    pool = workers
    plan = try CalibrationPlan(
      network, lengths: sequences.map(\.count), memory: memory, reading: reading, momentLimit: momentLimit)
  }

  /// Gathers and writes.
  ///
  /// - Parameters:
  ///   - record: what the file will say of itself.
  ///   - resume: continue an unfinished file. Blocks that it has are only run through.
  ///   - force: replace what is there.
  /// - Throws: what ``StatisticsWriter`` and the network throw; `calibration.nonfinite`, naming the site.
  public func run(
    _ record: StatisticsRecord, to path: String, resume: Bool = false, force: Bool = false,
    listener: any ProgressListener = SilentListener()
  ) throws(Problem) -> Report {
    let began = Machine.monotonicSeconds
    let writer = try StatisticsWriter(plan.layout(record), to: path, resume: resume, force: force)
    let run = try BlockRun(network, sequences: sequences, spillingTo: plan.spills ? path + ".activations" : nil)
    let rowBytes = network.carriedBytesPerToken
    // What lies behind the last block that has sites or is to be measured need not run.
    let last = plan.blocks.lastIndex { $0.block.isLayer || !$0.block.sites.isEmpty } ?? -1
    let passes = plan.blocks[...last].enumerated().reduce(0) {
      $0 + (writer.finishedBlocks.contains($1.offset) ? 1 : $1.element.passes.count)
    }
    listener.receive(.began(stage: "calibrate", totalBytes: passes * plan.tokenCount * rowBytes))
    let progress = { (rows: Int) in listener.receive(.advanced(bytes: rows * rowBytes)) }
    for (index, planned) in plan.blocks.enumerated() {
      if writer.finishedBlocks.contains(index) {
        if index <= last { _ = try run.runBlock(progress: progress, observe: nil) }
        continue
      }
      var similarity: BlockRun.Similarity?
      for (pass, sites) in planned.passes.enumerated() where index <= last {
        let repeats = pass + 1 < planned.passes.count
        similarity = try gather(sites, from: run, repeats: repeats, progress: progress, into: writer)
      }
      try writer.finish(block: index, rows: similarity?.count ?? 0, cosines: similarity?.sum ?? 0)
    }
    try writer.finish()
    let seconds = Machine.monotonicSeconds - began
    listener.receive(.ended(stage: "calibrate", seconds: seconds))
    return Report(
      tokens: plan.tokenCount, sites: plan.sites.count, resumedBlocks: writer.finishedBlocks.count, seconds: seconds)
  }

  /// Runs the next block and writes the statistics of some of its sites.
  private func gather(
    _ sites: [InputSite], from run: BlockRun, repeats: Bool, progress: (Int) -> Void, into writer: StatisticsWriter
  ) throws(Problem) -> BlockRun.Similarity? {
    let gathering = try SiteGathering(sites, momentLimit: plan.momentLimit, workers: pool)
    let similarity = try run.runBlock(repeats: repeats, progress: progress, observe: gathering.add)
    for site in sites {
      if let statistics = try gathering.finish(site) { try writer.write(statistics, of: site.name) }
    }
    return similarity
  }
}
