internal import EspalierBasics

/// The singular value decomposition by one-sided Jacobi rotations: slow, plain, the same bits on every machine.
///
/// Rows of W (A, or Aᵀ if A has fewer columns than rows) are rotated in pairs until all are orthogonal; their norms
/// are the singular values, W's directions one set of singular vectors, the accumulated rotations the other.
///
/// Source: Hestenes 1958; rotation as in Golub, Van Loan, Matrix Computations, 4th ed., section 8.6.3; the stopping rule
/// `|w_i · w_j| <= eps sqrt(length) |w_i| |w_j|` as in Demmel, Veselić 1992. Cost: some 6 to 10 sweeps of 3 r² max(m, n)
/// multiply-adds, r = min(m, n).
enum JacobiSVD {
  private static let maximumSweeps = 60

  /// - Parameter matrix: finite and not empty.
  static func decompose(_ matrix: Matrix<Double>) throws(Problem) -> SingularValueDecomposition {
    let isTall = matrix.rows > matrix.columns
    var rows = isTall ? matrix.transposed : matrix
    let scale = powerOfTwo(scaling: rows.elements)
    for i in rows.elements.indices { rows.elements[i] *= scale }

    var rotations = identity(rows.rows)
    guard rotate(&rows, &rotations) else {
      throw Problem(
        .notConverged,
        "\(maximumSweeps) Jacobi sweeps did not decompose a matrix of \(matrix.rows) x \(matrix.columns)")
    }

    let norms = (0..<rows.rows).map { dot(rows, $0, rows, $0).squareRoot() }
    let order = norms.indices.sorted { norms[$0] != norms[$1] ? norms[$0] > norms[$1] : $0 < $1 }
    let directions = orthonormalRows(rows, norms: norms, order: order)
    var sources = Matrix(repeating: 0.0, rows: rows.rows, columns: rows.rows)
    for (i, source) in order.enumerated() {
      for j in 0..<rows.rows { sources[i, j] = rotations[source, j] }
    }
    // W = J A has rows s_i d_i, so A = Jᵀ diag(s) D: for A itself U = Jᵀ, for Aᵀ the two change places.
    return SingularValueDecomposition(
      u: (isTall ? directions : sources).transposed, values: order.map { norms[$0] / scale },
      vTransposed: isTall ? sources : directions)
  }

  /// Rotates pairs of rows, and the rows of `rotations` with them, until all pairs are orthogonal.
  ///
  /// - Returns: whether that was reached.
  private static func rotate(_ rows: inout Matrix<Double>, _ rotations: inout Matrix<Double>) -> Bool {
    let tolerance = Double.ulpOfOne * Double(rows.columns).squareRoot()
    for _ in 0..<maximumSweeps {
      var isOrthogonal = true
      for i in 0..<rows.rows {
        for j in i + 1..<max(rows.rows, i + 1) {
          let (alpha, beta) = (dot(rows, i, rows, i), dot(rows, j, rows, j))
          let gamma = dot(rows, i, rows, j)
          guard abs(gamma) > tolerance * alpha.squareRoot() * beta.squareRoot() else { continue }
          isOrthogonal = false
          let zeta = (beta - alpha) / (2 * gamma)
          let tangent = (zeta < 0 ? -1 : 1) / (abs(zeta) + (1 + zeta * zeta).squareRoot())
          let cosine = 1 / (1 + tangent * tangent).squareRoot()
          turn(&rows, i, j, cosine, cosine * tangent)
          turn(&rotations, i, j, cosine, cosine * tangent)
        }
      }
      if isOrthogonal { return true }
    }
    return false
  }

  private static func turn(_ matrix: inout Matrix<Double>, _ i: Int, _ j: Int, _ cosine: Double, _ sine: Double) {
    for p in 0..<matrix.columns {
      let (x, y) = (matrix[i, p], matrix[j, p])
      matrix[i, p] = cosine * x - sine * y
      matrix[j, p] = sine * x + cosine * y
    }
  }

  /// The rows in descending order of norm, each divided by its norm. Rows that are zero to working precision have no
  /// direction: unit vectors take their place, made orthogonal to all others.
  private static func orthonormalRows(_ rows: Matrix<Double>, norms: [Double], order: [Int]) -> Matrix<Double> {
    var result = Matrix(repeating: 0.0, rows: rows.rows, columns: rows.columns)
    let least = (norms.max() ?? 0) * Double.ulpOfOne * Double(rows.columns)
    var axis = 0
    for (i, source) in order.enumerated() {
      if norms[source] > least {
        for p in 0..<rows.columns { result[i, p] = rows[source, p] / norms[source] }
        continue
      }
      // At most one axis a row fails, since i < columns directions cannot span all axes.
      while axis < rows.columns {
        for p in 0..<rows.columns { result[i, p] = p == axis ? 1 : 0 }
        axis += 1
        if orthogonalize(&result, row: i) { break }
      }
    }
    return result
  }

  /// Makes a unit row orthogonal to those above it, twice (Kahan, Parlett: twice is enough), and of length 1.
  ///
  /// - Returns: whether enough of it was left to have a direction.
  private static func orthogonalize(_ matrix: inout Matrix<Double>, row: Int) -> Bool {
    for _ in 0..<2 {
      for above in 0..<row {
        let overlap = dot(matrix, above, matrix, row)
        for p in 0..<matrix.columns { matrix[row, p] -= overlap * matrix[above, p] }
      }
      let norm = dot(matrix, row, matrix, row).squareRoot()
      // The axes' remainders have squares that add up to columns - row >= 1, so one of them is longer than this.
      guard norm > 0.5 / Double(matrix.columns).squareRoot() else { return false }
      for p in 0..<matrix.columns { matrix[row, p] /= norm }
    }
    return true
  }

  private static func dot(_ a: Matrix<Double>, _ i: Int, _ b: Matrix<Double>, _ j: Int) -> Double {
    var sum = 0.0
    for p in 0..<a.columns { sum += a[i, p] * b[j, p] }
    return sum
  }

  /// The power of two that brings the largest element near 1, so that squares neither overflow nor vanish.
  private static func powerOfTwo(scaling elements: [Double]) -> Double {
    let largest = elements.reduce(0) { max($0, abs($1)) }
    guard largest > 0 else { return 1 }
    return Double(sign: .plus, exponent: -min(max(Int(largest.exponent), -1000), 1000), significand: 1)
  }

  private static func identity(_ size: Int) -> Matrix<Double> {
    var matrix = Matrix(repeating: 0.0, rows: size, columns: size)
    for i in 0..<size { matrix[i, i] = 1 }
    return matrix
  }
}
