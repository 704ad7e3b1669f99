public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierNumerics

/// Brings several models into one order that none of them sets alone.
///
/// In turn each model is matched to the mean of the others as they are by then, until a round changes nothing
/// (`MergeMany` of Ainsworth, Hayase, Srinivasa, ICLR 2023, arXiv:2209.04836, appendix). Where the paper takes means of
/// models that have no order in common yet, this first places one after the other, each by the mean of those before it,
/// beginning with the first: copies in other orders are thereby found at once.
public struct MeanMatching: Sendable {
  private let models: [any Checkpoint]
  private let family: Architecture
  private let options: AlignmentOptions
  private let workers: WorkerPool

  /// Rounds at the most: with balanced weighing nothing promises that they come to an end.
  public static let rounds = 30

  /// - Parameters:
  ///   - models: at least two, with parameters of the same names and shapes.
  ///   - options: of every match; the seed also tells the order of turns after the first round.
  /// - Throws: everything in which the models do not fit, all at once.
  public init(
    _ models: [any Checkpoint], of family: Architecture, options: AlignmentOptions = AlignmentOptions(),
    workers: WorkerPool
  ) throws(Problems) {
    guard let first = models.first, models.count > 1 else {
      throw Problems([Problem(.restructuring, "one model has no others to be aligned with")])
    }
    var problems = Problems()
    for model in models.dropFirst() {
      do throws(Problems) {
        _ = try WeightMatching(model, to: first, of: family, options: options, workers: workers)
      } catch { problems.all += error.all }
      problems.collect { () throws(Problem) in try CombinedCheckpoint.checkShapes(first, model) }
    }
    guard problems.all.isEmpty else { throw problems }
    (self.models, self.family, self.options, self.workers) = (models, family, options, workers)
  }

  /// Bytes that matching takes at the most.
  public func workingBytes(threads: Int) throws(Problems) -> Int {
    try WeightMatching(models[1], to: models[0], of: family, options: options, workers: workers)
      .workingBytes(threads: threads)
  }

  /// - Parameter progress: receives a line for each step.
  /// - Returns: for every model its order; `before` and `after` compare with the mean of the others, as all were and as
  ///   all are; `sweeps` counts rounds.
  public func align(progress: (String) -> Void = { _ in }) throws(Problem) -> [Alignment] {
    var found: [Alignment] = [try matching(0, to: models[1]).improved(nil, sweeps: 0)]
    for place in models.indices.dropFirst() {
      progress("model \(place + 1): by the mean of those before it")
      found.append(try matching(place, to: try mean(of: Array(0..<place), found)).align(progress: progress))
    }
    var (rounds, hasChanged) = (1, true)
    while hasChanged, rounds < Self.rounds {
      hasChanged = false
      let turns = KeyedRandom.shuffled(
        Array(models.indices), seed: options.seed, name: "alignment of several", run: rounds)
      rounds += 1
      for place in turns {
        let others = models.indices.filter { $0 != place }
        let next = try matching(place, to: try mean(of: others, found)).improved(found[place].orders)
        if next.change != found[place].change {
          progress("round \(rounds), model \(place + 1): \(next.before.agreement) to \(next.after.agreement)")
          hasChanged = true
        }
        found[place] = next
      }
    }
    if hasChanged { progress("ended after \(rounds) rounds, before orders were settled") }
    for place in models.indices {
      let others = models.indices.filter { $0 != place }
      let asTheyWere = try matching(place, to: try mean(of: others, nil)).improved(nil, sweeps: 0)
      let asTheyAre = try matching(place, to: try mean(of: others, found)).improved(found[place].orders, sweeps: 0)
      (found[place].before, found[place].after) = (asTheyWere.before, asTheyAre.after)
      found[place].sweeps = rounds
    }
    return found
  }

  private func matching(_ place: Int, to reference: any Checkpoint) throws(Problem) -> WeightMatching {
    do throws(Problems) {
      return try WeightMatching(models[place], to: reference, of: family, options: options, workers: workers)
    } catch { throw error.all.first ?? Problem(.restructuring, "the models cannot be matched") }
  }

  /// - Parameter orders: nil: the models as they are.
  private func mean(of places: [Int], _ orders: [Alignment]?) throws(Problem) -> any Checkpoint {
    var parts: [(weight: Double, checkpoint: any Checkpoint)] = []
    for place in places {
      let model = try orders?[place].applied(to: models[place], of: family) ?? models[place]
      parts.append((1 / Double(places.count), model))
    }
    return try CombinedCheckpoint.sum(parts)
  }
}
