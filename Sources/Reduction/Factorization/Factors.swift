internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

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

  /// The least relative error that a matrix of this rank can have against one with these singular values, descending.
  static func floor(_ values: [Double], rank: Int) -> Double {
    let whole = norm(values[...])
    return whole > 0 ? norm(values.dropFirst(rank)) / whole : 0
  }

  /// The smallest first, so that the tail of a spectrum is not lost.
  static func norm(_ descending: ArraySlice<Double>) -> Double {
    descending.reversed().reduce(0) { $0 + $1 * $1 }.squareRoot()
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
    let start = Machine.monotonicSeconds
    let changed = try product([factors.left, factors.right], parallel: parallel)
    var certificate = try OutputError.certificate(
      of: changed, original: weight, statistics: statistics, parallel: parallel)
    certificate.floor = floor
    var result = ReducedMatrix(
      .factors(left: factors.left, right: factors.right), certificate: certificate,
      storedNumbers: factors.left.elements.count + factors.right.elements.count)
    result.measuringSeconds = Machine.monotonicSeconds - start
    return result
  }
}
