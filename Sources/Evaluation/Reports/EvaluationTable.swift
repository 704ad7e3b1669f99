internal import EspalierBasics

/// Several models beside each other: a line a model, a column a data set, its main figure with its interval.
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
    return table.lines.joined(separator: "\n") + "\n"
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
