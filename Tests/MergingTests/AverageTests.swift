import EspalierBasics
import EspalierMerging
import TestSupport
import Testing

private func weights(_ values: Double...) -> [[String: ParameterValue]] { values.map { ["weight": .number($0)] } }

@Suite struct LinearTests {
  @Test func byHand() throws {
    // (1*1 + 3*5) / 4 = 4,  (1*2 + 3*-2) / 4 = -1
    #expect(try TestMerge("linear", [[1, 2], [5, -2]], base: false, each: weights(1, 3)).result() == [4, -1])
    // 1*1 + 3*5 = 16,  1*2 + 3*-2 = -4
    let sum = TestMerge("linear", [[1, 2], [5, -2]], base: false, ["normalize": .flag(false)], each: weights(1, 3))
    #expect(try sum.result() == [16, -4])
  }

  @Test func equalInputsComeOutUnchanged() throws {
    let values = fineTunes(10_000, models: 0, seed: 1)[0]
    let merge = TestMerge("linear", [values, values, values], base: false, each: weights(0.1, 0.7, 0.3))
    #expect(try merge.result() == values)
  }

  /// A model of weight 0 has no say, be it first or last.
  @Test func zeroWeightSelects() throws {
    let inputs = fineTunes(5000, models: 2, seed: 2)
    #expect(try TestMerge("linear", inputs, base: false, each: weights(0, 1, 0)).result() == inputs[1])
  }

  @Test func weightsThatSumToNothingAreRefused() {
    let merge = TestMerge("linear", [[1], [2]], base: false, each: weights(1, -1))
    #expect(problem { try merge.result() }?.code == .parameterRange)
  }

  @Test func aMissingWeightIsNamed() {
    let merge = TestMerge("linear", [[1], [2]], base: false, each: weights(1))
    #expect(problem { try merge.result() }?.code == .parameterMissing)
  }
}

@Suite struct PassthroughTests {
  @Test func byHand() throws {
    #expect(try TestMerge("passthrough", [[1, -2]], base: false).result() == [1, -2])
    #expect(
      try TestMerge("passthrough", [[1, -2]], base: false, each: [["scale": .number(0.5)]]).result() == [0.5, -1])
  }
}

@Suite struct NearSwapTests {
  @Test func byHand() throws {
    // |b-x| = 0.25: w = 1, x whole. |b-x| = 1: w = 0.5, half way. |b-x| = 4: w = 1/8, 4/8 of the way. Equal: unchanged.
    let merge = TestMerge("nearswap", [[0, 0, 0, 3], [0.25, 1, 4, 3]], ["t": .number(0.5)])
    #expect(try merge.result() == [0.25, 0.5, 0.5, 3])
  }

  @Test func tOfZeroIsTheBase() throws {
    let inputs = fineTunes(5000, models: 1, seed: 3)
    #expect(try TestMerge("nearswap", inputs, ["t": .number(0)]).result() == inputs[0])
  }
}

@Suite struct ModelStockTests {
  @Test func byHand() throws {
    // d = (1,0), (1,1): cos = 1/sqrt 2, t = 2c/(1+c) = 0.828427; mean (1, 0.5), base 0.
    let t = Float(2 * 0.7071067811865476 / 1.7071067811865476)
    #expect(try TestMerge("model_stock", [[0, 0], [1, 0], [1, 1]]).result() == [t, t / 2])
  }

  @Test func ofThreeByHand() throws {
    // d = (1,0), (1,0), (0,1): cosines 1, 0, 0, their mean 1/3; t = 3/3 / (1 + 2/3) = 0.6; mean (2/3, 1/3).
    let result = try TestMerge("model_stock", [[0, 0], [1, 0], [1, 0], [0, 1]]).result()
    #expect(result.ulps(from: [0.4, 0.2]) <= 1)
  }

  /// As in mergekit: changes at an obtuse angle move the result beyond the base, and opposite ones leave the base.
  @Test func obtuseAngles() throws {
    // d = (2,0), (-1,1): cos = -2/(2 sqrt 2) = -0.70711, t = -1.41421/0.29289 = -4.82843; mean (0.5, 0.5).
    let result = try TestMerge("model_stock", [[0, 0], [2, 0], [-1, 1]]).result()
    let t = -2 * 0.5.squareRoot() / (1 - 0.5.squareRoot())
    #expect(result.ulps(from: [t / 2, t / 2]) <= 1)
    #expect(try TestMerge("model_stock", [[7, 5], [9, 5], [5, 5]]).result() == [7, 5])
  }

  @Test func unchangedModelsAreTheBase() throws {
    #expect(try TestMerge("model_stock", [[7, 5], [7, 5], [7, 5]]).result() == [7, 5])
  }

  /// Each row has its own angle: parallel changes are kept whole, orthogonal ones are taken back.
  @Test func filterWise() throws {
    let merge = TestMerge(
      "model_stock", [[0, 0, 1, 1], [2, 2, 2, 1], [2, 2, 1, 2]], shape: [2, 2], ["filter_wise": .flag(true)])
    let result = try merge.result()
    #expect(result.ulps(from: [2, 2, 1, 1]) <= 1)
  }
}
