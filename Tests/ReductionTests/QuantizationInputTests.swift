import EspalierBasics
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

/// What methods of quantization refuse, and what they bear.
@Suite struct QuantizationInputTests {
  static let names = ReductionMethods.quantization.map { $0.card.name }
  static let calibrated = ["gptq", "awq", "smooth", "obq"]
  static let roundingAlone = ["awq", "smooth", "fp8", "ternary"]

  private func reduce(
    _ name: String, _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget = .sparsity(0),
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

  @Test func kindsAreToldApart() {
    #expect(Self.names == ["rtn", "gptq", "awq", "smooth", "fp8", "ternary", "obq"])
    for name in Self.names {
      #expect(ReductionMethods.makesCodes(name) && !ReductionMethods.makesFactors(name))
      #expect(!ReductionMethods.names(makingFactors: false).contains(name))
    }
    #expect(!ReductionMethods.makesCodes("sparsegpt"))
  }

  @Test(arguments: names) func budgets(name: String) throws {
    let (weight, statistics) = try sample()
    #expect(reduce(name, weight, statistics) == nil)
    for budget in [MatrixBudget.rank(2), .parameters(0.5)] {
      #expect(reduce(name, weight, statistics, to: budget)?.code == .reduction)
    }
    let pruned = reduce(name, weight, statistics, to: .sparsity(0.5))
    if Self.roundingAlone.contains(name) {
      #expect(pruned?.message == "\(name) only rounds: sparsity 0.5 is no budget for it")
    } else {
      #expect(pruned == nil)
      #expect(reduce(name, weight, statistics, to: .sparsity(-1))?.code == .reduction)
      #expect(reduce(name, weight, statistics, to: .pattern(keep: 2, of: 5))?.code == .reduction)
    }
  }

  @Test(arguments: names) func weightsThatAreNotFinite(name: String) throws {
    var (weight, statistics) = try sample()
    for value in [Float.nan, .infinity, -.infinity] {
      weight[2, 5] = value
      let found = reduce(name, weight, statistics)
      #expect(found?.code == .nonFiniteMatrix)
      #expect(found?.message == "\(value) at row 2, column 5 of a weight of 4 x 12")
    }
  }

  @Test(arguments: calibrated) func statistics(name: String) throws {
    let (weight, statistics) = try sample()
    #expect(reduce(name, weight, nil)?.message == "\(name) needs statistics of the inputs")
    #expect(reduce(name, weight, try SiteStatistics(of: correlatedInputs(40, 8, seed: 2)))?.code == .matrixShape)
    #expect(reduce(name, weight, SiteStatistics(width: 12))?.code == .reduction)
    var damaged = statistics
    damaged.squareSums[3] = .nan
    #expect(reduce(name, weight, damaged)?.code == .nonFiniteMatrix)
  }

  @Test(arguments: ["gptq", "obq"]) func moments(name: String) throws {
    var (weight, statistics) = try sample()
    guard case .full(var moment)? = statistics.moment else { throw Problem(.reduction, "no moment") }
    statistics.moment = nil
    #expect(reduce(name, weight, statistics)?.message == "\(name) needs the full second moment of the inputs")
    moment[3, 5] = .nan
    statistics.moment = .full(moment)
    #expect(reduce(name, weight, statistics)?.code == .nonFiniteMatrix)
    let few = try SiteStatistics(of: correlatedInputs(3, 12, seed: 2))
    #expect(reduce(name, weight, few) == nil)
    #expect(
      reduce(name, weight, few, ["damp": .number(0)])?.message == "the second moment is singular with a damping of 0.0")
  }

  /// Without the full moment scales are searched by what single columns say.
  @Test func awqBearsSumsByColumn() throws {
    var (weight, statistics) = try sample()
    statistics.moment = nil
    #expect(reduce("awq", weight, statistics) == nil)
  }

  @Test(arguments: names) func weightsOfZeros(name: String) throws {
    let statistics = try sample().1
    let zeros = try Matrix<Float>(rows: 3, columns: 12, elements: [Float](repeating: 0, count: 36))
    let type = try ReductionMethods.method(named: name)
    let reduced = try type.init(ReductionParameters([:], for: type.card)).reduce(
      zeros, statistics, to: .sparsity(0), parallel: MatrixProduct.serially)
    #expect(try reduced.quantized().materialized().elements.allSatisfy { $0 == 0 })
    #expect(reduced.certificate.error == 0 && reduced.storedNumbers == 0)
    let empty = try Matrix<Float>(rows: 0, columns: 12, elements: [])
    #expect(reduce(name, empty, statistics) == nil)
  }

  /// The least and the largest weights there are: scales stay numbers of their type, or the type is named.
  @Test(arguments: ["rtn", "gptq", "obq", "ternary"]) func extremeWeights(name: String) throws {
    var (weight, statistics) = try sample()
    weight[1, 3] = 3e38
    let found = reduce(name, weight, statistics)
    if name != "ternary" {
      #expect(found?.code == .reduction)
      #expect(found?.message.hasSuffix("is beyond F16") == true)
    } else {
      #expect(found != nil)
    }
    #expect(reduce(name, weight, statistics, ["scale_type": .word("f32")]) == nil)
    let tiny = try Matrix<Float>(rows: 4, columns: 12, elements: weight.elements.map { _ in .leastNonzeroMagnitude })
    #expect(reduce(name, tiny, statistics) == nil)
  }

  @Test func parametersThatDoNotFit() throws {
    let (weight, statistics) = try sample()
    #expect(
      reduce("gptq", weight, statistics, ["group_size": .number(48)])?.message
        == "gptq: block_size 128 is no multiple of group_size 48")
    #expect(reduce("gptq", weight, statistics, ["group_size": .number(48), "static_groups": .flag(true)]) == nil)
    #expect(
      reduce("gptq", weight, statistics, to: .pattern(keep: 2, of: 4), ["act_order": .flag(true)])?.message
        == "gptq: a pattern of consecutive inputs does not go with act_order")
    #expect(
      reduce("rtn", weight, nil, ["scales": .word("matrix"), "grid": .word("mse")])?.message
        == "one scale for a whole matrix is not searched for")
    #expect(problem { try IntegerGrid(bits: 9) }?.code == .reduction)
    #expect(problem { try IntegerGrid(bits: 4, sharing: .columns(0)) }?.code == .reduction)
    #expect(problem { try IntegerGrid(bits: 4, scaleType: .i8) }?.code == .reduction)
    #expect(problem { try IntegerGrid(bits: 4).rounded(weight, importance: [1]) }?.code == .matrixShape)
  }
}
