import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import NetworkTestSupport
import TestSupport
import Testing

@testable import EspalierRestructuring

/// Units that leave by what others can make up for, and least squares in two steps.
@Suite struct GreedyOutputTests {
  /// H = [[2, 1], [1, 1]], W = [[3, 4]]: without the second input 8 is missed (see RepairTests), without the first
  /// (3)² (2 - 1) = 9.
  @Test func costsByHand() throws {
    let weight = try Matrix<Double>(rows: 1, columns: 2, elements: [3, 4])
    let moment = try Matrix<Double>(rows: 2, columns: 2, elements: [2, 1, 1, 1])
    var columns = try #require(
      try ColumnElimination(weight, moment: moment, damp: 0, parallel: MatrixProduct.serially))
    #expect(abs(columns.cost(of: 0) - 9) <= 1e-9)
    #expect(abs(columns.cost(of: 1) - 8) <= 1e-9)
    // Both cost all there is, in either order.
    #expect(abs(columns.cost(of: [0, 1]) - 58) <= 1e-9 && abs(columns.cost(of: [1, 0]) - 58) <= 1e-9)
    #expect(abs(columns.remove(1) - 8) <= 1e-9)
    // W is [[5, 0]] then, and 5² * 2 = 50 is left.
    #expect(abs(columns.cost(of: 0) - 50) <= 1e-9 && columns.cost(of: 1) == 0)
  }

  /// Steps agree with least squares over all that left at once.
  @Test func stepsAddUp() throws {
    var generator = SeededGenerator(seed: 7)
    let (inputs, outputs) = (7, 3)
    func random(_ rows: Int, _ columns: Int) throws -> Matrix<Double> {
      try Matrix(
        rows: rows, columns: columns,
        elements: (0..<rows * columns).map { _ in Double.random(in: -1...1, using: &generator) })
    }
    let (weight, rows) = (try random(outputs, inputs), try random(20, inputs))
    let moment = try MatrixProduct.product(rows, rows, transposingFirst: true)
    var columns = try #require(
      try ColumnElimination(weight, moment: moment, damp: 0, parallel: MatrixProduct.serially))
    let cost = [5, 2, 3].reduce(0) { $0 + columns.remove($1) }
    let found = try #require(try LeastSquaresRepair(damp: 0).solve(weight, moment, keeping: [0, 1, 4, 6]))
    let product = try MatrixProduct.product(weight, moment)
    let all = zip(product.elements, weight.elements).reduce(0) { $0 + $1.0 * $1.1 }
    #expect(abs(cost - found.after * found.after * all) <= 1e-9 * all)
  }

  @Test(arguments: ["inner", "heads"])
  func eachStepLowersErrors(axis: String) throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    try withTemporaryFolder { folder in
      let subject = try TokenSubject(model.checkpoint, of: model.family)
      subject.folder = folder
      let wanted = try parameterCount(model.checkpoint, of: model.family) * 9 / 10
      let result = try restructured(
        subject, by: "greedy-output", ["axis": .word(axis), "reconstruct": .number(2)], to: wanted)
      #expect(try parameterCount(result.checkpoint, of: model.family) <= wanted)
      let first = result.steps.filter { $0.text.contains("makes up for") }
      let second = result.steps.filter { $0.text.contains("on what reaches it now") }
      #expect(first.count == 2 && second.count == 2)
      for step in first + second {
        #expect(step.figures[1].value < step.figures[0].value, "\(step.text)")
        #expect(step.figures.allSatisfy { $0.value.isFinite && $0.value < 2 }, "\(step.text)")
      }
      let cut = try restructured(
        subject, by: "greedy-output", ["axis": .word(axis), "reconstruct": .number(0)], to: wanted)
      let before = try subject.divergence(of: cut.checkpoint, named: "")
      #expect(try subject.divergence(of: result.checkpoint, named: "") < before)
    }
  }

  @Test func layersAreCutWhereItCostsLeast() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    let silent = try model.repeated([0, 1, 0, 1]).silencing(["layers.2.mlp.down_proj"])
    let subject = try TokenSubject(silent, of: model.family)
    let group = UnitGroup.groups(along: "inner", of: model.description, in: model.checkpoint)[0]
    let goal = try parameterCount(silent, of: model.family) - group.count / 2 * group.parametersPerUnit
    let result = try restructured(
      subject, by: "greedy-output", ["allocate": .word("global"), "reconstruct": .number(0)], to: goal)
    #expect(result.steps.map(\.text).contains("text/2/inner: \(group.count / 2) of \(group.count) stay"))
    #expect(try subject.divergence(of: result.checkpoint, named: "") <= 1e-6)
  }

  @Test func theSecondStepNeedsText() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    let subject = try TokenSubject(model.checkpoint, of: model.family, sequences: [])
    let found = problem { try restructured(subject, by: "greedy-output", ["reconstruct": .number(2)], to: 1) }
    #expect(found?.message == "the second reconstruction runs the model on text")
  }
}
