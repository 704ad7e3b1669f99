import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

/// Magnitude, Wanda, patterns, the global cut and the schedule.
@Suite struct PruningScoreTests {
  private let weight = Result {
    try Matrix<Float>([[1, -8, 3, 0.5], [-2, 4, 0.25, 6], [5, 7, -9, 10], [0.125, 11, 12, -13]])
  }

  @Test func magnitudeByHand() throws {
    let weight = try weight.get()
    let layer = try MagnitudePruning.make().prune(weight, to: .sparsity(0.3))  // Int(4.8) = 4: 0.125, 0.25, 0.5, 1
    #expect(layer.elements == [0, -8, 3, 0, -2, 4, 0, 6, 5, 7, -9, 10, 0, 11, 12, -13])
    let row = try MagnitudePruning.make(["scope": .word("row")]).prune(weight, to: .sparsity(0.25))
    #expect(row.elements == [1, -8, 3, 0, -2, 4, 0, 6, 0, 7, -9, 10, 0, 11, 12, -13])
    let pattern = try MagnitudePruning.make().prune(weight, to: .pattern(keep: 1, of: 2))
    #expect(pattern.elements == [0, -8, 3, 0, 0, 4, 0, 6, 0, 7, 0, 10, 0, 11, 0, -13])
  }

  @Test func structuresByHand() throws {
    let weight = try weight.get()
    let rows = try MagnitudePruning.make(["structure": .word("row")]).prune(weight, to: .sparsity(0.25))
    #expect(rows.elements == [1, -8, 3, 0.5, 0, 0, 0, 0, 5, 7, -9, 10, 0.125, 11, 12, -13])
    let columns = try MagnitudePruning.make(["structure": .word("column")]).prune(weight, to: .sparsity(0.25))
    #expect(columns.elements == [0, -8, 3, 0.5, 0, 4, 0.25, 6, 0, 7, -9, 10, 0, 11, 12, -13])
    // Sums of squares of the 2 x 2 tiles: 85, 45.3125, 195.015625, 494.
    let blocks = try MagnitudePruning.make([
      "structure": .word("block"), "block_rows": .number(2), "block_columns": .number(2),
    ]).prune(weight, to: .sparsity(0.5))
    #expect(blocks.elements == [0, 0, 0, 0, 0, 0, 0, 0, 5, 7, -9, 10, 0.125, 11, 12, -13])
  }

  @Test func wandaByHand() throws {
    // Norms of the inputs: 10, 1, 2, 0.
    let weight = try Matrix<Float>([[1, -8, 3, 50], [-2, 4, 0.25, 60]])
    let inputs = try Matrix<Float>([[6, 1, 0, 0], [-8, 0, 2, 0]])
    let pruned = try Wanda.make().prune(weight, SiteStatistics(of: inputs), to: .sparsity(0.5))
    #expect(pruned.elements == [1, -8, 0, 0, -2, 4, 0, 0])
    let layer = try Wanda.make(["scope": .word("layer")]).prune(weight, SiteStatistics(of: inputs), to: .sparsity(0.5))
    #expect(layer.elements == [1, -8, 3, 0, -2, 0, 0, 0])
    let alike = try Wanda.make().prune(weight, SiteStatistics(of: inputs), to: .pattern(keep: 1, of: 2))
    #expect(alike.elements == [1, 0, 3, 0, -2, 0, 0.25, 0])
  }

  @Test func equalScoresGoByIndex() throws {
    let weight = try Matrix<Float>([[1, -1, 1, 1], [1, 1, 1, 1]])
    #expect(
      try MagnitudePruning.make().prune(weight, to: .sparsity(0.375)).elements == [0, 0, 0, 1, 1, 1, 1, 1])
    #expect(
      try MagnitudePruning.make().prune(weight, to: .pattern(keep: 2, of: 4)).elements == [0, 0, 1, 1, 0, 0, 1, 1])
  }

  @Test(arguments: [0, 0.1, 0.5, 0.77, 1]) func sparsityIsExact(share: Double) throws {
    let weight = try Matrix<Float>(random: 60, 96, seed: 1)
    let statistics = try SiteStatistics(of: correlatedInputs(200, 96, seed: 2))
    for scope in ["row", "layer"] {
      let parameters = ["scope": ParameterValue.word(scope)]
      let count = scope == "row" ? 60 * Int(96 * share) : Int(60 * 96 * share)
      #expect(try MagnitudePruning.make(parameters).prune(weight, to: .sparsity(share)).zeros == count)
      #expect(try Wanda.make(parameters).prune(weight, statistics, to: .sparsity(share)).zeros == count)
      #expect(
        try OptimalBrainCompression.make(parameters).prune(weight, statistics, to: .sparsity(share)).zeros == count)
    }
  }

  @Test(arguments: [40_000, 100_003]) func orderStatisticsAreThoseOfASort(count: Int) throws {
    var generator = SeededGenerator(seed: 5)
    let smooth = generator.floats(count).map(Double.init)
    // Values that come in runs mislead the sample; equal ones fill its bracket.
    let runs = smooth.indices.map { Double($0 / 7000) }
    let few = smooth.map { ($0 * 2).rounded() }
    for values in [smooth, runs, few] {
      let sorted = values.sorted()
      for rank in [0, 1, count / 3, count / 2, count - 2, count - 1] {
        #expect(values.withUnsafeBufferPointer { OrderStatistic.value(ofRank: rank, in: $0) } == sorted[rank])
      }
    }
  }

  @Test func globalCutIsThatOfAllTogether() throws {
    let matrices = try (0..<3).map { try Matrix<Float>(random: 20 + $0, 30, seed: UInt64($0)) }
    let all = matrices.flatMap { $0.elements.map(\.magnitude) }.sorted()
    let cut = try GlobalMagnitudeCut(over: 3, sparsity: 0.6) { matrices[$0].elements }
    let count = Int(Double(all.count) * 0.6)
    #expect(cut.cuts.map(\.count).reduce(0, +) == count)
    #expect(cut.cuts.allSatisfy { $0.threshold == all[count - 1] })
    for (index, matrix) in matrices.enumerated() {
      let pruned = cut.applied(to: matrix, index: index)
      #expect(pruned.zeros == cut.cuts[index].count)
      #expect(zip(pruned.elements, matrix.elements).allSatisfy { $0 == ($1.magnitude <= all[count - 1] ? 0 : $1) })
    }
  }

  @Test func globalCutTakesTiesInTurn() throws {
    let matrices: [[Float]] = [[1, 2], [1, 1], [1, 0]]
    let cut = try GlobalMagnitudeCut(over: 3, sparsity: 0.5) { matrices[$0] }
    #expect(cut.cuts.map(\.count) == [1, 1, 1])
    #expect(cut.applied(to: try Matrix([[1, 1]]), index: 1).elements == [0, 1])
    #expect(try GlobalMagnitudeCut(over: 3, sparsity: 0) { matrices[$0] }.cuts.map(\.count) == [0, 0, 0])
    #expect(try GlobalMagnitudeCut(over: 3, sparsity: 1) { matrices[$0] }.cuts.map(\.count) == [2, 2, 2])
  }

  @Test func aGlobalCutIsABudgetOfEachMatrix() throws {
    // Sizes at which shares are not exact in binary, few different magnitudes so that there are ties.
    for (seed, sparsity) in [0.1, 0.37, 0.5, 0.9, 1].enumerated() {
      let matrices = try [(7, 11), (13, 3), (49, 29)].map { rows, columns in
        let values = try Matrix<Float>(random: rows, columns, seed: UInt64(seed))
        return try Matrix(rows: rows, columns: columns, elements: values.elements.map { ($0 * 8).rounded() / 8 })
      }
      let cut = try GlobalMagnitudeCut(over: 3, sparsity: sparsity) { matrices[$0].elements }
      for (index, matrix) in matrices.enumerated() {
        let budget = cut.budget(of: index, elements: matrix.elements.count)
        let pruned = try MagnitudePruning.make(["scope": .word("model")]).prune(matrix, to: budget)
        #expect(pruned.elements == cut.applied(to: matrix, index: index).elements)
      }
    }
  }

  @Test func schedule() throws {
    let schedule = try GradualSchedule(from: 0.2, to: 0.8, begin: 100, end: 300, interval: 50)
    #expect(schedule.sparsity(at: 0) == 0.2)
    #expect(schedule.sparsity(at: 100) == 0.2)
    #expect(schedule.sparsity(at: 149) == 0.2)
    #expect(abs(schedule.sparsity(at: 200) - (0.8 - 0.6 / 8)) < 1e-15)
    #expect(schedule.sparsity(at: 300) == 0.8)
    #expect(schedule.sparsity(at: 9999) == 0.8)
    for step in 0..<400 { #expect(schedule.sparsity(at: step) <= schedule.sparsity(at: step + 1)) }
  }

  @Test func schedulesThatAreNone() {
    #expect(problem { try GradualSchedule(from: 0.5, to: 0.2, begin: 0, end: 1) }?.code == .reduction)
    #expect(problem { try GradualSchedule(to: 1.5, begin: 0, end: 1) }?.code == .reduction)
    #expect(problem { try GradualSchedule(to: 0.5, begin: 3, end: 3) }?.code == .reduction)
    #expect(problem { try GradualSchedule(to: 0.5, begin: .min, end: .max) }?.code == .reduction)
    #expect(problem { try GradualSchedule(to: 0.5, begin: 0, end: 1, interval: 0) }?.code == .reduction)
  }
}
