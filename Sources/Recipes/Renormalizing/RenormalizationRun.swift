public import EspalierBasics
internal import EspalierCalibration
public import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNetworks
internal import EspalierRestructuring

/// Carries a renormalization out: corrects, measures, writes.
public enum RenormalizationRun {
  /// - Parameter measure: compares the corrected model, which is given, with another, before it is written.
  /// - Throws: what running, measuring and writing throw. What an interrupted run wrote stays for `--resume`.
  public static func execute(
    _ plan: RenormalizationPlan, listener: any ProgressListener,
    measure: ((any Checkpoint) throws(Problem) -> ReductionReport.Evaluation?)? = nil
  ) throws(Problem) -> RenormalizationReport {
    let began = Machine.monotonicSeconds
    let identity = try ModelIdentity(of: plan.checkpoint, workers: plan.run.pool)
    var others: [JSON] = []
    for model in plan.request.models {
      others.append(.string(try ModelIdentity(of: model.checkpoint, workers: plan.run.pool).weights.description))
    }
    let pieces = try ReductionPieces(
      beside: plan.conversion.options.output,
      fingerprint: [
        "request": .string(plan.request.line), "weights": .string(identity.weights.description),
        "config": .string(identity.config.description), "like": .array(others),
        "text": .string(plan.request.text.digest), "mode": .string(plan.run.mode.rawValue),
        "version": .string(MergeRun.version),
      ], policy: plan.conversion.options.policy)
    listener.receive(.began(stage: "renormalize", totalBytes: 0))
    var models: [(network: Network, share: Double)] = []
    for model in plan.request.models { models.append((try network(model.checkpoint, plan), model.share)) }
    var stored = 0
    let result = try Renormalization(
      plan.checkpoint, described: plan.description, like: models, sequences: plan.request.text.windows.sequences,
      mode: plan.request.mode,
      makeNetwork: { (checkpoint) throws(Problem) in try network(checkpoint, plan) },
      store: { (parameter, values) throws(Problem) in
        stored += 1
        return try pieces.keep(stored - 1, parameter, values: values)
      }, progress: { listener.receive(.note($0)) })
    let seconds = Machine.monotonicSeconds - began
    listener.receive(.ended(stage: "renormalize", seconds: seconds))
    let evaluation = try measure?(result.checkpoint)
    var report = RenormalizationReport(plan, result, evaluation: evaluation, seconds: seconds)
    report.written = try Conversion.write(
      result.checkpoint, as: plan.model, planned: plan.conversion, by: .renormalize, text: plan.request.line,
      report: (report.json, report.markdown), listener: listener)
    try pieces.remove()
    return report
  }

  private static func network(_ checkpoint: any Checkpoint, _ plan: RenormalizationPlan) throws(Problem) -> Network {
    try Network(
      checkpoint, architectures: plan.run.families, mode: plan.run.mode, residency: .streamed,
      workers: plan.run.pool)
  }
}
