public import EspalierBasics

extension LinearAlgebra {
  /// The leading `rank` singular values and vectors, for matrices too large for a full decomposition.
  ///
  ///     Y = A G;  Q = qr(Y);  repeat powerIterations times: Q = qr(A qr(Aᵀ Q));  svd(Qᵀ A) = W S Vᵀ;  U = Q W
  ///
  /// with G `[n, rank + oversampling]` of independent standard normal elements. `Qᵀ A` is a projection, so the values
  /// never exceed the true ones, but for rounding. With q power iterations the expected spectral error is at most
  /// `(1 + sqrt(l / (p - 1)) + e sqrt(l + p) / p sqrt(min(m, n) - l))^(1 / (2q + 1))` times s_(l+1), for rank l and
  /// oversampling p >= 2: an estimate of error, since it is an expectation, not a bound on this result.
  ///
  /// Source: Halko, Martinsson, Tropp 2011 (SIAM Review 53, 217): algorithm 4.4 and 5.1, corollary 10.10. Cost: about
  /// `4 (q + 1) m n (l + p)` flops and a few matrices `[m or n, l + p]`. Products take `parallel`.
  ///
  /// - Parameter rank: how many values, at least 0; cut to min(m, n).
  /// - Parameter oversampling: further columns of G, at least 0; 5 to 10 serve.
  /// - Parameter powerIterations: at least 0; 2 serves where singular values decay slowly.
  /// - Parameter gaussian: element i of G, row after row; a keyed generator, so that the same key gives the same G.
  /// - Throws: as ``svd(_:)``; what `parallel` throws.
  public static func randomizedSVD(
    _ matrix: Matrix<Double>, rank: Int, oversampling: Int = 10, powerIterations: Int = 2,
    gaussian: (Int) -> Double, parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> SingularValueDecomposition {
    try checkFinite(matrix)
    let full = min(matrix.rows, matrix.columns)
    let kept = min(max(0, rank), full)
    let width = min(kept + min(max(0, oversampling), full), full)
    let test = Matrix(
      unchecked: (0..<matrix.columns * width).map(gaussian), rows: matrix.columns, columns: width)

    var basis = try qr(MatrixProduct.product(matrix, test, parallel: parallel)).q
    for _ in 0..<max(0, powerIterations) {
      let coBasis = try qr(MatrixProduct.product(matrix, basis, transposingFirst: true, parallel: parallel)).q
      basis = try qr(MatrixProduct.product(matrix, coBasis, parallel: parallel)).q
    }
    let small = try svd(MatrixProduct.product(basis, matrix, transposingFirst: true, parallel: parallel))
    let u = try MatrixProduct.product(basis, small.u, parallel: parallel)
    return SingularValueDecomposition(
      u: firstColumns(kept, of: u), values: Array(small.values.prefix(kept)),
      vTransposed: firstColumns(kept, of: small.vTransposed.transposed).transposed)
  }

  private static func firstColumns(_ count: Int, of matrix: Matrix<Double>) -> Matrix<Double> {
    var result = Matrix(repeating: 0.0, rows: matrix.rows, columns: count)
    for i in 0..<matrix.rows {
      for j in 0..<count { result[i, j] = matrix[i, j] }
    }
    return result
  }
}
