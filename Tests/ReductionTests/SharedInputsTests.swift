import EspalierBasics
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

/// Matrices that read the same inputs, reduced together.
@Suite struct SharedInputsTests {
  struct Case: CustomTestStringConvertible, Sendable {
    let name: String
    var parameters: [String: ParameterValue] = [:]
    var testDescription: String { "\(name) \(parameters)" }

    func method() throws -> any ReductionMethod {
      let type = try ReductionMethods.method(named: name)
      return try type.init(ReductionParameters(parameters, for: type.card))
    }
  }

  /// Every method, and what has a part that depends on a parameter.
  static let cases =
    ReductionMethods.all.map { Case(name: $0.card.name, parameters: $0.card.name == "net_trim" ? fewPrograms : [:]) }
    + [
      Case(name: "obc", parameters: ["scope": .word("layer")]),
      Case(name: "feature-pca", parameters: ["center": .flag(true)]),
      Case(name: "cur", parameters: ["link": .word("outputs")]),
      Case(name: "cur", parameters: ["importance": .word("activation")]),
    ]
  static let fewPrograms: [String: ParameterValue] = ["bisections": .number(2), "iterations": .number(100)]

  @Test(arguments: cases) func togetherIsOneByOne(item: Case) throws {
    let method = try item.method()
    let statistics = try SiteStatistics(of: correlatedInputs(130, 48, seed: 31))
    let weights = try [20, 48, 7].map { try Matrix<Float>(random: $0, 48, seed: UInt64($0)) }
    let makesZeros = pruningMethods.contains(item.name)
    let budgets: [MatrixBudget] =
      makesZeros
      ? [.sparsity(0.5), .sparsity(0.3), .sparsity(0.75)]
      : [3, 9, 2].map { ReductionMethods.makesCodes(item.name) ? .sparsity(0) : .rank($0) }
    let pool = WorkerPool(threads: 3)
    defer { pool.stop() }
    let alone = try zip(weights, budgets).map { (weight, budget) in
      try method.reduce(weight, statistics, to: budget, parallel: MatrixProduct.serially)
    }
    func expectTheSame(_ parallel: MatrixProduct.ParallelLoop) throws {
      let together = try method.reduce(weights, statistics, to: budgets, parallel: parallel)
      #expect(together.count == alone.count)
      for (a, b) in zip(together, alone) {
        #expect(parts(a.form) == parts(b.form))
        #expect(a.certificate.error == b.certificate.error && a.certificate.floor == b.certificate.floor)
        #expect(a.storedNumbers == b.storedNumbers && a.outputShift == b.outputShift)
      }
    }
    try expectTheSame(MatrixProduct.serially)
    try expectTheSame(pool.forEach)
    #expect(try method.reduce([], statistics, to: [], parallel: MatrixProduct.serially).isEmpty)
  }

  @Test(arguments: cases) func whatDoesNotFitIsRefused(item: Case) throws {
    let method = try item.method()
    let statistics = try SiteStatistics(of: correlatedInputs(40, 8, seed: 32))
    let weight = try Matrix<Float>(random: 6, 8, seed: 33)
    let budget: MatrixBudget =
      pruningMethods.contains(item.name)
      ? .sparsity(0.5) : ReductionMethods.makesCodes(item.name) ? .sparsity(0) : .rank(2)
    func found(_ weights: [Matrix<Float>], _ budgets: [MatrixBudget]) -> Problem? {
      problem { try method.reduce(weights, statistics, to: budgets, parallel: MatrixProduct.serially) }
    }
    let counts = found([weight, weight], [budget])
    #expect(counts?.code == .reduction)
    #expect(counts?.message == "\(item.name): 1 budgets for 2 matrices")
    #expect(found([weight, weight], [budget, .rank(7)])?.code == .reduction)
    #expect(try found([weight, Matrix<Float>(random: 6, 9, seed: 34)], [budget, budget])?.code == .matrixShape)
  }

  private func parts(_ form: ReducedMatrix.Form) -> [[UInt32]] {
    switch form {
    case .dense(let matrix): [matrix.bits]
    case .factors(let left, let right): [left.bits, right.bits]
    case .cur(let columns, let link, let rows, let chosen, let lines):
      [columns.bits, link.bits, rows.bits, chosen.map { UInt32($0) }, lines.map { UInt32($0) }]
    case .split(let split): [split.whole.bits, split.left.bits, split.right.bits]
    case .quantized(let matrix): [matrix.codes.map(UInt32.init), matrix.scales.map(\.bitPattern)]
    }
  }
}
