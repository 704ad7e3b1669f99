public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNetworks

/// Brings the channels that reach a model's maps to the means and deviations that they have in other models.
///
///     μ' = Σ share · μ_model      σ' = Σ share · σ_model         of every channel, over the rows of the same text
///
/// A merged or pruned model's activations shrink and drift (Jordan, Sedghi, Saukh, Entezari, Neyshabur, ICLR 2023,
/// arXiv:2211.08403, section 3: REPAIR); rescaling and shifting them back are two corrections with effects of their own
/// (Qu, Horváth, 2024, arXiv:2402.05966). The sources correct what leaves a map by layers that are folded into
/// it; this corrects what enters the maps, and folds it into them or the norm before them, so that a model of the same
/// family comes out. Site after site is corrected, each on what those before it make of the text.
public struct Renormalization {
  public enum Mode: String, Sendable, CaseIterable { case rescale, reshift, both }

  /// What was done to a site.
  public struct Site: Sendable {
    public let name: String
    public let channels: Int
    /// Whether means could be set: there is a bias to take the shift.
    public let isShifted: Bool
    /// Whether the norm before the site took the scale, or else the columns of the maps behind it.
    public let isInNorm: Bool
    /// The least and the greatest scale.
    public let scales: ClosedRange<Double>
    /// Channels that could not be scaled as far as wanted.
    public let limited: Int
    /// How far means and deviations are from those wanted, over their size, before anything was changed, and in the end.
    public let before: Double
    public internal(set) var after: Double
  }

  public let checkpoint: any Checkpoint
  public let sites: [Site]
  /// Sites that stay as they are: the models differ there in width, or the scale has no place.
  public let left: [String]

  /// - Parameters:
  ///   - checkpoint: what is corrected.
  ///   - description: of it.
  ///   - models: what it should be like, with their shares, which add up to 1.
  ///   - sequences: tokens that mean the same to all of them.
  ///   - makeNetwork: opens a checkpoint; weights need not stay in memory.
  ///   - store: keeps new values of a parameter, rounded to its type.
  /// - Throws: `restructuring` if there is no text, or nothing can be corrected; what running throws.
  public init(
    _ checkpoint: any Checkpoint, described description: ModelDescription,
    like models: [(network: Network, share: Double)], sequences: [[Int32]], mode: Mode,
    makeNetwork: (any Checkpoint) throws(Problem) -> Network,
    store: (Parameter, [Float]) throws(Problem) -> Parameter, progress: (String) -> Void = { _ in }
  ) throws(Problem) {
    guard !sequences.isEmpty else {
      throw Problem(.restructuring, "activations are measured on text", remedy: "Give --text.")
    }
    let network = try makeNetwork(checkpoint)
    let blocks = try network.blocks()
    var places: [[CorrectionPlace]] = []
    for index in blocks.indices {
      places.append(try CorrectionPlace.all(ofBlock: index, of: network, checkpoint, description))
    }
    guard mode != .reshift || places.contains(where: { $0.contains(where: \.canShift) }) else {
      throw Problem(
        .restructuring, "the model has no biases that could take a shift, so its means stay as they are",
        remedy: "Rescale it, or correct both.", file: checkpoint.location)
    }
    var wanted: [[String: ChannelMoments]] = []
    for model in models { wanted.append(try ChannelMoments.all(of: model.network, on: sequences)) }
    let before = try ChannelMoments.all(of: network, on: sequences)
    let run = try BlockRun(network, sequences: sequences)
    let files = FilePool()
    var parameters: [Parameter] = []
    var (sites, left): ([Site], [String]) = ([], [])
    var targets: [String: (wanted: ChannelMoments, unseen: ChannelCorrection)] = [:]
    var corrected = network
    for (block, places) in zip(blocks, places) {
      var seen = Set<String>()
      for site in block.sites where !site.isExpert && seen.insert(site.name).inserted {
        let moments = wanted.compactMap { $0[site.name] }
        guard let place = places.first(where: { $0.site == site.name }), moments.count == models.count,
          let target = ChannelMoments(mixing: moments, shares: models.map(\.share)), target.width == site.width
        else {
          left.append(site.name)
          continue
        }
        var sums = ChannelSums([site])
        _ = try run.runBlock(repeats: true, weightsOf: corrected) { (name, rows) in sums.add(name, rows) }
        guard let current = sums.moments(of: site.name) else { continue }
        let correction = ChannelCorrection(from: current, to: target, mode: mode, canShift: place.canShift)
        for (parameter, values) in try place.values(after: correction, files: files) {
          parameters.append(try store(parameter, values))
        }
        corrected = try makeNetwork(OverlaidCheckpoint(checkpoint, replacing: parameters))
        targets[site.name] = (target, place.unseen(of: correction))
        let (least, most) = (correction.scales.min() ?? 1, correction.scales.max() ?? 1)
        sites.append(
          Site(
            name: site.name, channels: site.width, isShifted: place.canShift, isInNorm: place.norm != nil,
            scales: least...most, limited: correction.limited,
            before: before[site.name]?.distance(from: target) ?? 0, after: 0))
        progress("\(site.name): scales from \(least) to \(most)")
      }
      _ = try run.runBlock(weightsOf: corrected, observe: nil)
    }
    guard !sites.isEmpty else {
      throw Problem(
        .restructuring, "there is nothing to correct: no site of the model is as wide as the others'",
        file: checkpoint.location)
    }
    let after = try ChannelMoments.all(of: corrected, on: sequences)
    for index in sites.indices {
      guard let target = targets[sites[index].name], let moments = after[sites[index].name] else { continue }
      sites[index].after = target.unseen.applied(to: moments).distance(from: target.wanted)
    }
    self.checkpoint = OverlaidCheckpoint(checkpoint, replacing: parameters)
    (self.sites, self.left) = (sites, left)
  }
}
