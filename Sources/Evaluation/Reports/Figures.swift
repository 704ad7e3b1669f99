internal import EspalierBasics

/// Numbers as reports print them.
package enum Figures {
  /// Three significant digits or as many as asked for (1 to 9); with an exponent below 0.001 and from a million on.
  /// `-` for what is not there.
  package static func text(_ value: Double?, significant digits: Int = 3) -> String {
    guard let value else { return "-" }
    guard value.isFinite, value != 0 else { return value == 0 ? "0" : "\(value)" }
    var exponent = 0
    var mantissa = abs(value)
    while mantissa >= 10 { (mantissa, exponent) = (mantissa / 10, exponent + 1) }
    while mantissa < 1 { (mantissa, exponent) = (mantissa * 10, exponent - 1) }
    // What rounds to 10.0 has one digit more before the point.
    let half = (1..<digits).reduce(0.5) { half, _ in half / 10 }
    if mantissa >= 10 - half { (mantissa, exponent) = (mantissa / 10, exponent + 1) }
    guard (-3..<6).contains(exponent) else {
      let sign = exponent < 0 ? "e-" : "e+"
      return Decimals.text(value < 0 ? -mantissa : mantissa, digits - 1) + sign + "\(abs(exponent))"
    }
    return Decimals.text(value, max(0, digits - 1 - exponent))
  }

  package static func text(_ value: Float?) -> String { text(value.map { Double($0) }) }

  /// A fraction as a percentage; what is not quite nothing or everything is not printed as such.
  package static func percent(_ fraction: Double) -> String {
    let text = Decimals.text(100 * fraction, 2)
    if text == "0.00" { return fraction > 0 ? "<0.01 %" : "0 %" }
    if text == "100.00" { return fraction < 1 ? ">99.99 %" : "100 %" }
    return "\(text) %"
  }

  /// A count with a unit of thousands: `6.56 M`.
  package static func count(_ count: Int) -> String {
    guard count >= 1000 else { return "\(count)" }
    let units = [(1_000_000_000_000, "T"), (1_000_000_000, "B"), (1_000_000, "M"), (1000, "k")]
    let (size, unit) = units.first { count >= $0.0 } ?? (1000, "k")
    let value = Double(count) / Double(size)
    return "\(Decimals.significant(value)) \(unit)"
  }

  /// `64x256`; `scalar` for no dimensions.
  package static func shape(_ shape: [Int]) -> String {
    shape.isEmpty ? "scalar" : shape.map { "\($0)" }.joined(separator: "x")
  }

  /// A count of things: `1 tensor`, `3 tensors`.
  package static func plural(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }
}
