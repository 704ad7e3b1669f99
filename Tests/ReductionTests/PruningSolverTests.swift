import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

/// SparseGPT and Optimal Brain Compression beyond the stored references.
@Suite struct PruningSolverTests {
  /// U of two correlated inputs by hand: H = [[2, 1], [1, 2]], H⁻¹ = [[2, -1], [-1, 2]] / 3.
  @Test func inverseFactorByHand() throws {
    let moment = try Matrix<Double>(rows: 2, columns: 2, elements: [2, 1, 1, 2])
    let factor = try InverseFactor(moment: moment, count: 2, damp: 0)
    let expected = [(2.0 / 3).squareRoot(), -(1.0 / 6).squareRoot(), 0, 0.5.squareRoot()]
    for (value, wanted) in zip(factor.upper.elements, expected) { #expect(abs(value - wanted) < 1e-15) }
    let dead = try InverseFactor(
      moment: Matrix(rows: 2, columns: 2, elements: [8, 0, 0, 0]), count: 2, damp: 1)  // diag 8, 1, plus 4.5
    #expect(dead.dead == [1])
    #expect(abs(dead.upper[0, 0] - 12.5.squareRoot() / 12.5) < 1e-15)
    #expect(abs(dead.upper[1, 1] - 5.5.squareRoot() / 5.5) < 1e-15)
  }

  @Test(arguments: [1, 127, 128, 129, 300, 515]) func inverseFactorInverts(width: Int) throws {
    let statistics = try SiteStatistics(of: correlatedInputs(width + 40, width, seed: 3))
    guard case .full(let moment)? = statistics.moment else { throw Problem(.reduction, "no moment") }
    let inverse = try InverseFactor(moment: moment, count: 2, damp: 0).inverse()
    let identity = try MatrixProduct.product(inverse, moment)
    for i in 0..<width {
      for j in 0..<width { #expect(abs(identity[i, j] - (i == j ? 1 : 0)) < 1e-7) }
    }
  }

  /// One row, H as above, half of it pruned: scores 1 / (2/3) and 9 / (1/2); the first goes, and the second takes
  /// -1 · (-1/√6) / (2/3)^½ = 1/2 of it.
  @Test func sparseGPTByHand() throws {
    var statistics = SiteStatistics(width: 2)
    statistics.count = 2
    statistics.squareSums = [2, 2]
    statistics.moment = .full(try Matrix(rows: 2, columns: 2, elements: [2, 1, 1, 2]))
    let weight = try Matrix<Float>([[1, 3]])
    let method = try SparseGPT.make(["damp": .number(0), "block_size": .number(2)])
    let pruned = try method.prune(weight, statistics, to: .pattern(keep: 1, of: 2))
    #expect(pruned.elements == [0, 3.5])
    // The same step is the surgeon's, whose optimum on one weight is w G / G = 3 + 1 / 2.
    let surgeon = try OptimalBrainCompression.make(["damp": .number(0)])
    #expect(try surgeon.prune(weight, statistics, to: .sparsity(0.5)).elements == [0, 3.5])
  }

  /// Each step removes the weight that, of all that are left, costs least after the best update of the others.
  @Test(arguments: [1, 2, 3] as [UInt64]) func surgeonStepsAreThoseOfBruteForce(seed: UInt64) throws {
    let n = 7
    let inputs = try correlatedInputs(30, n, seed: seed)
    guard case .full(let moment)? = try SiteStatistics(of: inputs).moment else { throw Problem(.reduction, "") }
    let factor = try InverseFactor(moment: moment, count: 2, damp: 0.01)
    let inverse = try factor.inverse()
    var h = moment
    let mean = (0..<n).reduce(0) { $0 + moment[$1, $1] } / Double(n)
    for i in 0..<n { h[i, i] += 0.01 * mean }
    let row = try Matrix<Float>(random: 1, n, seed: seed + 10).elements.map(Double.init)
    var kept = Array(0..<n)
    for step in 1...n {
      let best = try kept.map { gone in (gone, try Self.optimum(row, h, on: kept.filter { $0 != gone })) }
        .min { $0.1.error < $1.1.error }
      let (gone, optimum) = try #require(best)
      let trace = try OptimalBrainCompression.prune(row, inverse: inverse, steps: step)
      #expect(trace.order.last == gone)
      for (value, expected) in zip(trace.weights, optimum.weights) { #expect(abs(value - expected) < 1e-10) }
      #expect(abs(trace.losses.reduce(0, +) - optimum.error / 2) < 1e-10)
      kept.removeAll { $0 == gone }
    }
  }

  /// The weights on a support that minimize (w - u) H (w - u)ᵀ, by least squares on a factor of H, and that minimum.
  private static func optimum(
    _ row: [Double], _ h: Matrix<Double>, on support: [Int]
  ) throws -> (weights: [Double], error: Double) {
    let n = row.count
    let factor = try LinearAlgebra.cholesky(h).transposed
    var weights = [Double](repeating: 0, count: n)
    if !support.isEmpty {
      let columns = try Matrix(
        rows: n, columns: support.count, elements: (0..<n).flatMap { i in support.map { factor[i, $0] } })
      let target = try MatrixProduct.product(factor, Matrix(rows: n, columns: 1, elements: row))
      let solution = try LinearAlgebra.leastSquares(columns, target)
      for (index, place) in support.enumerated() { weights[place] = solution[index, 0] }
    }
    let difference = try Matrix(rows: n, columns: 1, elements: zip(row, weights).map(-))
    let error = try MatrixProduct.product(factor, difference).elements.reduce(0) { $0 + $1 * $1 }
    return (weights, error)
  }

  @Test func surgeonOfALayerTakesTheStepsOfLeastLoss() throws {
    let weight = try Matrix<Float>(random: 6, 16, seed: 4)
    let statistics = try SiteStatistics(of: correlatedInputs(60, 16, seed: 5))
    guard case .full(let moment)? = statistics.moment else { throw Problem(.reduction, "") }
    let inverse = try InverseFactor(moment: moment, count: statistics.count, damp: 0.01).inverse()
    let losses = try (0..<6).map { i in
      try OptimalBrainCompression.prune(
        weight.elements[i * 16..<(i + 1) * 16].map(Double.init), inverse: inverse, steps: 16
      ).losses
    }
    // The rows' next steps, the cheapest each time.
    var taken = [Int](repeating: 0, count: 6)
    for _ in 0..<48 {
      let next = (0..<6).filter { taken[$0] < 16 }.min { losses[$0][taken[$0]] < losses[$1][taken[$1]] }
      taken[try #require(next)] += 1
    }
    let pruned = try OptimalBrainCompression.make(["scope": .word("layer")]).prune(
      weight, statistics, to: .sparsity(0.5))
    #expect((0..<6).map { i in pruned.elements[i * 16..<(i + 1) * 16].count { $0 == 0 } } == taken)
  }

  @Test func errorsFallAsMoreStays() throws {
    let weight = try Matrix<Float>(random: 24, 64, seed: 6)
    let inputs = try correlatedInputs(200, 64, seed: 7)
    let statistics = try SiteStatistics(of: inputs)
    for scope in ["row", "layer"] {
      let method = try OptimalBrainCompression.make(["scope": .word(scope)])
      var last = 0.0
      for share in [0, 0.2, 0.4, 0.6, 0.8, 1] {
        let reduced = try method.reduce(weight, statistics, to: .sparsity(share), parallel: MatrixProduct.serially)
        #expect(reduced.certificate.error >= last)
        last = reduced.certificate.error
        guard case .dense(let pruned) = reduced.form else { continue }
        #expect(abs(try outputError(pruned, weight, inputs) - last) <= 1e-6 * last)
      }
      #expect(last == 1)
    }
  }

  /// What updates the weights that stay does better than what leaves them, and exact steps do better than a sweep.
  @Test func methodsComeInTheirOrder() throws {
    let weight = try Matrix<Float>(random: 48, 96, seed: 8)
    let statistics = try SiteStatistics(of: correlatedInputs(400, 96, seed: 9))
    for budget in [MatrixBudget.sparsity(0.5), .pattern(keep: 2, of: 4), .pattern(keep: 4, of: 8)] {
      func error(_ method: any ReductionMethod) throws -> Double {
        try method.reduce(weight, statistics, to: budget, parallel: MatrixProduct.serially).certificate.error
      }
      let surgeon = try error(OptimalBrainCompression.make())
      let sweep = try error(SparseGPT.make())
      let wanda = try error(Wanda.make())
      #expect(surgeon < sweep)
      #expect(sweep < wanda)
    }
  }

  @Test(arguments: [(2, 4), (4, 8), (1, 4), (0, 2), (3, 3)]) func patternsHold(keep: Int, of: Int) throws {
    let weight = try Matrix<Float>(random: 17, 48, seed: 10)
    let statistics = try SiteStatistics(of: correlatedInputs(100, 48, seed: 11))
    let methods: [any ReductionMethod] = try [
      MagnitudePruning.make(), Wanda.make(), SparseGPT.make(["block_size": .number(24)]),
      OptimalBrainCompression.make(),
    ]
    for method in methods {
      let reduced = try method.reduce(
        weight, statistics, to: .pattern(keep: keep, of: of), parallel: MatrixProduct.serially)
      guard case .dense(let pruned) = reduced.form else { throw Problem(.reduction, "factors") }
      for start in stride(from: 0, to: pruned.elements.count, by: of) {
        #expect(pruned.elements[start..<start + of].count { $0 != 0 } == keep)
      }
      if keep == of { #expect(pruned == weight) }
    }
  }

  @Test func sparseGPTLosesOneMoreABlock() throws {
    let weight = try Matrix<Float>(random: 32, 96, seed: 12)
    let statistics = try SiteStatistics(of: correlatedInputs(300, 96, seed: 13))
    #expect(try SparseGPT.make().prune(weight, statistics, to: .sparsity(0.5)).zeros == 16 * 96 + 1)
    #expect(
      try SparseGPT.make(["block_size": .number(32)]).prune(weight, statistics, to: .sparsity(0.5)).zeros == 16 * 96 + 3
    )
    #expect(try SparseGPT.make().prune(weight, statistics, to: .sparsity(0)) == weight)
    #expect(try SparseGPT.make().prune(weight, statistics, to: .sparsity(1)).zeros == 32 * 96)
  }

  @Test func inputsThatWereAlwaysZeroCostNothing() throws {
    let weight = try Matrix<Float>(random: 12, 32, seed: 14)
    var inputs = try correlatedInputs(100, 32, seed: 15)
    for i in 0..<100 { for j in [0, 7, 31] { inputs[i, j] = 0 } }
    let statistics = try SiteStatistics(of: inputs)
    for method in [Wanda.make, SparseGPT.make] as [([String: ParameterValue]) throws -> any ReductionMethod] {
      let reduced = try method([:]).reduce(weight, statistics, to: .sparsity(0.5), parallel: MatrixProduct.serially)
      guard case .dense(let pruned) = reduced.form else { throw Problem(.reduction, "factors") }
      for i in 0..<12 { for j in [0, 7, 31] { #expect(pruned[i, j] == 0) } }
      #expect(reduced.certificate.error.isFinite)
    }
    let surgeon = try OptimalBrainCompression.make().prune(weight, statistics, to: .sparsity(0.5))
    #expect(surgeon.zeros == 12 * 16)
  }

  /// Fewer rows than inputs: the damping carries the rest.
  @Test func singularMomentsAreDamped() throws {
    let weight = try Matrix<Float>(random: 12, 64, seed: 16)
    let statistics = try SiteStatistics(of: correlatedInputs(20, 64, seed: 17))
    for share in [0.5, 0.9] {
      #expect(try SparseGPT.make().prune(weight, statistics, to: .sparsity(share)).elements.allSatisfy(\.isFinite))
      #expect(
        try OptimalBrainCompression.make().prune(weight, statistics, to: .sparsity(share)).zeros
          == 12 * Int(64 * share))
    }
    for method in [SparseGPT.make, OptimalBrainCompression.make]
      as [([String: ParameterValue]) throws -> any ReductionMethod]
    {
      let method = try method(["damp": .number(0)])
      let found = problem {
        try method.reduce(weight, statistics, to: .sparsity(0.5), parallel: MatrixProduct.serially)
      }
      #expect(found?.code == .reduction)
      #expect(found?.message == "the second moment is singular with a damping of 0.0")
    }
  }

  @Test(arguments: ReductionMethods.all.map { $0.card.name }.filter { pruningMethods.contains($0) })
  func threadsChangeNoBit(name: String) throws {
    let weight = try Matrix<Float>(random: 70, 160, seed: 18)
    let statistics = try SiteStatistics(of: correlatedInputs(220, 160, seed: 19))
    let type = try ReductionMethods.method(named: name)
    let method = try type.init(
      ReductionParameters(name == "net_trim" ? ["bisections": .number(2)] : [:], for: type.card))
    func prune(_ parallel: MatrixProduct.ParallelLoop) throws -> Matrix<Float> {
      let reduced = try method.reduce(weight, statistics, to: .sparsity(0.6), parallel: parallel)
      guard case .dense(let pruned) = reduced.form else { throw Problem(.reduction, "factors") }
      return pruned
    }
    let alone = try prune(MatrixProduct.serially)
    for threads in [2, 5] {
      let pool = WorkerPool(threads: threads)
      defer { pool.stop() }
      #expect(try prune(pool.forEach).bits == alone.bits)
    }
  }
}

let pruningMethods = ["magnitude", "wanda", "sparsegpt", "obc", "net_trim"]
