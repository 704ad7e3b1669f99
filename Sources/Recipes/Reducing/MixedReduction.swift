internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

/// LoRAP on one transformer block (Li et al. 2024): the channels of its feed-forward sub-layer that count least become
/// zeros, all its other matrices factors. It needs the block's statistics together, so sites are added as they come and
/// reduced when all are there.
///
/// One share is kept in both parts: `Int(share * neurons)` channels, and of the other matrices ranks that together take at
/// most that share of their numbers.
struct MixedReduction {
  struct Settings: Sendable {
    let share: Double
    /// Of all channels, the least important ones that stay.
    let leastImportant: Double
    /// Whether ranks go where they keep most, or every matrix keeps the same share.
    let allocatesRanks: Bool

    /// - Throws: `reduction` for parameters that the card does not allow, and any budget but a share of the numbers.
    init(_ request: ReductionRequest) throws(Problem) {
      let parameters = try ReductionParameters(request.parameters, for: Lorap.card)
      guard case .budget(.parameters(let share)) = request.goal else {
        throw Problem(
          .reduction, "lorap deals its budget out itself, as one share of the numbers of every block",
          remedy: "Give --parameters, and neither --rank, --size nor --allocate.")
      }
      self.share = share
      leastImportant = parameters.number("least_important") ?? 0.01
      allocatesRanks = parameters.word("ranks") != "uniform"
    }
  }

  private typealias Entry = (matrix: NetworkMatrix, statistics: SiteStatistics?, seen: SiteReduction.Seen)

  private let settings: Settings
  private let work: SiteReduction
  private var entries: [Entry] = []

  init(_ settings: Settings, _ work: SiteReduction) {
    self.settings = settings
    self.work = work
  }

  mutating func add(_ matrices: [NetworkMatrix], _ statistics: SiteStatistics?, sample: SiteStatistics?) {
    guard let first = matrices.first else { return }
    let seen = SiteReduction.Seen(statistics, sample, width: first.inputs)
    entries += matrices.map { ($0, statistics, seen) }
  }

  func results() throws(Problem) -> [SiteReduction.Result] {
    try lowRank(entries.filter { !Self.isFeedForward($0.matrix) })
      + channels(entries.filter { Self.isFeedForward($0.matrix) })
  }

  // MARK: - Attention, and whatever else there is

  private func lowRank(_ entries: [Entry]) throws(Problem) -> [SiteReduction.Result] {
    guard !entries.isEmpty else { return [] }
    var weights: [Matrix<Float>] = []
    for entry in entries { weights.append(try work.plan.network.weight(of: entry.matrix)) }
    let budgets = try budgets(entries, weights)
    var results: [SiteReduction.Result] = []
    for (index, entry) in entries.enumerated() {
      let began = Machine.monotonicSeconds
      let stored = try work.reduce([entry.matrix], [weights[index]], entry.seen, to: [budgets[index]])
      results.append(
        try work.result(
          stored[0], of: entry.matrix, weights[index], to: budgets[index], entry.seen,
          rows: entry.statistics?.count ?? 0, began: began))
    }
    return results
  }

  private func budgets(_ entries: [Entry], _ weights: [Matrix<Float>]) throws(Problem) -> [MatrixBudget] {
    guard settings.allocatesRanks else { return entries.map { _ in .parameters(settings.share) } }
    var spectra: [RankAllocation.Spectrum] = []
    for (entry, weight) in zip(entries, weights) {
      do throws(Problem) {
        var spectrum = try RankAllocation.Spectrum(
          of: weight, entry.seen.known, weighing: .norms, parallel: work.parallel)
        // Beyond this rank the factors have more numbers than the matrix.
        let most = max(1, weight.rows * weight.columns / (weight.rows + weight.columns))
        spectrum.values = Array(spectrum.values.prefix(most))
        spectra.append(spectrum)
      } catch { throw error.at(tensor: entry.matrix.name) }
    }
    let numbers = weights.reduce(0) { $0 + $1.rows * $1.columns }
    return try RankAllocation.ranks(spectra, numbers: Int(settings.share * Double(numbers))).map { .rank($0) }
  }

  // MARK: - Feed-forward

  private func channels(_ entries: [Entry]) throws(Problem) -> [SiteReduction.Result] {
    guard !entries.isEmpty else { return [] }
    let began = Machine.monotonicSeconds
    func entry(_ part: Role.Part) -> Entry? { entries.first { $0.matrix.part == part } }
    guard let up = entry(.feedForwardUp), let down = entry(.feedForwardDown), let inputs = up.seen.known,
      let neurons = down.seen.known
    else { throw Problem(.reduction, "lorap needs a feed-forward sub-layer whole", tensor: entries[0].matrix.name) }
    let gate = entry(.feedForwardGate)
    let network = work.plan.network
    let block: FeedForwardBlock
    let kept: [Int]
    do throws(Problem) {
      var gateWeight: Matrix<Float>?
      if let gate { gateWeight = try network.weight(of: gate.matrix) }
      block = try FeedForwardBlock(
        gate: gateWeight, up: try network.weight(of: up.matrix), down: try network.weight(of: down.matrix))
      kept = try Lorap.channels(
        Lorap.channelScores(block, inputs: inputs, neurons: neurons), keep: Int(settings.share * Double(block.neurons)),
        leastImportant: settings.leastImportant)
    } catch { throw error.at(tensor: up.matrix.name) }
    let masked = block.masked(keeping: kept)
    var results: [SiteReduction.Result] = []
    let parts: [(Entry?, Matrix<Float>?, Matrix<Float>?)] = [
      (gate, block.gate, masked.gate), (up, block.up, masked.up), (down, block.down, masked.down),
    ]
    for (entry, weight, result) in parts {
      guard let entry, let weight, let result else { continue }
      let stored = try StoredWeight(
        .dense(result), as: entry.matrix.parameter.elementType, work.plan.request.storage, parallel: work.parallel)
      results.append(
        try work.result(
          stored, of: entry.matrix, weight, to: .parameters(settings.share),
          named: "channels \(kept.count) of \(block.neurons)", entry.seen, rows: entry.statistics?.count ?? 0,
          began: began))
    }
    return results
  }

  static func isFeedForward(_ matrix: NetworkMatrix) -> Bool {
    [.feedForwardGate, .feedForwardUp, .feedForwardDown].contains(matrix.part)
  }

  /// What of a plan lorap cannot do.
  static func complaints(_ blocks: [ReductionPlan.Block]) -> [Problem] {
    var problems: [Problem] = []
    for block in blocks {
      let parts = block.matrices.filter(isFeedForward)
      let counts = [Role.Part.feedForwardGate, .feedForwardUp, .feedForwardDown].map { part in
        parts.count { $0.part == part }
      }
      let isFused = block.matrices.contains { $0.part == .feedForwardGateUp }
      if let first = parts.first, !isFused, counts[0] > 1 || counts[1] != 1 || counts[2] != 1 {
        problems.append(
          Problem(
            .reduction,
            "lorap needs one feed-forward sub-layer a block, whole; here are \(counts[1]) matrices up and "
              + "\(counts[2]) down", remedy: "Leave them out with --keep.", tensor: first.name))
      }
      if let first = block.matrices.first(where: { $0.part == .feedForwardGateUp }) {
        problems.append(
          Problem(
            .reduction, "lorap does not take gate and up apart that are one matrix",
            remedy: "Leave it out with --keep.", tensor: first.name))
      }
      if block.passes.count > 1 {
        problems.append(
          Problem(
            .memoryCeiling, "lorap needs the statistics of all sites of \(block.name) together, and they do not fit",
            remedy: "Raise --memory, or keep less with --moment-width."))
      }
    }
    return problems
  }
}
