internal import EspalierBasics

/// Orthonormal columns U `[rows, k]` as a tall matrix times a small one `[k, k]`: ``TruncatedSVD``'s vectors.
struct SplitBasis: Sendable {
  private(set) var rows: Int
  private var tall: [Double]
  private var small: Matrix<Double>

  private var width: Int { small.rows }

  init(_ basis: Matrix<Double>) {
    rows = basis.rows
    tall = basis.elements
    small = Self.identity(basis.columns)
  }

  /// Zeros beneath, where it has fewer rows.
  mutating func grow(to length: Int) {
    guard length > rows else { return }
    tall += [Double](repeating: 0, count: (length - rows) * width)
    rows = length
  }

  func product() throws(Problem) -> Matrix<Double> {
    try MatrixProduct.product(Matrix(unchecked: tall, rows: rows, columns: width), small)
  }

  /// Vectors D as `U coordinates + Q remainder` with `Q = (D - U coordinates) orthonormalizer` orthonormal.
  struct Parts {
    /// Uᵀ D `[k, s]`.
    var coordinates: Matrix<Double>
    /// `[t, s]`.
    var remainder: Matrix<Double>
    /// `[s, t]`.
    var orthonormalizer: Matrix<Double>
    /// Coordinates above remainder.
    var stacked: Matrix<Double> {
      Matrix(
        unchecked: coordinates.elements + remainder.elements, rows: coordinates.rows + remainder.rows,
        columns: coordinates.columns)
    }
  }

  func split(_ vectors: [SparseVector]) throws(Problem) -> Parts {
    let count = vectors.count
    var overlaps = Matrix(repeating: 0.0, rows: width, columns: count)
    for (s, vector) in vectors.enumerated() {
      for (row, value) in zip(vector.indices, vector.values) {
        for c in 0..<width { overlaps[c, s] += tall[row * width + c] * value }
      }
    }
    let coordinates = try MatrixProduct.product(small, overlaps, transposingFirst: true)
    let inside = try MatrixProduct.product(coordinates, coordinates, transposingFirst: true)
    var outside = Matrix(repeating: 0.0, rows: count, columns: count)
    var largest = 0.0
    for i in 0..<count {
      for j in 0...i {
        let whole = SparseVector.dot(vectors[i], vectors[j])
        if i == j { largest = max(largest, whole) }
        outside[i, j] = whole - inside[i, j]
        outside[j, i] = outside[i, j]
      }
    }
    // outside = P diag(l) Pᵀ; l is known to rounding of the largest square, so what is near that is not a direction.
    let svd = try LinearAlgebra.svd(outside)
    let lengths = svd.values.prefix { $0 > 1e-10 * largest }.map { $0.squareRoot() }
    let directions = svd.vTransposed.selecting(rows: Array(lengths.indices))
    return Parts(
      coordinates: coordinates, remainder: directions.scaling(rows: lengths),
      orthonormalizer: directions.scaling(rows: lengths.map { 1 / $0 }).transposed)
  }

  /// U becomes `[U Q] rotation`, with Q from the parts of the vectors.
  ///
  /// - Returns: whether every row was written.
  mutating func turn(by rotation: Matrix<Double>, _ parts: Parts, _ vectors: [SparseVector]) throws(Problem) -> Bool {
    // [U Q] [F; f] = U (F - coordinates Z) + D Z with Z = orthonormalizer f.
    let below = rotation.selecting(rows: Array(width..<rotation.rows))
    let weights = try MatrixProduct.product(parts.orthonormalizer, below)
    let inner = try MatrixProduct.product(parts.coordinates, weights)
    var turn = rotation.selecting(rows: Array(0..<width))
    for i in turn.elements.indices { turn.elements[i] -= inner.elements[i] }
    let next = try MatrixProduct.product(small, turn)
    if let inverse = try Self.inverse(next) {
      add(vectors, times: try MatrixProduct.product(weights, inverse))
      small = next
      return false
    }
    let product = try MatrixProduct.product(Matrix(unchecked: tall, rows: rows, columns: width), next)
    self = SplitBasis(product)
    add(vectors, times: weights)
    return true
  }

  private mutating func add(_ vectors: [SparseVector], times weights: Matrix<Double>) {
    for (s, vector) in vectors.enumerated() {
      for (row, value) in zip(vector.indices, vector.values) {
        for c in 0..<width { tall[row * width + c] += value * weights[s, c] }
      }
    }
  }

  /// The inverse of a square matrix whose condition leaves at least half of the digits; else nil.
  private static func inverse(_ matrix: Matrix<Double>) throws(Problem) -> Matrix<Double>? {
    guard matrix.rows == matrix.columns, matrix.rows > 0 else { return nil }
    let svd = try LinearAlgebra.svd(matrix)
    guard let first = svd.values.first, let last = svd.values.last, last > 1e-6 * first else { return nil }
    return try MatrixProduct.product(
      svd.vTransposed.scaling(rows: svd.values.map { 1 / $0 }), svd.u, transposingFirst: true, transposingSecond: true)
  }

  private static func identity(_ size: Int) -> Matrix<Double> {
    var matrix = Matrix(repeating: 0.0, rows: size, columns: size)
    for i in 0..<size { matrix[i, i] = 1 }
    return matrix
  }
}
