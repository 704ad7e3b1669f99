import EspalierBasics
import EspalierMerging
import EspalierNumerics
import TestSupport
import Testing

/// Every deterministic method against float64 arithmetic on whole arrays, over shapes that cross blocks and tiles.
@Suite struct ReferenceTests {
  /// A method with settings, and how many models it is tried on.
  struct Case: Sendable, CustomTestStringConvertible {
    var method: String
    var models: Int
    var hasBase = true
    var shared: [String: ParameterValue] = [:]
    var each: [[String: ParameterValue]] = []
    var note = ""
    var testDescription: String { "\(method) \(note)" }

    func merge(shape: [Int], seed: UInt64) -> TestMerge {
      let count = shape.reduce(1, *)
      let all = fineTunes(count, models: models, seed: seed)
      let inputs = hasBase ? all : Array(all.dropFirst())
      var merge = TestMerge(method, inputs, shape: shape, base: hasBase, shared, each: each)
      merge.name = "\(shape)"
      return merge
    }
  }

  private static func weights(_ values: Double..., more: [String: ParameterValue] = [:]) -> [[String: ParameterValue]] {
    values.map { more.merging(["weight": .number($0)]) { $1 } }
  }

  static let cases: [Case] = [
    Case(method: "linear", models: 3, hasBase: false, each: weights(1, 2.5, 0.3)),
    Case(
      method: "linear", models: 2, hasBase: false, shared: ["normalize": .flag(false)], each: weights(-1, 0.5),
      note: "not normalized"),
    Case(method: "passthrough", models: 1, hasBase: false, each: [["scale": .number(-1.5)]]),
    Case(method: "slerp", models: 1, shared: ["t": .number(0.3)]),
    Case(method: "nuslerp", models: 2, each: weights(1, 3), note: "from a base"),
    Case(method: "nuslerp", models: 2, hasBase: false, each: weights(1, -0.4), note: "without a base"),
    Case(
      method: "nuslerp", models: 2, shared: ["nuslerp_flatten": .flag(false)], each: weights(2, 1), note: "by row"),
    Case(
      method: "nuslerp", models: 2, shared: ["nuslerp_flatten": .flag(false), "nuslerp_row_wise": .flag(true)],
      each: weights(2, 1), note: "by column"),
    Case(method: "multislerp", models: 3, each: weights(1, 2, 0.5), note: "from a base"),
    Case(
      method: "multislerp", models: 3, hasBase: false, shared: ["normalize_weights": .flag(false)],
      each: weights(0.5, 0.2, 0.7), note: "without a base"),
    Case(method: "karcher", models: 3, hasBase: false),
    Case(method: "task_arithmetic", models: 3, shared: ["lambda": .number(0.7)], each: weights(1, -0.5, 0.25)),
    Case(
      method: "task_arithmetic", models: 2, shared: ["normalize": .flag(true)], each: weights(1, 2), note: "normalized"),
    Case(
      method: "ties", models: 3,
      each: weights(1, 0.5, 0.7, more: ["density": .number(0.37)])),
    Case(
      method: "ties", models: 3, shared: ["normalize": .flag(false), "rescale": .flag(true), "lambda": .number(1.3)],
      each: weights(1, -0.5, 0.7, more: ["density": .number(0.6)]), note: "rescaled"),
    Case(method: "dare_linear", models: 2, each: weights(1, 0.5), note: "density 1"),
    Case(method: "dare_ties", models: 2, each: weights(1, 0.5), note: "density 1"),
    Case(method: "della", models: 2, each: weights(1, 0.5), note: "density 1"),
    Case(method: "della_linear", models: 2, each: weights(1, 0.5), note: "density 1"),
    Case(
      method: "breadcrumbs", models: 2,
      each: weights(1, 0.5, more: ["density": .number(0.6), "gamma": .number(0.1)])),
    Case(
      method: "breadcrumbs_ties", models: 3, shared: ["rescale": .word("l1")],
      each: weights(1, 0.5, 0.2, more: ["density": .number(0.95), "gamma": .number(0.1)]), note: "gamma cut short"),
    Case(method: "model_stock", models: 2),
    Case(method: "model_stock", models: 3, shared: ["filter_wise": .flag(true)], note: "by row"),
    Case(method: "sce", models: 3, shared: ["select_topk": .number(0.4)]),
    Case(method: "sce", models: 2, note: "all elements"),
    Case(method: "nearswap", models: 1, shared: ["t": .number(0.05)]),
    Case(method: "ram", models: 3, shared: ["epsilon": .number(0.1)]),
    Case(method: "ramplus_tl", models: 3, shared: ["epsilon": .number(0.1), "r": .number(0.5), "alpha": .number(0.9)]),
  ]

  /// Scalar, vectors, a matrix whose rows are no divisor of a block, one of several tiles, three dimensions.
  static let shapes: [[Int]] = [[], [1], [7], [5001], [3, 1], [67, 129], [4, 10_000], [5, 3, 77]]

  @Test(arguments: cases) func agreesWithFloat64(_ item: Case) throws {
    let merges = Self.shapes.enumerated().map { index, shape in item.merge(shape: shape, seed: UInt64(index)) }
    let results = try TestMerge.run(merges).values
    for merge in merges {
      let distance = try #require(results[merge.name]).ulps(from: Reference.result(merge))
      // Sums of up to three float32 products where signs are elected; one rounding elsewhere.
      #expect(distance <= 4, "shape \(merge.shape): \(distance) ulps of the largest value")
    }
  }

  @Test(arguments: cases) func acceptsEmptyTensors(_ item: Case) throws {
    let merges = [[0], [0, 5], [5, 0]].map { item.merge(shape: $0, seed: 0) }
    let results = try TestMerge.run(merges).values
    for merge in merges { #expect(results[merge.name] == [], "shape \(merge.shape)") }
  }

  /// Arithmetic is in float32 or wider whatever the inputs' type: rounding the float32 result gives the bf16 one.
  @Test(arguments: cases) func roundsOnce(_ item: Case) throws {
    var merge = item.merge(shape: [9, 500], seed: 3)
    merge.inputs = merge.inputs.map { merge.inputType.values(of: merge.inputType.bytes(of: $0)) }
    let wide = try merge.result()
    merge.outputType = .bf16
    #expect(try merge.result() == merge.outputType.values(of: merge.outputType.bytes(of: wide)))
  }

  /// The registry holds nothing that the cases leave out, but for what has tests of its own.
  @Test func coversTheRegistry() {
    let untested = Set(MergeMethods.all.map { $0.card.name }).subtracting(Self.cases.map(\.method))
    #expect(untested == ["arcee_fusion", "opcm", "pcb"])
  }
}
