internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCalibration
public import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNetworks
public import EspalierRestructuring

/// What is asked for when a model's activations are brought to the means and deviations of others'.
public struct RenormalizationRequest: Sendable {
  /// The models that the result should be like, as the user names them, with their shares.
  public var models: [(name: String, checkpoint: any Checkpoint, share: Double)]
  public var mode: Renormalization.Mode
  public var text: CalibrationText

  public init(
    like models: [(name: String, checkpoint: any Checkpoint, share: Double)], mode: Renormalization.Mode,
    text: CalibrationText
  ) {
    (self.models, self.mode, self.text) = (models, mode, text)
  }

  /// The request in a line.
  public var line: String {
    let models = models.map { "\($0.share) of \(FileSystem.lastComponent(of: $0.name))" }.joined(separator: ", ")
    return "renormalize: \(mode.rawValue), like \(models), \(text.windows.cut), \(text.windows.tokenCount) tokens"
  }
}

/// Everything about a renormalization that is known before a weight is read.
public struct RenormalizationPlan: Sendable {
  public let request: RenormalizationRequest
  public let checkpoint: any Checkpoint
  /// As the user names the model.
  public let model: String
  public let conversion: MergePlan
  public let warnings: [Problem]
  let run: RunOptions
  let family: Architecture
  let description: ModelDescription

  /// - Throws: every problem that can be known from headers, all at once.
  public init(
    _ request: RenormalizationRequest, of model: String, checkpoint: any Checkpoint, run: RunOptions,
    writing: MergeOptions
  ) throws(Problems) {
    var problems = Problems()
    var conversion: MergePlan?
    do throws(Problems) {
      conversion = try Conversion.plan(of: model, elementType: nil, options: writing)
    } catch { problems.all += error.all }
    problems.all += ReductionPieces.obstacles(beside: writing.output, policy: writing.policy)
    var family: Architecture?
    for other in request.models {
      do throws(Problems) { family = try SharedFamily.of(checkpoint, other.checkpoint, among: run.families) } catch {
        problems.all += error.all
      }
      problems.collect { () throws(Problem) in
        try SharedTokens.check(checkpoint, other.checkpoint, on: request.text)
      }
      problems.collect { () throws(Problem) in try Self.checkLayers(of: checkpoint, like: other, run) }
      for difference in SharedFamily.differences(checkpoint, other.checkpoint, run) {
        problems.add(
          Problem(
            .restructuring, "\(other.name) computes differently: \(difference)",
            remedy: "Its statistics may be of no use to the model.", file: other.checkpoint.location,
            severity: .warning))
      }
    }
    for checkpoint in [checkpoint] + request.models.map(\.checkpoint) {
      problems.collect { () throws(Problem) in try Self.checkMemory(checkpoint, request.text, run) }
    }
    let sum = request.models.reduce(0) { $0 + $1.share }
    if request.models.isEmpty || abs(sum - 1) > 1e-6 {
      problems.add(
        Problem(
          .restructuring, "the shares of the models add up to \(sum), not to 1",
          remedy: "Give one share for each --like."))
    }
    let description = family.flatMap { family in
      problems.collect { () throws(Problem) in try family.describe(config: checkpoint.config ?? .object([])) }
    }
    guard problems.errors.isEmpty, let conversion, let family, let description else {
      throw Problems(problems.errors.uniqued())
    }
    (self.request, self.checkpoint, self.model, self.run) = (request, checkpoint, model, run)
    (self.conversion, self.family, self.description) = (conversion, family, description)
    warnings = (conversion.warnings + problems.warnings).uniqued()
  }

  /// Sites are compared by the numbers of their layers, which mean the same only where none has left.
  private static func checkLayers(
    of checkpoint: any Checkpoint, like other: (name: String, checkpoint: any Checkpoint, share: Double),
    _ run: RunOptions
  ) throws(Problem) {
    func layers(_ checkpoint: any Checkpoint) throws(Problem) -> [[Set<String>]]? {
      guard let config = checkpoint.config, let family = Architecture.recognise(config: config, among: run.families)
      else { return nil }
      return try family.describe(config: config).towers.map { tower in
        (0..<tower.layerCount).map { tower.missingBlocks.indices.contains($0) ? Set(tower.missingBlocks[$0]) : [] }
      }
    }
    guard let own = try layers(checkpoint), let others = try layers(other.checkpoint), own != others else { return }
    throw Problem(
      .restructuring,
      "the model has other layers or blocks than \(other.name): its sites would be compared with others",
      remedy: "Renormalize before layers and blocks leave, or give --like a model without the same ones.",
      file: checkpoint.location)
  }

  /// A block's weights in two versions, its widest matrix as numbers, and what goes from block to block.
  private static func checkMemory(
    _ checkpoint: any Checkpoint, _ text: CalibrationText, _ run: RunOptions
  ) throws(Problem) {
    let network = try Network(
      checkpoint, architectures: run.families, mode: run.mode, residency: .streamed, workers: run.pool)
    let largest = checkpoint.parameters.filter { $0.shape.count == 2 }.map(\.elementCount).max() ?? 0
    let bytes =
      RunOptions.workingMemory + 2 * (try network.largestBlockBytes()) + 2 * MemoryLayout<Float>.stride * largest
      + text.windows.tokenCount * network.carriedBytesPerToken
    guard bytes <= run.memory else {
      throw Problem(
        .memoryCeiling,
        "renormalizing takes \(ByteCount.text(bytes)), and the ceiling is \(ByteCount.text(run.memory))",
        remedy: "Raise --memory, or give fewer --sequences.", file: checkpoint.location)
    }
  }
}
