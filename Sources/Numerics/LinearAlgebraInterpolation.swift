public import EspalierBasics

extension Problem.Code {
  /// Columns that should be independent and are not.
  public static let dependentColumns = Problem.Code("linear-algebra.dependent-columns")
}

/// Which rows of a matrix stand for all of them.
extension LinearAlgebra {
  /// The interpolation points of a basis V `[n, r]` by the discrete empirical interpolation method: for j = 1 ... r the
  /// row where column j is worst met by the columns before it.
  ///
  ///     p_j = argmax |v_j - V_(j-1) c|   with c such that the difference vanishes at p_1 ... p_(j-1)
  ///
  /// The points are the pivots of Gaussian elimination with row exchanges (of equal ones the first), which is how they
  /// are computed: 32 columns at a time, the rest by one product.
  ///
  /// Source: Chaturantabut, Sorensen 2010 (SIAM J. Sci. Comput. 32, 2737), algorithm 1; for columns and rows of a
  /// matrix: Sorensen, Embree 2016, section 3. Cost: n r² flops.
  ///
  /// - Throws: `matrix.shape` if r > n; `linear-algebra.non-finite`; `linear-algebra.dependent-columns` where nothing is
  ///   left of a column.
  public static func empiricalInterpolation(
    _ basis: Matrix<Double>, parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> [Int] {
    try checkFinite(basis)
    let (n, r) = (basis.rows, basis.columns)
    guard r <= n else { throw Problem(.matrixShape, "\(r) columns of \(n) rows have no \(r) interpolation points") }
    var residual = basis
    var points: [Int] = []
    for start in stride(from: 0, to: r, by: 32) {
      let end = min(start + 32, r)
      // Column q: minus what each row takes of pivot row q. Row q: the pivot row beyond the panel.
      var factors = Matrix(repeating: 0.0, rows: n, columns: end - start)
      var pivots = Matrix(repeating: 0.0, rows: end - start, columns: r - end)
      for j in start..<end {
        var point = 0
        for i in 1..<max(n, 1) where abs(residual[i, j]) > abs(residual[point, j]) { point = i }
        let pivot = residual[point, j]
        guard pivot != 0 else {
          throw Problem(.dependentColumns, "column \(j) of \(r) depends on those before it")
        }
        points.append(point)
        for c in end..<r {
          var value = residual[point, c]
          for q in 0..<j - start { value += factors[point, q] * pivots[q, c - end] }
          pivots[j - start, c - end] = value
        }
        let row = (j..<end).map { residual[point, $0] }
        for i in 0..<n {
          let factor = -residual[i, j] / pivot
          factors[i, j - start] = factor
          for c in j + 1..<max(end, j + 1) { residual[i, c] += factor * row[c - j] }
          residual[i, j] = 0
        }
        // Rounding leaves next to nothing at a point; it shall be nothing, so that no point comes twice.
        for c in j + 1..<max(end, j + 1) { residual[point, c] = 0 }
      }
      guard end < r else { break }
      try residual.elements.withUnsafeMutableBufferPointer { (buffer) throws(Problem) in
        let rest = try MutableMatrixView(
          UnsafeMutableBufferPointer(rebasing: buffer[end...]), rows: n, columns: r - end, stride: r)
        try factors.withView { (factors) throws(Problem) in
          try pivots.withView { (pivots) throws(Problem) in
            try MatrixProduct.multiply(factors, pivots, into: rest, accumulate: true, parallel: parallel)
          }
        }
      }
      for point in points { for c in end..<r { residual[point, c] = 0 } }
    }
    return points
  }

  /// How much each row of an orthonormal basis V `[n, r]` matters to the space it spans: the squared lengths of the rows,
  /// from 0 to 1, r in sum.
  ///
  /// Source: Drineas, Mahoney, Muthukrishnan 2008 (SIAM J. Matrix Anal. Appl. 30, 844), section 5.
  public static func leverageScores(_ basis: Matrix<Double>) -> [Double] {
    (0..<basis.rows).map { i in (0..<basis.columns).reduce(0) { $0 + basis[i, $1] * basis[i, $1] } }
  }
}
