/// The standard normal distribution.
public enum NormalDistribution {
  /// The probability of a value below `x`.
  public static func cumulative(_ x: Double) -> Double { Elementary.erfc(-x / 2.0.squareRoot()) / 2 }

  /// The `x` below which lies the probability `p`; infinite for 0 and 1. By bisection, to the last digits.
  public static func quantile(_ p: Double) -> Double {
    guard p > 0 else { return -.infinity }
    guard p < 1 else { return .infinity }
    if p == 0.5 { return 0 }
    // From the upper half by symmetry, where 1 - p would lose what p says.
    if p > 0.5 { return -quantile(1 - p) }
    var (lower, upper) = (-39.0, 0.0)
    while true {
      let middle = (lower + upper) / 2
      guard middle > lower, middle < upper else { return middle }
      if cumulative(middle) < p { lower = middle } else { upper = middle }
    }
  }
}
