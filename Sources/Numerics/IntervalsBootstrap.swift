/// Intervals of means and ratios by drawing the data's units again.
///
/// Every figure is a ratio of sums over units, `sum a / sum b`: a mean over units (b = 1), a mean over the tokens of
/// windows (b = the window's tokens), a difference of two models (a = what the one has over the other on the unit, so
/// that both are drawn together). An increasing function of it (a perplexity, a root) keeps its interval.
///
/// The interval is the bias-corrected and accelerated one, right to second order and indifferent to such functions
/// (B. Efron, JASA 82, 1987, doi:10.1080/01621459.1987.10478410; Efron and Tibshirani, An Introduction to the
/// Bootstrap, 1993, equations 14.9 to 14.15). Units are drawn by keyed random numbers: the same data and seed give the
/// same interval, whatever else was computed before.
public struct Bootstrap: Sendable, Hashable {
  public var seed: UInt64
  /// How often the units are drawn, at least 100. With 4,000 the ends of a 95 % interval are those of 94.5 to 95.5 %.
  public var resamples: Int
  public var level: Double

  public init(seed: UInt64 = 0, resamples: Int = 4000, level: Double = 0.95) {
    self.seed = seed
    self.resamples = max(100, resamples)
    self.level = level
  }

  /// The mean of independent values.
  public func mean(_ values: [Double]) -> Estimate { ratio(values, [Double](repeating: 1, count: values.count)) }

  /// `sum numerators / sum denominators` with its interval.
  ///
  /// - Parameters:
  ///   - numerators: one value a unit, finite.
  ///   - denominators: one positive value a unit, as many as numerators: sums over the units of one text.
  /// - Returns: no interval for fewer than two units, NaN for none. Cost: `units * resamples` additions.
  public func ratio(_ numerators: [Double], _ denominators: [Double]) -> Estimate {
    precondition(numerators.count == denominators.count, "one denominator a numerator")
    let count = numerators.count
    let sums = (Self.sum(numerators), Self.sum(denominators))
    let value = sums.0 / sums.1
    guard count > 1 else { return Estimate(value) }
    var drawn = resampledRatios(numerators, denominators)
    drawn.sort()
    // Half of those that equal the value count as below, so that a constant has no bias.
    let below = Double(drawn.partitionIndex { $0 < value })
    let notAbove = Double(drawn.partitionIndex { $0 <= value })
    let share = (below + notAbove) / 2 / Double(drawn.count)
    let least = 0.5 / Double(drawn.count)
    let bias = NormalDistribution.quantile(min(max(share, least), 1 - least))
    let acceleration = Self.acceleration(numerators, denominators, sums)
    func end(_ probability: Double) -> Double {
      let shifted = bias + NormalDistribution.quantile(probability)
      let scale = 1 - acceleration * shifted
      // A unit that outweighs all others: the formula has its pole, and the end is the last that was drawn.
      let corrected = scale > 0 ? bias + shifted / scale : shifted > 0 ? .infinity : -.infinity
      return Self.quantile(NormalDistribution.cumulative(corrected), of: drawn)
    }
    let tail = (1 - level) / 2
    return Estimate(
      value, interval: Interval(lower: end(tail), upper: end(1 - tail), level: level, method: .bootstrap))
  }

  private func resampledRatios(_ numerators: [Double], _ denominators: [Double]) -> [Double] {
    let count = numerators.count
    let random = KeyedRandom(seed: seed, name: "bootstrap")
    let blockLength = min(count, 4096)
    var words = [UInt32](repeating: 0, count: blockLength)
    return (0..<resamples).map { resample in
      var (a, b) = (0.0, 0.0)
      var drawn = 0
      while drawn < count {
        let length = min(blockLength, count - drawn)
        let first = resample * count + drawn
        words.withUnsafeMutableBufferPointer { words in
          guard let start = words.baseAddress else { return }
          random.words(startingAt: first, into: start, count: length)
        }
        for word in words[..<length] {
          // A word of 32 bits spread over the units; uneven by count / 2^32 at most.
          let unit = Int((UInt64(word) * UInt64(count)) >> 32)
          a += numerators[unit]
          b += denominators[unit]
        }
        drawn += length
      }
      return a / b
    }
  }

  /// A sixth of the skewness of the jackknife's values, each without one unit.
  private static func acceleration(
    _ numerators: [Double], _ denominators: [Double], _ sums: (Double, Double)
  ) -> Double {
    let without = zip(numerators, denominators).map { (sums.0 - $0) / (sums.1 - $1) }
    let mean = sum(without) / Double(without.count)
    var (squares, cubes) = (0.0, 0.0)
    for value in without {
      let deviation = mean - value
      squares += deviation * deviation
      cubes += deviation * deviation * deviation
    }
    let scale = squares * squares.squareRoot()
    // Equal units differ by rounding alone, whose skewness means nothing.
    guard scale > 0, squares.squareRoot() > 1e-12 * abs(mean) else { return 0 }
    return cubes / (6 * scale)
  }

  /// Between the order statistics next to `probability * (count + 1)`.
  private static func quantile(_ probability: Double, of sorted: [Double]) -> Double {
    let position = min(max(probability * Double(sorted.count + 1) - 1, 0), Double(sorted.count - 1))
    let index = Int(position)
    let next = min(index + 1, sorted.count - 1)
    return sorted[index] + (position - Double(index)) * (sorted[next] - sorted[index])
  }

  private static func sum(_ values: [Double]) -> Double { values.reduce(0, +) }
}

extension [Double] {
  /// How many of the sorted values are in the part at the beginning that has `property`.
  fileprivate func partitionIndex(where property: (Double) -> Bool) -> Int {
    var (lower, upper) = (0, count)
    while lower < upper {
      let middle = (lower + upper) / 2
      if property(self[middle]) { lower = middle + 1 } else { upper = middle }
    }
    return lower
  }
}
