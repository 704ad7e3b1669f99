internal import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNumerics
internal import EspalierReduction

/// A GGUF file whose matrices are rounded by what reaches them: GPTQ that knows the blocks of each tensor's type.
///
/// Types are those that the file has without calibration. The matrices are reduced block by block as for a folder
/// (``ReductionRun``), and kept as blocks in `NAME.blocks.pieces` beside the output; the file is then written of the model
/// that has them in place, whose tensors carry them byte for byte. What is no matrix inside a layer, or has a type whose
/// levels are not evenly spaced, is encoded as ever.
public struct BlockCalibration: Sendable {
  /// What became of the matrices.
  public struct Outcome: Sendable {
    public let method: String
    public let outcomes: [MatrixOutcome]
    /// Parameters that were there from an earlier run.
    public let resumed: Int
    public let seconds: Double
    let plannedPeakBytes: Int
    /// The tensors before, in the order of the file.
    let originals: [QuantizationPlan.Tensor]
    /// Of the model before, for the manifest: its matrices are read from pieces that do not stay.
    let identity: ModelIdentity
    let pieces: String

    /// The parameters whose blocks were found.
    var parameters: Set<ExactString> { Set(outcomes.map { ExactString($0.parameter) }) }
  }

  /// The file, before anything is rounded.
  public let plan: QuantizationPlan
  public let warnings: [Problem]
  /// As it was asked for.
  let rounding: ReductionRequest
  private let reduction: ReductionPlan
  private let model: String
  private let place: QuantizationPlan.Place

  /// - Parameters:
  ///   - reduction: method and text; what it says of goals and storage is not asked.
  ///   - options: those of the file.
  ///   - place: what the output's name is the name of.
  ///   - isGiven: the checkpoint is what is quantized, whatever is at the path that `model` may be.
  /// - Throws: every problem that can be known from headers, all at once.
  public init(
    _ request: QuantizationRequest, calibratedBy reduction: ReductionRequest, of model: String,
    checkpoint: any Checkpoint, run: RunOptions, options: MergeOptions, place: QuantizationPlan.Place = .file,
    isGiven: Bool = false
  ) throws(Problems) {
    rounding = reduction
    var reduction = reduction
    reduction.storage = .blocks
    reduction.goal = .codes
    reduction.search = request.search
    var request = request
    request.calibration = reduction.text
    // The model as it will be when its matrices are replaced, here by themselves, so that what is planned can be written.
    let plan = try QuantizationPlan(
      request, of: model, checkpoint: OverlaidCheckpoint(checkpoint, replacing: checkpoint.parameters),
      families: run.families, options: options, place: place)
    let types = Self.types(of: plan)
    reduction.blockTypes = types.byParameter
    var writing = options
    writing.output = Self.workPath(beside: options.output)
    writing.shardBytes = 5_000_000_000
    let reductionPlan = try ReductionPlan(
      reduction, of: model, checkpoint: checkpoint, run: run, writing: writing, isGiven: isGiven)
    if let problem = Self.mixture(plan, reductionPlan) { throw Problems([problem]) }
    (self.plan, self.reduction, self.model, self.place) = (plan, reductionPlan, model, place)
    warnings = (plan.warnings + reductionPlan.warnings + types.warnings).uniqued()
  }

  /// A tensor of several parameters, such as experts, has the blocks of all of them or of none.
  private static func mixture(_ plan: QuantizationPlan, _ reduction: ReductionPlan) -> Problem? {
    let rounded = Set(reduction.blocks.flatMap(\.targets).map { ExactString($0.parameter.name) })
    for tensor in plan.tensors where tensor.isBlocks {
      let count = tensor.sources.count { rounded.contains(ExactString($0)) }
      guard count > 0, count < tensor.sources.count else { continue }
      return Problem(
        .reduction,
        "of the \(tensor.sources.count) parameters that the tensor is made of \(count == 1 ? "one is" : "\(count) are") "
          + "quantized", remedy: "Leave all of them out with --keep, or none.", tensor: tensor.name)
    }
    return nil
  }

  /// What the pieces' folder is called after.
  static func workPath(beside output: String) -> String {
    QuantizationPlan.reportPath(of: output).dropLast(".report".count) + ".blocks"
  }

  /// The types of parameters whose tensors have blocks that GPTQ rounds to.
  private static func types(
    of plan: QuantizationPlan
  ) -> (byParameter: [ExactString: BlockType], warnings: [Problem]) {
    // A parameter may go into several tensors, each with its own format: what is rounded for one must suit all.
    var formats: [ExactString: Set<WeightFormat>] = [:]
    var others: [QuantizationPlan.Tensor] = []
    for tensor in plan.tensors {
      for source in tensor.sources { formats[ExactString(source), default: []].insert(tensor.choice.format) }
      guard case .blocks(let type) = tensor.choice.format, !GPTQBlocks.types.contains(type) else { continue }
      if tensor.name.hasPrefix("blk.") { others.append(tensor) }
    }
    var found: [ExactString: BlockType] = [:]
    for (name, formats) in formats {
      guard formats.count == 1, case .blocks(let type)? = formats.first, GPTQBlocks.types.contains(type) else {
        continue
      }
      found[name] = type
    }
    let divided = formats.filter { $0.value.count > 1 }.map(\.key.text).sorted()
    var warnings: [Problem] = []
    if let first = others.first {
      warnings.append(
        Problem(
          .quantizationType,
          "\(others.count) tensor\(others.count == 1 ? " has a type" : "s have types") whose levels are not evenly "
            + "spaced, and \(others.count == 1 ? "is" : "are") encoded without calibration: \(first.name) as "
            + "\(first.choice.format.name)", tensor: first.name, severity: .warning))
    }
    if let first = divided.first {
      warnings.append(
        Problem(
          .quantizationType,
          "the parameter becomes tensors of different types, and is encoded without calibration", tensor: first,
          severity: .warning))
    }
    return (found, warnings)
  }

  /// What is done before the file is written.
  var outline: ReductionOutline { ReductionOutline(reduction) }
  var plannedPeakBytes: Int { reduction.peakBytes }

  /// Calibrates, writes and measures, as ``QuantizationRun/execute(_:fit:calibration:probe:listener:measure:)``.
  ///
  /// - Throws: the first problem; finished matrices and tensors stay for `--resume`.
  public func execute(
    fit: TypeFitting.Outcome? = nil, probe: ((String) throws(Problem) -> Double)? = nil, run: RunOptions,
    listener: any ProgressListener, measure: ((String) throws(Problem) -> ReductionReport.Evaluation?)? = nil
  ) throws(Problem) -> QuantizationReport {
    try plan.requireCarried()
    return try ReductionRun.lend(reduction, workers: run.pool, listener: listener) { (reduced) throws(Problem) in
      let written: QuantizationPlan
      var options = plan.options
      // What was begun of the file with other blocks begins again.
      if options.policy.resume, !reduced.wasThere { options.policy = .init(resume: false, force: true) }
      do throws(Problems) {
        written = try QuantizationPlan(
          plan.request, of: model, checkpoint: reduced.checkpoint, families: run.families, options: options,
          place: place)
      } catch { throw error.all.first ?? Problem(.reduction, "the file cannot be planned") }
      guard written.layout.byteCount == plan.layout.byteCount,
        zip(written.tensors, plan.tensors).allSatisfy({ $0.choice == $1.choice })
      else {
        throw Problem(
          .reduction, "the file is not what was foreseen", remedy: "This is a defect; please report it.",
          file: plan.output)
      }
      let outcome = Outcome(
        method: reduction.request.method, outcomes: reduced.outcomes, resumed: reduced.resumed,
        seconds: reduced.seconds, plannedPeakBytes: reduction.peakBytes, originals: plan.tensors,
        identity: try ModelIdentity(of: reduction.checkpoint, workers: run.pool),
        pieces: ReductionPieces.path(beside: reduction.conversion.options.output))
      return try QuantizationRun.execute(
        written, fit: fit, calibration: outcome, probe: probe, listener: listener, measure: measure)
    }
  }
}

extension BlockCalibration.Outcome {
  /// The roots of the means of the squared errors, of what is stored and of plain encoding.
  private var means: (error: Double, plain: Double?) {
    func mean(_ errors: [Double]) -> Double {
      (errors.reduce(0) { $0 + $1 * $1 } / Double(max(1, errors.count))).squareRoot()
    }
    let plain = outcomes.compactMap(\.baseline)
    return (mean(outcomes.map(\.error.error)), plain.count == outcomes.count ? mean(plain) : nil)
  }

  /// A line or two.
  var text: String {
    let kinds = outcomes.map(\.error.kind.rawValue).uniqued().joined(separator: ", ")
    let plain = means.plain.map { ", of plain encoding \(Decimals.text($0, 4))" } ?? ""
    var text =
      "\(ReductionReport.matrices(outcomes.count)) by \(method): mean error of their outputs "
      + "\(Decimals.text(means.error, 4)) (\(kinds))"
      + plain + ", \(Decimals.text(seconds, 1)) s"
    if resumed > 0 { text += "; \(resumed) parameters were there from an earlier run" }
    return text
  }

  var json: JSON {
    [
      "method": .string(method), "mean_error": .number(means.error),
      "mean_plain_error": means.plain.map { .number($0) } ?? .null, "seconds": .number(seconds),
      "resumed": .number(resumed), "matrices": .array(outcomes.map(\.json)),
    ]
  }

  /// A section of `REPORT.md`.
  var markdown: String {
    let norms = outcomes.map { "\($0.error.norm) (\($0.error.kind.rawValue))" }.uniqued()
    var text = """

      ## Matrix by matrix

      Rounded by `\(method)` to the levels of their blocks. Error: \(norms.joined(separator: "; ")); beside it that of
      plain encoding in the same type.

      | matrix | shape | type | error | plain | seconds |
      |---|---|---|---:|---:|---:|

      """
    for outcome in outcomes {
      let cells = [
        outcome.name, "\(outcome.outputs) x \(outcome.inputs)", outcome.budget, Decimals.text(outcome.error.error, 5),
        outcome.baseline.map { Decimals.text($0, 5) } ?? "-", Decimals.text(outcome.seconds, 2),
      ]
      text += "| " + cells.joined(separator: " | ") + " |\n"
    }
    return text
  }
}
