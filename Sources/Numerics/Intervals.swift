/// Between what a figure may lie if its data is a sample of many alike.
public struct Interval: Sendable, Hashable, Codable {
  public enum Method: String, Sendable, Hashable, Codable {
    /// Bias-corrected and accelerated bootstrap, see ``Bootstrap``.
    case bootstrap
    /// Wilson's score interval of a proportion, see ``Proportion``.
    case wilson
  }

  public var lower: Double
  public var upper: Double
  /// The share of samples whose interval covers the true value, e.g. 0.95.
  public var level: Double
  public var method: Method

  public init(lower: Double, upper: Double, level: Double, method: Method) {
    self.lower = lower
    self.upper = upper
    self.level = level
    self.method = method
  }

  /// The interval of an increasing function of the figure.
  public func mapped(_ increasing: (Double) -> Double) -> Interval {
    Interval(lower: increasing(lower), upper: increasing(upper), level: level, method: method)
  }
}

/// A figure and how sure it is.
public struct Estimate: Sendable, Hashable, Codable {
  public var value: Double
  /// Nil where the data cannot tell: a single unit.
  public var interval: Interval?

  public init(_ value: Double, interval: Interval? = nil) {
    self.value = value
    self.interval = interval
  }

  /// The estimate of an increasing function of the figure. Both kinds of interval follow such a function.
  public func mapped(_ increasing: (Double) -> Double) -> Estimate {
    Estimate(increasing(value), interval: interval?.mapped(increasing))
  }
}

/// A share of independent trials.
public enum Proportion {
  /// The share with Wilson's score interval, which stays within 0 ... 1 and holds for few trials and for shares near
  /// the ends (E. B. Wilson, JASA 22, 1927, doi:10.1080/01621459.1927.10502953).
  ///
  /// ```
  /// (p + z^2 / 2n  -+  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
  /// ```
  ///
  /// - Returns: NaN without an interval if there are no trials.
  public static func wilson(_ successes: Int, of trials: Int, level: Double = 0.95) -> Estimate {
    guard trials > 0 else { return Estimate(.nan) }
    let n = Double(trials)
    let p = Double(successes) / n
    let z = NormalDistribution.quantile(0.5 + level / 2)
    let middle = p + z * z / (2 * n)
    let half = z * (p * (1 - p) / n + z * z / (4 * n * n)).squareRoot()
    let scale = 1 + z * z / n
    // At the ends the formula gives exactly 0 or 1 but for rounding.
    let lower = successes == 0 ? 0 : (middle - half) / scale
    let upper = successes == trials ? 1 : (middle + half) / scale
    return Estimate(p, interval: Interval(lower: lower, upper: upper, level: level, method: .wilson))
  }

  /// The two-sided exact test that two classifiers err equally often, from the items on which they differ (McNemar,
  /// Psychometrika 12, 1947, doi:10.1007/BF02295996, with the binomial distribution in place of the normal).
  ///
  /// ```
  /// p = min(1, 2 sum_{k <= min(a, b)} C(a + b, k) / 2^(a + b))
  /// ```
  ///
  /// - Parameters:
  ///   - onlyFirst: items the first has right and the second wrong.
  ///   - onlySecond: the reverse.
  /// - Returns: the probability of a difference as large if there were none; 1 if they differ on no item.
  public static func mcNemar(onlyFirst: Int, onlySecond: Int) -> Double {
    let n = onlyFirst + onlySecond
    let least = min(onlyFirst, onlySecond)
    guard n > 0, onlyFirst != onlySecond else { return 1 }
    // Binomial coefficients in parts of the greatest, from the middle down to 0; the upper half mirrors the lower.
    let middle = n / 2
    var coefficient = 1.0
    var below = 0.0
    var tail = 0.0
    for k in stride(from: middle, through: 0, by: -1) {
      if k <= least { tail += coefficient }
      below += coefficient
      coefficient *= Double(k) / Double(n - k + 1)
    }
    let total = n % 2 == 0 ? 2 * below - 1 : 2 * below
    return min(1, 2 * tail / total)
  }
}
