internal import EspalierBasics
internal import EspalierCalibration
internal import EspalierCheckpoints
internal import EspalierExecution

/// What of several aligned models an interrupted run has written whole, so that `--resume` leaves it.
enum AlignedOutput {
  /// Everything beside the request that orders depend on: what the models compute with, in their order, the text, and
  /// the program.
  static func inputs(
    of models: [any Checkpoint], text: CalibrationText? = nil, workers: WorkerPool
  ) throws(Problem) -> JSON {
    var list: [JSON] = []
    for model in models {
      let identity = try ModelIdentity(of: model, workers: workers)
      list.append([.string("\(identity.weights)"), .string("\(identity.config)")])
    }
    return [
      "models": .array(list), "text": text.map { .string($0.digest) } ?? .null, "version": .string(MergeRun.version),
    ]
  }

  /// Whether a run of the same request, of the same inputs, wrote a model there, and it is as it was written.
  ///
  /// - Parameter inputs: read only where there is a report.
  static func isWhole(
    _ output: String, of request: String, inputs: () throws(Problem) -> JSON, threads: Int
  ) throws(Problem) -> Bool {
    guard FileSystem.isFile("\(output)/report.json"),
      let report = try? JSON(parsing: try FileSystem.read("\(output)/report.json")),
      report["espalier_alignment"] != nil, report["request"]?.string == request,
      try report["inputs"] == inputs()
    else { return false }
    let outcome = try? Verification.verify(output, threads: threads, listener: SilentListener())
    return outcome?.problems.isEmpty == true
  }

  /// That what several models become does not find room together.
  static func lackOfSpace(for conversions: [MergePlan]) -> Problem? {
    OutputFolder.lackOfSpace(for: conversions.map { ($0.options.output, $0.layout.byteCount) })
  }
}
