internal import EspalierBasics
public import EspalierNumerics

/// What became of a gate on one figure.
public struct GateOutcome: Sendable, Hashable {
  public var gate: Gate
  /// What the figure was measured on.
  public var data: String
  /// The figure as the gate counts it: a drop is the difference with its sign turned.
  public var estimate: Estimate
  public var holds: Bool

  /// Judges every figure of the metrics that the gate is about; results of the reference alone are passed over.
  ///
  /// - Throws: `usage.gate` if there is none.
  static func judge(_ gate: Gate, on metrics: [any Metric]) throws(Problem) -> [GateOutcome] {
    var outcomes: [GateOutcome] = []
    for metric in metrics where metric.header.subject != .reference {
      // Of multiple choice the plain rule counts, as it does for a least accuracy.
      if let pair = metric as? PairedItems, pair.isByLength { continue }
      for (name, key) in gate.kind.figures where name == type(of: metric).name {
        guard let figure = metric.figure(key) else { continue }
        outcomes.append(GateOutcome(gate, figure.estimate, data: metric.gateData))
      }
    }
    guard !outcomes.isEmpty else {
      throw Problem(
        .usageGate, "--\(gate.kind.rawValue) limits a figure that was not measured",
        remedy: "It needs \(gate.kind.needs).")
    }
    return outcomes
  }

  init(_ gate: Gate, _ estimate: Estimate, data: String) {
    self.gate = gate
    self.data = data
    self.estimate = gate.kind == .maximumAccuracyDrop ? Self.negated(estimate) : estimate
    let judged = gate.strict ? Self.worst(of: self.estimate, gate) : self.estimate.value
    holds = Self.keeps(judged, gate)
  }

  /// Whether the whole interval is on the figure's side of the limit; nil if there is no interval.
  public var isCertain: Bool? {
    guard let interval = estimate.interval else { return nil }
    let best = gate.kind.isMaximum ? interval.lower : interval.upper
    let worst = gate.kind.isMaximum ? interval.upper : interval.lower
    return Self.keeps(best, gate) == Self.keeps(worst, gate)
  }

  /// `max-kl 0.05 holds on docs.txt: 0.0123, 95 % interval 0.011 to 0.014`.
  public var sentence: String {
    let style = gate.kind.allowsPercent ? FigureStyle.share : .number
    func text(_ value: Double) -> String {
      style == .share ? Decimals.text(100 * value, 2) + " %" : FigureStyle.number.text(value)
    }
    let verdict = holds ? "holds" : "fails"
    let limit = style == .share ? text(gate.limit) : "\(gate.limit)"
    var sentence = "\(gate.kind.rawValue) \(limit) \(verdict) on \(data): \(text(estimate.value))"
    if let interval = estimate.interval {
      let level = Decimals.text(100 * interval.level, 0)
      sentence += ", \(level) % interval \(text(interval.lower)) to \(text(interval.upper))"
    }
    if isCertain == false { sentence += "; the interval reaches across the limit" }
    if gate.strict { sentence += " (strict: the interval is judged)" }
    return sentence
  }

  var json: JSON {
    [
      "gate": .string(gate.kind.rawValue), "limit": .number(gate.limit), "strict": .bool(gate.strict),
      "data": .string(data), "figure": estimate.json, "holds": .bool(holds),
      "certain": isCertain.map { .bool($0) } ?? .null, "sentence": .string(sentence),
    ]
  }

  /// NaN keeps no limit.
  private static func keeps(_ value: Double, _ gate: Gate) -> Bool {
    gate.kind.isMaximum ? value <= gate.limit : value >= gate.limit
  }

  private static func worst(of estimate: Estimate, _ gate: Gate) -> Double {
    guard let interval = estimate.interval else { return .nan }
    return gate.kind.isMaximum ? interval.upper : interval.lower
  }

  private static func negated(_ estimate: Estimate) -> Estimate {
    Estimate(
      -estimate.value,
      interval: estimate.interval.map {
        Interval(lower: -$0.upper, upper: -$0.lower, level: $0.level, method: $0.method)
      })
  }
}

extension Metric {
  /// What the figure was measured on, and of items by which rule they were judged.
  fileprivate var gateData: String {
    (self as? PairedItems).map { "\(header.data) (\($0.measure))" } ?? header.data
  }
}
