public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNetworks
public import EspalierNumerics

/// Statistics of some sites of one block, gathered while it runs.
public final class SiteGathering {
  public let sites: [InputSite]
  private var accumulators: [ExactString: SiteAccumulator] = [:]
  private let pool: WorkerPool
  private let rule: RowRule
  /// Rows that have reached each site.
  private var seen: [ExactString: Int] = [:]

  /// Which rows are gathered.
  public enum RowRule: Sendable {
    case all
    /// 256 in every 4096: what an error can be measured on at a sixteenth of the cost.
    case sample
  }

  /// - Parameter momentLimit: as ``MomentShape/init(width:limit:)``.
  /// - Throws: `memory.allocation`.
  public init(
    _ sites: [InputSite], rows rule: RowRule = .all, momentLimit: Int, workers: WorkerPool
  ) throws(Problem) {
    self.sites = sites
    self.rule = rule
    pool = workers
    for site in sites {
      accumulators[ExactString(site.name)] = try SiteAccumulator(width: site.width, momentLimit: momentLimit)
    }
  }

  /// Adds rows that reach a site, in their order; those of other sites are not looked at.
  public func add(_ site: String, _ rows: MatrixView<Float>) throws(Problem) {
    guard let accumulator = accumulators[ExactString(site)] else { return }
    guard case .sample = rule else { return try accumulator.add(rows, parallel: share) }
    var row = 0
    let first = seen[ExactString(site), default: 0]
    while row < rows.rows {
      let place = (first + row) % Self.period
      if place < Self.sampled {
        let end = min(rows.rows, row + Self.sampled - place)
        try accumulator.add(try rows.rows(row..<end), parallel: share)
        row = end
      } else {
        row += Self.period - place
      }
    }
    seen[ExactString(site)] = first + rows.rows
  }

  private static let sampled = 256
  private static let period = 4096

  /// What the rows of a site add up to; its memory goes with what is returned.
  ///
  /// - Throws: `calibration.nonfinite`, naming the site.
  public func finish(_ site: InputSite) throws(Problem) -> FinishedStatistics? {
    guard let statistics = try accumulators.removeValue(forKey: ExactString(site.name))?.finish(parallel: share)
    else { return nil }
    guard statistics.isFinite else {
      throw Problem(
        .calibrationNotFinite, "NaN or infinity reaches \(site.name) on this text",
        remedy: "The model overflows or is damaged; `espalier inspect` finds numbers that are none.")
    }
    return statistics
  }

  private func share(_ count: Int, _ body: (Int) throws(Problem) -> Void) throws(Problem) {
    try pool.forEach(count, body)
  }
}
