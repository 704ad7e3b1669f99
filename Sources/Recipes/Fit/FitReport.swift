public import EspalierBasics
internal import EspalierEvaluation
internal import EspalierReduction
internal import EspalierRestructuring

/// What a fit chose and what it came to, for people and programs.
public struct FitReport: Sendable {
  /// What one knob alone makes of the same size.
  public struct Single: Sendable {
    public enum Outcome: Sendable {
      case made(bytes: Int, foreseen: Double, evaluation: ReductionReport.Evaluation?)
      /// The knob cannot make the model so small; why not.
      case unreachable(String)
      /// Making or measuring it failed; how.
      case failed(String)
    }

    public var knob: FitKnob
    public var outcome: Outcome
  }

  private struct Row: Sendable {
    let name: String
    let form: String
    let before: Int
    let after: Int
    let loss: Double
  }

  public let bytesBefore: Int
  public let bytesWanted: Int
  public internal(set) var bytesAfter: Int
  /// Nats a token that the choice is foreseen to lose; without text a sum of squared relative errors.
  public let foreseen: Double
  public let evaluation: ReductionReport.Evaluation?
  public internal(set) var singles: [Single] = []
  public internal(set) var secondsChoosing = 0.0
  public internal(set) var secondsMaking = 0.0
  /// What writing took; nil while it is not written.
  public internal(set) var written: MergeRun.Report?
  private let output: String
  private let summary: String
  private let isMeasured: Bool
  private let certificate: String
  private let removed: [DepthOrder.Step]
  /// For every number of layers that may leave what the best choice of forms is foreseen to lose.
  private let depths: [(layers: Int, loss: Double)]
  private let rows: [Row]
  private let outcomes: [MatrixOutcome]

  init(
    _ plan: FitPlan, _ choice: FitChoice, _ choices: [FitChoice], made outcomes: [MatrixOutcome],
    evaluation: ReductionReport.Evaluation?
  ) {
    (output, summary, isMeasured) = (plan.options.output, plan.summary, plan.structure != nil)
    (bytesBefore, bytesWanted, bytesAfter) = (plan.bytesBefore, plan.request.bytes, choice.bytes)
    (foreseen, certificate, removed) = (choice.loss, choice.certificate, choice.removed)
    depths = choices.map { ($0.removed.count, $0.loss) }
    rows = choice.rows.map { row, candidate in
      Row(
        name: row.name,
        form: candidate.map { plan.forms[$0.form].text(plan.forms[$0.form].levels[$0.level]) } ?? "as it is",
        before: row.denseBytes, after: candidate?.bytes ?? row.denseBytes, loss: candidate?.loss ?? 0)
    }
    (self.outcomes, self.evaluation) = (outcomes, evaluation)
  }

  private var unit: String { isMeasured ? "nats a token" : "squared relative errors" }

  // MARK: - As JSON

  public var json: JSON {
    .object([
      ("espalier_fit", 1), ("output", .string(output)), ("request", .string(summary)),
      ("bytes_before", .number(bytesBefore)), ("bytes_wanted", .number(bytesWanted)),
      ("bytes_after", .number(bytesAfter)), ("foreseen", .number(foreseen)), ("unit", .string(unit)),
      ("certificate", .string(certificate)),
      (
        "layers_removed",
        .array(removed.map { ["layer": .number($0.layer), "divergence": .number($0.divergence)] })
      ),
      ("depths", .array(depths.map { ["layers": .number($0.layers), "foreseen": .number($0.loss)] })),
      (
        "parameters",
        .array(
          rows.map { row in
            [
              "name": .string(row.name), "form": .string(row.form), "bytes_before": .number(row.before),
              "bytes_after": .number(row.after), "foreseen": .number(row.loss),
            ]
          })
      ),
      ("matrices", .array(outcomes.map(\.json))),
      ("evaluation", evaluation?.json ?? .null), ("single_knobs", .array(singles.map(\.json))),
      ("seconds_choosing", .number(secondsChoosing)), ("seconds_making", .number(secondsMaking)),
      ("peak_bytes", Machine.peakResidentBytes.map { .number($0) } ?? .null),
    ])
  }

  // MARK: - As text

  /// Some lines at the end of a run.
  public var text: String {
    var lines = [
      "\(output): \(ByteCount.text(bytesBefore)) became \(ByteCount.text(bytesAfter)), "
        + "at most \(ByteCount.text(bytesWanted)) were asked for"
    ]
    lines += formTable.lines.map { "  \($0)" }
    lines.append(layersText)
    lines.append("foreseen: \(Figures.text(foreseen, significant: 4)) \(unit) (\(certificate))")
    lines.append(
      "choosing \(Decimals.text(secondsChoosing, 1)) s, making \(Decimals.text(secondsMaking, 1)) s, "
        + "memory at most \(Machine.peakResidentBytes.map { ByteCount.text($0) } ?? "unknown")")
    if let evaluation { lines.append("\n" + evaluation.text) }
    lines += singlesText
    return lines.joined(separator: "\n")
  }

  private var layersText: String {
    guard !removed.isEmpty else { return "no layer leaves" }
    return "layers that leave: \(removed.map { String($0.layer) }.joined(separator: ", ")), "
      + "\(Figures.text(removed.last?.divergence, significant: 4)) nats of it"
  }

  /// What each form takes together.
  private var formTable: TextTable {
    let names = rows.map(\.form).uniqued()
    let groups = names.map { name in rows.filter { $0.form == name } }
    var table = TextTable()
    table.add("form", align: .left, names)
    table.add("parameters", groups.map { String($0.count) })
    table.add("bytes", groups.map { ByteCount.text($0.reduce(0) { $0 + $1.after }) })
    table.add("foreseen", groups.map { Figures.text($0.reduce(0) { $0 + $1.loss }) })
    return table
  }

  private var singlesText: [String] {
    guard !singles.isEmpty else { return [] }
    return ["\neach knob alone:"] + singles.map { "  \($0.text)" }
  }

  public var markdown: String {
    var text = "# Fitted to \(ByteCount.text(bytesWanted))\n\n\(summary)\n\n"
    text += "\(bytesBefore) bytes became \(bytesAfter). \(layersText). "
    text += "Foreseen: \(Figures.text(foreseen, significant: 4)) \(unit).\n\n"
    text += "| parameter | form | bytes | foreseen |\n|---|---|---:|---:|\n"
    for row in rows { text += "| \(row.name) | \(row.form) | \(row.after) | \(Figures.text(row.loss)) |\n" }
    text += "\n| layers that leave | foreseen |\n|---:|---:|\n"
    for depth in depths { text += "| \(depth.layers) | \(Figures.text(depth.loss, significant: 4)) |\n" }
    if let evaluation { text += "\n```\n\(evaluation.text)\n```\n" }
    if !singles.isEmpty {
      text += "\nEach knob alone:\n\n" + singles.map { "* \($0.text)\n" }.joined()
    }
    return text
  }
}

extension FitReport.Single {
  var json: JSON {
    switch outcome {
    case .made(let bytes, let foreseen, let evaluation):
      [
        "knob": .string(knob.rawValue), "bytes": .number(bytes), "foreseen": .number(foreseen),
        "evaluation": evaluation?.json ?? .null,
      ]
    case .unreachable(let why): ["knob": .string(knob.rawValue), "unreachable": .string(why)]
    case .failed(let why): ["knob": .string(knob.rawValue), "failed": .string(why)]
    }
  }

  var text: String {
    switch outcome {
    case .unreachable(let why): return "\(knob.rawValue): \(why)"
    case .failed(let why): return "\(knob.rawValue) failed: \(why)"
    case .made(let bytes, let foreseen, let evaluation):
      let measured = evaluation.map { $0.divergences.map { ", \($0)" }.joined() } ?? ""
      return "\(knob.rawValue): \(ByteCount.text(bytes)), foreseen \(Figures.text(foreseen, significant: 4))\(measured)"
    }
  }
}

extension ReductionReport.Evaluation {
  /// The divergence on each text, with its interval.
  fileprivate var divergences: [String] {
    (json["results"]?.array ?? []).compactMap { result in
      guard let kl = result["figures"]?["kl"], let value = kl["value"]?.number else { return nil }
      func text(_ value: Double?) -> String { Figures.text(value, significant: 4) }
      return "KL \(text(value)) (\(text(kl["lower"]?.number)) to \(text(kl["upper"]?.number))) on "
        + (result["data"]?.string ?? "text")
    }
  }
}
