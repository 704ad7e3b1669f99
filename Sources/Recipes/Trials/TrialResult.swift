public import EspalierBasics
internal import EspalierEvaluation
internal import EspalierNumerics
internal import EspalierReduction

/// What a trial found, for people and programs.
public struct TrialResult: Sendable {
  struct Times: Sendable {
    /// Gathering statistics of the inputs, reading included.
    var statistics: Double
    /// The method alone.
    var solve: Double
    /// Measuring the error of its result.
    var error: Double
  }

  let trial: Trial
  let card: MethodCard
  let weightName: String
  let weightType: ElementType
  let weightBytes: Int
  let outputs: Int
  let inputs: Int
  /// Rows that the statistics saw; nil without statistics.
  let rows: Int?
  /// What the result is stored in.
  let elementType: ElementType
  let before: TrialMeasure.Outcome
  let after: TrialMeasure.Outcome
  let times: Times
  var outputBytes: Int?
  var peakBytes: Int?

  private var plainBytes: Int { outputs * inputs * elementType.byteWidth }

  // MARK: - Programs

  /// What was done, the same in every run: without times.
  var record: JSON {
    .object([
      ("method", .string(card.name)), ("parameters", Self.json(trial.parameters)), ("budget", trial.budget.json),
      (
        "weight",
        [
          "file": .string(trial.weight.file), "name": .string(weightName), "outputs": .number(outputs),
          "inputs": .number(inputs), "dtype": .string(weightType.safetensorsName), "bytes": .number(weightBytes),
        ]
      ),
      ("inputs", sourceJSON), ("store", .string(trial.store.rawValue)),
      ("dtype", .string(elementType.safetensorsName)), ("plain_bytes", .number(plainBytes)),
      ("error_norm", .string(after.certificate.norm)), ("error_before", .number(before.certificate.error)),
      ("error_after", .number(after.certificate.error)), ("before", Self.json(before)), ("after", Self.json(after)),
    ])
  }

  /// Everything, with times.
  public var json: JSON {
    var json: JSON = ["event": "tried"]
    for (key, value) in record.members?.pairs ?? [] { json[key] = value }
    json["solve_seconds"] = .number(times.solve)
    json["error_seconds"] = .number(times.error)
    json["statistics_seconds"] = .number(times.statistics)
    json["threads"] = .number(trial.threads)
    json["peak_bytes"] = peakBytes.map { .number($0) } ?? .null
    if let output = trial.output {
      json["output"] = .string(output)
      json["output_bytes"] = outputBytes.map { .number($0) } ?? .null
    }
    return json
  }

  private var sourceJSON: JSON {
    let kind: String
    let part: FilePart
    switch trial.source {
    case nil: return .null
    case .inputs(let given)?: (kind, part) = ("inputs", given)
    case .statistics(let given)?: (kind, part) = ("statistics", given)
    }
    return [
      "kind": .string(kind), "file": .string(part.file), "name": part.name.map { .string($0) } ?? .null,
      "rows": rows.map { .number($0) } ?? .null,
    ]
  }

  private static func json(_ parameters: [String: ParameterValue]) -> JSON {
    .object(
      parameters.sorted { $0.key < $1.key }.map { name, value in
        switch value {
        case .number(let number): (name, Int(exactly: number).map { .number($0) } ?? .number(number))
        case .flag(let flag): (name, .bool(flag))
        case .word(let word): (name, .string(word))
        }
      })
  }

  private static func json(_ outcome: TrialMeasure.Outcome) -> JSON {
    var members: [(String, JSON)] = [
      ("method", .string(outcome.method)), ("parameters", json(outcome.parameters)), ("form", .string(outcome.form)),
      ("error", .number(outcome.certificate.error)), ("kind", .string(outcome.certificate.kind.rawValue)),
      ("floor", outcome.certificate.floor.map { .number($0) } ?? .null),
      ("assumptions", .array(outcome.certificate.assumptions.map { .string($0) })),
    ]
    if let error = outcome.unroundedError { members.append(("error_unrounded", .number(error))) }
    members += [("stored_numbers", .number(outcome.storedNumbers)), ("bytes", .number(outcome.bytes))]
    return .object(members)
  }

  // MARK: - People

  public var text: String {
    var lines = [
      "\(card.name) at \(trial.budget.text) on \(weightName), \(outputs) x \(inputs) \(weightType.safetensorsName)"
        + (rows.map { ", \($0) rows of inputs" } ?? ", no inputs")
    ]
    let numbers = outputs * inputs
    let outcomes = [before, after]
    var table = TextTable()
    table.add("", align: .left, ["dense", "before", "after"])
    table.add("method", align: .left, ["-"] + outcomes.map { Self.label($0) })
    table.add("error", ["0"] + outcomes.map { Figures.text($0.certificate.error, significant: 5) })
    table.add("kind", align: .left, ["exact"] + outcomes.map(\.certificate.kind.rawValue))
    table.add("floor", ["-"] + outcomes.map { Figures.text($0.certificate.floor, significant: 5) })
    table.add("numbers", ["\(numbers)"] + outcomes.map { "\($0.storedNumbers)" })
    table.add("of dense", ["100 %"] + outcomes.map { Figures.percent(Double($0.storedNumbers) / Double(numbers)) })
    table.add("form", align: .left, ["plain"] + outcomes.map(\.form))
    table.add("bytes", [ByteCount.text(plainBytes)] + outcomes.map { ByteCount.text($0.bytes) })
    table.add("of dense", ["100 %"] + outcomes.map { Figures.percent(Double($0.bytes) / Double(max(1, plainBytes))) })
    lines += table.lines
    lines.append("error: \(after.certificate.norm)")
    lines += after.certificate.assumptions.map { "assumed: \($0)" }
    if let unrounded = after.unroundedError {
      lines.append(
        "before rounding to \(elementType.safetensorsName) the error was \(Figures.text(unrounded, significant: 5))")
    }
    let seconds = { (value: Double) in Figures.text(value) }
    lines.append(
      "\(card.name) took \(seconds(times.solve)) s; its error \(seconds(times.error)) s, statistics "
        + "\(seconds(times.statistics)) s; \(trial.threads) thread\(trial.threads == 1 ? "" : "s")")
    if let output = trial.output, let outputBytes { lines.append("\(output): \(ByteCount.text(outputBytes))") }
    return lines.joined(separator: "\n")
  }

  private static func label(_ outcome: TrialMeasure.Outcome) -> String {
    guard !outcome.parameters.isEmpty else { return outcome.method }
    let values = outcome.parameters.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
    return "\(outcome.method) (\(values.joined(separator: ", ")))"
  }
}

extension MatrixBudget {
  fileprivate var text: String {
    switch self {
    case .sparsity(let share): "sparsity \(Figures.percent(share))"
    case .pattern(let keep, let of): "\(keep):\(of)"
    case .rank(let rank): "rank \(rank)"
    case .parameters(let share): "\(Figures.percent(share)) of the parameters"
    }
  }

  fileprivate var json: JSON {
    switch self {
    case .sparsity(let share): ["sparsity": .number(share)]
    case .pattern(let keep, let of): ["pattern": .string("\(keep):\(of)"), "keep": .number(keep), "of": .number(of)]
    case .rank(let rank): ["rank": .number(rank)]
    case .parameters(let share): ["parameters": .number(share)]
    }
  }
}
