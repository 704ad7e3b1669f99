public import EspalierBasics
public import EspalierNumerics

/// A change of a weight as a low-rank adapter: `delta ≈ B A` with scale 1.
///
///     delta = U diag(s) Vᵀ,   B = U_r diag(s)^(1/2) [outputs, r],   A = diag(s)^(1/2) V_rᵀ [r, inputs]
///
/// the nearest of this rank (Eckart, Young 1936).
public struct ExtractedAdapter: Sendable {
  /// `[r, inputs]`.
  public var a: Matrix<Float>
  /// `[outputs, r]`.
  public var b: Matrix<Float>
  /// The share of the squared Frobenius norm of the change that the adapter holds; 1 if there is no change.
  public var energy: Double
  /// ‖delta - B A‖ / ‖delta‖, computed from A and B as they are stored.
  public var certificate: Certificate
  /// All singular values of the change, descending.
  public var singularValues: [Double]

  /// - Parameters:
  ///   - delta: fine-tuned weight minus base.
  ///   - rank: where the change has fewer than this, the other rows and columns are zero, so that layers can share one.
  /// - Throws: `reduction` for a rank below 1; as ``LinearAlgebra/svd(_:)``.
  public init(
    of delta: Matrix<Float>, rank: Int, parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) {
    guard rank >= 1 else { throw Problem(.reduction, "an adapter of rank \(rank): the least is 1") }
    try self.init(LinearAlgebra.svd(Matrix<Double>(delta)), delta, rank: rank, parallel: parallel)
  }

  /// With the smallest rank, at least 1, that holds this share of the energy.
  ///
  /// - Throws: `reduction` unless the share is above 0 and at most 1; as ``LinearAlgebra/svd(_:)``.
  public init(
    of delta: Matrix<Float>, energy: Double, parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) {
    guard energy > 0, energy <= 1 else {
      throw Problem(.reduction, "an adapter with \(energy) of the energy: it must be above 0 and at most 1")
    }
    let svd = try LinearAlgebra.svd(Matrix<Double>(delta))
    try self.init(svd, delta, rank: max(1, LinearAlgebra.energyRank(svd.values, fraction: energy)), parallel: parallel)
  }

  private init(
    _ svd: SingularValueDecomposition, _ delta: Matrix<Float>, rank: Int, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    let kept = min(rank, svd.values.count)
    let roots = svd.values.prefix(kept).map { $0.squareRoot() }
    var (left, right) = ([Float](), [Float]())
    for i in 0..<delta.rows { for r in 0..<rank { left.append(r < kept ? Float(svd.u[i, r] * roots[r]) : 0) } }
    for r in 0..<rank {
      for j in 0..<delta.columns { right.append(r < kept ? Float(svd.vTransposed[r, j] * roots[r]) : 0) }
    }
    b = try Matrix(rows: delta.rows, columns: rank, elements: left)
    a = try Matrix(rows: rank, columns: delta.columns, elements: right)
    singularValues = svd.values
    let floor = Factors.floor(svd.values, rank: kept)
    energy = 1 - floor * floor
    certificate = try OutputError.certificate(
      of: Factors.product([b, a], parallel: parallel), original: delta, statistics: nil, parallel: parallel)
    certificate.floor = floor
  }
}
