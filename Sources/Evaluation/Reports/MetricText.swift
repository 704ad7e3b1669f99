internal import EspalierBasics
internal import EspalierLinearMaps
internal import EspalierNumerics

extension Metric {
  /// The result for people: a title, its protocol, counts, sentences, a line a figure.
  public var text: String { lines.joined(separator: "\n") + "\n" }

  var lines: [String] {
    let models = header.models.joined(separator: " against ")
    var lines = ["\(Self.title): \(models) on \(header.data), \(header.modeText) mode"]
    lines.append("  \(header.protocolText)")
    lines.append("  \(header.counts.map(\.text).joined(separator: ", ")); \(intervalText)")
    lines += sentences.map { "  \($0)" }
    return lines + table.lines.dropFirst().map { "    \($0)" }
  }

  private var intervalText: String {
    let methods = Set(figures.compactMap { $0.estimate.interval?.method })
    guard let level = figures.compactMap({ $0.estimate.interval?.level }).first else { return "too few for intervals" }
    let bootstrap = header.sampling.bootstrap
    var parts: [String] = []
    if methods.contains(.bootstrap) {
      parts.append(
        "BCa bootstrap over \(header.sampling.units.rawValue), \(bootstrap.resamples) draws, seed \(bootstrap.seed)")
    }
    if methods.contains(.wilson) { parts.append("Wilson") }
    return "\(Decimals.text(100 * level, 0)) % intervals: \(parts.joined(separator: "; "))"
  }

  private var table: TextTable {
    var table = TextTable()
    table.add("", align: .left, figures.map(\.label))
    table.add("", figures.map(\.valueText))
    table.add("", align: .left, figures.map { $0.intervalText ?? "" })
    return table
  }
}

extension MetricHeader {
  /// `exact`, or `exact and fast` of two that differ.
  var modeText: String {
    Set(modes).count == 1 ? modes[0].rawValue : modes.map(\.rawValue).joined(separator: " and ")
  }
}

extension Count {
  /// `1 token scored`, `2 tokens scored`: the first word loses its s for one.
  var text: String {
    guard value == 1 else { return "\(value) \(noun)" }
    let first = noun.prefix { $0 != " " }
    return "1 \(first.hasSuffix("s") ? first.dropLast() : first)\(noun.dropFirst(first.count))"
  }
}

extension Figure {
  var valueText: String { style.text(estimate.value) }

  /// `35.9 to 36.4`, nil if there is none.
  var intervalText: String? {
    estimate.interval.map { "\(style.text($0.lower)) to \(style.text($0.upper))" }
  }
}

extension FigureStyle {
  func text(_ value: Double) -> String {
    guard value.isFinite else { return value.isNaN ? "-" : "\(value)" }
    switch self {
    case .number: return Figures.text(value, significant: 5)
    case .count: return Decimals.text(value, 0)
    case .share: return Figures.percent(value)
    case .points: return Self.signed(100 * value, 2) + " points"
    case .change: return Self.signed(100 * value, 2) + " %"
    }
  }

  /// With a sign unless it is 0 as printed.
  package static func signed(_ value: Double, _ digits: Int) -> String {
    let text = Decimals.text(value, digits)
    let isZero = text.utf8.allSatisfy { $0 == UInt8(ascii: "0") || $0 == UInt8(ascii: ".") }
    return value > 0 && !isZero ? "+" + text : text
  }
}
