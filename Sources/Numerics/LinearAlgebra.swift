public import EspalierBasics

extension Problem.Code {
  /// An iteration did not converge.
  public static let notConverged = Problem.Code("linear-algebra.not-converged")
  /// The operation needs LAPACK, which this build left out.
  public static let linearAlgebraUnavailable = Problem.Code("linear-algebra.unavailable")
  /// NaN or infinity in a matrix.
  public static let nonFiniteMatrix = Problem.Code("linear-algebra.non-finite")
  /// A matrix to be factored by Cholesky that is not positive definite.
  public static let notPositiveDefinite = Problem.Code("linear-algebra.not-positive-definite")
  /// A matrix too large for LAPACK's 32-bit sizes.
  public static let matrixTooLarge = Problem.Code("linear-algebra.too-large")
}

/// A thin singular value decomposition `A = U diag(values) Vᵀ` of `[m, n]`, with r = min(m, n) or fewer values.
public struct SingularValueDecomposition: Sendable {
  /// `[m, r]`, orthonormal columns.
  public var u: Matrix<Double>
  /// Descending, not negative.
  public var values: [Double]
  /// `[r, n]`, orthonormal rows.
  public var vTransposed: Matrix<Double>
}

/// Factorizations of dense matrices in float64.
///
/// LAPACK does the work where it is built in: OpenBLAS on Linux (the package trait `OpenBLAS`), Accelerate on macOS.
/// Without it own plain algorithms serve, slower and with the same meaning; only ``symmetricEigen(_:)`` needs LAPACK.
/// LAPACK runs with one thread; callers run several matrices at once.
///
/// LAPACK's bytes may differ from machine to machine, since it chooses its kernels by the processor; on one machine
/// they are reproducible. Signs of singular and eigenvectors are not fixed.
///
/// Every function throws `linear-algebra.non-finite`, naming the first such element, when the input has a NaN or an
/// infinity, and `linear-algebra.too-large` when sizes exceed LAPACK's 32-bit integers.
public enum LinearAlgebra {
  /// Whether LAPACK is built in.
  public static var isAvailable: Bool { Lapack.isAvailable }

  /// The singular values of a matrix, descending, r = min(m, n) of them.
  ///
  /// Each is accurate to a modest multiple of 2^-53 times the largest. Cost: about 8/3 m n r flops by LAPACK
  /// (`dgesdd`: Gu, Eisenstat 1995, divide and conquer).
  ///
  /// - Throws: `linear-algebra.not-converged`.
  public static func singularValues(_ matrix: Matrix<Double>) throws(Problem) -> [Double] {
    try checkFinite(matrix)
    guard !matrix.elements.isEmpty else { return [] }
    return isAvailable ? try Lapack.singularValues(matrix) : try JacobiSVD.decompose(matrix).values
  }

  /// The singular values of row-major elements of any floating-point type, widened to float64.
  ///
  /// - Throws: `matrix.shape` if the elements are not `rows * columns`; as ``singularValues(_:)``.
  public static func singularValues<Element: BinaryFloatingPoint>(
    _ elements: [Element], rows: Int, columns: Int
  ) throws(Problem) -> [Double] {
    try singularValues(Matrix(rows: rows, columns: columns, elements: elements.map { Double($0) }))
  }

  /// The thin singular value decomposition.
  ///
  /// - Throws: `linear-algebra.not-converged`.
  public static func svd(_ matrix: Matrix<Double>) throws(Problem) -> SingularValueDecomposition {
    try checkFinite(matrix)
    guard !matrix.elements.isEmpty else {
      return SingularValueDecomposition(
        u: Matrix(repeating: 0, rows: matrix.rows, columns: 0), values: [],
        vTransposed: Matrix(repeating: 0, rows: 0, columns: matrix.columns))
    }
    return isAvailable ? try Lapack.svd(matrix) : try JacobiSVD.decompose(matrix)
  }

  /// Eigenvalues of a symmetric matrix, ascending. Only its lower triangle is read.
  ///
  /// - Throws: `matrix.shape` unless square; `linear-algebra.not-converged`; `linear-algebra.unavailable`.
  public static func symmetricEigenvalues(_ matrix: Matrix<Double>) throws(Problem) -> [Double] {
    try checkSymmetricInput(matrix)
    return matrix.elements.isEmpty ? [] : try Lapack.symmetricEigen(matrix, wantsVectors: false).values
  }

  /// Eigenvalues of a symmetric matrix, ascending, and orthonormal eigenvectors, one a row: `A = Vᵀ diag(values) V`.
  ///
  /// - Throws: as ``symmetricEigenvalues(_:)``.
  public static func symmetricEigen(
    _ matrix: Matrix<Double>
  ) throws(Problem) -> (values: [Double], vectors: Matrix<Double>) {
    try checkSymmetricInput(matrix)
    return matrix.elements.isEmpty ? ([], matrix) : try Lapack.symmetricEigen(matrix, wantsVectors: true)
  }

  /// The thin factorization `A = Q R`: Q `[m, r]` with orthonormal columns, R `[r, n]` upper triangular (trapezoidal
  /// if m < n) with a diagonal that is not negative, r = min(m, n). Unique where A has full column rank.
  public static func qr(_ matrix: Matrix<Double>) throws(Problem) -> (q: Matrix<Double>, r: Matrix<Double>) {
    try checkFinite(matrix)
    let rank = min(matrix.rows, matrix.columns)
    guard rank > 0 else {
      return (
        Matrix(repeating: 0, rows: matrix.rows, columns: 0), Matrix(repeating: 0, rows: 0, columns: matrix.columns)
      )
    }
    var (q, r) = isAvailable ? try Lapack.qr(matrix) : HouseholderQR.factor(matrix)
    for i in 0..<rank where r[i, i] < 0 {
      for j in i..<matrix.columns { r[i, j] = -r[i, j] }
      for j in 0..<matrix.rows { q[j, i] = -q[j, i] }
    }
    return (q, r)
  }

  /// The lower triangular L with `A = L Lᵀ` of a symmetric positive definite matrix, zeros above its diagonal. Only
  /// the lower triangle of A is read.
  ///
  /// - Throws: `matrix.shape` unless square; `linear-algebra.not-positive-definite`, naming the column where a pivot
  ///   was not positive.
  public static func cholesky(_ matrix: Matrix<Double>) throws(Problem) -> Matrix<Double> {
    try checkSymmetricInput(matrix)
    guard !matrix.elements.isEmpty else { return matrix }
    var factor = matrix
    let failure = isAvailable ? try Lapack.cholesky(&factor) : Cholesky.factor(&factor)
    if let column = failure {
      throw Problem(
        .notPositiveDefinite, "matrix of \(matrix.rows) x \(matrix.rows) is not positive definite at column \(column)",
        remedy: "add a small multiple of the identity (damping)")
    }
    for i in 0..<matrix.rows {
      for j in i + 1..<max(matrix.rows, i + 1) { factor[i, j] = 0 }
    }
    return factor
  }

  /// The X `[n, k]` of least Frobenius norm among those that minimize `‖A X - B‖`, for A `[m, n]` and B `[m, k]`.
  ///
  ///     X = V diag(1 / s_i where s_i > tolerance * s_1, else 0) Uᵀ B
  ///
  /// (Golub, Van Loan, Matrix Computations, 4th ed., section 5.5).
  ///
  /// - Parameter tolerance: smaller singular values, relative to the largest, count as zero; by default
  ///   max(m, n) 2^-52.
  /// - Throws: `matrix.shape` if A and B differ in rows; `linear-algebra.not-converged`.
  public static func leastSquares(
    _ matrix: Matrix<Double>, _ rightSide: Matrix<Double>, tolerance: Double? = nil
  ) throws(Problem) -> Matrix<Double> {
    guard matrix.rows == rightSide.rows else {
      throw Problem(.matrixShape, "least squares of \(matrix.rows) rows against \(rightSide.rows) rows")
    }
    try checkFinite(rightSide)
    let decomposition = try svd(matrix)
    let tolerance = tolerance ?? Double(max(matrix.rows, matrix.columns)) * Double.ulpOfOne
    let rank = numericalRank(of: decomposition.values, relativeTolerance: tolerance)
    var coordinates = try MatrixProduct.product(decomposition.u, rightSide, transposingFirst: true)
    for i in 0..<coordinates.rows {
      let value = decomposition.values[i]
      for j in 0..<coordinates.columns { coordinates[i, j] = i < rank ? coordinates[i, j] / value : 0 }
    }
    return try MatrixProduct.product(decomposition.vTransposed, coordinates, transposingFirst: true)
  }

  // MARK: - Checks

  static func checkFinite(_ matrix: Matrix<Double>) throws(Problem) {
    guard let index = matrix.elements.firstIndex(where: { !$0.isFinite }) else { return }
    throw Problem(
      .nonFiniteMatrix,
      "\(matrix.elements[index]) at row \(index / matrix.columns), column \(index % matrix.columns)"
        + " of a matrix of \(matrix.rows) x \(matrix.columns)")
  }

  private static func checkSymmetricInput(_ matrix: Matrix<Double>) throws(Problem) {
    guard matrix.rows == matrix.columns else {
      throw Problem(.matrixShape, "a symmetric matrix was expected, found \(matrix.rows) x \(matrix.columns)")
    }
    try checkFinite(matrix)
  }
}
