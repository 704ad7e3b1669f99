public import EspalierBasics
public import EspalierNumerics

/// The damped second moment of a layer's inputs, inverted for optimal-brain-surgeon steps.
///
/// ```
/// H = (2 / n) Xᵀ X,  H[j, j] = 1 where the input j was always zero,  H += damp mean(diag H) I,   H⁻¹ = Uᵀ U
/// ```
///
/// with U upper triangular, found without inverting H: if the matrix K with rows and columns of H in reverse order is
/// L Lᵀ, then U is L⁻¹ in reverse order. L⁻¹ comes from halves of K by matrix products, so that threads share the work
/// and rounding is that of float64. Sources: `frantar2023sparsegpt`, section 3; the recursion is the usual one for
/// Cholesky's factor and its inverse. Cost: 4/3 n³ flops, 5 n² numbers.
public struct InverseFactor: Sendable {
  /// U `[inputs, inputs]`, zeros below its diagonal.
  public let upper: Matrix<Double>
  /// Inputs that were always zero.
  public let dead: [Int]

  /// - Parameters:
  ///   - moment: the sum of x xᵀ over the inputs, `[inputs, inputs]`; of its halves the lower one is read.
  ///   - count: rows summed.
  ///   - damp: from 0; a share of the mean diagonal.
  /// - Throws: `matrix.shape`, `linear-algebra.non-finite`, `reduction` if H is not positive definite.
  public init(
    moment: Matrix<Double>, count: Int, damp: Double, parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) {
    let n = moment.rows
    guard n == moment.columns else {
      throw Problem(.matrixShape, "a second moment of \(n) x \(moment.columns) is not square")
    }
    if let index = moment.elements.firstIndex(where: { !$0.isFinite }) {
      throw Problem(
        .nonFiniteMatrix, "\(moment.elements[index]) at row \(index / n), column \(index % n) of the second moment")
    }
    let scale = 2 / Double(max(1, count))
    var diagonal = (0..<n).map { moment[$0, $0] * scale }
    dead = diagonal.indices.filter { diagonal[$0] == 0 }
    for j in dead { diagonal[j] = 1 }
    let added = damp * diagonal.reduce(0, +) / Double(max(1, n))
    // K[i, j] = H[n - 1 - i, n - 1 - j]; its lower half is the upper one of H, read from the lower by symmetry.
    let last = n - 1
    let reversed = [Double](unsafeUninitializedCapacity: n * n) { k, initialized in
      moment.elements.withUnsafeBufferPointer { moment in
        for i in 0..<n * n { k[n * n - 1 - i] = moment[i] * scale }
      }
      for i in 0..<n { for j in 0..<i { k[i * n + j] = k[j * n + i] } }
      for i in 0..<n { k[i * n + i] = diagonal[last - i] + added }
      initialized = n * n
    }
    var inverse: Matrix<Double>
    do throws(Problem) {
      inverse = try Self.invertedFactor(Matrix(rows: n, columns: n, elements: reversed), parallel)
    } catch {
      guard error.code == .notPositiveDefinite else { throw error }
      throw Problem(
        .reduction, "the second moment is singular with a damping of \(damp)",
        remedy: "Raise the damping (0.01 is usual) or calibrate on more text.")
    }
    inverse.elements.reverse()
    upper = inverse
  }

  /// H⁻¹ `[inputs, inputs]`, symmetric.
  public func inverse(
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> Matrix<Double> {
    try MatrixProduct.product(upper, upper, transposingFirst: true, parallel: parallel)
  }

  private static let leaf = 128

  /// L⁻¹ of the positive definite K = L Lᵀ.
  private static func invertedFactor(
    _ k: Matrix<Double>, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> Matrix<Double> {
    let n = k.rows
    if n <= leaf { return try invertedTriangle(LinearAlgebra.cholesky(k)) }
    // Halves at a multiple of the leaf's size keep the products whole.
    let h = max(leaf, n / 2 / leaf * leaf)
    let first = try invertedFactor(k.part(0..<h, 0..<h), parallel)
    let below = try MatrixProduct.product(k.part(h..<n, 0..<h), first, transposingSecond: true, parallel: parallel)
    var rest = try k.part(h..<n, h..<n)
    let taken = try MatrixProduct.product(below, below, transposingSecond: true, parallel: parallel)
    for index in rest.elements.indices { rest.elements[index] -= taken.elements[index] }
    let second = try invertedFactor(rest, parallel)
    let corner = try MatrixProduct.product(
      second, MatrixProduct.product(below, first, parallel: parallel), parallel: parallel)
    var result = [Double](repeating: 0, count: n * n)
    for i in 0..<h { for j in 0...i { result[i * n + j] = first[i, j] } }
    for i in 0..<n - h {
      for j in 0..<h { result[(h + i) * n + j] = -corner[i, j] }
      for j in 0...i { result[(h + i) * n + h + j] = second[i, j] }
    }
    return try Matrix(rows: n, columns: n, elements: result)
  }

  /// The inverse of a lower triangular matrix with a positive diagonal, row by row.
  private static func invertedTriangle(_ l: Matrix<Double>) -> Matrix<Double> {
    let n = l.rows
    var inverse = l
    inverse.elements.withUnsafeMutableBufferPointer { m in
      l.elements.withUnsafeBufferPointer { l in
        var sums = [Double](repeating: 0, count: n)
        for i in 0..<n {
          for j in 0..<i { sums[j] = 0 }
          for p in 0..<i {
            let factor = l[i * n + p]
            for j in 0...p { sums[j] += factor * m[p * n + j] }
          }
          let pivot = 1 / l[i * n + i]
          for j in 0..<i { m[i * n + j] = -sums[j] * pivot }
          m[i * n + i] = pivot
        }
      }
    }
    return inverse
  }
}

extension Matrix<Double> {
  /// A copy of some rows and columns.
  fileprivate func part(_ rows: Range<Int>, _ columns: Range<Int>) throws(Problem) -> Matrix {
    var part: [Double] = []
    part.reserveCapacity(rows.count * columns.count)
    for row in rows {
      part += elements[row * self.columns + columns.lowerBound..<row * self.columns + columns.upperBound]
    }
    return try Matrix(rows: rows.count, columns: columns.count, elements: part)
  }
}
