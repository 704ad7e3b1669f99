import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

extension ReductionMethod {
  /// The method with some parameters given and the others as its card has them.
  static func make(_ given: [String: ParameterValue] = [:]) throws -> Self {
    try Self(ReductionParameters(given, for: card))
  }

  func prune(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics? = nil, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws -> Matrix<Float> {
    let reduced = try reduce(weight, statistics, to: budget, parallel: parallel)
    guard case .dense(let matrix) = reduced.form else { throw Problem(.reduction, "pruning gave factors") }
    #expect(reduced.storedNumbers == matrix.elements.count { $0 != 0 })
    return matrix
  }
}

extension SiteStatistics {
  /// Of the rows of X `[rows, width]`, in float64.
  init(of inputs: Matrix<Float>) throws {
    self.init(width: inputs.columns)
    let x = try Matrix(rows: inputs.rows, columns: inputs.columns, elements: inputs.elements.map(Double.init))
    count = inputs.rows
    for i in 0..<x.rows {
      for j in 0..<x.columns {
        sums[j] += x[i, j]
        squareSums[j] += x[i, j] * x[i, j]
        absoluteSums[j] += x[i, j].magnitude
      }
    }
    moment = .full(try MatrixProduct.product(x, x, transposingFirst: true))
  }
}

extension Matrix<Float> {
  init(_ rows: [[Float]]) throws {
    try self.init(rows: rows.count, columns: rows.first?.count ?? 0, elements: Array(rows.joined()))
  }

  init(random rows: Int, _ columns: Int, seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    try self.init(rows: rows, columns: columns, elements: generator.floats(rows * columns))
  }

  var zeros: Int { elements.count { $0 == 0 } }
  var bits: [UInt32] { elements.map(\.bitPattern) }
}

/// Inputs whose columns are correlated: each mixes with the one before it.
func correlatedInputs(_ rows: Int, _ columns: Int, seed: UInt64) throws -> Matrix<Float> {
  var x = try Matrix<Float>(random: rows, columns, seed: seed)
  for i in 0..<rows { for j in 1..<columns { x[i, j] += 0.7 * x[i, j - 1] } }
  return x
}

/// ‖(W - W') Xᵀ‖_F / ‖W Xᵀ‖_F in float64, from the samples themselves.
func outputError(_ changed: Matrix<Float>, _ weight: Matrix<Float>, _ inputs: Matrix<Float>) throws -> Double {
  func outputs(_ elements: [Double]) throws -> Double {
    let w = try Matrix(rows: weight.rows, columns: weight.columns, elements: elements)
    let x = try Matrix(rows: inputs.rows, columns: inputs.columns, elements: inputs.elements.map(Double.init))
    return try MatrixProduct.product(w, x, transposingSecond: true).elements.reduce(0) { $0 + $1 * $1 }
  }
  let difference = zip(weight.elements, changed.elements).map { Double($0) - Double($1) }
  return try (outputs(difference) / outputs(weight.elements.map(Double.init))).squareRoot()
}
