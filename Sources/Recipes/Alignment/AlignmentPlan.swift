internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCalibration
public import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierNetworks
internal import EspalierRestructuring

/// Everything about an alignment that is known before a weight is read.
public struct AlignmentPlan: Sendable {
  public let request: AlignmentRequest
  public let checkpoint: any Checkpoint
  /// As the user names the model.
  public let model: String
  /// The model written as it is: the output has the same tensors in another order.
  public let conversion: MergePlan
  public let warnings: [Problem]
  /// Bytes that matching takes at the most, as planned.
  public let workingBytes: Int
  let run: RunOptions
  let family: Architecture
  let matching: WeightMatching

  /// What the order depends on beside the request.
  func inputs() throws(Problem) -> JSON {
    try AlignedOutput.inputs(
      of: [checkpoint, request.reference.checkpoint], text: request.text, workers: run.pool)
  }

  /// Whether a run of several models, which `--resume` goes on with, has written this one whole.
  public static func isWritten(
    _ request: AlignmentRequest, of checkpoint: any Checkpoint, run: RunOptions, writing: MergeOptions
  ) throws(Problem) -> Bool {
    guard writing.policy.resume else { return false }
    return try AlignedOutput.isWhole(
      writing.output, of: request.line,
      inputs: { () throws(Problem) in
        try AlignedOutput.inputs(
          of: [checkpoint, request.reference.checkpoint], text: request.text, workers: run.pool)
      }, threads: run.pool.threadCount)
  }

  /// - Parameters:
  ///   - writing: where the result goes, and under which ceiling.
  ///   - isGiven: the checkpoint is what is aligned, whatever is at the path that `model` may be.
  /// - Throws: every problem that can be known from headers, all at once.
  public init(
    _ request: AlignmentRequest, of model: String, checkpoint: any Checkpoint, run: RunOptions,
    writing: MergeOptions, isGiven: Bool = false
  ) throws(Problems) {
    var problems = Problems()
    var conversion: MergePlan?
    do throws(Problems) {
      conversion = try Conversion.plan(
        of: model, elementType: nil, options: writing, given: isGiven ? [ExactString(model): checkpoint] : [:])
    } catch { problems.all += error.all }
    var pair: (family: Architecture, matching: WeightMatching)?
    do throws(Problems) {
      let family = try SharedFamily.of(checkpoint, request.reference.checkpoint, among: run.families)
      pair = (
        family,
        try WeightMatching(
          checkpoint, to: request.reference.checkpoint, of: family, options: request.options, workers: run.pool)
      )
    } catch { problems.all += error.all }
    problems.all += SharedFamily.warnings(model: checkpoint, reference: request.reference.checkpoint, run)
    let networks = request.text.flatMap { text in
      problems.collect { () throws(Problem) in
        try Self.checkNetworks(checkpoint, request.reference.checkpoint, text, run)
      }
    }
    guard problems.errors.isEmpty, let conversion, let (family, matching) = pair else {
      throw Problems(problems.errors.uniqued())
    }
    (self.request, self.checkpoint, self.model, self.run) = (request, checkpoint, model, run)
    (self.conversion, self.family, self.matching) = (conversion, family, matching)
    let threads = run.pool.threadCount
    var bytes = RunOptions.workingMemory + max(matching.workingBytes(threads: threads), networks ?? 0)
    if request.comparesSingularVectors {
      let vectors = SingularAlignment.workingBytes(
        of: request.reference.checkpoint, described: matching.description, threads: threads)
      bytes = max(bytes, RunOptions.workingMemory + vectors)
    }
    guard bytes <= run.memory else {
      throw Problems([
        Problem(
          .memoryCeiling,
          "matching takes \(ByteCount.text(bytes)), and the ceiling is \(ByteCount.text(run.memory))",
          remedy: "Raise --memory, give fewer --threads"
            + (request.comparesSingularVectors ? ", or leave singular vectors out." : ", or fewer --sequences."),
          file: checkpoint.location)
      ])
    }
    workingBytes = bytes
    warnings = (conversion.warnings + problems.warnings).uniqued()
  }

  /// That the outputs of several do not find room together, where each by itself does.
  public static func lackOfSpace(for plans: [AlignmentPlan]) -> Problem? {
    AlignedOutput.lackOfSpace(for: plans.map(\.conversion))
  }

  /// The plan for a program.
  public var json: JSON {
    [
      "request": .string(request.line), "model": .string(model), "output": .string(conversion.options.output),
      "planned_bytes": .number(workingBytes),
    ]
  }

  /// Bytes of the rows of a block's sites, of both models, while activations are compared.
  ///
  /// - Throws: `restructuring` if the text is not the same to both models; what opening them throws.
  private static func checkNetworks(
    _ model: any Checkpoint, _ reference: any Checkpoint, _ text: CalibrationText, _ run: RunOptions
  ) throws(Problem) -> Int {
    try SharedTokens.check(model, reference, on: text)
    var bytes = 0
    for checkpoint in [model, reference] {
      let network = try Network(
        checkpoint, architectures: run.families, mode: run.mode, residency: .streamed, workers: run.pool)
      let widths = try network.blocks().map { $0.sites.filter { !$0.isExpert }.reduce(0) { $0 + $1.width } }
      let row = network.carriedBytesPerToken + 2 * MemoryLayout<Float>.stride * (widths.max() ?? 0)
      bytes += try network.largestBlockBytes() + text.windows.tokenCount * row
    }
    return bytes
  }
}
