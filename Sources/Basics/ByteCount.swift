/// Numbers of bytes as people write them: `4G`, `512MB`, `1.5GiB`; decimal units are powers of 1000, `Ki`.. of 1024.
public enum ByteCount {
  /// - Returns: the bytes, or nil if the text is no size. `G` alone means 2^30, as for memory; `GB` means 10^9.
  public static func parse(_ text: String) -> Int? {
    let trimmed = text.lowercased().filter { !$0.isWhitespace }
    let digits = trimmed.prefix { $0.isNumber || $0 == "." }
    guard let value = Double(digits), value >= 0 else { return nil }
    let unit: Double
    switch trimmed.dropFirst(digits.count) {
    case "", "b": unit = 1
    case "k", "kib": unit = 1024
    case "m", "mib": unit = 1_048_576
    case "g", "gib": unit = 1_073_741_824
    case "t", "tib": unit = 1_099_511_627_776
    case "kb": unit = 1e3
    case "mb": unit = 1e6
    case "gb": unit = 1e9
    case "tb": unit = 1e12
    default: return nil
    }
    let bytes = value * unit
    return bytes < 9e18 ? Int(bytes) : nil
  }

  /// Three significant digits and a decimal unit: `1.10 GB`.
  public static func text(_ bytes: Int) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"]
    var value = Double(bytes)
    var unit = 0
    while abs(value) >= 999.5 && unit < units.count - 1 {
      value /= 1000
      unit += 1
    }
    return unit == 0 ? "\(bytes) B" : "\(Decimals.significant(value)) \(units[unit])"
  }
}

extension Sequence<Int> {
  /// The sum, or the largest number there is if that is less: for sizes that files claim.
  public var saturatingSum: Int {
    reduce(0) { sum, next in
      let (total, overflow) = sum.addingReportingOverflow(next)
      return overflow ? .max : total
    }
  }
}
