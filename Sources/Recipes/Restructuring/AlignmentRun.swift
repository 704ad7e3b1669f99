internal import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNetworks
public import EspalierRestructuring

/// What an alignment is asked for.
public struct AlignmentRequest: Sendable {
  public enum Agreement: String, Sendable, CaseIterable {
    case weights, activations
  }

  public var agreement: Agreement
  public var options: AlignmentOptions
  /// What both models run on, where activations tell.
  public var text: CalibrationText?
  /// Whether the leading singular vectors are compared before and after.
  public var comparesSingularVectors = false

  public init(by agreement: Agreement, options: AlignmentOptions = AlignmentOptions(), text: CalibrationText? = nil) {
    (self.agreement, self.options, self.text) = (agreement, options, text)
  }

  /// The request in a line.
  public var line: String {
    var parts = ["by \(agreement.rawValue), \(options.weighing.rawValue)"]
    if let text { parts.append("\(text.windows.cut), \(text.windows.tokenCount) tokens") }
    if !options.keeping.isEmpty { parts.append("keeping \(options.keeping.sorted().joined(separator: ", "))") }
    if options.restarts > 0 { parts.append("\(options.restarts) restarts, seed \(options.seed)") }
    return parts.joined(separator: "; ")
  }
}

/// Reorders the axes of a model so that it lies near another, and writes it.
public struct AlignmentRun {
  /// A model in its new order, nothing of it written yet.
  public struct Aligned {
    public let checkpoint: RestructuredCheckpoint
    public let alignment: Alignment
    public let singularVectors: SingularAlignment?
    public let seconds: Double
  }

  /// - Parameters:
  ///   - model: what is reordered.
  ///   - reference: what it is brought near. It may lie on the line between others.
  ///   - families: among which the models' family is looked up.
  /// - Throws: what matching throws.
  public static func align(
    _ model: any Checkpoint, to reference: any Checkpoint, _ request: AlignmentRequest, run: RunOptions,
    listener: any ProgressListener
  ) throws(Problem) -> Aligned {
    let began = Machine.monotonicSeconds
    let (family, config) = try family(of: model, among: run.families)
    listener.receive(.began(stage: "align", totalBytes: 0))
    let matching = try WeightMatching(
      model, to: reference, of: family, options: request.options, workers: run.pool)
    var agreement: ActivationAgreement?
    if request.agreement == .activations {
      guard let text = request.text else {
        throw Problem(.restructuring, "activations are compared on text", remedy: "Give --text.")
      }
      agreement = try ActivationAgreement.measure(
        try run.network(of: model), against: try run.network(of: reference),
        described: try family.describe(config: config), sequences: text.windows.sequences, workers: run.pool)
    }
    let alignment = try matching.align(activations: agreement) { listener.receive(.note($0)) }
    let checkpoint = try alignment.applied(to: model, of: family)
    let vectors =
      request.comparesSingularVectors
      ? try SingularAlignment.measure(model, checkpoint, to: reference, workers: run.pool) : nil
    let seconds = Machine.monotonicSeconds - began
    listener.receive(.ended(stage: "align", seconds: seconds))
    return Aligned(checkpoint: checkpoint, alignment: alignment, singularVectors: vectors, seconds: seconds)
  }

  /// Whether two models can be aligned, from headers alone.
  ///
  /// - Throws: what forbids it.
  static func check(
    _ model: any Checkpoint, to reference: any Checkpoint, _ request: AlignmentRequest, run: RunOptions
  ) throws(Problem) {
    let (family, _) = try family(of: model, among: run.families)
    _ = try WeightMatching(model, to: reference, of: family, options: request.options, workers: run.pool)
  }

  private static func family(
    of model: any Checkpoint, among families: [Architecture]
  ) throws(Problem) -> (Architecture, JSON) {
    if let config = model.config, let family = Architecture.recognise(config: config, among: families) {
      return (family, config)
    }
    throw Problem(
      .restructuring, "no family is known for the model, so its axes are not known either",
      remedy: "Describe it in a file for --families.", file: model.location)
  }

  /// Writes an aligned model as a folder, with `report.json` and `REPORT.md`.
  ///
  /// - Parameters:
  ///   - name: as the user names the model.
  ///   - evaluation: of the aligned model beside the model: they compute the same.
  /// - Throws: what writing throws; what is finished stays for `--resume`.
  public static func write(
    _ aligned: Aligned, of name: String, to reference: String, _ request: AlignmentRequest, writing: MergeOptions,
    evaluation: ReductionReport.Evaluation?, listener: any ProgressListener
  ) throws(Problem) -> AlignmentReport {
    var plan: MergePlan
    do throws(Problems) {
      plan = try Conversion.plan(
        of: name, elementType: nil, options: writing, given: [ExactString(name): aligned.checkpoint])
    } catch { throw error.all.first ?? Problem(.restructuring, "the aligned model cannot be written") }
    plan.verb = .restructure
    plan.text = "align \(name) to \(reference): \(request.line)\n"
    var report = AlignmentReport(
      aligned, model: name, reference: reference, request: request.line, output: writing.output,
      evaluation: evaluation)
    plan.reports = [
      ("report.json", report.json.bytes(pretty: true) + [UInt8(ascii: "\n")]),
      ("REPORT.md", Array(report.markdown.utf8)),
    ]
    report.written = try MergeRun.execute(plan, listener: listener)
    return report
  }
}
