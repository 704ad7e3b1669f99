import EspalierBasics
import EspalierMerging
import EspalierNumerics
import Testing

@Suite struct PcbTests {
  private func settings(_ density: Double, weights: Double...) -> [[String: ParameterValue]] {
    weights.map { ["weight": .number($0), "density": .number(density)] }
  }

  @Test(arguments: ["pcb_matrix", "pcb_weighted", "pcb_clamped", "pcb_dense"])
  func agreesWithFloat64(_ name: String) throws {
    let vector = try Vector(name)
    let each = zip(vector.numbers("weight"), vector.numbers("density")).map { ["weight": $0, "density": $1] }
    let merge = TestMerge("pcb", vector.inputs, shape: vector.shape, ["lambda": vector.number("lambda")], each: each)
    let distance = try merge.result().ulps(from: vector.expected)
    #expect(distance <= 1, "\(distance) ulps of the largest value")
  }

  /// Each model changes an element of its own: 0 + (1, 0) and (0, 1). Scores are e^0 tanh(1 * 1) for its own, 0 for the
  /// other's. Of two elements one is kept, whole: each model's change survives undiluted, where the average halves it.
  @Test func ownChangesStayWhole() throws {
    #expect(try TestMerge("pcb", [[0, 0], [1, 0], [0, 1]], each: settings(0.5, weights: 1, 1)).result() == [1, 1])
  }

  /// Changes (2, 1) and (-1, 1), sums (1, 2). The first model: places (1, 0), scores tanh 2 and e^-2 tanh 2, shares
  /// (1, 0). The second: equal magnitudes, scores tanh -1 and tanh 2, shares (0, 1). The first element is the first
  /// model's, whom the sum agrees with; the second the second's, for whom it matters more.
  @Test func competitionByHand() throws {
    let inputs: [[Float]] = [[10, 10], [12, 11], [9, 11]]
    #expect(try TestMerge("pcb", inputs, each: settings(1, weights: 1, 1)).result() == [12, 11])
  }

  /// Weights are factors of the changes, not of the scores; lambda is one of all. 0 + 0.5 (3 * 1, 1 * 1).
  @Test func weightsAreFactors() throws {
    let merge = TestMerge(
      "pcb", [[0, 0], [1, 0], [0, 1]], ["lambda": .number(0.5)], each: settings(0.5, weights: 3, 1))
    #expect(try merge.result() == [1.5, 0.5])
  }

  /// A single element counts for the models that the sum agrees with: 0 + 4, without -1; of two that agree the mean,
  /// weighed by scores.
  @Test func singleElements() throws {
    #expect(try TestMerge("pcb", [[0], [4], [-1]], shape: [], each: settings(0.1, weights: 1, 1)).result() == [4])
    #expect(try TestMerge("pcb", [[1], [3], [3]], each: settings(0.1, weights: 1, 1)).result() == [3])
    #expect(try TestMerge("pcb", [[1], [1], [1]], each: settings(0.1, weights: 1, 1)).result() == [1])
  }

  @Test func emptyTensors() throws {
    #expect(try TestMerge("pcb", [[], [], []], shape: [0, 3], each: settings(0.1, weights: 1, 1)).result() == [])
  }

  @Test(arguments: [0.0, 0.1, 1.0]) func unchangedTensorsStay(_ density: Double) throws {
    let base = SeededValues.base
    #expect(try TestMerge("pcb", [base, base, base], each: settings(density, weights: 1, 1)).result() == base)
  }

  @Test func densityOfZeroKeepsNothing() throws {
    let inputs = fineTunes(9001, models: 2, seed: 1)
    #expect(try TestMerge("pcb", inputs, each: settings(0, weights: 1, 1)).result() == inputs[0])
  }

  /// Of d elements those above the one of ascending rank int(d (1 - density)) are kept; with a second model that
  /// changed nothing, an element is the first model's own or the base's.
  @Test(arguments: [0.05, 0.3, 0.8]) func keepsTheStatedNumber(_ density: Double) throws {
    let count = 9001
    let change = fineTunes(count, models: 0, seed: 2)[0]
    let zeros = [Float](repeating: 0, count: count)
    let result = try TestMerge("pcb", [zeros, change, zeros], each: settings(density, weights: 1, 1)).result()
    let kept = result.indices.filter { result[$0] != 0 }
    #expect(kept.count == count - 1 - Int(Double(count) * (1 - density)))
    #expect(kept.allSatisfy { result[$0] == change[$0] })
    // Alone, scores grow with magnitude: what is kept is the largest.
    let least = kept.map { change[$0].magnitude }.min() ?? 0
    #expect(change.filter { $0.magnitude > least }.count == kept.count - 1)
  }

  /// Two copies of one model: the change is kept where its score is, at its own size.
  @Test func agreementIsNotDiluted() throws {
    let inputs = fineTunes(5001, models: 1, seed: 3)
    let zeros = [Float](repeating: 0, count: 5001)
    let change = zip(inputs[1], inputs[0]).map { $0 - $1 }
    let result = try TestMerge("pcb", [zeros, change, change], each: settings(0.2, weights: 1, 1)).result()
    #expect(zip(result, change).allSatisfy { $0 == 0 || abs($0 - $1) <= 1e-6 * abs($1) })
    #expect(result.filter { $0 != 0 }.count == 1000)
  }
}

private enum SeededValues {
  static var base: [Float] { fineTunes(300, models: 0, seed: 9)[0] }
}
