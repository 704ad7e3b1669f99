import EspalierBasics
import TestSupport
import Testing

@testable import EspalierNumerics

@Suite("Truncated singular value decompositions of growing matrices")
struct TruncatedSVDTests {
  func matrix(_ svd: SingularValueDecomposition) throws -> Matrix<Double> {
    try MatrixProduct.product(svd.u.scaling(columns: svd.values), svd.vTransposed)
  }

  func difference(_ a: Matrix<Double>, _ b: Matrix<Double>) -> Double {
    guard a.rows == b.rows, a.columns == b.columns else { return .infinity }
    return zip(a.elements, b.elements).reduce(0) { max($0, abs($1.0 - $1.1)) }
  }

  /// The largest element of `VᵀV - 1` of columns.
  func obliqueness(_ basis: Matrix<Double>) throws -> Double {
    let gram = try MatrixProduct.product(basis, basis, transposingFirst: true)
    return (0..<gram.rows).reduce(0) { worst, i in
      (0..<gram.rows).reduce(worst) { max($0, abs(gram[i, $1] - (i == $1 ? 1 : 0))) }
    }
  }

  func grown(_ matrix: Matrix<Double>, rows: Int, columns: Int) -> Matrix<Double> {
    var result = Matrix(repeating: 0.0, rows: rows, columns: columns)
    for i in 0..<matrix.rows { for j in 0..<matrix.columns { result[i, j] = matrix[i, j] } }
    return result
  }

  /// A few numbers in one of four groups of the columns, and sometimes one elsewhere.
  func row(_ generator: inout SeededGenerator, columns: Int) throws -> SparseVector {
    let group = Int(generator.next() % 4)
    var values: [Int: Double] = [:]
    for _ in 0..<8 {
      values[group * columns / 4 + Int(generator.next() % UInt64(columns / 4))] =
        Double.random(in: 0.5...1.5, using: &generator)
    }
    if generator.next() % 4 == 0 { values[Int(generator.next() % UInt64(columns))] = 0.5 }
    let indices = values.keys.sorted()
    return try SparseVector(indices: indices, values: indices.map { values[$0] ?? 0 })
  }

  @Test("Nothing is lost while the rank suffices: rows, columns and entries, from nothing", arguments: [2, 64])
  func exact(renewalPeriod: Int) throws {
    var svd = try TruncatedSVD(
      Matrix(repeating: 0, rows: 0, columns: 0), rank: 30, renewalPeriod: renewalPeriod)
    var dense = Matrix(repeating: 0.0, rows: 0, columns: 0)
    var generator = SeededGenerator(seed: 5)
    for step in 0..<8 {
      let vectors = try (0..<2).map { _ in try row(&generator, columns: 24) }
      if step % 3 == 1 {
        dense = grown(
          dense, rows: max(dense.rows, vectors.map(\.length).max() ?? 0), columns: dense.columns + vectors.count)
        for (s, vector) in vectors.enumerated() {
          for (i, value) in zip(vector.indices, vector.values) { dense[i, dense.columns - vectors.count + s] = value }
        }
        try svd.append(columns: vectors)
      } else {
        dense = grown(
          dense, rows: dense.rows + vectors.count, columns: max(dense.columns, vectors.map(\.length).max() ?? 0))
        for (s, vector) in vectors.enumerated() {
          for (j, value) in zip(vector.indices, vector.values) { dense[dense.rows - vectors.count + s, j] = value }
        }
        try svd.append(rows: vectors)
      }
    }
    try svd.add([(left: SparseVector(indices: [1, 4], values: [1, -2]), right: SparseVector(axis: 3))])
    dense[1, 3] += 1
    dense[4, 3] -= 2
    #expect(svd.rows == dense.rows && svd.columns == dense.columns)
    let found = try svd.decomposition()
    #expect(difference(try matrix(found), dense) < 1e-9)
    #expect(try obliqueness(found.u) < 1e-9 && obliqueness(found.vTransposed.transposed) < 1e-9)
    for (value, expected) in zip(svd.values, try LinearAlgebra.singularValues(dense)) {
      #expect(abs(value - expected) < 1e-9)
    }
  }

  @Test("Fifty updates give what dense projections give, and singular values within 1 % of those of all data")
  func fifty() throws {
    let columns = 200
    var generator = SeededGenerator(seed: 11)
    var all = Matrix(repeating: 0.0, rows: 0, columns: columns)
    func appended(_ matrix: Matrix<Double>, _ vectors: [SparseVector]) -> Matrix<Double> {
      var result = grown(matrix, rows: matrix.rows + vectors.count, columns: columns)
      for (s, vector) in vectors.enumerated() {
        for (j, value) in zip(vector.indices, vector.values) { result[matrix.rows + s, j] = value }
      }
      return result
    }
    func truncated(_ matrix: Matrix<Double>) throws -> Matrix<Double> {
      let svd = try LinearAlgebra.svd(matrix)
      let kept = [0, 1, 2, 3]
      return try self.matrix(
        SingularValueDecomposition(
          u: svd.u.selecting(columns: kept), values: Array(svd.values.prefix(4)),
          vTransposed: svd.vTransposed.selecting(rows: kept)))
    }
    all = appended(all, try (0..<60).map { _ in try row(&generator, columns: columns) })
    var svd = try TruncatedSVD(all, rank: 4)
    var projected = try truncated(all)
    for _ in 0..<50 {
      let vectors = try (0..<4).map { _ in try row(&generator, columns: columns) }
      all = appended(all, vectors)
      projected = try truncated(appended(projected, vectors))
      try svd.append(rows: vectors)
    }
    #expect(difference(try matrix(svd.decomposition()), projected) < 1e-8)
    for (value, expected) in zip(svd.values, try LinearAlgebra.singularValues(all)) {
      #expect(value <= expected * (1 + 1e-9) && value > 0.99 * expected, "\(value) of \(expected)")
    }
    #expect(svd.values.count == 4)
  }

  @Test("Directions that take the place of others are multiplied out")
  func replaced() throws {
    var svd = try TruncatedSVD(Matrix(rows: 1, columns: 2, elements: [1.0, 0]), rank: 1)
    try svd.append(rows: [SparseVector(indices: [1], values: [3])])
    #expect(svd.renewals == 1 && abs(svd.values[0] - 3) < 1e-15)
    #expect(
      difference(try matrix(svd.decomposition()), try Matrix(rows: 2, columns: 2, elements: [0, 0, 0, 3.0])) < 1e-15)
  }

  @Test("Bad vectors and ranks")
  func refused() throws {
    #expect(problem { try SparseVector(indices: [1, 1], values: [1, 2]) }?.code == .matrixShape)
    #expect(problem { try SparseVector(indices: [-1], values: [1]) }?.code == .matrixShape)
    #expect(problem { try SparseVector(indices: [.max], values: [1]) }?.code == .matrixShape)
    #expect(problem { try SparseVector(indices: [1], values: []) }?.code == .matrixShape)
    #expect(problem { try SparseVector(indices: [1], values: [.nan]) }?.code == .nonFiniteMatrix)
    #expect(problem { try TruncatedSVD(Matrix(repeating: 0, rows: 1, columns: 1), rank: 0) }?.code == .matrixShape)
    var svd = try TruncatedSVD(Matrix(repeating: 0, rows: 2, columns: 2), rank: 1)
    try svd.add([])
    try svd.append(rows: [SparseVector(indices: [], values: [])])
    #expect(svd.rows == 3 && svd.values.isEmpty)
  }
}
