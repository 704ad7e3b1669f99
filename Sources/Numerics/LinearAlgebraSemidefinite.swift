public import EspalierBasics

extension LinearAlgebra {
  /// S `[n, r]` with `G = S Sᵀ`, for a symmetric G without negative eigenvalues, such as a second moment: ‖D S‖_F is
  /// then the root of trace(D G Dᵀ).
  ///
  /// Cholesky's triangle where it exists (r = n). Where columns of G are zero or depend on one another, the eigenvectors
  /// of the eigenvalues above n 2^-52 times the largest, each times the root of its value, r of them. Either way
  /// ‖G - S Sᵀ‖ is a modest multiple of 2^-53 ‖G‖. Only the lower triangle of G is read. Cost: n³ / 3 flops, some 9 n³
  /// where G is singular.
  ///
  /// - Throws: `matrix.shape` unless square; `linear-algebra.non-finite`; `linear-algebra.not-positive-definite` if an
  ///   eigenvalue is below -1e-4 of the largest: rounding makes none so low.
  public static func semidefiniteFactor(_ matrix: Matrix<Double>) throws(Problem) -> Matrix<Double> {
    try semidefiniteFactor(matrix, usingLapack: isAvailable)
  }

  static func semidefiniteFactor(_ matrix: Matrix<Double>, usingLapack: Bool) throws(Problem) -> Matrix<Double> {
    do throws(Problem) { return try cholesky(matrix) } catch {
      guard error.code == .notPositiveDefinite else { throw error }
    }
    let (values, vectors) = try descendingEigen(matrix, usingLapack: usingLapack)
    let largest = values.reduce(0) { max($0, abs($1)) }
    if let lowest = values.last, lowest < -1e-4 * largest {
      throw Problem(
        .notPositiveDefinite,
        "a matrix of \(matrix.rows) x \(matrix.rows) has an eigenvalue of \(lowest), the largest is \(largest):"
          + " it is no sum of squares")
    }
    let kept = values.prefix { $0 > Double(matrix.rows) * Double.ulpOfOne * largest }.count
    return vectors.selecting(rows: Array(0..<kept)).scaling(rows: values.prefix(kept).map { $0.squareRoot() })
      .transposed
  }

  /// Eigenvalues, descending, and eigenvectors, one a row; by singular vectors where there is no LAPACK.
  private static func descendingEigen(
    _ matrix: Matrix<Double>, usingLapack: Bool
  ) throws(Problem) -> (values: [Double], vectors: Matrix<Double>) {
    if usingLapack {
      let (values, vectors) = try symmetricEigen(matrix)
      let order = Array(values.indices.reversed())
      return (order.map { values[$0] }, vectors.selecting(rows: order))
    }
    var symmetric = matrix
    for i in 0..<matrix.rows { for j in 0..<i { symmetric[j, i] = matrix[i, j] } }
    let decomposition = try JacobiSVD.decompose(symmetric)
    let values = decomposition.values.indices.map { c in
      let agreement = (0..<matrix.rows).reduce(0) {
        $0 + decomposition.u[$1, c] * decomposition.vTransposed[c, $1]
      }
      return agreement < 0 ? -decomposition.values[c] : decomposition.values[c]
    }
    let order = values.indices.sorted { values[$0] != values[$1] ? values[$0] > values[$1] : $0 < $1 }
    return (order.map { values[$0] }, decomposition.vTransposed.selecting(rows: order))
  }
}
