import EspalierBasics
import EspalierMerging
import EspalierNumerics
import TestSupport
import Testing

private func weights(_ values: Double...) -> [[String: ParameterValue]] { values.map { ["weight": .number($0)] } }

/// Vectors of length 1 at a right angle.
private let unit: [Float] = [0.5, 0.5, 0.5, 0.5]
private let orthogonal: [Float] = [0.5, -0.5, 0.5, -0.5]

@Suite struct SlerpTests {
  @Test func byHand() throws {
    // A right angle at t = 1/3: sin 60° b + sin 30° x.
    let merge = TestMerge("slerp", [[2, 0], [0, 4]], ["t": .number(1 / 3.0)])
    #expect(try merge.result().ulps(from: [2 * 0.75.squareRoot(), 2]) <= 1)
  }

  /// At either end the model there comes out to the bit.
  @Test(arguments: [0.0, 1.0]) func ends(_ t: Double) throws {
    let inputs = [fineTunes(9000, models: 0, seed: 1)[0], fineTunes(9000, models: 0, seed: 2)[0]]
    #expect(try TestMerge("slerp", inputs, ["t": .number(t)]).result() == inputs[Int(t)])
  }

  /// Vectors nearly parallel or opposite are interpolated along the straight line.
  @Test func parallelAndAntipodal() throws {
    #expect(try TestMerge("slerp", [[2, 4], [4, 8]], ["t": .number(0.25)]).result() == [2.5, 5])
    #expect(try TestMerge("slerp", [[2, 4], [-2, -4]], ["t": .number(0.25)]).result() == [1, 2])
  }

  /// A vector without length counts as orthogonal: sin((1-t) 90°) b.
  @Test func zeroVectors() throws {
    let half = try TestMerge("slerp", [[2, 4], [0, 0]], ["t": .number(0.5)]).result()
    #expect(half.ulps(from: [2 * 0.5.squareRoot(), 4 * 0.5.squareRoot()]) <= 1)
    #expect(try TestMerge("slerp", [[0, 0], [0, 0]], ["t": .number(0.5)]).result() == [0, 0])
  }

  @Test func keepsLengthsOfUnitVectors() throws {
    for step in 0...10 {
      let result = try TestMerge("slerp", [unit, orthogonal], ["t": .number(Double(step) / 10)]).result()
      #expect(abs(result.reduce(0) { $0 + Double($1) * Double($1) } - 1) < 1e-6)
    }
  }
}

@Suite struct NuSlerpTests {
  @Test func byHand() throws {
    // Changes (2,0) and (0,2) at a right angle, t = 1/2: both by sin 45° / sin 90°.
    let merge = TestMerge("nuslerp", [[1, 1], [3, 1], [1, 3]], each: weights(5, 5))
    #expect(try merge.result().ulps(from: [1 + 2.0.squareRoot(), 1 + 2.0.squareRoot()]) <= 1)
  }

  /// Rows: (1,0) and (3,0) are parallel, (2,0) and (0,2) at a right angle.
  @Test func grains() throws {
    let inputs: [[Float]] = [[1, 0, 2, 0], [3, 0, 0, 2]]
    let rows = TestMerge(
      "nuslerp", inputs, shape: [2, 2], base: false, ["nuslerp_flatten": .flag(false)], each: weights(1, 1))
    let root = 0.5.squareRoot()
    #expect(try rows.result().ulps(from: [2, 0, 2 * root, 2 * root]) <= 1)
    var columns = rows
    columns.shared["nuslerp_row_wise"] = .flag(true)
    // Column 0: (1,2) and (3,0), cos = 3/(sqrt5 * 3); column 1: (0,0) and (0,2), the zero counts as orthogonal.
    let angle = Elementary.acos(1 / 5.0.squareRoot())
    let share = Elementary.sin(angle / 2) / Elementary.sin(angle)
    #expect(try columns.result().ulps(from: [4 * share, 0, 2 * share, 2 * root]) <= 1)
  }

  @Test func weightsThatCancelAreRefused() throws {
    let inputs = fineTunes(500, models: 2, seed: 4)
    let equal = try TestMerge("nuslerp", inputs, each: weights(1, 1)).result()
    #expect(try TestMerge("nuslerp", inputs, each: weights(2, 2)).result() == equal)
    #expect(problem { try TestMerge("nuslerp", inputs, each: weights(1, -1)).result() }?.code == .parameterRange)
  }

  @Test func takesTwoModels() {
    #expect(
      problem { try TestMerge("nuslerp", [[1], [2], [3]], base: false, each: weights(1, 1, 1)).result() }?.code
        == .mergeInputs)
    #expect(problem { try TestMerge("nuslerp", [[1], [2]], each: weights(1)).result() }?.code == .mergeInputs)
  }
}

@Suite struct MultiSlerpTests {
  @Test func byHand() throws {
    // Units (1,0), (0,1), equal weights: direction (1,1)/sqrt 2, length (2 + 4)/2 = 3.
    let merge = TestMerge("multislerp", [[2, 0], [0, 4]], base: false, each: weights(1, 1))
    #expect(try merge.result().ulps(from: [3 * 0.5.squareRoot(), 3 * 0.5.squareRoot()]) <= 1)
  }

  @Test func oneModelComesOutUnchanged() throws {
    #expect(try TestMerge("multislerp", [[1, 2], [5, 3]], each: weights(0.3)).result() == [5, 3])
  }

  /// Where directions cancel, the weighted sum is taken; so an unchanged tensor stays the base.
  @Test func fallback() throws {
    #expect(
      try TestMerge("multislerp", [[7, 5], [7, 5], [7, 5], [7, 5]], each: weights(1, 2, 3)).result() == [7, 5])
    let opposite = TestMerge("multislerp", [[1, 1], [-3, -3]], base: false, each: weights(1, 1))
    #expect(try opposite.result() == [-1, -1])
  }

  @Test func weightsThatSumToNothingAreRefused() {
    #expect(
      problem { try TestMerge("multislerp", [[1], [2]], base: false, each: weights(1, -1)).result() }?.code
        == .parameterRange)
  }
}

@Suite struct KarcherTests {
  @Test func equalInputsComeOutUnchanged() throws {
    let values = fineTunes(9000, models: 0, seed: 5)[0]
    let result = try TestMerge("karcher", [values, values, values], base: false).result()
    #expect(result.ulps(from: values.map(Double.init)) <= 1)
  }

  /// Of two inputs it is the middle of the arc, at the mean of their lengths.
  @Test func ofTwoIsTheMidpoint() throws {
    let inputs = [unit.map { 2 * $0 }, orthogonal.map { 4 * $0 }]
    let middle = zip(unit, orthogonal).map { 3 * Double($0 + $1) * 0.5.squareRoot() }
    #expect(try TestMerge("karcher", inputs, base: false).result().ulps(from: middle) <= 1)
  }

  /// Zeros have no direction, but their length counts, as in mergekit.
  @Test func zeros() throws {
    #expect(try TestMerge("karcher", [[0, 0], [0, 0]], base: false).result() == [0, 0])
    #expect(try TestMerge("karcher", [[0, 0], [2, 0]], base: false).result() == [1, 0])
  }

  @Test func oppositeInputsStartFromTheFirst() throws {
    let merge = TestMerge("karcher", [[2, 0], [-2, 0]], base: false)
    #expect(try merge.result().ulps(from: Reference.result(merge)) <= 1)
  }
}
