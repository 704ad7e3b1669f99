import EspalierBasics
import TestSupport
import Testing

@testable import EspalierNumerics

@Suite("Randomized singular value decomposition")
struct LinearAlgebraRandomizedTests {
  /// Sums of twelve uniform numbers less six: near enough to normal for a test matrix.
  func gaussian(seed: UInt64) -> (Int) -> Double {
    { index in
      var generator = SeededGenerator(seed: seed &* 1_000_003 &+ UInt64(index))
      return (0..<12).reduce(-6) { sum, _ in sum + Double.random(in: 0..<1, using: &generator) }
    }
  }

  func matrix(values: [Double], rows: Int, columns: Int, seed: UInt64) throws -> Matrix<Double> {
    var generator = SeededGenerator(seed: seed)
    let u = HouseholderQR.factor(generator.matrix(rows, values.count)).q
    let v = HouseholderQR.factor(generator.matrix(columns, values.count)).q
    var scaled = u
    for i in 0..<rows {
      for j in 0..<values.count { scaled[i, j] *= values[j] }
    }
    return try MatrixProduct.product(scaled, v, transposingSecond: true)
  }

  @Test("A matrix of low rank is found exactly, tall and wide", arguments: [(90, 40), (40, 90)])
  func lowRank(rows: Int, columns: Int) throws {
    let values = [7.0, 5, 3, 1]
    let a = try matrix(values: values, rows: rows, columns: columns, seed: 3)
    let svd = try LinearAlgebra.randomizedSVD(a, rank: 6, gaussian: gaussian(seed: 1))
    #expect(svd.u.rows == rows && svd.u.columns == 6 && svd.vTransposed.rows == 6 && svd.vTransposed.columns == columns)
    for (found, expected) in zip(svd.values, values + [0, 0]) { #expect(abs(found - expected) < 2e-14) }
    for i in 0..<rows {
      for j in 0..<columns {
        let element = (0..<6).reduce(0) { $0 + svd.u[i, $1] * svd.values[$1] * svd.vTransposed[$1, j] }
        #expect(abs(element - a[i, j]) < 2e-14)
      }
    }
  }

  @Test("Values stay below the true ones and near them when singular values decay slowly", arguments: [UInt64](1...4))
  func slowDecay(seed: UInt64) throws {
    let values = (1...60).map { 1 / Double($0).squareRoot() }
    let a = try matrix(values: values, rows: 120, columns: 80, seed: 11)
    var previous = 0.0
    for powerIterations in [0, 1, 3, 8] {
      let found = try LinearAlgebra.randomizedSVD(
        a, rank: 8, powerIterations: powerIterations, gaussian: gaussian(seed: seed)
      ).values
      for (value, exact) in zip(found, values) { #expect(value <= exact + 1e-14, "seed \(seed)") }
      let energy = found.reduce(0) { $0 + $1 * $1 }
      #expect(energy >= previous - 1e-14, "seed \(seed): power iterations bring the values nearer")
      previous = energy
    }
    #expect(previous >= 0.999 * values.prefix(8).reduce(0) { $0 + $1 * $1 }, "seed \(seed)")
  }

  @Test("The same test matrix gives the same bits; ranks beyond the matrix are cut")
  func edges() throws {
    let a = try matrix(values: [3, 2, 1], rows: 9, columns: 5, seed: 2)
    let first = try LinearAlgebra.randomizedSVD(a, rank: 100, gaussian: gaussian(seed: 4))
    let second = try LinearAlgebra.randomizedSVD(a, rank: 100, gaussian: gaussian(seed: 4))
    #expect(first.values.count == 5 && first.values == second.values && first.u == second.u)
    #expect(try LinearAlgebra.randomizedSVD(a, rank: 0, gaussian: gaussian(seed: 4)).values.isEmpty)
    #expect(try LinearAlgebra.randomizedSVD(a, rank: -3, oversampling: -1, gaussian: { _ in 1 }).values.isEmpty)
    let empty = Matrix(repeating: 0.0, rows: 0, columns: 5)
    #expect(try LinearAlgebra.randomizedSVD(empty, rank: 2, gaussian: { _ in 1 }).values.isEmpty)
  }
}
