/// Householder's QR factorization, unblocked: the plain twin of LAPACK's.
///
/// Source: Golub, Van Loan, Matrix Computations, 4th ed., algorithm 5.2.1. Cost: about 4 m n r flops.
enum HouseholderQR {
  /// - Returns: thin Q `[m, r]` and R `[r, n]`, r = min(m, n).
  static func factor(_ matrix: Matrix<Double>) -> (q: Matrix<Double>, r: Matrix<Double>) {
    let rank = min(matrix.rows, matrix.columns)
    var work = matrix
    let reflectors = (0..<rank).map { column in
      let vector = reflector(work, column: column)
      reflect(&work, vector, fromRow: column, fromColumn: column)
      return vector
    }
    var r = Matrix(repeating: 0.0, rows: rank, columns: matrix.columns)
    for i in 0..<rank {
      for j in i..<matrix.columns { r[i, j] = work[i, j] }
    }
    var q = Matrix(repeating: 0.0, rows: matrix.rows, columns: rank)
    for i in 0..<rank { q[i, i] = 1 }
    for column in (0..<rank).reversed() { reflect(&q, reflectors[column], fromRow: column, fromColumn: column) }
    return (q, r)
  }

  /// The unit vector v for which `(I - 2 v vᵀ)` clears the column below its diagonal; zeros if it is clear already.
  private static func reflector(_ matrix: Matrix<Double>, column: Int) -> [Double] {
    var vector = (column..<matrix.rows).map { matrix[$0, column] }
    guard vector.dropFirst().contains(where: { $0 != 0 }) else {
      return [Double](repeating: 0, count: vector.count)
    }
    normalize(&vector)
    vector[0] += vector[0] < 0 ? -1 : 1
    normalize(&vector)
    return vector
  }

  /// Divides by the Euclidean norm, by way of the largest element, whose square could overflow or vanish.
  private static func normalize(_ vector: inout [Double]) {
    let largest = vector.reduce(0) { max($0, abs($1)) }
    for i in vector.indices { vector[i] /= largest }
    let norm = vector.reduce(0) { $0 + $1 * $1 }.squareRoot()
    for i in vector.indices { vector[i] /= norm }
  }

  private static func reflect(
    _ matrix: inout Matrix<Double>, _ vector: [Double], fromRow row: Int, fromColumn column: Int
  ) {
    for j in column..<matrix.columns {
      var overlap = 0.0
      for (i, value) in vector.enumerated() { overlap += value * matrix[row + i, j] }
      for (i, value) in vector.enumerated() { matrix[row + i, j] -= 2 * overlap * value }
    }
  }
}

/// Cholesky's factorization, unblocked: the plain twin of LAPACK's.
///
/// Source: Golub, Van Loan, Matrix Computations, 4th ed., section 4.2.5. Cost: n³ / 3 flops.
enum Cholesky {
  /// Overwrites the lower triangle of `matrix` with L, `A = L Lᵀ`.
  ///
  /// - Returns: the column whose pivot was not positive, or nil.
  static func factor(_ matrix: inout Matrix<Double>) -> Int? {
    for j in 0..<matrix.rows {
      for i in j..<matrix.rows {
        var sum = matrix[i, j]
        for p in 0..<j { sum -= matrix[i, p] * matrix[j, p] }
        if i == j {
          guard sum > 0 else { return j }
          matrix[j, j] = sum.squareRoot()
        } else {
          matrix[i, j] = sum / matrix[j, j]
        }
      }
    }
    return nil
  }
}
