public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

/// What a pruning, a factorization or a calibrated quantization did, for people and programs.
public struct ReductionReport: Sendable {
  /// How the reduced model compares with the original.
  public struct Evaluation: Sendable {
    public var json: JSON
    public var text: String

    public init(json: JSON, text: String) {
      self.json = json
      self.text = text
    }
  }

  public let method: String
  public let request: String
  private let makesFactors: Bool
  /// What codes are; nil where there are none.
  private let codes: String?
  /// The layout that codes are in; nil where they are not packed.
  private let layout: PackedLayout?
  /// Of methods that scale columns: what took the factors of which site.
  private let scaledSites: ScaledSites?
  public let mode: String
  public let outcomes: [MatrixOutcome]
  public let evaluation: Evaluation?
  /// Matrices taken over from an earlier, unfinished run.
  public let resumed: Int
  public let plannedPeakBytes: Int
  /// The most that was resident when all was reduced, before the whole model was measured; nil where it is not known.
  public let peakBytes: Int?
  public let secondsReducing: Double
  public let secondsMeasuring: Double
  /// Bytes of the matrices that were reduced, as they were stored and as they are.
  public let bytesBefore: Int
  public let bytesAfter: Int
  /// Bytes of all weights before, as far as they are read.
  public let modelBytesBefore: Int
  /// What writing took; nil while it is not written.
  public internal(set) var written: MergeRun.Report?
  private let output: String
  private let bytesByParameter: [ExactString: (before: Int, after: Int)]

  init(
    _ plan: ReductionPlan, outcomes: [MatrixOutcome], parameters: [Parameter], resumed: Int, evaluation: Evaluation?,
    secondsReducing: Double, secondsMeasuring: Double, peakBytes: Int?
  ) {
    self.peakBytes = peakBytes
    method = plan.request.method
    request = plan.request.text
    makesFactors = plan.request.makesFactors
    codes = plan.request.makesCodes ? plan.request.words(for: plan.request.commonBudget ?? .sparsity(0)) : nil
    layout = plan.request.storage == .packed ? plan.request.layout ?? plan.request.standardLayout : nil
    scaledSites = plan.scaledSites
    mode = plan.network.mode.rawValue
    output = plan.conversion.options.output
    self.outcomes = outcomes
    self.evaluation = evaluation
    self.resumed = resumed
    self.secondsReducing = secondsReducing
    self.secondsMeasuring = secondsMeasuring
    plannedPeakBytes = plan.peakBytes
    func bytes(_ parameter: Parameter) -> Int { parameter.recipe.storedTensors.reduce(0) { $0 + $1.byteCount } }
    let original = plan.checkpoint.parametersByName()
    var sizes: [ExactString: (before: Int, after: Int)] = [:]
    for parameter in parameters {
      let name = ExactString(parameter.name)
      sizes[name] = (original[name].map(bytes) ?? 0, bytes(parameter))
    }
    bytesByParameter = sizes
    bytesBefore = sizes.values.reduce(0) { $0 + $1.before }
    bytesAfter = sizes.values.reduce(0) { $0 + $1.after }
    modelBytesBefore = plan.checkpoint.parameters.reduce(0) { $0 + bytes($1) }
    modelBytesAfter = modelBytesBefore - bytesBefore + bytesAfter
  }

  /// Bytes of all weights that are written; as if all else stayed as it was stored, while that is not laid out.
  public internal(set) var modelBytesAfter: Int
  /// Numbers of the matrices before, and those that are not zero or are in factors after.
  public var numbersBefore: Int { outcomes.reduce(0) { $0 + $1.outputs * $1.inputs } }
  public var numbersAfter: Int { outcomes.reduce(0) { $0 + $1.numbers } }

  /// What is stored of the matrices, in bits of each of their numbers.
  public var bitsPerNumber: Double { 8 * Double(bytesAfter) / Double(max(1, numbersBefore)) }

  /// The root of the mean of the squared errors: each matrix counts alike.
  public var meanError: Double {
    guard !outcomes.isEmpty else { return 0 }
    return (outcomes.reduce(0) { $0 + $1.error.error * $1.error.error } / Double(outcomes.count)).squareRoot()
  }

  // MARK: - As JSON

  public var json: JSON {
    .object([
      ("espalier_reduction", 1), ("output", .string(output)), ("method", .string(method)),
      ("request", .string(request)), ("mode", .string(mode)),
      (
        "model",
        [
          "bytes_before": .number(modelBytesBefore), "bytes_after": .number(modelBytesAfter),
          "matrix_bytes_before": .number(bytesBefore), "matrix_bytes_after": .number(bytesAfter),
          "matrix_numbers_before": .number(numbersBefore), "matrix_numbers_after": .number(numbersAfter),
          "mean_error": .number(meanError),
        ]
      ),
      ("codes", codes.map { .string($0) } ?? .null), ("layout", layout.map { .string($0.rawValue) } ?? .null),
      ("scaled_sites", scaledSitesJSON),
      ("evaluation", evaluation?.json ?? .null),
      ("seconds_reducing", .number(secondsReducing)), ("seconds_measuring", .number(secondsMeasuring)),
      ("resumed_matrices", .number(resumed)), ("planned_peak_bytes", .number(plannedPeakBytes)),
      ("peak_bytes", peakBytes.map { .number($0) } ?? .null),
      ("peak_bytes_in_all", Machine.peakResidentBytes.map { .number($0) } ?? .null),
      (
        "matrices",
        .array(
          outcomes.map { outcome in
            var json = outcome.json
            let bytes = bytesByParameter[ExactString(outcome.parameter)]
            json["parameter_bytes_before"] = bytes.map { .number($0.before) } ?? .null
            json["parameter_bytes_after"] = bytes.map { .number($0.after) } ?? .null
            return json
          })
      ),
    ])
  }

  private var scaledSitesJSON: JSON {
    guard let scaledSites else { return .null }
    return .object([
      (
        "folded",
        .array(scaledSites.folded.map { ["site": .string($0.site), "into": .string($0.target)] })
      ),
      ("left", .array(scaledSites.left.map { .string($0) })),
    ])
  }

  // MARK: - For people

  /// Some lines at the end of a run.
  public var text: String {
    let size = ByteCount.text
    var lines = [
      "\(output): \(Self.matrices(outcomes.count)) by \(method), "
        + "\(kept), mean error \(Self.error(meanError)) "
        + "(\(kinds))"
    ]
    if resumed > 0 { lines.append("\(resumed) parameters were there from an earlier run") }
    lines.append(
      "\(size(modelBytesBefore)) become \(size(modelBytesAfter)) (\(percent(modelBytesAfter, of: modelBytesBefore)))")
    if let scaledSites {
      lines.append(
        "columns scaled at \(scaledSites.folded.count) site\(scaledSites.folded.count == 1 ? "" : "s"), \(scaledSites.counts); left at \(scaledSites.left.count)"
      )
    }
    if let worst = outcomes.max(by: { $0.error.error < $1.error.error }) {
      lines.append("largest error: \(Self.error(worst.error.error)), \(worst.name)")
    }
    let writing = written.map { ", writing \(Decimals.text($0.seconds, 1)) s" } ?? ""
    let measuring = secondsMeasuring >= 0.05 ? ", measuring \(Decimals.text(secondsMeasuring, 1)) s" : ""
    lines.append("reducing \(Decimals.text(secondsReducing, 1)) s\(measuring)\(writing)")
    let peaks = (peakBytes, Machine.peakResidentBytes)
    let whole = secondsMeasuring >= 0.05 ? ", with measuring \(peaks.1.map { size($0) } ?? "unknown")" : ""
    lines.append(
      "memory at most \(peaks.0.map { size($0) } ?? "unknown") while reducing, planned \(size(plannedPeakBytes))"
        + whole)
    if let evaluation { lines.append("\n" + evaluation.text) }
    return lines.joined(separator: "\n")
  }

  /// How much is left.
  private var kept: String {
    guard let codes else { return "\(percent(numbersAfter, of: numbersBefore)) of their numbers stay" }
    guard let layout else { return "\(codes), written out" }
    return "\(codes), \(layout.rawValue), \(Decimals.text(bitsPerNumber, 2)) bits a weight"
  }

  /// Which columns were scaled, and what was divided for it.
  private var scaling: String? {
    guard let scaledSites else { return nil }
    let (folded, left) = (scaledSites.folded, scaledSites.left)
    var text = "Columns are scaled at \(folded.count) of \(folded.count + left.count) sites, \(scaledSites.counts)."
    if !left.isEmpty {
      text += " Nothing takes factors of \(left.joined(separator: ", ")): columns stay as they are."
    }
    guard !folded.isEmpty else { return text }
    let rows = folded.map { "| \($0.site) | \($0.target) |" }
    return text + "\n\n| columns of | divided for it |\n|---|---|\n" + rows.joined(separator: "\n")
  }

  /// How sure the errors are, each kind once.
  private var kinds: String { outcomes.map(\.error.kind.rawValue).uniqued().joined(separator: ", ") }

  private func percent(_ part: Int, of whole: Int) -> String {
    whole == 0 ? "-" : Decimals.text(100 * Double(part) / Double(whole), 1) + " %"
  }

  static func matrices(_ count: Int) -> String { count == 1 ? "1 matrix" : "\(count) matrices" }

  private static func error(_ value: Double) -> String { Decimals.text(value, 4) }

  /// `REPORT.md`.
  public var markdown: String {
    let size = ByteCount.text
    var text = """
      # What was kept and what was lost

      Method `\(method)` on \(Self.matrices(outcomes.count)). Weights of \(size(modelBytesBefore)) became \
      \(size(modelBytesAfter)). Of these matrices: \(kept).

      ```
      \(request)```


      """
    if let scaling { text += "## Columns\n\n\(scaling)\n\n" }
    if let evaluation { text += "## Against the original\n\n```\n\(evaluation.text)```\n\n" }
    let norms = outcomes.map { "\($0.error.norm) (\($0.error.kind.rawValue))" }.uniqued()
    text += """
      ## Matrix by matrix

      Error: \(norms.joined(separator: "; ")). Baseline: the error of the plain method \
      (\(baselineName)) at the same budget.

      | matrix | shape | budget | error | baseline | numbers | bytes before | bytes after | seconds |
      |---|---|---|---:|---:|---:|---:|---:|---:|

      """
    var told: Set<ExactString> = []
    for outcome in outcomes {
      let bytes = bytesByParameter[ExactString(outcome.parameter)] ?? (0, 0)
      // Of a parameter with several matrices the first tells the bytes.
      let isFirst = told.insert(ExactString(outcome.parameter)).inserted
      let cells = [
        outcome.name, "\(outcome.outputs) x \(outcome.inputs)", outcome.budget, Self.error(outcome.error.error),
        outcome.baseline.map { Self.error($0) } ?? "-", "\(outcome.numbers)", isFirst ? size(bytes.before) : "",
        isFirst ? size(bytes.after) : "", Decimals.text(outcome.seconds, 2),
      ]
      text += "| " + cells.joined(separator: " | ") + " |\n"
    }
    return text
  }

  private var baselineName: String { codes != nil ? "rounding" : makesFactors ? "SVD" : "magnitude" }
}
