import EspalierBasics
import TestSupport
import Testing

@testable import EspalierNumerics

@Suite("Linear algebra")
struct LinearAlgebraTests {
  func product(_ a: Matrix<Double>, _ b: Matrix<Double>) throws -> Matrix<Double> {
    try MatrixProduct.product(a, b)
  }

  func largestDifference(_ a: Matrix<Double>, _ b: Matrix<Double>) -> Double {
    #expect(a.rows == b.rows && a.columns == b.columns)
    return zip(a.elements, b.elements).reduce(0) { max($0, abs($1.0 - $1.1)) }
  }

  func diagonal(_ values: [Double], rows: Int? = nil, columns: Int? = nil) -> Matrix<Double> {
    var matrix = Matrix(repeating: 0.0, rows: rows ?? values.count, columns: columns ?? values.count)
    for (i, value) in values.enumerated() { matrix[i, i] = value }
    return matrix
  }

  func frobenius(_ matrix: Matrix<Double>) -> Double {
    matrix.elements.reduce(0) { $0 + $1 * $1 }.squareRoot()
  }

  func reconstruction(_ svd: SingularValueDecomposition) throws -> Matrix<Double> {
    try product(product(svd.u, diagonal(svd.values)), svd.vTransposed)
  }

  /// `U diag(values) Vᵀ` with orthogonal factors from the plain QR of random matrices.
  func matrix(withSingularValues values: [Double], rows: Int, columns: Int, seed: UInt64) throws -> Matrix<Double> {
    var generator = SeededGenerator(seed: seed)
    let u = HouseholderQR.factor(generator.matrix(rows, rows)).q
    let v = HouseholderQR.factor(generator.matrix(columns, columns)).q
    return try product(product(u, diagonal(values, rows: rows, columns: columns)), v)
  }

  typealias Decomposer = @Sendable (Matrix<Double>) throws -> SingularValueDecomposition
  /// LAPACK, where it is built in, and the plain twin.
  static let decomposers: [(name: String, run: Decomposer)] = [
    ("public", { try LinearAlgebra.svd($0) }), ("Jacobi", { try JacobiSVD.decompose($0) }),
  ]

  // MARK: - Singular values

  @Test("A hand-worked decomposition: [[3, 0], [4, 5]] has singular values 3 sqrt 5 and sqrt 5")
  func handWorked() throws {
    let a = try Matrix(rows: 2, columns: 2, elements: [3.0, 0, 4, 5])
    for (name, run) in Self.decomposers {
      let svd = try run(a)
      #expect(abs(svd.values[0] - 3 * 5.0.squareRoot()) < 4e-15, "\(name)")
      #expect(abs(svd.values[1] - 5.0.squareRoot()) < 4e-15, "\(name)")
      #expect(try largestDifference(reconstruction(svd), a) < 8e-15, "\(name)")
    }
  }

  @Test(
    "Orthogonality and reconstruction",
    arguments: [(1, 1), (1, 6), (6, 1), (5, 5), (12, 7), (7, 12), (40, 33)], 0..<decomposers.count)
  func factors(shape: (Int, Int), decomposer: Int) throws {
    var generator = SeededGenerator(seed: UInt64(shape.0 * 100 + shape.1))
    let a = generator.matrix(shape.0, shape.1)
    let svd = try Self.decomposers[decomposer].run(a)
    let r = min(shape.0, shape.1)
    let one = diagonal([Double](repeating: 1, count: r))
    // Backward stability: a modest multiple of u times the dimension and the norm.
    let allowed = 4 * Double(max(shape.0, shape.1)) * Double.ulpOfOne
    #expect(try largestDifference(product(svd.u.transposed, svd.u), one) <= allowed)
    #expect(try largestDifference(product(svd.vTransposed, svd.vTransposed.transposed), one) <= allowed)
    #expect(try largestDifference(reconstruction(svd), a) <= allowed * max(1, svd.values[0]))
    #expect(svd.values == svd.values.sorted(by: >) && svd.values.allSatisfy { $0 >= 0 })
  }

  /// The singular values are the eigenvalues, here from 40-digit arithmetic (mpmath, `eigsy`).
  @Test("The Hilbert matrix of order 5")
  func hilbert() throws {
    var hilbert = Matrix(repeating: 0.0, rows: 5, columns: 5)
    for i in 0..<5 {
      for j in 0..<5 { hilbert[i, j] = 1 / Double(i + j + 1) }
    }
    for (name, run) in Self.decomposers {
      let values = try run(hilbert).values
      #expect(abs(values[0] - 1.567050691098231) < 2e-15, "\(name)")
      #expect(abs(values[4] - 3.287928772171863e-6) < 2e-15, "\(name)")
    }
  }

  @Test("Known singular values come back, also of rank-deficient matrices", arguments: [(9, 6), (6, 9)])
  func known(rows: Int, columns: Int) throws {
    let values = [1e3, 40, 2.5, 1e-4, 0, 0]
    let a = try matrix(withSingularValues: values, rows: rows, columns: columns, seed: 17)
    for (name, run) in Self.decomposers {
      let svd = try run(a)
      for (found, expected) in zip(svd.values, values) { #expect(abs(found - expected) < 1e3 * 8e-15, "\(name)") }
      let one = diagonal([Double](repeating: 1, count: 6))
      #expect(try largestDifference(product(svd.u.transposed, svd.u), one) < 1e-13, "\(name)")
      #expect(try largestDifference(product(svd.vTransposed, svd.vTransposed.transposed), one) < 1e-13, "\(name)")
    }
    #expect(try LinearAlgebra.numericalRank(of: LinearAlgebra.singularValues(a), relativeTolerance: 1e-12) == 4)
  }

  @Test("Zero matrices, extreme scales and exactly dependent rows in the plain twin")
  func plainTwinEdges() throws {
    let zero = try JacobiSVD.decompose(Matrix(repeating: 0.0, rows: 3, columns: 4))
    #expect(zero.values == [0, 0, 0])
    #expect(try largestDifference(product(zero.vTransposed, zero.vTransposed.transposed), diagonal([1, 1, 1])) == 0)

    let ones = try JacobiSVD.decompose(Matrix(repeating: 1.0, rows: 4, columns: 3))
    #expect(abs(ones.values[0] - 12.0.squareRoot()) < 1e-15 * 12)
    #expect(ones.values[1] < 1e-15 && ones.values[2] < 1e-15)
    #expect(try largestDifference(product(ones.u.transposed, ones.u), diagonal([1, 1, 1])) < 1e-15)

    for scale in [1e-300, 1e300] {
      let values = try JacobiSVD.decompose(diagonal([2 * scale, 3 * scale])).values
      #expect(values == [3 * scale, 2 * scale])
    }
  }

  @Test("LAPACK and the plain twin agree", .enabled(if: LinearAlgebra.isAvailable), arguments: [UInt64](1...8))
  func twins(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    let rows = Int.random(in: 1...60, using: &generator)
    let columns = Int.random(in: 1...60, using: &generator)
    let a = generator.matrix(rows, columns)
    let lapack = try LinearAlgebra.singularValues(a)
    let plain = try JacobiSVD.decompose(a).values
    for (x, y) in zip(lapack, plain) {
      #expect(abs(x - y) <= 60 * Double.ulpOfOne * lapack[0], "seed \(seed), \(rows) x \(columns)")
    }
    #expect(lapack.count == plain.count)
    #expect(try LinearAlgebra.svd(a).values.count == lapack.count)
  }

  /// Eckart, Young 1936: the truncated decomposition is off by the energy of what was cut, and nothing of that rank is
  /// closer.
  @Test("Truncation is the best approximation of its rank", arguments: 1...5)
  func eckartYoung(rank: Int) throws {
    var generator = SeededGenerator(seed: 23)
    let a = generator.matrix(8, 6)
    var svd = try LinearAlgebra.svd(a)
    let tail = svd.values.dropFirst(rank).reduce(0) { $0 + $1 * $1 }.squareRoot()
    for i in rank..<6 { svd.values[i] = 0 }
    func distance(_ b: Matrix<Double>) -> Double {
      frobenius(Matrix(unchecked: zip(a.elements, b.elements).map { $0 - $1 }, rows: 8, columns: 6))
    }
    #expect(abs(try distance(reconstruction(svd)) - tail) < 1e-14)
    for trial in 0..<20 {
      let other = try product(generator.matrix(8, rank), generator.matrix(rank, 6))
      #expect(distance(other) >= tail, "trial \(trial)")
    }
  }

  @Test("Float elements are widened; an empty matrix has no singular values")
  func conveniences() throws {
    #expect(try LinearAlgebra.singularValues([Float(3), 0, 0, 4], rows: 2, columns: 2) == [4, 3])
    #expect(try LinearAlgebra.singularValues([Float](), rows: 0, columns: 5).isEmpty)
    let empty = try LinearAlgebra.svd(Matrix(rows: 0, columns: 3, elements: []))
    #expect(empty.u.columns == 0 && empty.vTransposed.columns == 3 && empty.values.isEmpty)
  }

  // MARK: - Ranks

  @Test("Ranks by tolerance, by energy and stable, worked by hand")
  func ranks() {
    let values = [4.0, 2, 1, 0]
    #expect(LinearAlgebra.numericalRank(of: values, relativeTolerance: 0.25) == 2)
    #expect(LinearAlgebra.numericalRank(of: values, relativeTolerance: 0) == 3)
    // Energies 16, 20, 21, 21 of 21.
    #expect(LinearAlgebra.energyRank(values, fraction: 16.0 / 21) == 1)
    #expect(LinearAlgebra.energyRank(values) == 2)
    #expect(LinearAlgebra.energyRank(values, fraction: 0.96) == 3)
    #expect(LinearAlgebra.energyRank(values, fraction: 1) == 3)
    #expect(LinearAlgebra.energyRank(values, fraction: 0) == 0)
    #expect(LinearAlgebra.stableRank(values) == 21.0 / 16)
    #expect(LinearAlgebra.stableRank([1e200, 1e200]) == 2)
    for nothing in [[], [0.0, 0]] {
      #expect(LinearAlgebra.energyRank(nothing) == 0)
      #expect(LinearAlgebra.stableRank(nothing) == 0)
      #expect(LinearAlgebra.numericalRank(of: nothing, relativeTolerance: 1e-9) == 0)
    }
  }

  // MARK: - QR, Cholesky, eigenvalues, least squares

  @Test("QR: orthonormal, triangular, unique; plain and LAPACK", arguments: [(1, 1), (5, 3), (3, 5), (20, 20)])
  func qr(rows: Int, columns: Int) throws {
    var generator = SeededGenerator(seed: UInt64(rows))
    let a = generator.matrix(rows, columns)
    let (q, r) = try LinearAlgebra.qr(a)
    let one = diagonal([Double](repeating: 1, count: min(rows, columns)))
    #expect(try largestDifference(product(q.transposed, q), one) < 4e-15)
    #expect(try largestDifference(product(q, r), a) < 8e-15)
    for i in 0..<r.rows {
      #expect(r[i, i] >= 0)
      for j in 0..<i { #expect(r[i, j] == 0) }
    }
    let plain = HouseholderQR.factor(a)
    #expect(try largestDifference(product(plain.q, plain.r), a) < 8e-15)
    #expect(try largestDifference(product(plain.q.transposed, plain.q), one) < 4e-15)
    for i in 0..<r.rows { #expect(abs(abs(plain.r[i, i]) - r[i, i]) < 2e-14) }
  }

  @Test("QR of [[3, 1], [4, 2]] by hand: R = [[5, 11/5], [0, 2/5]]")
  func qrByHand() throws {
    let (q, r) = try LinearAlgebra.qr(Matrix(rows: 2, columns: 2, elements: [3, 1, 4, 2]))
    let expectedQ = try Matrix(rows: 2, columns: 2, elements: [0.6, -0.8, 0.8, 0.6])
    let expectedR = try Matrix(rows: 2, columns: 2, elements: [5, 2.2, 0, 0.4])
    #expect(largestDifference(q, expectedQ) < 1e-15)
    #expect(largestDifference(r, expectedR) < 2e-15)
  }

  @Test("Cholesky by hand, reading the lower triangle alone; plain and LAPACK")
  func cholesky() throws {
    let a = try Matrix(rows: 3, columns: 3, elements: [4.0, 99, 99, 12, 37, 99, -16, -43, 98])
    let expected = try Matrix(rows: 3, columns: 3, elements: [2.0, 0, 0, 6, 1, 0, -8, 5, 3])
    #expect(try LinearAlgebra.cholesky(a) == expected)
    var plain = a
    #expect(Cholesky.factor(&plain) == nil)
    for i in 0..<3 {
      for j in 0...i { #expect(plain[i, j] == expected[i, j]) }
    }
    var indefinite = try Matrix(rows: 2, columns: 2, elements: [1.0, 2, 2, 1])
    let problem = #expect(throws: Problem.self) { try LinearAlgebra.cholesky(indefinite) }
    #expect(problem?.code == .notPositiveDefinite)
    #expect(problem?.message == "matrix of 2 x 2 is not positive definite at column 1")
    #expect(Cholesky.factor(&indefinite) == 1)
  }

  @Test("Eigenvalues of the second difference matrix", .enabled(if: LinearAlgebra.isAvailable))
  func eigenvalues() throws {
    var a = diagonal([2, 2, 2, 2, 2])
    for i in 1..<5 {
      a[i, i - 1] = -1
      a[i - 1, i] = 1000  // The upper triangle is not read.
    }
    let (values, vectors) = try LinearAlgebra.symmetricEigen(a)
    // 2 - 2 cos(i pi / 6)
    let expected = [2 - 3.0.squareRoot(), 1, 2, 3, 2 + 3.0.squareRoot()]
    for (value, exact) in zip(values, expected) { #expect(abs(value - exact) < 4e-15) }
    for (value, exact) in zip(try LinearAlgebra.symmetricEigenvalues(a), expected) {
      #expect(abs(value - exact) < 4e-15)
    }
    for i in 1..<5 { a[i - 1, i] = -1 }
    #expect(try largestDifference(product(product(vectors.transposed, diagonal(values)), vectors), a) < 8e-15)
    #expect(throws: Problem(.matrixShape, "a symmetric matrix was expected, found 1 x 2")) {
      try LinearAlgebra.symmetricEigen(Matrix(rows: 1, columns: 2, elements: [1, 2]))
    }
  }

  @Test("Least squares: a line through four points by hand; least norm where rank is missing")
  func leastSquares() throws {
    let a = try Matrix(rows: 4, columns: 2, elements: [1.0, 0, 1, 1, 1, 2, 1, 3])
    let b = try Matrix(rows: 4, columns: 1, elements: [1.0, 3, 4, 4])
    let line = try LinearAlgebra.leastSquares(a, b)
    #expect(abs(line[0, 0] - 1.5) < 4e-15 && abs(line[1, 0] - 1) < 4e-15)

    let twice = try Matrix(rows: 2, columns: 2, elements: [1.0, 1, 1, 1])
    let shared = try LinearAlgebra.leastSquares(twice, Matrix(rows: 2, columns: 1, elements: [2, 4]))
    #expect(abs(shared[0, 0] - 1.5) < 1e-15 * 4 && abs(shared[1, 0] - 1.5) < 1e-15 * 4)
    #expect(throws: Problem(.matrixShape, "least squares of 4 rows against 2 rows")) {
      try LinearAlgebra.leastSquares(a, twice)
    }
  }

  @Test("NaN and infinity are refused by place")
  func nonFinite() throws {
    let a = try Matrix(rows: 2, columns: 2, elements: [1.0, 2, .nan, 4])
    let expected = Problem(.nonFiniteMatrix, "nan at row 1, column 0 of a matrix of 2 x 2")
    #expect(throws: expected) { try LinearAlgebra.singularValues(a) }
    #expect(throws: expected) { try LinearAlgebra.svd(a) }
    #expect(throws: expected) { try LinearAlgebra.qr(a) }
    #expect(throws: expected) { try LinearAlgebra.cholesky(a) }
    #expect(throws: expected) { try LinearAlgebra.symmetricEigenvalues(a) }
    #expect(throws: expected) { try LinearAlgebra.leastSquares(a, a) }
    #expect(throws: expected) { try LinearAlgebra.randomizedSVD(a, rank: 1, gaussian: { _ in 1 }) }
  }
}
