import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

/// What pruning methods refuse, and how they say it.
@Suite struct PruningInputTests {
  private func reduce(
    _ name: String, _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    _ parameters: [String: ParameterValue] = [:]
  ) -> Problem? {
    problem {
      let type = try ReductionMethods.method(named: name)
      return try type.init(ReductionParameters(parameters, for: type.card))
        .reduce(weight, statistics, to: budget, parallel: MatrixProduct.serially)
    }
  }

  private func sample() throws -> (Matrix<Float>, SiteStatistics) {
    (try Matrix(random: 4, 12, seed: 1), try SiteStatistics(of: correlatedInputs(40, 12, seed: 2)))
  }

  @Test(arguments: pruningMethods) func budgets(name: String) throws {
    let (weight, statistics) = try sample()
    for share in [-0.1, 1.01, .nan, .infinity] {
      let found = reduce(name, weight, statistics, to: .sparsity(share))
      #expect(found?.code == .reduction)
      #expect(found?.message == "sparsity is \(share) but must be from 0 to 1")
    }
    for budget in [
      MatrixBudget.rank(2), .parameters(0.5), .pattern(keep: 2, of: 5), .pattern(keep: 3, of: 2),
      .pattern(keep: -1, of: 4), .pattern(keep: 0, of: 0),
    ] { #expect(reduce(name, weight, statistics, to: budget)?.code == .reduction) }
  }

  @Test(arguments: pruningMethods) func weightsThatAreNotFinite(name: String) throws {
    var (weight, statistics) = try sample()
    for value in [Float.nan, .infinity, -.infinity] {
      weight[2, 5] = value
      let found = reduce(name, weight, statistics, to: .sparsity(0.5))
      #expect(found?.code == .nonFiniteMatrix)
      #expect(found?.message == "\(value) at row 2, column 5 of a weight of 4 x 12")
    }
  }

  @Test(arguments: ["wanda", "sparsegpt", "obc", "net_trim"]) func statistics(name: String) throws {
    let (weight, statistics) = try sample()
    #expect(reduce(name, weight, nil, to: .sparsity(0.5))?.message == "\(name) needs statistics of the inputs")
    let narrow = try SiteStatistics(of: correlatedInputs(40, 8, seed: 2))
    #expect(reduce(name, weight, narrow, to: .sparsity(0.5))?.code == .matrixShape)
    let unseen = reduce(name, weight, SiteStatistics(width: 12), to: .sparsity(0.5))
    #expect(unseen?.code == .reduction)
    #expect(unseen?.message == "\(name): the statistics have seen no input of this matrix")
    var damaged = statistics
    damaged.squareSums[3] = .nan
    #expect(reduce(name, weight, damaged, to: .sparsity(0.5))?.message == "the sum of squares of column 3 is nan")
  }

  @Test(arguments: ["sparsegpt", "obc", "net_trim"]) func moments(name: String) throws {
    var (weight, statistics) = try sample()
    guard case .full(var moment)? = statistics.moment else { throw Problem(.reduction, "no moment") }
    statistics.moment = nil
    #expect(
      reduce(name, weight, statistics, to: .sparsity(0.5))?.message
        == "\(name) needs the full second moment of the inputs")
    moment[3, 1] = .nan
    statistics.moment = .full(moment)
    #expect(reduce(name, weight, statistics, to: .sparsity(0.5))?.code == .nonFiniteMatrix)
    statistics.moment = .full(try Matrix(rows: 2, columns: 2, elements: [1, 0, 0, 1]))
    #expect(reduce(name, weight, statistics, to: .sparsity(0.5))?.code == .matrixShape)
    // Not a moment: symmetric, but not positive.
    moment[3, 1] = 1e6
    moment[1, 3] = 1e6
    statistics.moment = .full(moment)
    if name != "net_trim" { #expect(reduce(name, weight, statistics, to: .sparsity(0.5))?.code == .reduction) }
  }

  @Test func parametersThatDoNotFit() throws {
    let (weight, statistics) = try sample()
    #expect(
      reduce("sparsegpt", weight, statistics, to: .pattern(keep: 2, of: 4), ["block_size": .number(6)])?.message
        == "sparsegpt: block_size 6 is no multiple of the pattern's 4")
    #expect(
      reduce("wanda", weight, statistics, to: .sparsity(0.5), ["structure": .word("block"), "block_rows": .number(3)])?
        .message == "4 x 12 cannot be cut into blocks of 3 x 4")
    #expect(
      reduce("magnitude", weight, nil, to: .pattern(keep: 2, of: 4), ["structure": .word("row")])?.message
        == "magnitude: a pattern of single weights does not go with structure row")
    #expect(reduce("obc", weight, statistics, to: .sparsity(0.5), ["damp": .number(2)])?.code == .reduction)
  }

  @Test(arguments: pruningMethods) func emptyMatrices(name: String) throws {
    let empty = try Matrix<Float>(rows: 0, columns: 12, elements: [])
    let statistics = try sample().1
    #expect(reduce(name, empty, statistics, to: .sparsity(0.5)) == nil)
  }

  @Test(arguments: pruningMethods) func sourcesAreInTheBibliography(name: String) throws {
    let card = try ReductionMethods.method(named: name).card
    let text = String(decoding: try FileSystem.read("\(packageFolder)/Docs/bibliography.md"), as: UTF8.self)
    #expect(text.contains("| `\(card.source)` |"))
    for parameter in card.parameters {
      if let standard = parameter.standard { #expect(parameter.complaint(about: standard) == nil) }
    }
  }
}
