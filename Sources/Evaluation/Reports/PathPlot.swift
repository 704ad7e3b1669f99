internal import EspalierBasics
internal import EspalierNumerics

/// Curves over 0 to 1 with their intervals, as an SVG that any browser shows: losses along paths.
public struct PathPlot {
  private let paths: [LinearPath]
  private let title: String

  private static let (width, height) = (640.0, 400.0)
  private static let (left, right, top, bottom) = (70.0, 20.0, 40.0, 50.0)
  private static let colors = ["#1b6ca8", "#c2571a", "#3a7d44", "#7b4fa3", "#8a6d1f", "#5a5a5a"]

  public init(_ paths: [LinearPath], title: String) { (self.paths, self.title) = (paths, title) }

  public var svg: String {
    let ends = paths.flatMap(\.points).flatMap { point in
      [point.loss.value, point.loss.interval?.lower, point.loss.interval?.upper].compactMap { $0 }.filter(\.isFinite)
    }
    let low = ends.min() ?? 0
    let high = max(ends.max() ?? 1, low + 1e-9)
    let margin = (high - low) * 0.05
    func x(_ weight: Double) -> String { number(Self.left + weight * (Self.width - Self.left - Self.right)) }
    func y(_ loss: Double) -> String {
      let share = (loss - low + margin) / (high - low + 2 * margin)
      return number(Self.height - Self.bottom - share * (Self.height - Self.top - Self.bottom))
    }
    var lines = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(number(Self.width)) \(number(Self.height))\" "
        + "font-family=\"sans-serif\" font-size=\"12\">",
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
      "<text x=\"\(number(Self.left))\" y=\"22\" font-size=\"14\">\(escaped(title))</text>",
    ]
    for step in 0...4 {
      let loss = low + (high - low) * Double(step) / 4
      lines.append(
        "<line x1=\"\(x(0))\" x2=\"\(x(1))\" y1=\"\(y(loss))\" y2=\"\(y(loss))\" stroke=\"#dddddd\"/>"
          + "<text x=\"\(number(Self.left - 8))\" y=\"\(y(loss))\" text-anchor=\"end\" dominant-baseline=\"middle\">"
          + "\(Decimals.text(loss, 3))</text>")
      let weight = Double(step) / 4
      lines.append(
        "<text x=\"\(x(weight))\" y=\"\(number(Self.height - Self.bottom + 18))\" text-anchor=\"middle\">"
          + "\(Decimals.text(weight, 2))</text>")
    }
    lines.append(
      "<text x=\"\(x(0.5))\" y=\"\(number(Self.height - 10))\" text-anchor=\"middle\">share of the second model; "
        + "loss in nats a token</text>")
    for (index, path) in paths.enumerated() {
      let color = Self.colors[index % Self.colors.count]
      let shown = path.points.filter { $0.loss.value.isFinite }
      let upper = shown.map { "\(x($0.weight)),\(y($0.loss.interval?.upper ?? $0.loss.value))" }
      let lower = shown.reversed().map { "\(x($0.weight)),\(y($0.loss.interval?.lower ?? $0.loss.value))" }
      lines.append(
        "<polygon points=\"\((upper + lower).joined(separator: " "))\" fill=\"\(color)\" fill-opacity=\"0.15\"/>")
      lines.append(
        "<polyline points=\"\(shown.map { "\(x($0.weight)),\(y($0.loss.value))" }.joined(separator: " "))\" "
          + "fill=\"none\" stroke=\"\(color)\" stroke-width=\"2\"/>")
      for point in shown {
        lines.append("<circle cx=\"\(x(point.weight))\" cy=\"\(y(point.loss.value))\" r=\"3\" fill=\"\(color)\"/>")
      }
      lines.append(
        "<text x=\"\(number(Self.width - Self.right))\" y=\"\(number(Self.top + 14 * Double(index)))\" "
          + "text-anchor=\"end\" fill=\"\(color)\">\(escaped(path.header.data))</text>")
    }
    return (lines + ["</svg>"]).joined(separator: "\n") + "\n"
  }

  private func number(_ value: Double) -> String { Decimals.text(value, 1) }

  private func escaped(_ text: String) -> String {
    text.unicodeScalars.reduce(into: "") { result, scalar in
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      default: result.unicodeScalars.append(scalar)
      }
    }
  }
}
