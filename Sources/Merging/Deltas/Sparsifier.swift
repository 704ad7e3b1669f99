internal import CKernels
internal import EspalierBasics
internal import EspalierExecution
internal import EspalierNumerics

/// Which elements of a change are kept.
enum Sparsification: Sendable {
  case none
  /// The `density` share of largest magnitude (TIES).
  case magnitude
  /// As ``magnitude``, after the `gamma` share of largest magnitude is dropped (breadcrumbs).
  case magnitudeWithoutOutliers
  /// Each with probability `density` (DARE).
  case random
  /// Each with a probability that grows with its rank in the row, from `density - epsilon` to `density + epsilon`
  /// (DELLA).
  case randomByRank
}

/// What makes up for what was dropped.
enum Rescaling: Sendable, Hashable {
  case none
  /// One factor a tensor and model: the change keeps its sum of magnitudes (mergekit's `rescale: true`).
  case absoluteSum
  /// Division by the probability of being kept, element by element: the published, unbiased rule.
  case inverseDensity
}

/// How one model's change is sparsified.
struct SparsifierSettings: Sendable {
  var density: Double
  var gamma = 0.0
  var epsilon = 0.0
  /// What the kept elements are divided by, in place of what the rescaling says (DAREx-q).
  var divisor: Double?

  /// At a density of 1 nothing is dropped and nothing rescaled.
  var keepsAll: Bool { density >= 1 }
}

/// The sparsification of one tensor's changes, ready to be applied block by block.
struct Sparsifier {
  private enum Rule {
    case all
    case nothing
    case cut(RankCut)
    /// Keeps what is inside the wider cut and not inside the narrower.
    case between(dropped: RankCut, kept: RankCut)
    case random(KeyedRandom, probability: Double)
    case byRank(KeyedRandom, SparsifierSettings, divides: Bool)
  }

  private let rules: [Rule]

  /// - Parameter settings: one for every input but the base.
  init(
    _ kind: Sparsification, settings: [SparsifierSettings], rescaling: Rescaling, passes: MergePasses
  ) throws(Problem) {
    let count = passes.tensor.elementCount
    switch kind {
    case .none: rules = settings.map { _ in .all }
    case .random:
      rules = settings.enumerated().map { index, model in
        model.keepsAll
          ? .all : .random(Self.random(passes, model: index), probability: max(0, model.density))
      }
    case .randomByRank:
      rules = settings.enumerated().map { index, model in
        if model.keepsAll { return .all }
        return model.density <= 0
          ? .nothing
          : .byRank(Self.random(passes, model: index), model, divides: rescaling == .inverseDensity)
      }
    case .magnitude:
      var requests: [RankRequest] = []
      for (index, model) in settings.enumerated() where !model.keepsAll {
        let kept = model.density <= 0 ? 0 : max(1, Int(model.density * Double(count)))
        requests.append(RankRequest(channel: index, count: kept))
      }
      let cuts = try Self.cuts(requests, passes: passes)
      rules = settings.indices.map { index in
        requests.firstIndex { $0.channel == index }.map { .cut(cuts[$0]) } ?? .all
      }
    case .magnitudeWithoutOutliers:
      var requests: [RankRequest] = []
      for (index, model) in settings.enumerated() where !model.keepsAll {
        let target = Int(max(0, model.density) * Double(count))
        let dropped = max(0, count - target - Int(model.gamma * Double(count)))
        requests.append(RankRequest(channel: index, count: dropped, order: .smallestMagnitude))
        requests.append(RankRequest(channel: index, count: dropped + target, order: .smallestMagnitude))
      }
      let cuts = try Self.cuts(requests, passes: passes)
      rules = settings.indices.map { index in
        requests.firstIndex { $0.channel == index }.map { .between(dropped: cuts[$0], kept: cuts[$0 + 1]) } ?? .all
      }
    }
  }

  private static func random(_ passes: MergePasses, model: Int) -> KeyedRandom {
    KeyedRandom(seed: passes.seed, name: passes.name, stream: UInt32(truncatingIfNeeded: model))
  }

  private static func cuts(_ requests: [RankRequest], passes: MergePasses) throws(Problem) -> [RankCut] {
    let channels = Set(requests.map(\.channel)).sorted()
    return try RankScan.cuts(requests, of: passes.tensor) { block, give in
      for channel in channels {
        let values = block.inputs[channel + 1]
        es_subtract(values, block.inputs[0], Int64(block.count))
        give(channel, values)
      }
    }
  }

  /// Arrays of scratch that a kind needs in every block: for the values outside a cut, or, ten that lie one after the
  /// other, as the working memory of keeping by rank.
  static func scratchCount(_ kind: Sparsification) -> Int {
    switch kind {
    case .none, .magnitude, .random: 0
    case .magnitudeWithoutOutliers: 1
    case .randomByRank: 10
    }
  }

  /// Sparsifies the changes of a block whose base has been subtracted.
  func apply(to block: Block) {
    for (index, rule) in rules.enumerated() { apply(rule, to: block.inputs[index + 1], block: block) }
  }

  private func apply(_ rule: Rule, to values: UnsafeMutablePointer<Float>, block: Block) {
    let count = block.count
    switch rule {
    case .all: return
    case .nothing: values.update(repeating: 0, count: count)
    case .cut(let cut): cut.apply(to: values, count: count, block: block.index)
    case .between(let dropped, let kept):
      kept.apply(to: values, count: count, block: block.index)
      // What the dropped cut keeps is subtracted from itself; zeros of the first cut stay zero.
      let outside = block.scratch[0]
      outside.update(from: values, count: count)
      dropped.apply(to: outside, count: count, block: block.index)
      es_subtract(values, outside, Int64(count))
    case .random(let random, let probability):
      random.keep(values, startingAt: block.start, count: count, probability: probability)
    case .byRank(let random, let settings, let divides):
      // p = (density - epsilon) + 2 epsilon rank / (count - 1); a single element gets the density.
      let isSingle = count == 1
      random.keepByRank(
        values, startingAt: block.start, count: count,
        lowest: Float(isSingle ? settings.density : settings.density - settings.epsilon),
        slope: Float(isSingle ? 0 : 2 * settings.epsilon / Double(count - 1)), rescale: divides,
        scratch: block.scratch[0])
    }
  }
}
