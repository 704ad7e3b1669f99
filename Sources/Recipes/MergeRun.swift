public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierMerging

/// Carries a plan out.
public struct MergeRun: Sendable {
  public struct Report: Sendable {
    public var verb: MergePlan.Verb
    public var output: String
    public var tensors: Int
    /// Tensors taken over from an earlier, unfinished run.
    public var kept: Int
    public var bytesWritten: Int
    public var bytesMoved: Int
    public var seconds: Double
    public var predictedPeakBytes: Int
    public var peakBytes: Int?
    public var threads: Int
  }

  public static let version = "0.1.0"

  /// - Parameter keepingJournal: whether the output keeps its journal, for ``isFinished(_:listener:)``.
  /// - Throws: the first problem; what was finished stays for `--resume`, and inputs are never touched.
  public static func execute(
    _ plan: MergePlan, keepingJournal: Bool = false, listener: any ProgressListener
  ) throws(Problem) -> Report {
    let start = Machine.monotonicSeconds
    let output = try OutputFolder(
      at: plan.options.output, layout: plan.layout, fingerprint: try fingerprint(plan), policy: plan.options.policy)
    listener.receive(.began(stage: plan.verb.rawValue, totalBytes: plan.movedBytes))
    let runner = JobRunner(
      threads: plan.options.threads, memory: plan.options.memory, allowsNonFinite: plan.options.allowsNonFinite,
      listener: listener)
    let kept = try runner.run(plan.jobs, into: output, plan: plan.memory)
    try InputIdentities.requireUnchanged(plan.inputPaths, since: output.fingerprint)
    let small = otherFiles(plan)
    let manifest = Manifest.json(
      made: provenance(plan), layout: plan.layout, records: lasting(output.finishedRecords(), plan), small: small,
      fileDigests: plan.options.sha256 ? try sha256(output, small) : [:])
    try output.commit(
      adding: small + plan.reports + [(Manifest.fileName, Array((manifest.text(pretty: true) + "\n").utf8))],
      keepingJournal: keepingJournal)
    let seconds = Machine.monotonicSeconds - start
    listener.receive(.ended(stage: plan.verb.rawValue, seconds: seconds))
    return Report(
      verb: plan.verb, output: plan.options.output, tensors: plan.jobs.count, kept: kept,
      bytesWritten: plan.layout.byteCount,
      bytesMoved: plan.movedBytes, seconds: seconds, predictedPeakBytes: plan.memory.predictedPeak,
      peakBytes: Machine.peakResidentBytes, threads: plan.memory.threads)
  }

  /// Records without inputs that are gone when the output is there: the pieces of a reduction.
  private static func lasting(_ records: [TensorRecord], _ plan: MergePlan) -> [TensorRecord] {
    guard plan.verb == .reduce || plan.verb == .renormalize else { return records }
    let pieces = ReductionPieces.path(beside: plan.options.output) + "/"
    return records.map { record in
      var record = record
      record.inputs.removeAll { $0.file.hasPrefix(pieces) }
      return record
    }
  }

  /// Whether an earlier run of the same plan, told to keep its journal, has finished: its output is there and whole.
  ///
  /// - Throws: if what is there is of another run, or was changed since.
  public static func isFinished(_ plan: MergePlan, listener: any ProgressListener) throws(Problem) -> Bool {
    let path = plan.options.output
    guard try OutputFolder.isFinished(at: path, fingerprint: try fingerprint(plan)) else { return false }
    let outcome = try Verification.verify(path, threads: plan.options.threads, listener: listener)
    if let problem = outcome.problems.first { throw problem }
    return true
  }

  /// What is written beside the weights and the manifest.
  private static func otherFiles(_ plan: MergePlan) -> [(name: String, bytes: [UInt8])] {
    var files = plan.smallFiles
    if let index = plan.layout.index {
      files.append(("model.safetensors.index.json", Array((index.text(pretty: true) + "\n").utf8)))
    }
    if plan.verb == .merge {
      files.append(("mergekit_config.yml", Array(plan.text.utf8)))
      files.append(("README.md", Array(ModelCard.text(plan).utf8)))
    }
    return files
  }

  private static func sha256(
    _ output: OutputFolder, _ small: [(name: String, bytes: [UInt8])]
  ) throws(Problem) -> [String: String] {
    var digests: [String: String] = [:]
    for file in output.weightFiles { digests[file.name] = try FileHash.sha256(of: try File.reading(file.path)) }
    for file in small { digests[file.name] = try FileHash.sha256(of: file.bytes) }
    return digests
  }

  /// Everything the output's bytes depend on; a partial output is continued only if all of it is the same.
  static func fingerprint(_ plan: MergePlan) throws(Problem) -> JSON {
    var members: [(String, JSON)] = [
      ("version", .string(version)), ("recipe", .string(Digest(of: plan.text).description)),
      ("seed", .string(String(plan.options.seed))), ("layout", .string(layoutDigest(plan).description)),
      ("settings of models", .string(settingsDigest(plan).description)),
      ("non-finite values", .bool(plan.options.allowsNonFinite)),
    ]
    members += try InputIdentities.members(plan.inputPaths)
    return .object(members)
  }

  private static func layoutDigest(_ plan: MergePlan) -> Digest {
    let files = plan.layout.files.map { "\($0.name) \($0.header.count) \($0.byteCount)" }
    let jobs = plan.jobs.map { "\($0.name) \($0.operationText)" }
    return Digest(of: (files + jobs).joined(separator: "\n"))
  }

  /// What configs, adapters and tokenizers say, as far as it reaches the output: how parameters come from what is
  /// stored, and the small files.
  private static func settingsDigest(_ plan: MergePlan) -> Digest {
    let recipes = plan.jobs.flatMap { job in job.inputs.map { "\($0.parameter.recipe)" } }
    let files = plan.smallFiles.map { file in
      "\(file.name) \(file.bytes.withUnsafeBytes { Digest(of: $0) })"
    }
    return Digest(of: (recipes + files).joined(separator: "\n"))
  }

  private static func provenance(_ plan: MergePlan) -> [(String, JSON)] {
    [
      ("verb", .string(plan.verb.rawValue)), ("version", .string(version)),
      ("seed", .string(String(plan.options.seed))),
      ("recipe", .string(plan.text)),
      (
        "models",
        .array(
          plan.models.map {
            [
              "name": .string($0.reference.key), "location": .string($0.checkpoint.location),
              "family": $0.family.map { .string($0) } ?? .null,
            ]
          })
      ),
    ]
  }
}

extension MergePlan {
  /// Files that weights are read from.
  fileprivate var inputPaths: [String] { models.flatMap(\.checkpoint.weightFiles) }
}
