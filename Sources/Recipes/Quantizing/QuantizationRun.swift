public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution

/// Carries a quantization out: tensor by tensor, several at once, under the ceiling.
public enum QuantizationRun {
  /// Quantizes, measures and writes.
  ///
  /// - Parameters:
  ///   - fit: what types were found by, for the report.
  ///   - calibration: what was rounded before, for the report.
  ///   - probe: the divergence of the model that was written on the text that types were found by; it is asked for if the
  ///     fit has not measured it.
  ///   - measure: compares the model that was written, and has no name yet, with the original.
  /// - Throws: the first problem; finished tensors stay for `--resume`, and inputs are never touched.
  public static func execute(
    _ plan: QuantizationPlan, fit: TypeFitting.Outcome? = nil, calibration: BlockCalibration.Outcome? = nil,
    probe: ((String) throws(Problem) -> Double)? = nil, listener: any ProgressListener,
    measure: ((String) throws(Problem) -> ReductionReport.Evaluation?)? = nil
  ) throws(Problem) -> QuantizationReport {
    let began = Machine.monotonicSeconds
    try plan.requireCarried()
    let output = try OutputFolder(
      at: plan.folder, layout: plan.layout, fingerprint: try fingerprint(plan),
      policy: plan.options.policy)
    listener.receive(.began(stage: "quantize", totalBytes: plan.movedBytes))
    let runner = JobRunner(
      threads: plan.options.threads, memory: plan.options.memory, allowsNonFinite: plan.options.allowsNonFinite,
      listener: listener)
    let kept = try runner.run(plan.jobs, into: output, plan: plan.memory)
    try InputIdentities.requireUnchanged(plan.checkpoint.weightFiles, since: output.fingerprint)
    let written = Machine.monotonicSeconds
    listener.receive(.ended(stage: "quantize", seconds: written - began))
    let peak = Machine.peakResidentBytes
    var fit = fit
    if fit != nil, fit?.measured == nil, let file = output.weightFiles.first {
      fit?.measured = try probe?(file.path)
    }
    let evaluation = try output.weightFiles.first.flatMap { (file) throws(Problem) in try measure?(file.path) }
    let records = output.finishedRecords()
    let report = QuantizationReport(
      plan, records: records, kept: kept, fit: fit, calibration: calibration, evaluation: evaluation,
      seconds: written - began,
      secondsMeasuring: Machine.monotonicSeconds - written, peakBytes: peak)
    let manifest = Manifest.json(
      made: provenance(plan, calibration), layout: plan.layout, records: Self.lasting(records, calibration), small: [],
      fileDigests: plan.options.sha256 ? try sha256(output) : [:])
    let table = fit.map { [("sensitivity.json", $0.table.json.bytes(pretty: true) + [UInt8(ascii: "\n")])] } ?? []
    try output.commit(
      adding: table + [
        ("report.json", report.json.bytes(pretty: true) + [UInt8(ascii: "\n")]),
        ("REPORT.md", Array(report.markdown.utf8)),
        (Manifest.fileName, manifest.bytes(pretty: true) + [UInt8(ascii: "\n")]),
      ])
    return report
  }

  private static func sha256(_ output: OutputFolder) throws(Problem) -> [String: String] {
    var digests: [String: String] = [:]
    for file in output.weightFiles { digests[file.name] = try FileHash.sha256(of: try File.reading(file.path)) }
    return digests
  }

  /// Everything the output's bytes depend on.
  static func fingerprint(_ plan: QuantizationPlan) throws(Problem) -> JSON {
    let headers = plan.layout.files.map { file in
      "\(file.name) \(file.header.withUnsafeBytes { Digest(of: $0) })"
    }
    let recipes = plan.jobs.map { "\($0.content)" }
    return .object(
      [
        ("version", .string(MergeRun.version)), ("request", .string(plan.request.text)),
        ("layout", .string(Digest(of: headers.joined(separator: "\n")).description)),
        ("parameters", .string(Digest(of: recipes.joined(separator: "\n")).description)),
        ("non-finite values", .bool(plan.options.allowsNonFinite)),
      ] + (try InputIdentities.members(plan.checkpoint.weightFiles)))
  }

  private static func provenance(
    _ plan: QuantizationPlan, _ calibration: BlockCalibration.Outcome?
  ) -> [(String, JSON)] {
    [
      ("verb", "quantize"), ("version", .string(MergeRun.version)), ("request", .string(plan.request.text)),
      ("model", .string(plan.model)),
    ] + (calibration.map { [("weights", .string($0.identity.weights.description))] } ?? [])
  }

  /// Records without inputs that are gone by the end: the pieces of a calibration.
  private static func lasting(
    _ records: [TensorRecord], _ calibration: BlockCalibration.Outcome?
  ) -> [TensorRecord] {
    guard let calibration else { return records }
    return records.map { record in
      var record = record
      record.inputs.removeAll { $0.file.hasPrefix(calibration.pieces + "/") }
      return record
    }
  }
}
