import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

@Suite struct PruningNetTrimTests {
  private func normals(_ rows: Int, _ columns: Int, seed: UInt64) throws -> Matrix<Double> {
    var values = [Float](repeating: 0, count: rows * columns)
    let random = KeyedRandom(seed: seed, name: "net-trim")
    values.withUnsafeMutableBufferPointer { random.normals(startingAt: 0, into: $0.baseAddress!, count: $0.count) }
    return try Matrix(rows: rows, columns: columns, elements: values.map(Double.init))
  }

  /// Rows of `inputs` weights with `nonzeros` of them not zero.
  private func planted(_ outputs: Int, _ inputs: Int, nonzeros: Int, seed: UInt64) throws -> Matrix<Double> {
    var generator = SeededGenerator(seed: seed)
    var weight = try Matrix(rows: outputs, columns: inputs, elements: [Double](repeating: 0, count: outputs * inputs))
    for i in 0..<outputs {
      for j in (0..<inputs).shuffled(using: &generator).prefix(nonzeros) {
        weight[i, j] = Double(generator.floats(1)[0]) + (j.isMultiple(of: 2) ? 1.5 : -1.5)
      }
    }
    return weight
  }

  /// The part of A that lies in the null space of X: A - A X⁺ X.
  private func silent(_ a: Matrix<Double>, under x: Matrix<Double>) throws -> Matrix<Double> {
    let v = try LinearAlgebra.svd(x).vTransposed
    let seen = try MatrixProduct.product(MatrixProduct.product(a, v, transposingSecond: true), v)
    return try Matrix(rows: a.rows, columns: a.columns, elements: zip(a.elements, seen.elements).map(-))
  }

  /// A dense layer that answers 60 samples of 120 inputs as a planted one of 6 weights a row does: the program finds the
  /// planted one, from about half as many samples as unknowns, with and without the rectifier.
  @Test(arguments: [(false, 60), (true, 160)]) func plantedWeightsAreRecovered(rectified: Bool, samples: Int) throws {
    let (outputs, inputs) = (8, rectified ? 200 : 120)
    let truth = try planted(outputs, inputs, nonzeros: 6, seed: 1)
    let x = try normals(samples, inputs, seed: 2)
    let noise = try silent(normals(outputs, inputs, seed: 3), under: x)
    let dense = try Matrix(
      rows: outputs, columns: inputs, elements: zip(truth.elements, noise.elements).map { $0 + $1 })
    #expect(dense.elements.allSatisfy { $0 != 0 })
    let program = try NetTrimProgram(weight: dense, inputs: x, rectified: rectified)
    let solution = try program.solve(tolerance: 0, residual: 1e-6, iterations: 20_000)
    #expect(solution.converged)
    #expect(solution.primalResidual < 1e-4 && solution.dualResidual < 1e-4)
    for (value, wanted) in zip(solution.weight.elements, truth.elements) { #expect(abs(value - wanted) < 1e-3) }
    #expect(solution.weight.elements.count { abs($0) > 1e-2 } == 6 * outputs)
  }

  /// min |u| subject to |2 (u - 3)| <= ε: u = 3 - ε / 2, with ε = 0.25 * 6.
  @Test func oneWeightByHand() throws {
    let program = try NetTrimProgram(
      weight: Matrix(rows: 1, columns: 1, elements: [3]), inputs: Matrix(rows: 1, columns: 1, elements: [2]),
      rectified: false)
    let solution = try program.solve(tolerance: 0.25, residual: 1e-9)
    #expect(solution.converged)
    #expect(abs(solution.weight.elements[0] - 2.25) < 1e-7)
    #expect(abs(solution.responseError - 0.25) < 1e-7)
    // All may go when the whole response may.
    #expect(try program.solve(tolerance: 1).zeros == 1)
  }

  /// Behind a rectifier a response that was off need only stay off: of w = (1, -1) on inputs e1 and e2 the second weight
  /// answers nothing and goes.
  @Test func whatTheRectifierHidesIsFree() throws {
    let program = try NetTrimProgram(
      weight: Matrix(rows: 1, columns: 2, elements: [1, -1]),
      inputs: Matrix(rows: 2, columns: 2, elements: [1, 0, 0, 1]), rectified: true)
    let solution = try program.solve(tolerance: 0, residual: 1e-9)
    #expect(abs(solution.weight.elements[0] - 1) < 1e-7)
    #expect(solution.weight.elements[1] == 0)
  }

  /// Fewer samples than inputs, where sparser weights of the same responses exist.
  @Test(arguments: [0.02, 0.1, 0.3]) func responsesKeepTheToleranceWithMoreZerosThanByMagnitude(tolerance: Double)
    throws
  {
    let weight = try normals(16, 60, seed: 4)
    let mixed = try correlatedInputs(40, 60, seed: 5)
    let x = try Matrix(rows: 40, columns: 60, elements: mixed.elements.map(Double.init))
    let solution = try NetTrimProgram(weight: weight, inputs: x, rectified: true).solve(tolerance: tolerance)
    #expect(solution.converged)
    #expect(solution.primalResidual <= 1e-4 && solution.dualResidual <= 1e-4)
    #expect(solution.responseError <= tolerance + 2e-4)
    // The most that magnitude pruning can remove within the same error.
    func rectifiedOutputs(_ w: Matrix<Double>) throws -> [Double] {
      try MatrixProduct.product(w, x, transposingSecond: true).elements.map { max(0, $0) }
    }
    let wanted = try rectifiedOutputs(weight)
    let norm = wanted.reduce(0) { $0 + $1 * $1 }
    let order = weight.elements.indices.sorted { weight.elements[$0].magnitude < weight.elements[$1].magnitude }
    var (cut, zeros) = (weight, 0)
    for index in order {
      cut.elements[index] = 0
      let error = zip(try rectifiedOutputs(cut), wanted).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
      if error > tolerance * tolerance * norm { break }
      zeros += 1
    }
    #expect(solution.zeros > zeros)
  }

  @Test func theMethodKeepsTheSparsityAndTellsItsError() throws {
    let weight = try Matrix<Float>(random: 16, 40, seed: 6)
    let inputs = try correlatedInputs(30, 40, seed: 7)  // fewer rows than inputs: a singular moment
    let statistics = try SiteStatistics(of: inputs)
    for share in [0, 0.3, 0.5, 0.8] {
      let reduced = try NetTrim.make().reduce(
        weight, statistics, to: .sparsity(share), parallel: MatrixProduct.serially)
      guard case .dense(let pruned) = reduced.form else { throw Problem(.reduction, "factors") }
      #expect(pruned.zeros == Int(640 * share))
      let error = try outputError(pruned, weight, inputs)
      #expect(abs(reduced.certificate.error - error) <= 1e-6 + 1e-5 * error)
      #expect(reduced.certificate.assumptions.isEmpty)
    }
    let half = MatrixBudget.sparsity(0.5)
    let trimmed = try NetTrim.make().reduce(weight, statistics, to: half, parallel: MatrixProduct.serially)
    let cut = try MagnitudePruning.make().reduce(weight, statistics, to: half, parallel: MatrixProduct.serially)
    #expect(trimmed.certificate.error < cut.certificate.error)
  }

  @Test func requestsThatAreNone() throws {
    let program = try NetTrimProgram(
      weight: Matrix(rows: 1, columns: 1, elements: [3]), inputs: Matrix(rows: 1, columns: 1, elements: [2]),
      rectified: false)
    for tolerance in [-1, .nan, .infinity] as [Double] {
      #expect(problem { try program.solve(tolerance: tolerance) }?.code == .reduction)
    }
    #expect(problem { try program.solve(tolerance: 0.1, residual: 0) }?.code == .reduction)
    let narrow = problem {
      try NetTrimProgram(
        weight: Matrix(rows: 1, columns: 1, elements: [3]), inputs: Matrix(rows: 1, columns: 2, elements: [1, 2]),
        rectified: true)
    }
    #expect(narrow?.code == .matrixShape)
  }
}
