import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

/// Integers times steps with a dead zone, errors handed on or not.
@Suite("Rounding to lattices") struct LatticeRoundingTests {
  private func statistics(_ rows: Matrix<Double>) throws -> SiteStatistics {
    var statistics = SiteStatistics(width: rows.columns)
    statistics.count = rows.rows
    for row in 0..<rows.rows {
      for column in 0..<rows.columns { statistics.squareSums[column] += rows[row, column] * rows[row, column] }
    }
    statistics.moment = .full(try MatrixProduct.product(rows, rows, transposingFirst: true))
    return statistics
  }

  private func noise(rows: Int, columns: Int, seed: UInt64, spread: Double = 1) throws -> Matrix<Double> {
    var generator = SeededGenerator(seed: seed)
    let shared = generator.floats(rows)
    var elements: [Double] = []
    for row in 0..<rows {
      for (column, value) in generator.floats(columns).enumerated() {
        // Columns that differ in size and go together.
        elements.append((Double(value) + 2 * Double(shared[row])) * (1 + spread * Double(column % 5)))
      }
    }
    return try Matrix(rows: rows, columns: columns, elements: elements)
  }

  private func rounded(
    _ weights: [Float], rows: Int, by rounding: LatticeRounding, step: Float, offset: Float
  ) throws -> (integers: [Int32], values: [Float], error: Double) {
    var (work, integers) = (weights, [Int32](repeating: 0, count: weights.count))
    var values = weights
    var error = 0.0
    try work.withUnsafeMutableBufferPointer { work in
      try integers.withUnsafeMutableBufferPointer { integers in
        error = try rounding.round(
          work.baseAddress!, rows: rows, step: step, offset: offset, into: integers.baseAddress!)
        values.withUnsafeMutableBufferPointer {
          rounding.values(of: integers.baseAddress!, rows: rows, step: step, into: $0.baseAddress!)
        }
      }
    }
    return (integers, values, error)
  }

  @Test("A dead zone by hand")
  func byHand() throws {
    let rounding = try LatticeRounding(columns: 4, statistics: nil)
    #expect(rounding.scales == [1, 1, 1, 1])
    let weights: [Float] = [0.34, 0.36, -0.84, 0.86, 0.24, 0.26, -0.74, 0.76]
    // Steps of a half, zero up to 0.7 of one: 0.35, and 0.85 where 2 begins.
    #expect(try rounded(weights, rows: 2, by: rounding, step: 0.5, offset: 0.3).integers == [0, 1, -1, 2, 0, 0, -1, 1])
    // The nearest.
    let nearest = try rounded(weights, rows: 2, by: rounding, step: 0.5, offset: 0.5)
    #expect(nearest.integers == [1, 1, -2, 2, 0, 1, -1, 2])
    #expect(nearest.values == [0.5, 0.5, -1, 1, 0, 0.5, -0.5, 1])
    let squares = zip(weights, nearest.values).reduce(0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
    #expect(abs(nearest.error - squares) < 1e-6)
  }

  @Test("Errors handed on, two columns by hand")
  func feedbackByHand() throws {
    // H = (2 / n) X^T X of one row (1, 0) and one (1, 1): [[2, 1], [1, 1]]. H = R R^T with R = [[1, 1], [0, 1]],
    // U = [[1, -1], [0, 1]]: all of the first column's error goes to the second.
    let rows = try Matrix(rows: 2, columns: 2, elements: [1.0, 0, 1, 1])
    let rounding = try LatticeRounding(columns: 2, statistics: try statistics(rows), damp: 0)
    #expect(rounding.scales == [1, 1])
    let result = try rounded([0.4, 0.3], rows: 1, by: rounding, step: 1, offset: 0.5)
    // 0.4 becomes 0, so the second is 0.3 + 0.4 and becomes 1.
    #expect(result.integers == [0, 1])
    #expect(abs(result.error - (0.16 + 0.09)) < 1e-6)
  }

  @Test("The error is that of the outputs, and less than without handing on")
  func error() throws {
    let (inputs, outputs) = (300, 40)
    let known = try statistics(try noise(rows: 900, columns: inputs, seed: 1))
    var generator = SeededGenerator(seed: 2)
    let weights = generator.floats(inputs * outputs)
    let original = try Matrix(rows: outputs, columns: inputs, elements: weights)
    func outputError(_ rounding: LatticeRounding) throws -> (own: Double, relative: Double) {
      let result = try rounded(weights, rows: outputs, by: rounding, step: 0.4, offset: 0.45)
      let squares = try OutputError.squares(
        of: try Matrix(rows: outputs, columns: inputs, elements: result.values), original: original, statistics: known)
      #expect(abs(result.error * Double(known.count) / 2 / squares.error - 1) < 1e-3)
      return (result.error, squares.error / squares.whole)
    }
    let handed = try outputError(try LatticeRounding(columns: inputs, statistics: known, damp: 0))
    let plain = try LatticeRounding(columns: inputs, statistics: known, handsOn: false, damp: 0)
    let result = try rounded(weights, rows: outputs, by: plain, step: 0.4, offset: 0.45)
    let squares = try OutputError.squares(
      of: try Matrix(rows: outputs, columns: inputs, elements: result.values), original: original, statistics: known)
    #expect(handed.relative < 0.8 * squares.error / squares.whole)
  }

  @Test("Rows do not know of each other: in parts they are what they are together")
  func tiles() throws {
    let (inputs, outputs) = (261, 37)
    let known = try statistics(try noise(rows: 500, columns: inputs, seed: 3))
    var generator = SeededGenerator(seed: 4)
    let weights = generator.floats(inputs * outputs)
    let rounding = try LatticeRounding(columns: inputs, statistics: known)
    let whole = try rounded(weights, rows: outputs, by: rounding, step: 0.3, offset: 0.4)
    var parts: [Int32] = []
    for range in [0..<5, 5..<21, 21..<37] {
      parts += try rounded(
        Array(weights[range.lowerBound * inputs..<range.upperBound * inputs]), rows: range.count, by: rounding,
        step: 0.3, offset: 0.4
      ).integers
    }
    #expect(parts == whole.integers)
  }

  @Test("Scales are few powers of the root of two, and go with what an input is worth")
  func scales() throws {
    let known = try statistics(try noise(rows: 400, columns: 50, seed: 5, spread: 3))
    for handsOn in [true, false] {
      let scales = try LatticeRounding(columns: 50, statistics: known, handsOn: handsOn).scales
      #expect(Set(scales).count <= 16)
      #expect(scales.allSatisfy { [1, Float(2).squareRoot()].contains($0.significand) })
      // Column 4 has the largest inputs of the first five, column 0 the least.
      #expect(scales[4] < scales[0])
    }
    // An expert that saw no row.
    #expect(
      try LatticeRounding(columns: 3, statistics: SiteStatistics(width: 3)).scales == [1, 1, 1])
    #expect(problem { try LatticeRounding(columns: 3, statistics: known) }?.code == .matrixShape)
  }

  @Test("What is too large for an integer is cut")
  func large() throws {
    let rounding = try LatticeRounding(columns: 2, statistics: nil)
    let result = try rounded([1e30, -1e30], rows: 1, by: rounding, step: 1e-3, offset: 0.5)
    #expect(result.integers == [(1 << 24) - 1, 1 - (1 << 24)])
  }
}
