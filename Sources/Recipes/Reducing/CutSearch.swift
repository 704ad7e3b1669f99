public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

/// What a search for a cut is asked for.
public struct CutSearchRequest: Sendable {
  /// Shares of a matrix's singular values that are tried.
  public var shares = [0.01, 0.05, 0.1, 0.2, 0.5]
  /// As in ``ReductionRequest``.
  public var keep: [String] = []
  public var only: [String] = []
  /// Numbers of the layers whose matrices are tried; nil for all, and for what is outside of layers.
  public var layers: ClosedRange<Int>?
  /// Candidates are measured in the form in which the best one is stored.
  public var storage = ReductionRequest.Storage.dense

  public init() {}
}

/// Looks for the one matrix, and the rank it is cut to, that help a trained model most (``Laser``).
///
/// Every matrix is cut by plain SVD to every rank, alone; the model with it is measured, and nothing but that one
/// parameter is written for it. If a cut scores above the model as it is, the best of them becomes an ordinary output,
/// bit for bit what was measured. Its score was chosen for being high: other data say what it is worth.
public struct CutSearch: Sendable {
  private let search: CutSearchRequest
  private let model: String
  private let run: RunOptions
  private let writing: MergeOptions
  private let evaluation: ModelEvaluation
  private let heldOut: ModelEvaluation?
  private let data: CutData
  private let targets: [ReductionTarget]
  private let plan: ReductionPlan

  public var warnings: [Problem] { plan.warnings }
  public var matrixCount: Int { targets.count }
  /// Cuts that are measured, unless two shares of a matrix are one rank.
  public var trialCount: Int { targets.count * search.shares.count }

  /// - Parameters:
  ///   - writing: where the best model goes. Beside it lie, while the search lasts, the trials' log and the parameter
  ///     that is tried.
  ///   - evaluation: on one set of answers or one text, which decides.
  ///   - heldOut: on other data of that kind; measured once, for the chosen cut beside the original.
  /// - Throws: every problem that can be known from headers, all at once; `reduction` for data of another kind, or held
  ///   out data that decide too.
  public init(
    _ search: CutSearchRequest, of model: String, checkpoint: any Checkpoint, run: RunOptions, writing: MergeOptions,
    evaluation: ModelEvaluation, heldOut: ModelEvaluation?
  ) throws(Problems) {
    (self.search, self.model, self.run, self.writing) = (search, model, run, writing)
    (self.evaluation, self.heldOut) = (evaluation, heldOut)
    do throws(Problem) {
      try Laser.check(shares: search.shares)
      data = try CutData(evaluation.data)
      if let heldOut, try CutData(heldOut.data).digest == data.digest {
        throw Problem(
          .reduction, "the held-out data are those that the search decides by",
          remedy: "Hold out other items, or leave them away.")
      }
    } catch { throw Problems([error]) }
    plan = try ReductionPlan(
      Self.request(search, .budget(.rank(1))), of: model, checkpoint: checkpoint, run: run, writing: writing)
    targets = plan.blocks.flatMap(\.targets).flatMap { target in
      target.matrices.map { ReductionTarget(parameter: target.parameter, matrices: [$0]) }
    }.filter { target in
      guard let layers = search.layers else { return true }
      return target.matrices[0].layer.map { layers.contains($0) } ?? false
    }
    guard !targets.isEmpty else {
      throw Problems([Problem(.reduction, "no matrix of these layers is left to cut")])
    }
  }

  private static func request(_ search: CutSearchRequest, _ goal: ReductionRequest.Goal) -> ReductionRequest {
    var request = ReductionRequest(method: PlainSVD.card.name, goal: goal, source: .nothing)
    (request.keep, request.only, request.storage) = (search.keep, search.only, search.storage)
    return request
  }

  /// Searches, and writes the model with the best cut, if there is one that helps.
  ///
  /// - Parameter progress: hears of every trial.
  /// - Returns: all trials, and what became of the best one.
  public func execute(
    listener: any ProgressListener, progress: (CutTrial) -> Void = { _ in }
  ) throws(Problems) -> (search: CutSearchReport, reduction: ReductionReport?) {
    let report: CutSearchReport
    do throws(Problem) { report = try tryAll(listener, progress) } catch { throw Problems([error]) }
    guard let best = report.bestTrial else { return (report, nil) }
    let chosen = try ReductionPlan(
      Self.request(search, .allotted([ExactString(best.matrix): .rank(best.rank)])), of: model,
      checkpoint: plan.checkpoint, run: run, writing: writing)
    do throws(Problem) {
      let reduction = try ReductionRun.execute(chosen, workers: run.pool, listener: listener) {
        (reduced) throws(Problem) in
        var (json, text) = (JSON.object([("search", report.json)]), report.text())
        if let heldOut {
          let found = try heldOut.compare(
            reduced, named: writing.output, against: plan.checkpoint, named: model)
          for (key, value) in found.json.members?.pairs ?? [] { json[key] = value }
          text += "\nHeld out:\n\n" + found.text
        }
        return ReductionReport.Evaluation(json: json, text: text)
      }
      try? FileSystem.remove(log)
      return (report, reduction)
    } catch { throw Problems([error]) }
  }

  // MARK: - Trials

  private var log: String { writing.output + ".search.jsonl" }

  private func tryAll(
    _ listener: any ProgressListener, _ progress: (CutTrial) -> Void
  ) throws(Problem) -> CutSearchReport {
    let began = Machine.monotonicSeconds
    if writing.policy.force, !writing.policy.resume, FileSystem.isFile(log) { try FileSystem.remove(log) }
    if FileSystem.isFile(log), !writing.policy.resume {
      throw Problem(
        .recipeSearch, "the log of an earlier search is there",
        remedy: "Go on with it by --resume, start over with --force, or choose another output.", file: log)
    }
    // What cannot be measured leaves no log.
    let original = try measure(plan.checkpoint)
    let known = try RecipeSearchLog(at: log, header: try header(), resume: writing.policy.resume)
    listener.receive(.note("\(model): \(original.text) on \(original.header.data)"))
    listener.receive(.began(stage: "search", totalBytes: trialCount * plan.modelBytes))
    let pieces = try ReductionPieces(
      beside: writing.output + ".trial", fingerprint: ["search": .string(model)],
      policy: OutputFolder.Policy(resume: false, force: true))
    defer { try? pieces.remove() }
    let work = SiteReduction(plan: plan, pool: run.pool)
    let byName = Dictionary(
      targets.map { (ExactString($0.matrices[0].name), $0) }, uniquingKeysWith: { first, _ in first })
    func target(_ name: String) throws(Problem) -> ReductionTarget {
      guard let target = byName[ExactString(name)] else { throw Problem(.reduction, "no such matrix", tensor: name) }
      return target
    }
    var trials: [CutTrial] = []
    let outcome = try Laser.search(
      weights: targets.map(\.matrices[0].name), shares: search.shares, baseline: original.score,
      load: { (name) throws(Problem) in try plan.network.weight(of: target(name).matrices[0]) },
      evaluate: { (cut, weight) throws(Problem) in
        let wanted = try target(cut.weight)
        let (matrix, type) = (wanted.matrices[0], wanted.parameter.elementType)
        let rank = max(1, Int(cut.share * Double(min(matrix.outputs, matrix.inputs))))
        let candidate = CutTrial.candidate(cut.weight, rank: rank)
        let score: RecipeScore
        let found = known.score(of: candidate.digest)
        if let found {
          score = found
        } else {
          let form = try weight().form(rank: rank, parallel: work.parallel)
          let stored = try StoredWeight(form, as: type, search.storage, parallel: work.parallel)
          let encoding = try wanted.encoded([stored], storage: search.storage, pattern: .unstructured)
          let piece = try pieces.write(0, encoding.parts, reduced: encoding.reduced, outcomes: [])
          let measured = try measure(OverlaidCheckpoint(plan.checkpoint, replacing: [piece.parameter]))
          score = RecipeScore(measured.score, figures: try measured.figures(against: original))
          try known.append(
            RecipeTrial(number: trials.count, candidate: candidate, score: score, isKnown: false),
            variables: CutTrial.variables)
        }
        let trial = CutTrial(
          matrix: cut.weight, shape: [matrix.outputs, matrix.inputs], share: cut.share, rank: rank, score: score,
          isKnown: found != nil)
        trials.append(trial)
        progress(trial)
        listener.receive(.advanced(bytes: plan.modelBytes))
        return score.value
      })
    let seconds = Machine.monotonicSeconds - began
    listener.receive(.ended(stage: "search", seconds: seconds))
    return CutSearchReport(
      model: model, original: original, trials: trials,
      best: outcome.best.flatMap { best in
        trials.firstIndex { ExactString($0.matrix) == ExactString(best.cut.weight) && $0.share == best.cut.share }
      }, seconds: seconds)
  }

  private func measure(_ checkpoint: any Checkpoint) throws(Problem) -> CutMeasurement {
    var quiet = evaluation
    quiet.listener = SilentListener()
    // A matrix is held with its singular vectors meanwhile.
    quiet.run.memory -= plan.peakBytes - JobRunner.baseBytes
    return try CutMeasurement(try quiet.evaluate(checkpoint, name: model))
  }

  /// What scores depend on beside the cut.
  private func header() throws(Problem) -> JSON {
    let identity = try ModelIdentity(of: plan.checkpoint, workers: run.pool)
    return [
      "goal": "maximize", "weights": .string(identity.weights.description),
      "config": .string(identity.config.description), "data": .string(data.digest.description),
      "cut": .string(evaluation.cut.text), "answer_tokens": .number(evaluation.answerTokens),
      "mode": .string(run.mode.rawValue), "seed": .number(Int(clamping: evaluation.bootstrap.seed)),
      "store": .string(search.storage.rawValue),
      "version": .string(MergeRun.version),
    ]
  }
}
