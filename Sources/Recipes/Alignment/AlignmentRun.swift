internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCalibration
public import EspalierCheckpoints
internal import EspalierNetworks
internal import EspalierRestructuring

/// Carries an alignment out: finds the order, measures the reordered model, writes it.
public enum AlignmentRun {
  /// - Parameter measure: compares the aligned model, which is given, with the model, before it is written.
  /// - Throws: what matching, measuring and writing throw. What an interrupted run wrote stays for `--resume`, which
  ///   matches again.
  public static func execute(
    _ plan: AlignmentPlan, listener: any ProgressListener,
    measure: ((any Checkpoint) throws(Problem) -> ReductionReport.Evaluation?)? = nil
  ) throws(Problem) -> AlignmentReport {
    let began = Machine.monotonicSeconds
    listener.receive(.began(stage: "align", totalBytes: 0))
    let agreement = try plan.request.text.map { (text) throws(Problem) in
      try ActivationAgreement.measure(
        try network(plan.checkpoint, plan), against: try network(plan.request.reference.checkpoint, plan),
        described: try plan.family.describe(config: plan.checkpoint.config ?? .object([])),
        sequences: text.windows.sequences, workers: plan.run.pool)
    }
    let alignment = try plan.matching.align(activations: agreement) { listener.receive(.note($0)) }
    let aligned = try alignment.applied(to: plan.checkpoint, of: plan.family)
    let vectors =
      plan.request.comparesSingularVectors
      ? try SingularAlignment.measure(
        plan.checkpoint, aligned, to: plan.request.reference.checkpoint, workers: plan.run.pool) : nil
    let seconds = Machine.monotonicSeconds - began
    listener.receive(.ended(stage: "align", seconds: seconds))
    let evaluation = try measure?(aligned)
    var report = AlignmentReport(
      alignment, asked: plan.request.line, to: plan.request.reference.name, output: plan.conversion.options.output,
      mode: plan.run.mode, inputs: try plan.inputs(), rows: agreement?.rows, vectors: vectors, evaluation: evaluation,
      seconds: seconds)
    report.written = try Conversion.write(
      aligned, as: plan.model, planned: plan.conversion, by: .align, text: plan.request.line,
      report: (report.json, report.markdown), listener: listener)
    return report
  }

  private static func network(_ checkpoint: any Checkpoint, _ plan: AlignmentPlan) throws(Problem) -> Network {
    try Network(
      checkpoint, architectures: plan.run.families, mode: plan.run.mode, residency: .streamed,
      workers: plan.run.pool)
  }
}
