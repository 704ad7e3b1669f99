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

  /// Where W S has fewer directions than `rank`, the others are the best ones for what is left of W itself.
  init(
    of weight: Matrix<Double>, weighted: Matrix<Double>, rank: Int, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    let svd = try LinearAlgebra.svd(weighted)
    let tolerance = Double(max(weighted.rows, weighted.columns)) * Double.ulpOfOne
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

  /// ‖W S‖ and what no matrix of this rank can have less of.
  var whole: Double { Self.norm(values[...]) }
  var discarded: Double { Self.norm(values.dropFirst(rank)) }
  /// The least relative error in this norm.
  var floor: Double { whole > 0 ? discarded / whole : 0 }

  private static func norm(_ values: ArraySlice<Double>) -> Double {
    values.reversed().reduce(0) { $0 + $1 * $1 }.squareRoot()
  }

  /// W' as two factors.
  func factors(
    of weight: Matrix<Double>, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> (left: Matrix<Float>, right: Matrix<Float>) {
    Factors.balanced(
      left: basis, right: try MatrixProduct.product(basis, weight, transposingFirst: true, parallel: parallel))
  }
}

/// Two factors as they are stored.
enum Factors {
  /// Float32 factors with the same product, in which column i of the left is as long as row i of the right.
  static func balanced(left: Matrix<Double>, right: Matrix<Double>) -> (left: Matrix<Float>, right: Matrix<Float>) {
    var scales = [Double](repeating: 1, count: right.rows)
    for r in scales.indices {
      let column = (0..<left.rows).reduce(0) { $0 + left[$1, r] * left[$1, r] }
      let row = (0..<right.columns).reduce(0) { $0 + right[r, $1] * right[r, $1] }
      if column > 0, row > 0 { scales[r] = (row / column).squareRoot().squareRoot() }
    }
    return (
      Matrix<Float>(left.scaling(columns: scales)), Matrix<Float>(right.scaling(rows: scales.map { 1 / $0 }))
    )
  }

  /// The product of matrices from left to right, in float64, rounded once.
  static func product(
    _ matrices: [Matrix<Float>], parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> Matrix<Float> {
    var product = Matrix<Double>(matrices[0])
    for matrix in matrices.dropFirst() {
      product = try MatrixProduct.product(product, Matrix<Double>(matrix), parallel: parallel)
    }
    return Matrix<Float>(product)
  }

  /// The reduced matrix of two factors, its error measured on what is stored.
  static func reduced(
    _ factors: (left: Matrix<Float>, right: Matrix<Float>), of weight: Matrix<Float>, _ statistics: SiteStatistics?,
    floor: Double?, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let changed = try product([factors.left, factors.right], parallel: parallel)
    var certificate = try OutputError.certificate(
      of: changed, original: weight, statistics: statistics, parallel: parallel)
    certificate.floor = floor
    return ReducedMatrix(
      .factors(left: factors.left, right: factors.right), certificate: certificate,
      storedNumbers: factors.left.elements.count + factors.right.elements.count)
  }
}
