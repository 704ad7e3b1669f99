import EspalierBasics
import EspalierMerging
import EspalierNumerics
import TestSupport
import Testing

private func models(_ weights: Double..., more: [String: ParameterValue] = [:]) -> [[String: ParameterValue]] {
  weights.map { more.merging(["weight": .number($0)]) { $1 } }
}

private func density(_ value: Double) -> [String: ParameterValue] { ["density": .number(value)] }

@Suite struct TaskArithmeticTests {
  @Test func byHand() throws {
    // 1 + 0.5 (2 (3-1) - (5-1)) = 1,  2 + 0.5 (2 (2-2) - (1-2)) = 2.5
    let merge = TestMerge(
      "task_arithmetic", [[1, 2], [3, 2], [5, 1]], ["lambda": .number(0.5)], each: models(2, -1))
    #expect(try merge.result() == [1, 2.5])
  }

  @Test(arguments: [
    "task_arithmetic", "ties", "dare_linear", "dare_ties", "breadcrumbs", "breadcrumbs_ties", "della", "della_linear",
    "pcb", "opcm",
  ])
  func lambdaZeroIsTheBase(_ method: String) throws {
    let inputs = fineTunes(9001, models: 2, seed: 1)
    let merge = TestMerge(method, inputs, ["lambda": .number(0)], each: models(1, 0.5, more: density(0.5)))
    #expect(try merge.result() == inputs[0])
  }

  @Test(arguments: ["task_arithmetic", "ties", "dare_ties", "breadcrumbs", "della"])
  func onlyTheBaseIsTheBase(_ method: String) throws {
    #expect(try TestMerge(method, [[1, -2, 3]]).result() == [1, -2, 3])
  }

  @Test(arguments: ["task_arithmetic", "dare_linear", "breadcrumbs", "della_linear"])
  func weightsThatSumToNothingCannotBeNormalized(_ method: String) throws {
    var merge = TestMerge(method, [[0], [3], [5]], ["normalize": .flag(true)], each: models(1, -1))
    #expect(problem { try merge.result() }?.code == .parameterRange)
    // 0 + (3 - 5) = -2.
    merge.shared["normalize"] = .flag(false)
    #expect(try merge.result() == [-2])
  }

  /// Where signs are elected the divisor is an element's own, and 0 counts as 1: nothing took part, nothing is added.
  @Test func electedWeightsMaySumToNothing() throws {
    #expect(try TestMerge("ties", [[1], [3], [5]], ["normalize": .flag(true)], each: models(0, 0)).result() == [1])
  }

  /// Doubling every input doubles the output to the bit: nothing in these methods has an absolute scale.
  @Test(arguments: ["task_arithmetic", "ties", "dare_ties", "breadcrumbs_ties", "della_linear"])
  func scales(_ method: String) throws {
    var merge = TestMerge(method, fineTunes(9001, models: 2, seed: 2), each: models(1, 0.5, more: density(0.5)))
    let result = try merge.result()
    merge.inputs = merge.inputs.map { $0.map { 4 * $0 } }
    #expect(try merge.result() == result.map { 4 * $0 })
  }

  /// Methods that see magnitudes and signs do not care where an element stands.
  @Test(arguments: ["linear", "task_arithmetic", "ties", "breadcrumbs_ties", "ram", "sce", "nearswap", "pcb"])
  func followsPermutations(_ method: String) throws {
    var generator = SeededGenerator(seed: 3)
    let order = generator.permutation(9001)
    let inputs = fineTunes(9001, models: method == "nearswap" ? 1 : 2, seed: 3)
    var merge = TestMerge(
      method, inputs, base: method != "linear",
      ["select_topk": .number(0.5), "t": .number(0.1), "epsilon": .number(0.1)],
      each: models(1, 0.5, 0.2, more: density(0.5)))
    merge.each = Array(merge.each.prefix(method == "linear" ? inputs.count : inputs.count - 1))
    let expected = try merge.result().reordered(order)
    merge.inputs = inputs.map { $0.reordered(order) }
    #expect(try merge.result() == expected)
  }
}

@Suite struct TiesTests {
  @Test func byHand() throws {
    // Changes (4, 1, -3, 2) and (-2, 5, -1, 1); density 0.5 keeps (4, 0, -3, 0) and (-2, 5, 0, 0).
    // Sums 2, 5, -3, 0: signs + + - +; those that agree: 4, 5, -3, none.
    let inputs: [[Float]] = [[0, 0, 0, 0], [4, 1, -3, 2], [-2, 5, -1, 1]]
    #expect(try TestMerge("ties", inputs, each: models(1, 1, more: density(0.5))).result() == [4, 5, -3, 0])
  }

  /// A sum of zero counts as positive; whoever made the other change loses.
  @Test func zeroSumElectsPositive() throws {
    #expect(try TestMerge("ties", [[0, 0], [2, -3], [-2, 3]], each: models(1, 1)).result() == [2, 3])
  }

  /// Weights come before the vote: 3 * 1 outweighs -2, so the element is 1.
  @Test func votesAreWeighted() throws {
    #expect(try TestMerge("ties", [[0], [1], [-2]], each: models(3, 1)).result() == [1])
    #expect(try TestMerge("ties", [[0], [1], [-2]], each: models(1, 1)).result() == [-2])
  }

  /// A negative weight votes for the opposite sign: -1 * 2 and 1 * -1 agree on -. Normalized by -1 + 1 = 0, which
  /// counts as 1.
  @Test func negativeWeights() throws {
    #expect(try TestMerge("ties", [[0], [2], [-1]], each: models(-1, 1)).result() == [-3])
    // (-1 * 2) / -1: alone, the model's own change comes back.
    #expect(try TestMerge("ties", [[0], [2]], each: models(-1)).result() == [2])
  }

  /// Only the weights of models that agree divide: (1*1 + 3*2) / (1+3), not / 5.
  @Test func divisorIsOfThoseThatAgree() throws {
    #expect(try TestMerge("ties", [[0], [1], [2], [-4]], each: models(1, 3, 1)).result() == [1.75])
  }

  @Test func densityOfZeroKeepsNothing() throws {
    #expect(try TestMerge("ties", [[1, 2], [5, 6]], each: models(1, more: density(0))).result() == [1, 2])
  }

  /// However small the density, one element is kept.
  @Test func keepsAtLeastOne() throws {
    #expect(
      try TestMerge("ties", [[0, 0, 0], [1, 3, 2]], each: models(1, more: density(0.01))).result() == [0, 3, 0])
  }

  /// With equal magnitudes by the hundred, exactly int(density n) elements are kept, the first by index.
  @Test(arguments: [0.1, 0.37, 0.5, 0.9]) func keepsTheStatedNumber(_ density: Double) throws {
    var generator = SeededGenerator(seed: 4)
    let count = 20_011
    let change = generator.grid(count)
    var merge = TestMerge(
      "ties", [[Float](repeating: 0, count: count), change], each: models(1, more: ["density": .number(density)]))
    merge.inputType = .bf16
    let order = change.indices.sorted { (-change[$0].magnitude, $0) < (-change[$1].magnitude, $1) }
    var expected = [Float](repeating: 0, count: count)
    for index in order.prefix(Int(density * Double(count))) { expected[index] = change[index] }
    #expect(try merge.result() == expected)
  }
}

@Suite struct BreadcrumbsTests {
  @Test func byHand() throws {
    // Ten changes 1...10, density 0.5, gamma 0.2: 10 and 9 are outliers, 8 to 4 are kept.
    let change = (1...10).map(Float.init)
    let merge = TestMerge(
      "breadcrumbs", [[Float](repeating: 0, count: 10), change],
      each: models(1, more: ["density": .number(0.5), "gamma": .number(0.2)]))
    #expect(try merge.result() == [0, 0, 0, 4, 5, 6, 7, 8, 0, 0])
  }

  /// Where density + gamma exceed 1, outliers give way: of ten, nine are kept and only the largest is dropped.
  @Test func gammaGivesWay() throws {
    let change = (1...10).map(Float.init)
    let merge = TestMerge(
      "breadcrumbs", [[Float](repeating: 0, count: 10), change],
      each: models(1, more: ["density": .number(0.9), "gamma": .number(0.5)]))
    #expect(try merge.result() == (1...9).map(Float.init) + [0])
  }

  /// Among equal magnitudes the lower index counts as the smaller one.
  @Test(arguments: [(0.5, 0.1), (0.3, 0.0), (0.8, 0.3)]) func keepsTheStatedNumber(_ density: Double, _ gamma: Double)
    throws
  {
    var generator = SeededGenerator(seed: 5)
    let count = 20_011
    let change = generator.grid(count)
    var merge = TestMerge(
      "breadcrumbs_ties", [[Float](repeating: 0, count: count), change],
      each: models(1, more: ["density": .number(density), "gamma": .number(gamma)]))
    merge.inputType = .bf16
    let order = change.indices.sorted { (change[$0].magnitude, $0) < (change[$1].magnitude, $1) }
    let target = Int(density * Double(count))
    let low = max(0, count - target - Int(gamma * Double(count)))
    var expected = [Float](repeating: 0, count: count)
    for index in order[low..<low + target] { expected[index] = change[index] }
    #expect(try merge.result() == expected)
  }
}

@Suite struct RescalingTests {
  /// `rescale: true` is `l1`: what is kept has the sum of magnitudes of the whole change.
  @Test(arguments: ["ties", "breadcrumbs", "dare_linear", "della_linear"])
  func keepsTheSumOfMagnitudes(_ method: String) throws {
    let count = 30_000
    let inputs = [[Float](repeating: 0, count: count), fineTunes(count, models: 0, seed: 6)[0]]
    let settings = models(1, more: ["density": .number(0.4), "gamma": .number(0.05), "epsilon": .number(0.1)])
    func result(_ rescale: ParameterValue) throws -> [Float] {
      try TestMerge(
        method, inputs, shape: [30, 1000], ["rescale": rescale, "normalize": .flag(false)], each: settings
      ).result()
    }
    func sum(_ values: [Float]) -> Double { values.reduce(0) { $0 + Double($1.magnitude) } }
    let (l1, yes, no) = (try result(.word("l1")), try result(.flag(true)), try result(.flag(false)))
    #expect(abs(sum(l1) / sum(inputs[1]) - 1) < 1e-6)
    #expect(yes == l1)
    #expect(sum(no) < 0.9 * sum(inputs[1]))
  }

  @Test func inverseDensityDivides() throws {
    // Of (4, 1) at density 0.5 the 4 is kept and divided by 0.5.
    let merge = TestMerge(
      "ties", [[0, 0], [4, 1]], ["rescale": .word("inverse_density")], each: models(1, more: density(0.5)))
    #expect(try merge.result() == [8, 0])
  }

  /// At a density of 1 nothing is dropped, and so nothing is rescaled.
  @Test func densityOfOneIsUntouched() throws {
    #expect(try TestMerge("ties", [[0, 0], [4, 1]], ["rescale": .flag(true)], each: models(1)).result() == [4, 1])
  }
}

extension Array {
  func reordered(_ order: [Int]) -> [Element] { order.map { self[$0] } }
}
