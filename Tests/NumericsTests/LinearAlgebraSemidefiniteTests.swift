import EspalierBasics
import TestSupport
import Testing

@testable import EspalierNumerics

@Suite("Factors of semidefinite matrices")
struct LinearAlgebraSemidefiniteTests {
  func error(_ factor: Matrix<Double>, _ matrix: Matrix<Double>) throws -> Double {
    let product = try MatrixProduct.product(factor, factor, transposingSecond: true)
    return zip(product.elements, matrix.elements).reduce(0) { max($0, abs($1.0 - $1.1)) }
  }

  @Test("A positive definite matrix has Cholesky's triangle")
  func definite() throws {
    let matrix = try Matrix(rows: 2, columns: 2, elements: [4.0, 2, 2, 5])
    #expect(try LinearAlgebra.semidefiniteFactor(matrix).elements == [2, 0, 1, 2])
  }

  @Test("Of dependent columns, as many directions as there are; the upper triangle is not read")
  func singular() throws {
    let matrix = try Matrix(rows: 3, columns: 3, elements: [4.0, 77, 77, 0, 0, 77, 6, 0, 9])
    let whole = try Matrix(rows: 3, columns: 3, elements: [4.0, 0, 6, 0, 0, 0, 6, 0, 9])
    for usingLapack in [LinearAlgebra.isAvailable, false] {
      let factor = try LinearAlgebra.semidefiniteFactor(matrix, usingLapack: usingLapack)
      #expect(factor.rows == 3 && factor.columns == 1)
      #expect(try error(factor, whole) < 1e-14)
    }
    #expect(try LinearAlgebra.semidefiniteFactor(Matrix(repeating: 0, rows: 3, columns: 3)).columns == 0)
    #expect(try LinearAlgebra.semidefiniteFactor(Matrix(repeating: 0, rows: 0, columns: 0)).elements.isEmpty)
  }

  @Test("Moments of fewer samples than columns", arguments: [UInt64](1...5))
  func moments(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    let samples = generator.matrix(17, 40)
    let moment = try MatrixProduct.product(samples, samples, transposingFirst: true)
    let factor = try LinearAlgebra.semidefiniteFactor(moment)
    // Cholesky may get through by rounding; either factor is one.
    #expect(factor.columns == 17 || factor.columns == 40, "seed \(seed)")
    #expect(try error(factor, moment) < 1e-12, "seed \(seed)")
  }

  @Test("What is no sum of squares is refused")
  func refused() throws {
    let indefinite = try Matrix(rows: 2, columns: 2, elements: [1.0, 2, 2, 1])
    for usingLapack in [LinearAlgebra.isAvailable, false] {
      let found = problem { try LinearAlgebra.semidefiniteFactor(indefinite, usingLapack: usingLapack) }
      #expect(found?.code == .notPositiveDefinite)
    }
    let bad = try Matrix(rows: 1, columns: 1, elements: [Double.nan])
    #expect(problem { try LinearAlgebra.semidefiniteFactor(bad) }?.code == .nonFiniteMatrix)
    #expect(
      problem { try LinearAlgebra.semidefiniteFactor(Matrix(repeating: 1, rows: 1, columns: 2)) }?.code
        == .matrixShape)
  }
}
