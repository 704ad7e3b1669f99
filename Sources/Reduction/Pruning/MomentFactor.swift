internal import CKernels
public import EspalierBasics
public import EspalierNumerics

/// The damped second moment of a layer's inputs, factored.
///
/// ```
/// H = (2 / n) Xᵀ X,  H[j, j] = 1 where the input j was always zero,  H += damp mean(diag H) I,   H = R Rᵀ
/// ```
///
/// with R upper triangular: Cholesky's factorization from the last column to the first, in float64. Cost: n³ / 3 flops,
/// n² numbers.
public struct MomentFactor: Sendable {
  /// R `[inputs, inputs]`, zeros below its diagonal.
  public let upper: Matrix<Double>
  /// Inputs that were always zero.
  public let dead: [Int]

  /// - Parameters:
  ///   - moment: the sum of x xᵀ over the inputs, `[inputs, inputs]`; of its halves the upper one is read.
  ///   - count: rows summed.
  ///   - damp: from 0; a share of the mean diagonal.
  /// - Throws: `matrix.shape`, `linear-algebra.non-finite`, `reduction` if H is not positive definite.
  public init(
    moment: Matrix<Double>, count: Int, damp: Double, parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) {
    try self.init(moment: moment, count: count, damp: damp, clearing: true, parallel: parallel)
  }

  /// - Parameter clearing: whether there are to be zeros below the diagonal; otherwise half of the memory is never touched,
  ///   and what it holds is undefined.
  init(
    moment: Matrix<Double>, count: Int, damp: Double, clearing: Bool, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    let n = moment.rows
    guard n == moment.columns else {
      throw Problem(.matrixShape, "a second moment of \(n) x \(moment.columns) is not square")
    }
    let scale = 2 / Double(max(1, count))
    var diagonal = (0..<n).map { moment[$0, $0] * scale }
    dead = diagonal.indices.filter { diagonal[$0] == 0 }
    for j in dead { diagonal[j] = 1 }
    let added = damp * diagonal.reduce(0, +) / Double(max(1, n))
    for j in diagonal.indices { diagonal[j] = -(diagonal[j] + added) }

    var failure: Problem?
    let elements = [Double](unsafeUninitializedCapacity: n * n) { target, initialized in
      guard let base = target.baseAddress else { return }
      initialized = n * n
      do throws(Problem) {
        try Self.copy(moment, scale: -scale, diagonal: diagonal, clearing: clearing, to: base, parallel)
        try UpperTriangle(elements: base, count: n, stride: n).factor(parallel)
      } catch { failure = error }
    }
    if let failure {
      guard failure.code == .notPositiveDefinite else { throw failure }
      throw Problem(
        .reduction, "the second moment is singular with a damping of \(damp)",
        remedy: "Raise the damping (0.01 is usual) or calibrate on more text.")
    }
    upper = try Matrix(rows: n, columns: n, elements: elements)
  }

  /// Both, to be changed without a copy.
  consuming func taken() -> (upper: Matrix<Double>, dead: [Int]) { (upper, dead) }

  /// The upper half, scaled, with another diagonal.
  private static func copy(
    _ moment: Matrix<Double>, scale: Double, diagonal: [Double], clearing: Bool,
    to target: UnsafeMutablePointer<Double>, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    let n = moment.rows
    let bundle = 32
    try moment.elements.withUnsafeBufferPointer { (moment) throws(Problem) in
      guard let source = moment.baseAddress else { return }
      try parallel((n + bundle - 1) / bundle) { (index) throws(Problem) in
        for i in index * bundle..<min(n, (index + 1) * bundle) {
          let (from, row) = (source + i * n, target + i * n)
          let column = Int(es_prune_first_nonfinite(from, Int64(n)))
          guard column < 0 else {
            throw Problem(.nonFiniteMatrix, "\(from[column]) at row \(i), column \(column) of the second moment")
          }
          if clearing { row.initialize(repeating: 0, count: i) }
          es_prune_scale(from + i, scale, Int64(n - i), row + i)
          row[i] = diagonal[i]
        }
      }
    }
  }
}

/// The inverse of the damped moment H of ``MomentFactor``, factored for optimal-brain-surgeon steps: H⁻¹ = Uᵀ U with U
/// upper triangular, which is R⁻¹. Source: `frantar2023sparsegpt`, section 3. Cost: 2/3 n³ flops, n² numbers.
public struct InverseFactor: Sendable {
  /// U `[inputs, inputs]`, zeros below its diagonal.
  public let upper: Matrix<Double>
  /// Inputs that were always zero.
  public let dead: [Int]

  /// - Throws: as ``MomentFactor/init(moment:count:damp:parallel:)``, whose parameters these are.
  public init(
    moment: Matrix<Double>, count: Int, damp: Double, parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) {
    var (upper, dead) = try MomentFactor(moment: moment, count: count, damp: damp, parallel: parallel).taken()
    let n = moment.rows
    try upper.elements.withUnsafeMutableBufferPointer { (buffer) throws(Problem) in
      guard let base = buffer.baseAddress else { return }
      try UpperTriangle(elements: base, count: n, stride: n).invert(parallel)
    }
    (self.upper, self.dead) = (upper, dead)
  }

  /// H⁻¹ `[inputs, inputs]`, symmetric.
  public func inverse(
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> Matrix<Double> {
    try MatrixProduct.product(upper, upper, transposingFirst: true, parallel: parallel)
  }
}
