public import EspalierBasics
internal import EspalierEvaluation
internal import EspalierNumerics

/// What an extraction kept and lost, for people and programs.
public struct AdapterExtractionReport: Sendable {
  /// A parameter that changed and that the adapter does not have.
  struct Left: Sendable {
    var name: String
    var reason: String
    /// Of its change; nil where that cannot be told.
    var squaredNorm: Double?
  }

  let extraction: AdapterExtraction
  let matrices: [AdapterExtraction.Extracted]
  let left: [Left]
  /// Of all parameters that both models have.
  let total: Change
  let bytes: Int
  let seconds: Double

  static let norm = "relative Frobenius norm of the change"

  // MARK: - Totals

  private var squaredChange: Double { matrices.reduce(0) { $0 + $1.change.squaredNorm } }
  private var squaredLoss: Double {
    matrices.reduce(0) { $0 + $1.certificate.error * $1.certificate.error * $1.change.squaredNorm }
  }
  private var squaredLeft: Double { left.reduce(0) { $0 + ($1.squaredNorm ?? 0) } }

  /// ‖change - B A‖ / ‖change‖ over all matrices of the adapter.
  public var error: Double { Self.share(squaredLoss, of: squaredChange).squareRoot() }
  /// The same over everything that changed, what the adapter does not have included.
  public var errorOfAll: Double { Self.share(squaredLoss + squaredLeft, of: squaredChange + squaredLeft).squareRoot() }
  /// The share of the squared change of its matrices that the adapter has.
  public var energy: Double { 1 - error * error }
  /// How many matrices there are in the adapter, and how many parameters changed without being in it.
  public var matrixCount: Int { matrices.count }
  public var leftCount: Int { left.count }

  private static func share(_ part: Double, of whole: Double) -> Double { whole > 0 ? part / whole : 0 }
  private var numbers: Int { matrices.reduce(0) { $0 + $1.rank * ($1.target.outputs + $1.target.inputs) } }

  // MARK: - Programs

  /// The same in every run: without times.
  var record: JSON {
    .object([
      ("base", .string(extraction.baseName)), ("fine_tune", .string(extraction.fineTunedName)),
      ("rank", extraction.options.rank.map { .number($0) } ?? .null),
      ("energy", extraction.options.energy.map { .number($0) } ?? .null),
      ("dtype", .string(extraction.options.elementType.safetensorsName)), ("error_norm", .string(Self.norm)),
      ("kind", .string(kind)), ("error", .number(error)), ("energy_kept", .number(energy)),
      ("error_with_uncaptured", .number(errorOfAll)), ("numbers", .number(numbers)), ("bytes", .number(bytes)),
      ("unchanged_matrices", .number(extraction.targets.count - matrices.count)),
      (
        "matrices",
        .array(
          matrices.map { matrix in
            [
              "name": .string(matrix.target.name), "module": .string(matrix.target.module),
              "outputs": .number(matrix.target.outputs), "inputs": .number(matrix.target.inputs),
              "rank": .number(matrix.rank), "error": .number(matrix.certificate.error),
              "kind": .string(matrix.certificate.kind.rawValue),
              "floor": matrix.certificate.floor.map { .number($0) } ?? .null,
              "energy_kept": .number(1 - matrix.certificate.error * matrix.certificate.error),
              "change_norm": .number(matrix.change.squaredNorm.squareRoot()),
              "relative_change": .number(matrix.change.relativeChange),
              "bytes": .number(
                matrix.rank * (matrix.target.outputs + matrix.target.inputs) * extraction.options.elementType.byteWidth),
            ]
          })
      ),
      (
        "uncaptured",
        .array(
          left.map {
            [
              "name": .string($0.name), "reason": .string($0.reason),
              "change_norm": $0.squaredNorm.map { .number($0.squareRoot()) } ?? .null,
            ]
          })
      ),
    ])
  }

  private var kind: String { matrices.first?.certificate.kind.rawValue ?? "exact" }

  public var json: JSON {
    var json: JSON = ["event": "extracted", "output": .string(extraction.options.output)]
    for (key, value) in record.members?.pairs ?? [] { json[key] = value }
    json["seconds"] = .number(seconds)
    json["peak_bytes"] = Machine.peakResidentBytes.map { .number($0) } ?? .null
    return json
  }

  // MARK: - People

  /// A few lines, with the matrices that lost most.
  public var text: String {
    var lines = summary
    let worst = matrices.enumerated().sorted {
      ($1.element.certificate.error, $0.offset) < ($0.element.certificate.error, $1.offset)
    }.prefix(5).map(\.element)
    lines += [""] + table(worst, title: matrices.count > 5 ? "largest errors" : "matrix").lines
    if !left.isEmpty { lines += [""] + uncaptured }
    let peak = Machine.peakResidentBytes.map { ByteCount.text($0) } ?? "unknown"
    lines += [
      "",
      "\(extraction.options.output): \(ByteCount.text(bytes)), \(Decimals.text(seconds, 1)) s, peak memory \(peak); "
        + "every matrix is in REPORT.md",
    ]
    return lines.joined(separator: "\n")
  }

  private var summary: [String] {
    let ranks = matrices.map(\.rank)
    let (least, most) = (ranks.min() ?? 0, ranks.max() ?? 0)
    var lines = [
      "\(Figures.plural(matrices.count, "matrix", "matrices")) of rank \(least == most ? "\(least)" : "\(least) to \(most)"), "
        + "\(Figures.count(numbers)) numbers in \(extraction.options.elementType.safetensorsName)",
      "of their change \(Figures.percent(energy)) is kept (squared norm): error "
        + "\(Figures.text(error)), \(kind), \(Self.norm)",
    ]
    let unchanged = extraction.targets.count - matrices.count
    if unchanged > 0 { lines.append("\(unchanged) further matrices did not change and are not in the adapter") }
    if !left.isEmpty {
      lines.append(
        "not captured: \(Figures.plural(left.count, "parameter", "parameters")); with them the error is \(Figures.text(errorOfAll))"
      )
    }
    return lines
  }

  /// What is not in the adapter, by reason.
  private var uncaptured: [String] {
    var groups: [(reason: String, names: [String], squares: Double)] = []
    for entry in left {
      if let index = groups.firstIndex(where: { $0.reason == entry.reason }) {
        groups[index].names.append(entry.name)
        groups[index].squares += entry.squaredNorm ?? 0
      } else {
        groups.append((entry.reason, [entry.name], entry.squaredNorm ?? 0))
      }
    }
    return groups.map { group in
      let shown = group.names.prefix(3).joined(separator: ", ")
      let more = group.names.count > 3 ? " and \(group.names.count - 3) more" : ""
      return
        "not captured, \(group.reason): \(shown)\(more); norm of the change \(Figures.text(group.squares.squareRoot()))"
    }
  }

  private func table(_ matrices: [AdapterExtraction.Extracted], title: String) -> TextTable {
    var table = TextTable()
    table.add(title, align: .left, matrices.map(\.target.name))
    table.add("shape", matrices.map { "\($0.target.outputs)x\($0.target.inputs)" })
    table.add("rank", matrices.map { "\($0.rank)" })
    table.add("energy kept", matrices.map { Figures.percent(1 - $0.certificate.error * $0.certificate.error) })
    table.add("error", matrices.map { Figures.text($0.certificate.error) })
    table.add("relative change", matrices.map { Figures.text($0.change.relativeChange) })
    return table
  }

  /// The report of the output folder.
  var markdown: String {
    var lines = ["# \(FileSystem.lastComponent(of: extraction.options.output))", ""]
    let asked = [
      extraction.options.rank.map { "rank at most \($0)" },
      extraction.options.energy.map { "\(Figures.percent($0)) of the energy of each matrix" },
    ].compactMap { $0 }.joined(separator: ", ")
    lines.append(
      "The fine-tune `\(extraction.fineTunedName)` as a low-rank adapter on `\(extraction.baseName)`, extracted by "
        + "Espalier \(MergeRun.version): \(asked). The scale is 1.")
    lines += [""] + summary.map { "* \($0)" }
    lines += [
      "", "| matrix | outputs x inputs | rank | energy kept | error | floor | change relative to the base | bytes |",
      "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for matrix in matrices {
      let bytes =
        matrix.rank * (matrix.target.outputs + matrix.target.inputs) * extraction.options.elementType.byteWidth
      lines.append(
        "| \(matrix.target.name) | \(matrix.target.outputs) x \(matrix.target.inputs) | \(matrix.rank) | "
          + "\(Figures.percent(1 - matrix.certificate.error * matrix.certificate.error)) | "
          + "\(Figures.text(matrix.certificate.error)) | \(Figures.text(matrix.certificate.floor)) | "
          + "\(Figures.text(matrix.change.relativeChange)) | \(bytes) |")
    }
    if !left.isEmpty {
      lines += ["", "## Not captured", "", "| parameter | why | norm of the change |", "|---|---|---:|"]
      lines += left.map { "| \($0.name) | \($0.reason) | \(Figures.text($0.squaredNorm?.squareRoot())) |" }
    }
    return lines.joined(separator: "\n") + "\n"
  }
}

extension Figures {
  fileprivate static func plural(_ count: Int, _ one: String, _ several: String) -> String {
    "\(count) \(count == 1 ? one : several)"
  }
}
