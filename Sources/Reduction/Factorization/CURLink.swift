internal import EspalierBasics
internal import EspalierNumerics

/// The small matrix between columns C `[m, r]` and rows R `[r, n]`.
enum CURLink {
  /// U = C⁺ A R⁺, the U that minimizes ‖A - C U R‖_F, of those the smallest.
  ///
  ///     U = (Cᵀ C)⁻¹ (Cᵀ A Rᵀ) (R Rᵀ)⁻¹
  ///
  /// where columns and rows are far from depending on each other, as chosen ones are; otherwise by singular values.
  static func fitted(
    _ c: Matrix<Double>, _ a: Matrix<Double>, _ r: Matrix<Double>, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> Matrix<Double> {
    let columns = try MatrixProduct.product(c, c, transposingFirst: true, parallel: parallel)
    let rows = try MatrixProduct.product(r, r, transposingSecond: true, parallel: parallel)
    guard let before = try GramFactor(columns, parallel: parallel)?.inverse(parallel),
      let after = try GramFactor(rows, parallel: parallel)?.inverse(parallel)
    else {
      let half = try LinearAlgebra.leastSquares(c, a)
      return try LinearAlgebra.leastSquares(r.transposed, half.transposed).transposed
    }
    let inner = try MatrixProduct.product(
      MatrixProduct.product(c, a, transposingFirst: true, parallel: parallel), r, transposingSecond: true,
      parallel: parallel)
    return try MatrixProduct.product(
      MatrixProduct.product(before, inner, parallel: parallel), after, parallel: parallel)
  }
}

/// G = Yᵀ Y as R Rᵀ, by U = R⁻¹: G⁻¹ = Uᵀ U, and Y Uᵀ has orthonormal columns. Of columns that are far from depending on
/// each other it serves as well as an orthogonal factorization, and is made of products.
struct GramFactor {
  /// U `[r, r]`, upper triangular.
  let upper: Matrix<Double>

  /// Nil where the pivots, the lengths that are left of columns of Y, fall below 1e-5 of the largest: half of the digits
  /// would be lost.
  init?(_ gram: Matrix<Double>, parallel: MatrixProduct.ParallelLoop) throws(Problem) {
    var upper = gram
    let count = gram.rows
    for i in 0..<count {
      for j in 0..<count { upper.elements[i * count + j] = j < i ? 0 : -gram.elements[i * count + j] }
    }
    let succeeded = try upper.elements.withUnsafeMutableBufferPointer { (buffer) throws(Problem) in
      guard let base = buffer.baseAddress else { return true }
      let triangle = UpperTriangle(elements: base, count: count, stride: count)
      do throws(Problem) { try triangle.factor(parallel) } catch {
        guard error.code == .notPositiveDefinite else { throw error }
        return false
      }
      let pivots = (0..<count).map { base[$0 * count + $0] }
      guard let least = pivots.min(), let largest = pivots.max(), least > 1e-5 * largest else { return false }
      try triangle.invert(parallel)
      return true
    }
    guard succeeded else { return nil }
    self.upper = upper
  }

  func inverse(_ parallel: MatrixProduct.ParallelLoop) throws(Problem) -> Matrix<Double> {
    try MatrixProduct.product(upper, upper, transposingFirst: true, parallel: parallel)
  }
}
