internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierRestructuring

/// What verbs that change a model in memory, and then write it, begin and end with.
extension Conversion {
  /// The model written as it is: what is planned until what comes of it is known.
  ///
  /// - Parameters:
  ///   - isGiven: the checkpoint is meant, whatever is at the path that `model` may be.
  ///   - problems: gets those of the plan, and what lies where pieces of the change will (``ReductionPieces``).
  static func begin(
    with model: String, _ checkpoint: any Checkpoint, isGiven: Bool, writing: MergeOptions, _ problems: inout Problems
  ) -> MergePlan? {
    do throws(Problems) {
      let conversion = try plan(
        of: model, elementType: nil, options: writing, given: isGiven ? [ExactString(model): checkpoint] : [:])
      problems.all += ReductionPieces.obstacles(beside: writing.output, policy: conversion.options.policy)
      return conversion
    } catch {
      problems.all += error.all
      return nil
    }
  }

  /// Writes what came of a model, as an output of a verb.
  ///
  /// - Parameters:
  ///   - planned: the plan that it began with; what came of it is planned anew.
  ///   - text: what was done, for the folder's record.
  static func write(
    _ changed: any Checkpoint, as model: String, planned: MergePlan, by verb: MergePlan.Verb, text: String,
    report: (json: JSON, markdown: String), listener: any ProgressListener
  ) throws(Problem) -> MergeRun.Report {
    var conversion: MergePlan
    do throws(Problems) {
      conversion = try plan(
        of: model, elementType: nil, options: planned.options, given: [ExactString(model): changed])
    } catch { throw error.all.first ?? Problem(.restructuring, "the changed model cannot be written") }
    conversion.verb = verb
    conversion.text = text + "\n"
    conversion.reports = [
      ("report.json", report.json.bytes(pretty: true) + [UInt8(ascii: "\n")]),
      ("REPORT.md", Array(report.markdown.utf8)),
    ]
    return try MergeRun.execute(conversion, listener: listener)
  }
}
