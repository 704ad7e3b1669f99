import EspalierBasics
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

/// Methods of quantization by hand, and what holds of all.
@Suite struct QuantizationTests {
  private static func statistics(_ moment: [[Double]], count: Int) throws -> SiteStatistics {
    var statistics = SiteStatistics(width: moment.count)
    statistics.count = count
    statistics.squareSums = moment.indices.map { moment[$0][$0] }
    statistics.absoluteSums = statistics.squareSums
    statistics.moment = .full(
      try Matrix(rows: moment.count, columns: moment.count, elements: Array(moment.joined())))
    return statistics
  }

  private func reduce(
    _ method: any ReductionMethod, _ weight: Matrix<Float>, _ statistics: SiteStatistics? = nil,
    to budget: MatrixBudget = .sparsity(0), parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws -> (matrix: QuantizedMatrix, error: Double) {
    let reduced = try method.reduce(weight, statistics, to: budget, parallel: parallel)
    let matrix = try reduced.quantized()
    #expect(try reduced.storedNumbers == matrix.materialized().elements.count { $0 != 0 })
    return (matrix, reduced.certificate.error)
  }

  // MARK: - By hand

  /// [0.6, -1, 3] in 2 bits. Symmetric: scale 2 · 3 / 3 = 2, so 0.3, -0.5 and 1.5 become 0, 0 (even) and 2, which is one
  /// level too far. Otherwise from -1 to 3: scale 4/3, zero round(0.75) = 1, and 0.45, -0.75, 2.25 become 0, -1, 2.
  @Test func gridsByHand() throws {
    let weight = try Matrix<Float>([[0.6, -1, 3]])
    let symmetric = try IntegerGrid(bits: 2).rounded(weight)
    #expect(symmetric.scales == [2] && symmetric.zeros == nil)
    #expect(symmetric.codes == [2, 2, 3])
    #expect(try symmetric.materialized().elements == [0, 0, 2])
    let other = try IntegerGrid(bits: 2, symmetric: false).rounded(weight)
    #expect(other.scales == [4 / 3] && other.zeros == [1])
    #expect(other.codes == [1, 0, 3])
    // A grid always holds zero, and weights that are all zero have one from -1 to 1.
    let positive = try IntegerGrid(bits: 2, symmetric: false).rounded(try Matrix<Float>([[2, 3, 3], [0, 0, 0]]))
    #expect(positive.scales == [1, 2 / 3] && positive.zeros == [0, 2])
    #expect(positive.codes == [2, 3, 3, 2, 2, 2])
    let whole = try IntegerGrid(bits: 2, sharing: .matrix).rounded(try Matrix<Float>([[0.6, -1], [3, 1]]))
    #expect(whole.scales == [2] && whole.tileRows == 2)
    #expect(whole.codes == [2, 2, 3, 2])
  }

  /// H = [[2, 1], [1, 2]], U = [[√(2/3), -√(1/6)], [0, √(1/2)]], grid -2, -1, 0, 1 times 1. 0.75 becomes 1, its error is
  /// -0.25 / √(2/3), and 0.5 becomes 0.5 - 0.25 / √(2/3) · √(1/6) = 0.375, which is 0 rather than 0.5's neighbour.
  @Test func gptqByHand() throws {
    let statistics = try Self.statistics([[2, 1], [1, 2]], count: 2)
    let weight = try Matrix<Float>([[0.75, 0.625, 1.5]].map { Array($0.prefix(2)) })
    // The grid: max 0.75 in 2 bits is a scale of 0.5: levels -1, -0.5, 0, 0.5. 0.75 lies half way beyond: 0.5, error 0.25.
    // 0.625 + 0.25 / 2 = 0.75 becomes 0.5 as well; rounded alone it is 0.5 too.
    let (matrix, error) = try reduce(
      GPTQ.make(["bits": .number(2), "scales": .word("row"), "damp": .number(0)]), weight, statistics)
    #expect(matrix.scales == [0.5])
    #expect(try matrix.materialized().elements == [0.5, 0.5])
    #expect(abs(error - ((2 * 0.0625 + 2 * 0.25 * 0.125 + 2 * 0.015625) / outputs(weight)).squareRoot()) < 1e-12)
    // Of [0.75, 0.1875] plain rounding makes [0.5, 0], the sweep brings the second to 0.3125, which is 0.5.
    let second = try Matrix<Float>([[0.75, 0.1875]])
    let plain = try reduce(PlainRounding.make(["bits": .number(2), "scales": .word("row")]), second, statistics)
    #expect(try plain.matrix.materialized().elements == [0.5, 0])
    let swept = try reduce(
      GPTQ.make(["bits": .number(2), "scales": .word("row"), "damp": .number(0)]), second, statistics)
    #expect(try swept.matrix.materialized().elements == [0.5, 0.5])
    #expect(swept.error < plain.error)
    // Exact steps begin with what is cheapest to round: the errors' squares over H⁻¹, which has 2/3 on its diagonal.
    let exact = try reduce(
      GreedyRounding.make(["bits": .number(2), "scales": .word("row"), "damp": .number(0)]), second, statistics)
    // 0.1875 is off by 0.1875, 0.75 by 0.25: the second goes first, to 0, and 0.75 takes half of that: 0.84375, to 0.5.
    #expect(try exact.matrix.materialized().elements == [0.5, 0])

    func outputs(_ w: Matrix<Float>) -> Double {
      let (a, b) = (Double(w[0, 0]), Double(w[0, 1]))
      return 2 * a * a + 2 * a * b + 2 * b * b
    }
  }

  @Test func ternaryByHand() throws {
    // Mean 2, so that 1.4 is the threshold: 3 and 4 stay, as 3.5.
    let weight = try Matrix<Float>([[-3, 4, 0.5, -0.5]])
    let twn = try reduce(TernaryRounding.make(["rule": .word("twn")]), weight).matrix
    #expect(twn.codes == [0, 2, 1, 1] && twn.scales == [3.5])
    // 4²/1 = 16, 7²/2 = 24.5, 7.5²/3 = 18.75.
    let best = try reduce(TernaryRounding.make(), weight).matrix
    #expect(best.codes == [0, 2, 1, 1] && best.scales == [3.5])
    let whole = try reduce(TernaryRounding.make(["scales": .word("matrix")]), try Matrix<Float>([[1, -1], [1, 0]]))
      .matrix
    #expect(whole.codes == [2, 0, 2, 1] && whole.scales == [1])
  }

  @Test func float8ByHand() throws {
    // Scale 2: 448, -1.0625 (between 1 and 1.125: even), 0.5 · 2^-9 (half the least: even, 0).
    let weight = try Matrix<Float>([[896, -2.125, 0x1p-9, 0x1.8p-9]])
    let matrix = try reduce(Float8Rounding.make(), weight).matrix
    #expect(matrix.scales == [2])
    #expect(matrix.codes == [0x7e, 0xb8, 0x00, 0x01])
    #expect(try matrix.materialized().elements == [896, -2, 0, 0x1p-8])
    let wide = try reduce(Float8Rounding.make(["format": .word("e5m2"), "scales": .word("matrix")]), weight).matrix
    #expect(wide.codes[0] == 0x7b && wide.scales == [896 / 57344])
    let blocks = try reduce(
      Float8Rounding.make(["scales": .word("block"), "block_size": .number(2)]),
      try Matrix<Float>([[448, 0, 1], [0, 0, 2], [0, 0, 4]])
    ).matrix
    #expect(blocks.scales == [1, 2 / 448, 1, 4 / 448])
    #expect(try blocks.materialized().elements == [448, 0, 1, 0, 0, 2, 0, 0, 4])
  }

  @Test func smoothByHand() throws {
    // s = (a / max |w|)^½ = (4 / 1)^½ = 2 and (1 / 4)^½ = ½: [1 · 2, 4 · ½] and half of that.
    var statistics = SiteStatistics(width: 2)
    statistics.count = 1
    statistics.squareSums = [16, 1]
    let weight = try Matrix<Float>([[1, 4], [0.5, -2]])
    let matrix = try reduce(SmoothRounding.make(["scale_type": .word("f32")]), weight, statistics).matrix
    #expect(matrix.inputScales == [2, 0.5])
    #expect(matrix.grid == .integer(bits: 8, symmetric: true))
    #expect(matrix.codes == [255, 255, 255, 0] || matrix.codes == [255, 255, 255, 1])
    for (value, wanted) in zip(try matrix.materialized().elements, weight.elements) {
      #expect(abs(value - wanted) <= abs(wanted) / 200)
    }
  }

  // MARK: - Properties

  private func sample(
    _ rows: Int = 40, _ columns: Int = 96, seed: UInt64 = 21
  ) throws -> (Matrix<Float>, SiteStatistics) {
    (
      try Matrix(random: rows, columns, seed: seed),
      try SiteStatistics(of: correlatedInputs(300, columns, seed: seed + 1))
    )
  }

  @Test(arguments: ["f32", "f16", "bf16"], [2, 3, 4, 5, 6, 7, 8])
  func roundingStaysWithinHalfAStep(scaleType: String, bits: Int) throws {
    let (weight, _) = try sample()
    let type = try #require(ElementType(rawValue: scaleType))
    for symmetric in [true, false] {
      let matrix = try IntegerGrid(
        bits: bits, symmetric: symmetric, sharing: .columns(32), scaleType: type
      ).rounded(weight)
      let rounded = try matrix.materialized()
      for (index, (value, w)) in zip(rounded.elements, weight.elements).enumerated() {
        let scale = matrix.scales[index / 96 * 3 + index % 96 / 32]
        // A scale that was rounded down leaves the extremes outside by as much as all its steps are short.
        let slack = 0.5 + Float(1 << bits) * (type == .f32 ? 0x1p-22 : type == .f16 ? 0x1p-11 : 0x1p-8)
        #expect(abs(value - w) <= scale * slack)
        if symmetric { #expect(abs(value) <= scale * Float(1 << (bits - 1))) }
      }
      // Scales are numbers of their type.
      let stored = try Matrix(rows: 1, columns: matrix.scales.count, elements: matrix.scales)
      let bytes = [UInt8](unsafeUninitializedCapacity: matrix.scales.count * type.byteWidth) { place, count in
        type.encode(stored.elements, into: place.baseAddress!, count: stored.elements.count)
        count = stored.elements.count * type.byteWidth
      }
      #expect(type.values(of: bytes) == matrix.scales)
    }
  }

  @Test func searchedGridsLoseNoMore() throws {
    let (weight, statistics) = try sample()
    var heavy = weight
    for index in heavy.elements.indices where index % 31 == 0 { heavy.elements[index] *= 4 }
    let importance = try #require(Quantization.importance(statistics))
    func losses(_ search: IntegerGrid.Search, _ loss: (Double, Int) -> Double) throws -> [Double] {
      let matrix = try IntegerGrid(bits: 3, symmetric: false, search: search).rounded(heavy, importance: importance)
      let rounded = try matrix.materialized()
      return (0..<heavy.rows).map { i in
        (0..<heavy.columns).reduce(0) { $0 + loss(abs(Double(heavy[i, $1]) - Double(rounded[i, $1])), $1) }
      }
    }
    let power = { (d: Double, _: Int) in Elementary.power(d, 2.4) }
    let squares = { (d: Double, j: Int) in d * d * importance[j] }
    for (search, loss) in [(IntegerGrid.Search.mse, power), (.squares, squares)] {
      let (plain, searched) = (try losses(.minmax, loss), try losses(search, loss))
      for (a, b) in zip(searched, plain) { #expect(a <= b * (1 + 1e-9)) }
      #expect(searched.reduce(0, +) < 0.9 * plain.reduce(0, +))
    }
  }

  /// The search written out, with the C library's power.
  @Test func searchIsThatOfItsDefinition() throws {
    let (weight, _) = try sample(9, 64, seed: 30)
    let matrix = try IntegerGrid(bits: 3, symmetric: false, sharing: .columns(32), search: .mse).rounded(weight)
    for i in 0..<9 {
      for group in 0..<2 {
        let values = (group * 32..<group * 32 + 32).map { Double(weight[i, $0]) }
        let (low, high) = (min(0, values.min() ?? 0), max(0, values.max() ?? 0))
        var best = (error: Double.infinity, scale: Float(0), zero: 0.0)
        for step in 0..<80 {
          let share = 1 - Double(step) / 100
          let scale = (share * high - share * low) / 7
          let zero = min(7, (-share * low / scale).rounded(.toNearestOrEven))
          let error = values.reduce(0) { sum, w in
            let level = max(-zero, min(7 - zero, (w / scale).rounded(.toNearestOrEven))) * scale
            return sum + Elementary.power(abs(w - level), 2.4)
          }
          if error < best.error { best = (error, Float(scale), zero) }
        }
        #expect(matrix.scales[2 * i + group] == best.scale)
        #expect(Double(matrix.zeros?[2 * i + group] ?? 255) == best.zero)
      }
    }
  }

  /// Inputs that are not correlated give nothing to make up for.
  @Test func withoutCorrelationsTheSweepIsPlainRounding() throws {
    let (weight, _) = try sample()
    let identity = (0..<96).map { i in (0..<96).map { $0 == i ? 2.0 : 0 } }
    let statistics = try Self.statistics(identity, count: 4)
    for extra in [[:], ["symmetric": .flag(false)], ["fit_at": .word("block")], ["static_groups": .flag(true)]]
      as [[String: ParameterValue]]
    {
      let grid: [String: ParameterValue] = ["bits": .number(3), "group_size": .number(32)].merging(extra) { $1 }
      let plain = try reduce(
        PlainRounding.make(grid.filter { ["bits", "group_size", "symmetric"].contains($0.key) }), weight, statistics)
      #expect(try reduce(GPTQ.make(grid), weight, statistics).matrix == plain.matrix)
    }
    let rows: [String: ParameterValue] = ["bits": .number(4), "scales": .word("row")]
    let plain = try reduce(PlainRounding.make(rows), weight, statistics)
    #expect(try reduce(GPTQ.make(rows), weight, statistics).matrix == plain.matrix)
    #expect(try reduce(GreedyRounding.make(rows), weight, statistics).matrix == plain.matrix)
  }

  /// Columns in another order are swept by activity in the same order, so that codes go with their columns.
  @Test func activityOrderDoesNotSeeTheOrderOfColumns() throws {
    let (weight, _) = try sample(16, 64)
    let inputs = try correlatedInputs(200, 64, seed: 24)
    let order = (0..<64).map { ($0 * 27 + 5) % 64 }
    func permuted(_ matrix: Matrix<Float>) throws -> Matrix<Float> {
      try Matrix(
        rows: matrix.rows, columns: 64, elements: (0..<matrix.rows).flatMap { i in order.map { matrix[i, $0] } })
    }
    for extra in [["scales": .word("row")], ["group_size": .number(16)]] as [[String: ParameterValue]] {
      let method = try GPTQ.make(
        ["bits": .number(3), "act_order": .flag(true), "block_size": .number(32)].merging(extra) { $1 })
      let straight = try reduce(method, weight, try SiteStatistics(of: inputs))
      let other = try reduce(method, permuted(weight), try SiteStatistics(of: permuted(inputs)))
      #expect(abs(straight.error - other.error) <= 1e-9 * straight.error)
      #expect(try other.matrix.materialized() == permuted(straight.matrix.materialized()))
    }
  }

  @Test func methodsComeInTheirOrder() throws {
    let (weight, statistics) = try sample(48, 96)
    for bits in [2, 3, 4] {
      let grid: [String: ParameterValue] = [
        "bits": .number(Double(bits)), "group_size": .number(32), "symmetric": .flag(false),
      ]
      let plain = try reduce(PlainRounding.make(grid), weight, statistics).error
      let swept = try reduce(GPTQ.make(grid), weight, statistics).error
      let scaled = try reduce(AWQ.make(grid), weight, statistics).error
      #expect(swept < 0.9 * plain)
      #expect(scaled <= plain * (1 + 1e-6))
    }
    let rows: [String: ParameterValue] = ["bits": .number(3), "scales": .word("row")]
    #expect(
      try reduce(GreedyRounding.make(rows), weight, statistics).error
        < reduce(GPTQ.make(rows), weight, statistics).error)
  }

  /// Zeros where SparseGPT makes them of the same weights, and everything else on the grid.
  @Test func zerosAndCodesTogether() throws {
    let (weight, statistics) = try sample(32, 96)
    let grid: [String: ParameterValue] = ["bits": .number(4), "scales": .word("row"), "symmetric": .flag(false)]
    for budget in [MatrixBudget.sparsity(0.5), .pattern(keep: 2, of: 4)] {
      let joint = try reduce(GPTQ.make(grid), weight, statistics, to: budget)
      let pruned = try SparseGPT.make().prune(weight, statistics, to: budget)
      let zeros = try joint.matrix.materialized().elements.map { $0 == 0 }
      // The first block's marks do not depend on rounding; here there is but one.
      if case .sparsity = budget { for (zero, p) in zip(zeros, pruned.elements) where p == 0 { #expect(zero) } }
      if case .pattern = budget {
        for start in stride(from: 0, to: zeros.count, by: 4) { #expect(zeros[start..<start + 4].count { $0 } >= 2) }
      }
      // Rounding afterwards makes up for nothing.
      let coarse: [String: ParameterValue] = ["bits": .number(3), "group_size": .number(32)]
      let after = try reduce(PlainRounding.make(coarse), pruned).matrix.materialized()
      let error = try OutputError.certificate(of: after, original: weight, statistics: statistics).error
      #expect(try reduce(GPTQ.make(coarse), weight, statistics, to: budget).error < error)
      let greedy = try reduce(GreedyRounding.make(grid), weight, statistics, to: budget)
      #expect(greedy.error < joint.error)
      let left = try greedy.matrix.materialized().elements.count { $0 != 0 }
      #expect(left <= 32 * 48)
      let plain = try reduce(PlainRounding.make(grid), weight, statistics, to: budget)
      #expect(joint.error < plain.error)
    }
  }

  @Test func inputsThatWereAlwaysZeroCostNothing() throws {
    let weight = try Matrix<Float>(random: 12, 64, seed: 25)
    var inputs = try correlatedInputs(100, 64, seed: 26)
    for i in 0..<100 { for j in [0, 7, 63] { inputs[i, j] = 0 } }
    let statistics = try SiteStatistics(of: inputs)
    for extra in [[:], ["act_order": .flag(true)], ["fit_at": .word("block")]] as [[String: ParameterValue]] {
      let method = try GPTQ.make(["group_size": .number(32)].merging(extra) { $1 })
      let rounded = try reduce(method, weight, statistics).matrix.materialized()
      for i in 0..<12 { for j in [0, 7, 63] { #expect(rounded[i, j] == 0) } }
    }
    for method in [AWQ.make, SmoothRounding.make] as [([String: ParameterValue]) throws -> any ReductionMethod] {
      #expect(try reduce(method([:]), weight, statistics).error.isFinite)
    }
  }

  @Test(arguments: ReductionMethods.quantization.map { $0.card.name }) func threadsChangeNoBit(name: String) throws {
    let (weight, statistics) = try sample(70, 160)
    let type = try ReductionMethods.method(named: name)
    for extra in name == "gptq"
      ? [[:], ["act_order": .flag(true), "fit_at": .word("block")]]
      : [[:]]
        as [[String: ParameterValue]]
    {
      let method = try type.init(ReductionParameters(extra, for: type.card))
      let alone = try reduce(method, weight, statistics)
      for threads in [2, 5] {
        let pool = WorkerPool(threads: threads)
        defer { pool.stop() }
        let together = try reduce(method, weight, statistics, parallel: pool.forEach)
        #expect(together.matrix == alone.matrix && together.error == alone.error)
      }
    }
  }

  /// Rows do not see each other, but for zeros chosen over the whole matrix.
  @Test func rowsAreByThemselves() throws {
    let (weight, statistics) = try sample(19, 96)
    let method = try GPTQ.make(["bits": .number(3), "group_size": .number(32), "grid": .word("mse")])
    let whole = try reduce(method, weight, statistics).matrix
    let part = try Matrix(rows: 5, columns: 96, elements: Array(weight.elements[9 * 96..<14 * 96]))
    #expect(try reduce(method, part, statistics).matrix.codes == Array(whole.codes[9 * 96..<14 * 96]))
  }
}
