internal import EspalierBasics
internal import EspalierNumerics

/// The leading singular vectors of a matrix, good enough to choose columns and rows by.
///
/// Of a matrix with 160 rows and columns or more, up to two thirds come from a random projection with one power
/// iteration, the same in every run (Halko, Martinsson, Tropp 2011, algorithms 4.3 and 5.1):
///
///     Q = orth(A G),  P = orth(Aᵀ Q),  B = A P,   Bᵀ B = V diag(s²) Vᵀ,   left = B V diag(1/s),  right = P V
///
/// with orthonormal bases from ``GramFactor``: a choice does not need the digits that this costs. Elsewhere, and where the
/// matrix has fewer directions, they are exact.
struct LeadingVectors {
  /// `[m, rank]`.
  let left: Matrix<Double>
  /// `[n, rank]`.
  let right: Matrix<Double>
  /// All singular values, descending, where they were found.
  let values: [Double]?

  private static let oversampling = 10

  init(of matrix: Matrix<Double>, rank: Int, parallel: MatrixProduct.ParallelLoop) throws(Problem) {
    let full = min(matrix.rows, matrix.columns)
    if full >= 160, 3 * (rank + Self.oversampling) <= 2 * full,
      let (left, right) = try Self.projected(matrix, rank, parallel)
    {
      (self.left, self.right, values) = (left, right, nil)
      return
    }
    let svd = try LinearAlgebra.svd(matrix)
    let chosen = Array(0..<rank)
    left = svd.u.selecting(columns: chosen)
    right = svd.vTransposed.selecting(rows: chosen).transposed
    values = svd.values
  }

  /// Nil where the matrix has so few directions that a basis of the projection cannot be relied on, or there is no LAPACK.
  private static func projected(
    _ matrix: Matrix<Double>, _ rank: Int, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> (left: Matrix<Double>, right: Matrix<Double>)? {
    guard LinearAlgebra.isAvailable, matrix.elements.allSatisfy(\.isFinite) else { return nil }
    let width = rank + oversampling
    var normals = [Float](repeating: 0, count: matrix.columns * width)
    KeyedRandom(seed: 0, name: "leading vectors").normals(startingAt: 0, into: &normals, count: normals.count)
    let test = try Matrix(rows: matrix.columns, columns: width, elements: normals.map(Double.init))
    func orthonormal(_ y: Matrix<Double>) throws(Problem) -> Matrix<Double>? {
      let gram = try MatrixProduct.product(y, y, transposingFirst: true, parallel: parallel)
      guard let factor = try GramFactor(gram, parallel: parallel) else { return nil }
      return try MatrixProduct.product(y, factor.upper, transposingSecond: true, parallel: parallel)
    }
    guard let q = try orthonormal(MatrixProduct.product(matrix, test, parallel: parallel)),
      let p = try orthonormal(MatrixProduct.product(matrix, q, transposingFirst: true, parallel: parallel))
    else { return nil }
    let b = try MatrixProduct.product(matrix, p, parallel: parallel)
    let (squares, vectors) = try LinearAlgebra.symmetricEigen(
      MatrixProduct.product(b, b, transposingFirst: true, parallel: parallel))
    // Ascending, one a row.
    let order = Array((width - rank..<width).reversed())
    guard let largest = squares.last, let least = order.last.map({ squares[$0] }), least > 1e-10 * largest else {
      return nil
    }
    let chosen = vectors.selecting(rows: order)
    let left = try MatrixProduct.product(b, chosen, transposingSecond: true, parallel: parallel)
    return (
      left.scaling(columns: order.map { 1 / squares[$0].squareRoot() }),
      try MatrixProduct.product(p, chosen, transposingSecond: true, parallel: parallel)
    )
  }
}
