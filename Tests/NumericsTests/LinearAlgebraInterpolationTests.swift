import EspalierBasics
import TestSupport
import Testing

@testable import EspalierNumerics

@Suite("Rows that stand for all")
struct LinearAlgebraInterpolationTests {
  @Test("A case by hand: the second column less half the first is largest in the last row")
  func byHand() throws {
    let basis = try Matrix(rows: 3, columns: 2, elements: [3.0, 1, 4, 2, 0, 5])
    #expect(try LinearAlgebra.empiricalInterpolation(basis) == [1, 2])
    let scores = LinearAlgebra.leverageScores(try Matrix(rows: 3, columns: 2, elements: [1.0, 0, 0, 0.6, 0, 0.8]))
    #expect(scores[0] == 1 && abs(scores[1] - 0.36) < 1e-15 && abs(scores[2] - 0.64) < 1e-15)
  }

  /// The definition: each column less its interpolation at the points so far.
  func points(_ basis: Matrix<Double>) throws -> [Int] {
    var points: [Int] = []
    for j in 0..<basis.columns {
      var residual = (0..<basis.rows).map { basis[$0, j] }
      if j > 0 {
        let before = basis.selecting(columns: Array(0..<j))
        let at = before.selecting(rows: points)
        let coefficients = try LinearAlgebra.leastSquares(
          at, Matrix(rows: j, columns: 1, elements: points.map { basis[$0, j] }))
        let interpolated = try MatrixProduct.product(before, coefficients)
        for i in residual.indices { residual[i] -= interpolated.elements[i] }
        for p in points { residual[p] = 0 }
      }
      points.append(residual.indices.max { abs(residual[$0]) < abs(residual[$1]) } ?? 0)
    }
    return points
  }

  @Test("Blocks of columns find the points of the definition", arguments: [(50, 5), (90, 32), (120, 75), (70, 70)])
  func definition(rows: Int, columns: Int) throws {
    var generator = SeededGenerator(seed: 7)
    let basis = try LinearAlgebra.qr(generator.matrix(rows, columns)).q
    let found = try LinearAlgebra.empiricalInterpolation(basis)
    #expect(found == (try points(basis)))
    #expect(Set(found).count == columns)
    let pool = WorkerPool(threads: 3)
    defer { pool.stop() }
    #expect(try LinearAlgebra.empiricalInterpolation(basis, parallel: pool.forEach) == found)
    #expect(abs(LinearAlgebra.leverageScores(basis).reduce(0, +) - Double(columns)) < 1e-12)
  }

  @Test("Bases that have no points")
  func refused() throws {
    let repeated = try Matrix(rows: 3, columns: 2, elements: [1.0, 2, 2, 4, 4, 8])
    #expect(problem { try LinearAlgebra.empiricalInterpolation(repeated) }?.code == .dependentColumns)
    let wide = Matrix(repeating: 1.0, rows: 1, columns: 2)
    #expect(problem { try LinearAlgebra.empiricalInterpolation(wide) }?.code == .matrixShape)
    let bad = Matrix(repeating: Double.infinity, rows: 2, columns: 1)
    #expect(problem { try LinearAlgebra.empiricalInterpolation(bad) }?.code == .nonFiniteMatrix)
    #expect(try LinearAlgebra.empiricalInterpolation(Matrix(repeating: 0, rows: 4, columns: 0)) == [])
  }

  @Test("Rows and columns are taken in the order asked for")
  func selection() throws {
    let matrix = try Matrix(rows: 2, columns: 3, elements: [1.0, 2, 3, 4, 5, 6])
    #expect(matrix.selecting(columns: [2, 0]).elements == [3, 1, 6, 4])
    #expect(matrix.selecting(rows: [1, 1]).elements == [4, 5, 6, 4, 5, 6])
    #expect(matrix.scaling(columns: [1, 0, 2]).elements == [1, 0, 6, 4, 0, 12])
    #expect(matrix.scaling(rows: [1, 2]).elements == [1, 2, 3, 8, 10, 12])
  }
}
