import EspalierBasics
import EspalierNumerics
import Testing

@Suite struct IntervalsTests {
  /// Reference values: scipy 1.17.1, `binomtest(k, n).proportion_ci(method="wilson")`.
  @Test(
    arguments: [
      (8, 10, 0.4901624715366418, 0.9433178485456248), (0, 20, 0, 0.16112515805281935),
      (456, 500, 0.8839235279346098, 0.933794015525071), (20, 20, 1 - 0.16112515805281935, 1),
    ] as [(Int, Int, Double, Double)])
  func wilsonAgreesWithScipy(_ successes: Int, _ trials: Int, _ lower: Double, _ upper: Double) throws {
    let share = Proportion.wilson(successes, of: trials)
    let interval = try #require(share.interval)
    #expect(share.value == Double(successes) / Double(trials))
    #expect(abs(interval.lower - lower) < 1e-12 && abs(interval.upper - upper) < 1e-12)
    #expect(interval.method == .wilson && interval.level == 0.95)
  }

  @Test func aShareOfNothingIsNoNumber() {
    let share = Proportion.wilson(0, of: 0)
    #expect(share.value.isNaN && share.interval == nil)
  }

  /// Reference values: scipy 1.17.1, `binomtest(a, a + b).pvalue`; the first is 2 (1 + 20 + 190 + 1140 + 4845 + 15504)
  /// / 2^20.
  @Test(
    arguments: [
      (5, 15, 0.04138946533203125), (10_000, 10_300, 0.035852359736159044), (1, 0, 1), (3, 997, 3.110894301402977e-293),
      (0, 0, 1), (7, 7, 1), (0, 5, 0.0625),
    ] as [(Int, Int, Double)])
  func mcNemarAgreesWithScipy(_ a: Int, _ b: Int, _ p: Double) {
    #expect(abs(Proportion.mcNemar(onlyFirst: a, onlySecond: b) - p) <= 1e-10 * p)
    #expect(Proportion.mcNemar(onlyFirst: b, onlySecond: a) == Proportion.mcNemar(onlyFirst: a, onlySecond: b))
  }

  @Test func normalQuantilesInvertTheDistribution() {
    #expect(abs(NormalDistribution.quantile(0.975) - 1.959963984540054) < 1e-14)
    #expect(abs(NormalDistribution.quantile(1e-10) + 6.361340902404056) < 1e-12)
    #expect(NormalDistribution.quantile(0.5) == 0)
    #expect(NormalDistribution.quantile(0) == -.infinity && NormalDistribution.quantile(1) == .infinity)
    for p in [0.001, 0.3, 0.77, 0.9999] {
      #expect(abs(NormalDistribution.cumulative(NormalDistribution.quantile(p)) - p) < 1e-15)
    }
  }

  // MARK: - Bootstrap

  /// Skewed values, all the same in every run.
  private let values = (0..<60).map { index -> Double in
    let root = Double(index * 37 % 101) / 10
    return root * root
  }
  private let weights = (0..<60).map { Double(10 + $0 * 7 % 13) }

  /// Reference: `scipy.stats.bootstrap(method="BCa", n_resamples=100000)` with three seeds gave 25.891 to 25.898 and
  /// 40.985 to 41.079 for the mean, 25.658 to 25.740 and 40.925 to 40.988 for the ratio. The margins are four times
  /// what such runs differ.
  @Test func intervalsAgreeWithScipy() throws {
    let bootstrap = Bootstrap(seed: 1, resamples: 100_000)
    let mean = bootstrap.mean(values)
    let interval = try #require(mean.interval)
    #expect(mean.value == values.reduce(0, +) / 60)
    #expect(abs(interval.lower - 25.895) < 0.2 && abs(interval.upper - 41.05) < 0.2)
    let ratio = bootstrap.ratio(zip(values, weights).map { $0 * $1 }, weights)
    let ratioInterval = try #require(ratio.interval)
    #expect(abs(ratio.value - 32.926313025210085) < 1e-12)
    #expect(abs(ratioInterval.lower - 25.70) < 0.2 && abs(ratioInterval.upper - 40.96) < 0.2)
  }

  @Test func theSameSeedGivesTheSameInterval() {
    #expect(Bootstrap(seed: 3).mean(values) == Bootstrap(seed: 3).mean(values))
    #expect(Bootstrap(seed: 3).mean(values) != Bootstrap(seed: 4).mean(values))
  }

  /// Right to second order and equivariant: an interval does not care for the unit or the zero of what is measured.
  @Test func intervalsFollowScaleAndShift() throws {
    let a = try #require(Bootstrap().mean(values).interval)
    let b = try #require(Bootstrap().mean(values.map { 2 * $0 + 8 }).interval)
    #expect(abs(b.lower - (2 * a.lower + 8)) < 1e-9 && abs(b.upper - (2 * a.upper + 8)) < 1e-9)
    let squared = Bootstrap().mean(values).mapped { $0 * $0 }
    #expect(squared.interval?.lower == a.lower * a.lower && squared.interval?.upper == a.upper * a.upper)
  }

  @Test func constantsHaveIntervalsOfNoWidth() {
    let estimate = Bootstrap().mean([Double](repeating: 0.25, count: 9))
    #expect(estimate.interval?.lower == 0.25 && estimate.interval?.upper == 0.25)
    #expect(Bootstrap().ratio([0, 0, 0], [1, 2, 3]).interval?.upper == 0)
  }

  @Test func oneUnitHasNoIntervalAndNoneNoValue() {
    #expect(Bootstrap().mean([3]) == Estimate(3))
    #expect(Bootstrap().mean([]).value.isNaN)
  }

  /// A unit beyond all proportion puts the formula's pole within reach; the interval stays among what was drawn.
  @Test func oneUnitThatOutweighsAllLeavesAnInterval() throws {
    let interval = try #require(Bootstrap().mean([Double](repeating: 0, count: 200) + [1e9]).interval)
    #expect(interval.lower >= 0 && interval.upper <= 1e9 && interval.lower <= interval.upper)
  }

  /// Of 400 samples of 40 values from a skewed distribution (squares of normal ones, mean 1), about 95 % of the
  /// intervals hold the mean; for such small samples somewhat less is known of the method (Efron and Tibshirani,
  /// chapter 14). The numbers are keyed: every run is the same.
  @Test func intervalsCoverTheTrueMean() {
    let random = KeyedRandom(seed: 9, name: "coverage")
    let samples = 400
    var covered = 0
    for sample in 0..<samples {
      var normals = [Float](repeating: 0, count: 40)
      normals.withUnsafeMutableBufferPointer {
        random.normals(startingAt: 40 * sample, into: $0.baseAddress!, count: 40)
      }
      let interval = Bootstrap(resamples: 1000).mean(normals.map { Double($0) * Double($0) }).interval
      if let interval, interval.lower <= 1, 1 <= interval.upper { covered += 1 }
    }
    #expect((0.90...0.98).contains(Double(covered) / Double(samples)), "\(covered) of \(samples)")
  }
}
