internal import EspalierBasics

/// Several models beside each other: a line a model, a column a data set, its main figure with its interval; below
/// them what became of the gates.
public struct EvaluationTable: Sendable {
  public private(set) var models: [String] = []
  private var reports: [EvaluationReport] = []

  public init() {}

  /// Adds a line. All reports are to be of the same data.
  public mutating func add(_ report: EvaluationReport, of model: String) {
    models.append(model)
    reports.append(report)
  }

  public var text: String {
    var table = TextTable()
    table.add("", align: .left, models)
    for (index, metric) in (reports.first?.metrics ?? []).enumerated() {
      let cells = reports.map { $0.metrics.indices.contains(index) ? $0.metrics[index].cell : "" }
      table.add(metric.columnTitle, cells)
    }
    let verdicts = zip(models, reports).flatMap { model, report in
      report.outcomes.map { models.count > 1 ? "\(model): \($0.sentence)" : $0.sentence }
    }
    let sections = [table.lines, verdicts].filter { !$0.isEmpty }
    return sections.map { $0.joined(separator: "\n") + "\n" }.joined(separator: "\n")
  }
}

extension Metric {
  fileprivate var columnTitle: String { "\(header.data), \(figures.first?.label ?? Self.title)" }

  /// `36.1 (34.4 to 38.0)`.
  fileprivate var cell: String {
    guard let figure = figures.first else { return "" }
    return figure.valueText + (figure.intervalText.map { " (\($0))" } ?? "")
  }
}
