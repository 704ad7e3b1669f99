public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierRestructuring

/// Carries a change of structure out: chooses what stays, measures the changed model, writes it.
public enum RestructuringRun {
  /// - Parameter measure: compares the changed model, which is given, with the original, before it is written.
  /// - Throws: what the method, measuring and writing throw. What an interrupted run wrote stays for `--resume`.
  public static func execute(
    _ plan: RestructuringPlan, listener: any ProgressListener,
    measure: ((any Checkpoint) throws(Problem) -> ReductionReport.Evaluation?)? = nil
  ) throws(Problem) -> RestructuringReport {
    let output = plan.conversion.options.output
    let pieces = try ReductionPieces(
      beside: output, fingerprint: try plan.fingerprint(), policy: plan.conversion.options.policy)
    let began = Machine.monotonicSeconds
    let subject = PlannedSubject(plan, pieces: pieces, listener: listener)
    listener.receive(.began(stage: "restructure", totalBytes: 0))
    var result = try plan.method.restructure(subject, to: plan.parametersWanted)
    if let damp = plan.request.repair { result = try LeastSquaresRepair(damp: damp).repaired(result, of: subject) }
    let chosen = Machine.monotonicSeconds
    listener.receive(.ended(stage: "restructure", seconds: chosen - began))
    let evaluation = try measure?(result.checkpoint)
    var report = try RestructuringReport(
      plan, result, evaluation: evaluation, seconds: chosen - began,
      secondsMeasuring: Machine.monotonicSeconds - chosen)
    report.written = try Conversion.write(
      result.checkpoint, as: plan.model, planned: plan.conversion, by: .restructure,
      text: ([plan.request.text] + result.steps.map(\.text)).joined(separator: "\n"),
      report: (report.json, report.markdown), listener: listener)
    try pieces.remove()
    return report
  }
}
