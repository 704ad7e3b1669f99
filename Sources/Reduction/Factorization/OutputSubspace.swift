internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// The directions among the outputs of W `[outputs, inputs]` that matter most to W S: what all factorizations by
/// singular values have in common.
///
///     W S = U diag(s) Vᵀ,   W' = U_r U_rᵀ W,   ‖(W - W') S‖_F = sqrt(s_(r+1)² + ...)
///
/// the least of all matrices of rank r (Eckart, Young 1936). S is 1 (plain), a diagonal (scaled inputs), or a factor of
/// the second moment X Xᵀ of the inputs, when the norm is that of the outputs' error. W' = (W S)_r S⁻¹ wherever S⁻¹
/// exists, but nothing is divided: a singular S, and one that is nearly so, does no harm.
struct OutputSubspace {
  /// U_r `[outputs, rank]`.
  let basis: Matrix<Double>
  /// All singular values of W S, descending.
  let values: [Double]
  let rank: Int

  init(
    of weight: Matrix<Double>, weighted: Matrix<Double>, rank: Int, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    try self.init(of: weight, decomposed: LinearAlgebra.svd(weighted), rank: rank, parallel: parallel)
  }

  /// Where W S has fewer directions than `rank`, the others are the best ones for what is left of W itself.
  ///
  /// - Parameter svd: of W S.
  init(
    of weight: Matrix<Double>, decomposed svd: SingularValueDecomposition, rank: Int,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    let tolerance = Double(max(svd.u.rows, svd.vTransposed.columns)) * Double.ulpOfOne
    let found = min(rank, LinearAlgebra.numericalRank(of: svd.values, relativeTolerance: tolerance))
    var basis = svd.u.selecting(columns: Array(0..<found))
    if found < rank {
      var rest = weight
      let inside = try MatrixProduct.product(
        basis, MatrixProduct.product(basis, weight, transposingFirst: true, parallel: parallel), parallel: parallel)
      for i in rest.elements.indices { rest.elements[i] -= inside.elements[i] }
      let others = try LinearAlgebra.svd(rest).u.selecting(columns: Array(0..<rank - found))
      var both: [Double] = []
      for i in 0..<basis.rows {
        both += basis.elements[i * found..<(i + 1) * found]
        both += others.elements[i * others.columns..<(i + 1) * others.columns]
      }
      // What is left of W may have fewer directions too; then others repeat some, which a new basis mends.
      basis = try LinearAlgebra.qr(Matrix(rows: basis.rows, columns: rank, elements: both)).q
    }
    self.basis = basis
    self.rank = rank
    values = svd.values
  }

  /// ‖W S‖.
  var whole: Double { Factors.norm(values[...]) }
  /// The least relative error of this rank, in the norm of S.
  var floor: Double { Factors.floor(values, rank: rank) }

  /// W' as two factors.
  func factors(
    of weight: Matrix<Double>, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> (left: Matrix<Float>, right: Matrix<Float>) {
    Factors.balanced(
      left: basis, right: try MatrixProduct.product(basis, weight, transposingFirst: true, parallel: parallel))
  }
}
