import EspalierBasics
import EspalierMerging
import EspalierNumerics
import TestSupport
import Testing

/// DARE and DELLA below a density of 1. Bounds are five standard deviations of the statistic, so that a right
/// implementation fails less than once in a million seeds; seeds are fixed besides.
@Suite struct RandomDropTests {
  private static let count = 100_000

  /// The masks a method draws: the result of merging changes of one value into zeros.
  private func kept(
    _ method: String, density: Double, epsilon: Double = 0.1, seed: UInt64, name: String = "t", shape: [Int]? = nil
  ) throws -> [Bool] {
    try kept(TestMerge.changes(method, density: density, epsilon: epsilon, seed: seed, name: name, shape: shape))
  }

  private func kept(_ merge: TestMerge) throws -> [Bool] { try merge.result().map { $0 != 0 } }

  /// Whether a count of `trials` with probability `p` is credible.
  private func isCredible(_ successes: Int, of trials: Int, p: Double) -> Bool {
    abs(Double(successes) - p * Double(trials)) <= 5 * (p * (1 - p) * Double(trials)).squareRoot() + 1
  }

  @Test(arguments: [0.05, 0.3, 0.5, 0.9]) func dareKeepsTheShare(_ density: Double) throws {
    for seed in 0..<3 {
      let kept = try kept("dare_linear", density: density, seed: UInt64(seed)).filter { $0 }.count
      #expect(isCredible(kept, of: Self.count, p: density), "seed \(seed): \(kept) of \(Self.count)")
    }
  }

  @Test func dareAtZeroKeepsNothing() throws {
    #expect(try kept("dare_linear", density: 0, seed: 1).allSatisfy { !$0 })
    #expect(try kept("della_linear", density: 0, seed: 1).allSatisfy { !$0 })
  }

  /// Dividing by the probability of being kept leaves the mean of a change as it was.
  @Test func dareIsUnbiased() throws {
    let density = 0.2
    let values = fineTunes(Self.count, models: 0, seed: 7)[0]
    var sum = 0.0
    var variance = 0.0
    for seed in 0..<5 {
      let merge = TestMerge(
        "dare_linear", [[Float](repeating: 0, count: Self.count), values], ["rescale": .word("inverse_density")],
        each: [["weight": .number(1), "density": .number(density)]]
      ).seeded(UInt64(seed))
      for (result, value) in zip(try merge.result(), values) {
        sum += Double(result) - Double(value)
        variance += Double(value) * Double(value) * (1 - density) / density
      }
    }
    #expect(abs(sum) <= 5 * variance.squareRoot(), "\(sum / variance.squareRoot()) standard deviations")
  }

  /// The keep rate of every tenth of the ranks is the mean of its linear ramp from density - epsilon to + epsilon, and
  /// dividing by each element's own probability is unbiased in every tenth.
  @Test func dellaByDecile() throws {
    let (density, epsilon, length, rows) = (0.4, 0.2, 1000, 200)
    var generator = SeededGenerator(seed: 8)
    let values = (0..<rows).flatMap { _ in generator.permutation(length).map { Float($0 + 1) } }
    let merge = TestMerge(
      "della_linear", [[Float](repeating: 0, count: values.count), values], shape: [rows, length],
      ["rescale": .word("inverse_density")],
      each: [["weight": .number(1), "density": .number(density), "epsilon": .number(epsilon)]])
    let result = try merge.result()
    func probability(_ value: Float) -> Double {
      density - epsilon + 2 * epsilon * Double(value - 1) / Double(length - 1)
    }
    for decile in 0..<10 {
      let members = values.indices.filter { Int(values[$0] - 1) / (length / 10) == decile }
      let probabilities = members.map { probability(values[$0]) }
      let kept = members.filter { result[$0] != 0 }.count
      let expected = probabilities.reduce(0, +)
      let spread = probabilities.reduce(0) { $0 + $1 * (1 - $1) }.squareRoot()
      #expect(abs(Double(kept) - expected) <= 5 * spread, "decile \(decile): \(kept) kept, \(expected) expected")

      let bias = members.reduce(0) { $0 + Double(result[$1] - values[$1]) }
      let variance = zip(members, probabilities).reduce(0) { sum, pair in
        sum + Double(values[pair.0] * values[pair.0]) * (1 - pair.1) / pair.1
      }
      #expect(abs(bias) <= 5 * variance.squareRoot(), "decile \(decile): bias \(bias / variance.squareRoot())")
    }
    // What is kept is the value over its own probability.
    for (kept, value) in zip(result, values) where kept != 0 {
      #expect(abs(Double(kept) * probability(value) / Double(value) - 1) < 1e-5)
    }
  }

  /// Ranks are within a row: a row of small values is kept as often as one of large values.
  @Test func dellaRanksWithinRows() throws {
    var generator = SeededGenerator(seed: 9)
    let length = 50_000
    let row = generator.floats(length)
    let merge = TestMerge(
      "della_linear", [[Float](repeating: 0, count: 2 * length), row + row.map { $0 * 1e-3 }], shape: [2, length],
      ["rescale": .flag(false)],
      each: [["weight": .number(1), "density": .number(0.5), "epsilon": .number(0.4)]])
    let kept = try kept(merge)
    for (row, members) in [kept.prefix(length), kept.suffix(length)].enumerated() {
      #expect(isCredible(members.filter { $0 }.count, of: length, p: 0.5), "row \(row)")
    }
  }

  // MARK: - Keys

  @Test(arguments: ["dare_linear", "dare_ties", "della", "della_linear"]) func seeds(_ method: String) throws {
    let one = try kept(method, density: 0.5, epsilon: 1e-6, seed: 1)
    #expect(try kept(method, density: 0.5, epsilon: 1e-6, seed: 1) == one)
    let other = try kept(method, density: 0.5, epsilon: 1e-6, seed: 2)
    #expect(isCredible(zip(one, other).filter { $0 == $1 }.count, of: Self.count, p: 0.5))
  }

  /// Masks of two tensors agree as often as coins do.
  @Test(arguments: ["dare_linear", "della_linear"]) func tensorsAreIndependent(_ method: String) throws {
    let one = try kept(method, density: 0.5, epsilon: 1e-6, seed: 1, name: "a")
    let other = try kept(method, density: 0.5, epsilon: 1e-6, seed: 1, name: "b")
    #expect(isCredible(zip(one, other).filter { $0 == $1 }.count, of: Self.count, p: 0.5))
  }

  /// Of two models with changes 1 and 2, all four outcomes are equally frequent.
  @Test(arguments: ["dare_linear", "della_linear"]) func modelsAreIndependent(_ method: String) throws {
    let settings: [String: ParameterValue] = ["weight": .number(1), "density": .number(0.5), "epsilon": .number(1e-6)]
    let inputs = (0...2).map { [Float](repeating: Float($0), count: Self.count) }
    let result = try TestMerge(method, inputs, ["rescale": .flag(false)], each: [settings, settings]).result()
    for outcome in [Float(0), 1, 2, 3] {
      let found = result.filter { $0 == outcome }.count
      #expect(isCredible(found, of: Self.count, p: 0.25), "\(outcome): \(found)")
    }
  }

  /// A prefix of a longer vector is dropped alike: the choice depends on the element's number alone.
  @Test func dareIsKeyedByElement() throws {
    let long = try kept("dare_linear", density: 0.5, seed: 1)
    let short = try kept("dare_linear", density: 0.5, seed: 1, shape: [5001])
    #expect(Array(long.prefix(5001)) == short)
  }

  @Test func probabilitiesOutOfRangeAreRefused() {
    for (density, epsilon) in [(0.1, 0.1), (0.1, 0.2), (0.9, 0.1), (0.5, 0.6)] {
      #expect(problem { try kept("della", density: density, epsilon: epsilon, seed: 0) }?.code == .parameterRange)
    }
  }
}

extension TestMerge {
  /// Changes of one value, 1, to a base of zeros.
  fileprivate static func changes(
    _ method: String, density: Double, epsilon: Double, seed: UInt64, name: String, shape: [Int]?
  ) -> TestMerge {
    let shape = shape ?? [100_000]
    let count = shape.reduce(1, *)
    var merge = TestMerge(
      method, [[Float](repeating: 0, count: count), [Float](repeating: 1, count: count)], shape: shape,
      ["rescale": .flag(false)],
      each: [["weight": .number(1), "density": .number(density), "epsilon": .number(epsilon)]])
    merge.name = name
    merge.seed = seed
    return merge
  }

  fileprivate func seeded(_ seed: UInt64) -> TestMerge {
    var merge = self
    merge.seed = seed
    return merge
  }
}

/// What makes up for dropped elements: the published rules beside mergekit's.
@Suite struct RescalingExpectationTests {
  private static let count = 20_000

  private func merge(
    _ method: String, seed: UInt64, _ rescale: ParameterValue, more: [String: ParameterValue]
  ) -> TestMerge {
    let values = fineTunes(Self.count, models: 0, seed: 11)[0]
    var merge = TestMerge(
      method, [[Float](repeating: 0, count: Self.count), values], shape: [20, 1000],
      ["rescale": rescale, "normalize": .flag(false)], each: [more.merging(["weight": .number(1)]) { $1 }])
    merge.seed = seed
    return merge
  }

  /// The mean over 64 seeds of every element, in its own standard deviations: of 20,000 none may be beyond 6 (expected
  /// 4e-5 for a normal distribution), and their mean square is 1 within 5 standard deviations of itself (the variance
  /// of a square is 2 for a normal distribution, at most 2.1 here).
  private func expectMean(
    _ method: String, of factor: Double, probability: (_ rank: Int) -> Double, divisor: (_ rank: Int) -> Double,
    rescale: ParameterValue, more: [String: ParameterValue]
  ) throws {
    let seeds = 64
    let values = merge(method, seed: 0, rescale, more: more).inputs[1]
    var sums = [Double](repeating: 0, count: Self.count)
    for seed in 0..<seeds {
      let result = try merge(method, seed: UInt64(seed), rescale, more: more).result()
      for index in result.indices { sums[index] += Double(result[index]) }
    }
    let ranks = stride(from: 0, to: Self.count, by: 1000).flatMap { start -> [Int] in
      var ranks = [Int](repeating: 0, count: 1000)
      let order = (0..<1000).sorted { (values[start + $0].magnitude, $0) < (values[start + $1].magnitude, $1) }
      for (rank, index) in order.enumerated() { ranks[index] = rank }
      return ranks
    }
    var squares = 0.0
    var worst = 0.0
    for index in 0..<Self.count where values[index] != 0 {
      let (p, d) = (probability(ranks[index]), divisor(ranks[index]))
      let spread = abs(Double(values[index])) / d * (p * (1 - p) * Double(seeds)).squareRoot()
      let deviation = (sums[index] - Double(seeds) * factor * Double(values[index])) / spread
      squares += deviation * deviation
      worst = max(worst, abs(deviation))
    }
    #expect(worst < 6, "\(method): \(worst) standard deviations")
    let mean = squares / Double(Self.count)
    #expect(abs(mean - 1) < 5 * (2.1 / Double(Self.count)).squareRoot(), "\(method): mean square \(mean)")
  }

  /// DARE as published: divided by the probability of being kept, every element is right in expectation.
  @Test func dareIsUnbiased() throws {
    try expectMean(
      "dare_linear", of: 1, probability: { _ in 0.3 }, divisor: { _ in 0.3 }, rescale: .word("inverse_density"),
      more: ["density": .number(0.3)])
  }

  /// DELLA as published: each element divided by its own probability.
  @Test func dellaIsUnbiased() throws {
    let probability = { (rank: Int) in 0.25 + 0.3 * Double(rank) / 999 }
    try expectMean(
      "della_linear", of: 1, probability: probability, divisor: probability, rescale: .word("inverse_density"),
      more: ["density": .number(0.4), "epsilon": .number(0.15)])
  }

  /// DAREx-q: the expectation is density / q of the change.
  @Test(arguments: [ParameterValue.flag(true), .flag(false), .word("inverse_density")])
  func darexDividesByQ(_ rescale: ParameterValue) throws {
    try expectMean(
      "dare_linear", of: 0.25 / 0.75, probability: { _ in 0.25 }, divisor: { _ in 0.75 }, rescale: rescale,
      more: ["density": .number(0.25), "q": .number(0.75)])
  }

  /// q of the density is the published DARE to the bit; half of it is twice the change.
  @Test(arguments: ["dare_linear", "dare_ties"]) func qOfTheDensityIsDare(_ method: String) throws {
    func result(_ rescale: ParameterValue, q: Double?) throws -> [Float] {
      let more = ["density": .number(0.25), "q": q.map { .number($0) }].compactMapValues { $0 as ParameterValue? }
      return try merge(method, seed: 3, rescale, more: more).result()
    }
    let published = try result(.word("inverse_density"), q: nil)
    #expect(try result(.flag(true), q: 0.25) == published)
    #expect(try result(.flag(true), q: 0.125) == published.map { 2 * $0 })
  }

  /// q is a model's own: the other keeps mergekit's rule.
  @Test func qIsOfOneModel() throws {
    let values = fineTunes(Self.count, models: 0, seed: 12)[0]
    let zeros = [Float](repeating: 0, count: Self.count)
    let settings: [String: ParameterValue] = ["weight": .number(1), "density": .number(0.5)]
    func sum(_ first: [Float], _ second: [Float]) throws -> Double {
      let each = [settings.merging(["q": .number(0.1)]) { $1 }, settings]
      return try TestMerge("dare_linear", [zeros, first, second], each: each).result()
        .reduce(0) { $0 + Double($1.magnitude) }
    }
    let whole = values.reduce(0) { $0 + Double($1.magnitude) }
    #expect(abs(try sum(zeros, values) / whole - 1) < 1e-6)
    // About half of the elements, tenfold.
    #expect(abs(try sum(values, zeros) / whole - 5) < 0.2)
  }

  @Test func qOfZeroIsRefused() {
    #expect(
      problem {
        try merge("dare_linear", seed: 0, .flag(true), more: ["density": .number(0.5), "q": .number(0)]).result()
      }?.code
        == .parameterRange)
  }
}
