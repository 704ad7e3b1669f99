internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNumerics
internal import EspalierRestructuring

/// What a change of structure did, for people and programs.
public struct RestructuringReport: Sendable {
  public let method: String
  public let request: String
  public let parametersBefore: Int
  public let parametersWanted: Int
  public let parametersAfter: Int
  public let bytesBefore: Int
  /// In the types that the parameters had.
  public let bytesAfter: Int
  /// How many times as fast a token is, by the matrices it is multiplied with; nil where that does not tell.
  public let predictedSpeed: Double?
  public let evaluation: ReductionReport.Evaluation?
  public let seconds: Double
  public let secondsMeasuring: Double
  /// What writing took; nil while it is not written.
  public internal(set) var written: MergeRun.Report?
  private let output: String
  private let mode: String
  private let steps: [Restructured.Step]

  init(
    _ plan: RestructuringPlan, _ result: Restructured, evaluation: ReductionReport.Evaluation?, seconds: Double,
    secondsMeasuring: Double
  ) throws(Problem) {
    (method, request) = (plan.request.method, plan.request.text)
    (output, mode, steps) = (plan.conversion.options.output, plan.run.mode.rawValue, result.steps)
    (self.evaluation, self.seconds, self.secondsMeasuring) = (evaluation, seconds, secondsMeasuring)
    (parametersBefore, parametersWanted) = (plan.parametersBefore, plan.parametersWanted)
    let config = result.checkpoint.config ?? .object([])
    parametersAfter = ParameterCount.of(result.checkpoint, described: try plan.family.describe(config: config))
    guard parametersAfter <= parametersWanted else {
      throw Problem(
        .restructuring, "\(method) left \(parametersAfter) parameters where at most \(parametersWanted) were asked for",
        remedy: "Ask for more, or take another method.")
    }
    bytesBefore = plan.bytesBefore
    let costs = [
      TokenCost.of(plan.checkpoint, described: plan.description),
      TokenCost.of(result.checkpoint, described: try plan.family.describe(config: config)),
    ].compactMap { $0 }
    predictedSpeed = costs.count == 2 && costs[1] > 0 ? Double(costs[0]) / Double(costs[1]) : nil
    bytesAfter = result.checkpoint.parameters.reduce(0) { $0 + $1.elementCount * $1.elementType.byteWidth }
  }

  /// Of the parameters, those that are left.
  public var share: Double { Double(parametersAfter) / Double(max(1, parametersBefore)) }

  public var json: JSON {
    .object([
      ("espalier_restructuring", 1), ("output", .string(output)), ("method", .string(method)),
      ("request", .string(request)), ("mode", .string(mode)),
      ("parameters_before", .number(parametersBefore)), ("parameters_wanted", .number(parametersWanted)),
      ("parameters_after", .number(parametersAfter)),
      ("bytes_before", .number(bytesBefore)), ("bytes_after", .number(bytesAfter)),
      ("predicted_speed", predictedSpeed.map { .number($0) } ?? .null),
      (
        "steps",
        .array(
          steps.map { step in
            .object([("step", .string(step.text))] + step.figures.map { ($0.name, .number($0.value)) })
          })
      ),
      ("evaluation", evaluation?.json ?? .null), ("seconds", .number(seconds)),
      ("seconds_measuring", .number(secondsMeasuring)),
      ("peak_bytes", Machine.peakResidentBytes.map { .number($0) } ?? .null),
    ])
  }

  /// Some lines at the end of a run.
  public var text: String {
    var lines = [
      "\(output): \(method), \(parametersBefore) parameters become \(parametersAfter) "
        + "(\(Figures.percent(share))), at most \(parametersWanted) were wanted"
    ]
    lines.append(sizes)
    lines += steps.suffix(4).map { "  \(Self.line($0))" }
    if steps.count > 4 { lines.insert("  \(steps.count) steps, of which the last are:", at: 2) }
    let writing = written.map { ", writing \(Decimals.text($0.seconds, 1)) s" } ?? ""
    lines.append("choosing \(Decimals.text(seconds, 1)) s, measuring \(Decimals.text(secondsMeasuring, 1)) s\(writing)")
    lines.append("memory at most \(Machine.peakResidentBytes.map { ByteCount.text($0) } ?? "unknown")")
    if let evaluation { lines.append("\n" + evaluation.text) }
    return lines.joined(separator: "\n")
  }

  private var sizes: String {
    let speed = predictedSpeed.map { ", about \(Decimals.text($0, 2)) times as fast a token" } ?? ""
    return "\(ByteCount.text(bytesBefore)) become \(ByteCount.text(bytesAfter))\(speed)"
  }

  public var markdown: String {
    var text = "# Restructured by \(method)\n\n\(request), \(mode) mode\n\n"
    text += "\(parametersBefore) parameters became \(parametersAfter), \(Figures.percent(share)); "
    text += "at most \(parametersWanted) were wanted. \(sizes).\n\n"
    text += "| step | cost |\n|---|---|\n"
    for step in steps { text += "| \(step.text) | \(Self.figures(step)) |\n" }
    if let evaluation { text += "\n```\n\(evaluation.text)\n```\n" }
    return text
  }

  private static func line(_ step: Restructured.Step) -> String {
    step.figures.isEmpty ? step.text : "\(step.text): \(figures(step))"
  }

  private static func figures(_ step: Restructured.Step) -> String {
    step.figures.map { "\($0.name) \(Figures.text($0.value, significant: 4))" }.joined(separator: ", ")
  }
}
