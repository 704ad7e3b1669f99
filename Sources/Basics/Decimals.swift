/// Numbers with a fixed count of decimals, without Foundation.
public enum Decimals {
  /// `value` rounded half away from zero to `digits` decimals (0...9).
  public static func text(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite, abs(value) < 1e15 else { return "\(value)" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = (abs(value) * scale).rounded()
    guard scaled < 9e18 else { return "\(value)" }
    let all = String(Int(scaled))
    let sign = value < 0 && scaled > 0 ? "-" : ""
    guard digits > 0 else { return sign + all }
    let padded = String(repeating: "0", count: max(0, digits + 1 - all.count)) + all
    return sign + padded.dropLast(digits) + "." + padded.suffix(digits)
  }

  /// Three significant digits of a value below 1000 in size.
  public static func significant(_ value: Double) -> String {
    text(value, abs(value) < 9.995 ? 2 : abs(value) < 99.95 ? 1 : 0)
  }
}
