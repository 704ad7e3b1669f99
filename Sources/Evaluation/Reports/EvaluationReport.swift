public import EspalierBasics

/// The results of one run of `evaluate` or `compare`, and what became of its gates.
public struct EvaluationReport: Sendable {
  public private(set) var metrics: [any Metric] = []
  public private(set) var outcomes: [GateOutcome] = []

  public init() {}

  public mutating func add(_ metric: any Metric) { metrics.append(metric) }

  /// Judges gates on all results so far.
  ///
  /// - Throws: `usage.gate` for every gate whose figure was not measured, at once.
  public mutating func judge(_ gates: [Gate]) throws(Problems) {
    var problems = Problems()
    for gate in gates {
      let judged = problems.collect { () throws(Problem) in try GateOutcome.judge(gate, on: metrics) }
      outcomes += judged ?? []
    }
    guard problems.all.isEmpty else { throw problems }
  }

  /// Whether every gate holds; true if there is none.
  public var passes: Bool { outcomes.allSatisfy(\.holds) }

  /// The results one after the other, then the gates.
  public var text: String {
    var sections = metrics.map(\.lines)
    if !outcomes.isEmpty { sections.append(outcomes.map(\.sentence)) }
    return sections.map { $0.joined(separator: "\n") + "\n" }.joined(separator: "\n")
  }

  public var json: JSON {
    [
      "results": .array(metrics.map(\.json)), "gates": .array(outcomes.map(\.json)), "passes": .bool(passes),
    ]
  }
}
