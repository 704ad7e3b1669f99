internal import EspalierBasics

#if canImport(Accelerate)
  internal import Accelerate
#elseif OpenBLAS && canImport(COpenBLAS)
  internal import COpenBLAS
#endif

/// LAPACK, called on row-major matrices without rearranging them: a row-major `[m, n]` is, column by column, its
/// transpose `[n, m]`, so each routine is asked for the factorization of the transpose.
///
/// Inputs are finite and not empty; the callers see to it.
enum Lapack {
  #if canImport(Accelerate) || (OpenBLAS && canImport(COpenBLAS))
    static let isAvailable = true

    /// One thread inside: parallelism is above, and the bits must not depend on it.
    private static let useOneThread: Void = {
      #if !canImport(Accelerate)
        openblas_set_num_threads(1)
      #endif
    }()

    static func singularValues(_ matrix: Matrix<Double>) throws(Problem) -> [Double] {
      try decompose(matrix, wantsVectors: false).values
    }

    static func svd(_ matrix: Matrix<Double>) throws(Problem) -> SingularValueDecomposition {
      try decompose(matrix, wantsVectors: true)
    }

    /// `dgesdd` of the transpose: `Aᵀ = V diag(s) Uᵀ`, so its "u" is our V and its "vt" our Uᵀ, each column by column.
    private static func decompose(
      _ matrix: Matrix<Double>, wantsVectors: Bool
    ) throws(Problem) -> SingularValueDecomposition {
      useOneThread
      let rank = min(matrix.rows, matrix.columns)
      var m = try lapackSize(matrix.columns, of: matrix)
      var n = try lapackSize(matrix.rows, of: matrix)
      var r = try lapackSize(rank, of: matrix)
      _ = try lapackSize(8 * rank, of: matrix)
      var mode = letter(wantsVectors ? "S" : "N")
      var a = matrix.elements
      var values = [Double](repeating: 0, count: rank)
      var vt = Matrix(repeating: 0.0, rows: wantsVectors ? rank : 1, columns: wantsVectors ? matrix.columns : 1)
      var u = Matrix(repeating: 0.0, rows: wantsVectors ? matrix.rows : 1, columns: wantsVectors ? rank : 1)
      var lda = m
      var leading = wantsVectors ? m : 1
      var integers = [Int32](repeating: 0, count: 8 * rank)
      var info: Int32 = 0
      try withWorkspace(for: matrix) { work, length in
        dgesdd_(
          &mode, &m, &n, &a, &lda, &values, &vt.elements, &leading, &u.elements, &r, work, &length, &integers, &info)
      }
      guard info == 0 else {
        throw Problem(
          .notConverged, "the singular values of a matrix of \(matrix.rows) x \(matrix.columns) did not converge")
      }
      return SingularValueDecomposition(u: u, values: values, vTransposed: vt)
    }

    /// `dsyevd`. The row-major lower triangle is the upper one column by column; column i of the result is our row i.
    static func symmetricEigen(
      _ matrix: Matrix<Double>, wantsVectors: Bool
    ) throws(Problem) -> (values: [Double], vectors: Matrix<Double>) {
      useOneThread
      var n = try lapackSize(matrix.rows, of: matrix)
      var integerLength = try lapackSize(3 + 5 * matrix.rows, of: matrix)
      var mode = letter(wantsVectors ? "V" : "N")
      var triangle = letter("U")
      var vectors = matrix
      var lda = n
      var values = [Double](repeating: 0, count: matrix.rows)
      var integers = [Int32](repeating: 0, count: 3 + 5 * matrix.rows)
      var info: Int32 = 0
      try withWorkspace(for: matrix) { work, length in
        dsyevd_(
          &mode, &triangle, &n, &vectors.elements, &lda, &values, work, &length, &integers, &integerLength, &info)
      }
      guard info == 0 else {
        throw Problem(.notConverged, "the eigenvalues of a matrix of \(matrix.rows) x \(matrix.rows) did not converge")
      }
      return (values, vectors)
    }

    /// `dgelqf` of the transpose: `Aᵀ = L P` gives `A = Pᵀ Lᵀ`, with Lᵀ and Pᵀ row-major in place.
    static func qr(_ matrix: Matrix<Double>) throws(Problem) -> (q: Matrix<Double>, r: Matrix<Double>) {
      useOneThread
      let rank = min(matrix.rows, matrix.columns)
      var m = try lapackSize(matrix.columns, of: matrix)
      var n = try lapackSize(matrix.rows, of: matrix)
      var k = try lapackSize(rank, of: matrix)
      var a = matrix
      var lda = m
      var reflectors = [Double](repeating: 0, count: rank)
      var info: Int32 = 0
      try withWorkspace(for: matrix) { work, length in
        dgelqf_(&m, &n, &a.elements, &lda, &reflectors, work, &length, &info)
      }
      var r = Matrix(repeating: 0.0, rows: rank, columns: matrix.columns)
      for i in 0..<rank {
        for j in i..<matrix.columns { r[i, j] = a[i, j] }
      }
      var rows = k
      try withWorkspace(for: matrix) { work, length in
        dorglq_(&rows, &n, &k, &a.elements, &lda, &reflectors, work, &length, &info)
      }
      var q = Matrix(repeating: 0.0, rows: matrix.rows, columns: rank)
      for i in 0..<matrix.rows {
        for j in 0..<rank { q[i, j] = a[i, j] }
      }
      return (q, r)
    }

    /// `dpotrf` in place on the lower triangle.
    ///
    /// - Returns: the column whose pivot was not positive, or nil.
    static func cholesky(_ matrix: inout Matrix<Double>) throws(Problem) -> Int? {
      useOneThread
      var n = try lapackSize(matrix.rows, of: matrix)
      var lda = n
      var triangle = letter("U")
      var info: Int32 = 0
      dpotrf_(&triangle, &n, &matrix.elements, &lda, &info)
      return info > 0 ? Int(info) - 1 : nil
    }

    // MARK: - Conventions

    private static func letter(_ scalar: Unicode.Scalar) -> CChar { CChar(truncatingIfNeeded: scalar.value) }

    private static func lapackSize(_ size: Int, of matrix: Matrix<Double>) throws(Problem) -> Int32 {
      guard let size = Int32(exactly: size) else {
        throw Problem(
          .matrixTooLarge, "a matrix of \(matrix.rows) x \(matrix.columns) is beyond LAPACK's 32-bit sizes",
          remedy: "use the randomized decomposition")
      }
      return size
    }

    /// Calls `routine` twice: with length -1 it writes the length it wants to the first element of the workspace, then
    /// it works.
    private static func withWorkspace(
      for matrix: Matrix<Double>, _ routine: (UnsafeMutablePointer<Double>, inout Int32) -> Void
    ) throws(Problem) {
      var wanted = 0.0
      var query: Int32 = -1
      routine(&wanted, &query)
      var length = try lapackSize(Int(min(max(1, wanted), 1e15)), of: matrix)
      var work = [Double](repeating: 0, count: Int(length))
      routine(&work, &length)
    }
  #else
    static let isAvailable = false

    private static let absent = Problem(
      .linearAlgebraUnavailable, "this build has no LAPACK",
      remedy: "build with the package trait OpenBLAS (on Debian: apt install libopenblas-dev)")

    static func singularValues(_ matrix: Matrix<Double>) throws(Problem) -> [Double] { throw absent }
    static func svd(_ matrix: Matrix<Double>) throws(Problem) -> SingularValueDecomposition { throw absent }
    static func symmetricEigen(
      _ matrix: Matrix<Double>, wantsVectors: Bool
    ) throws(Problem) -> (values: [Double], vectors: Matrix<Double>) { throw absent }
    static func qr(_ matrix: Matrix<Double>) throws(Problem) -> (q: Matrix<Double>, r: Matrix<Double>) { throw absent }
    static func cholesky(_ matrix: inout Matrix<Double>) throws(Problem) -> Int? { throw absent }
  #endif
}
