public import EspalierBasics
internal import EspalierRestructuring

/// Brings several models into one order and writes each of them.
public enum MeanAlignmentRun {
  /// - Returns: a report of each model, in their order; its figures compare with the mean of the others.
  /// - Throws: what matching and writing throw. All orders are found before the first model is written; with `--resume`
  ///   they are found again, the same, and what was written whole stays.
  public static func execute(
    _ plan: MeanAlignmentPlan, listener: any ProgressListener
  ) throws(Problem) -> [AlignmentReport] {
    let began = Machine.monotonicSeconds
    listener.receive(.began(stage: "align", totalBytes: 0))
    let alignments = try plan.matching.align { listener.receive(.note($0)) }
    let seconds = Machine.monotonicSeconds - began
    let inputs = try AlignedOutput.inputs(of: plan.members.map(\.checkpoint), workers: plan.run.pool)
    listener.receive(.ended(stage: "align", seconds: seconds))
    var reports: [AlignmentReport] = []
    for (member, alignment) in zip(plan.members, alignments) {
      let aligned = try alignment.applied(to: member.checkpoint, of: plan.family)
      var report = AlignmentReport(
        alignment, asked: plan.line, to: "the mean of the others", output: member.output,
        mode: plan.run.mode, inputs: inputs, seconds: seconds)
      if let conversion = member.conversion {
        report.written = try Conversion.write(
          aligned, as: member.name, planned: conversion, by: .align, text: plan.line,
          report: (report.json, report.markdown), listener: listener)
      }
      reports.append(report)
    }
    return reports
  }
}
