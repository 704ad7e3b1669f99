public import EspalierBasics

/// The leading singular values and vectors of a growing matrix, kept up to date as sparse rows, columns or entries come.
///
/// With A ≈ U diag(s) Vᵀ, adding D Eᵀ (a row is a unit vector times the row) gives, with the parts of D and E outside of
/// U and V, orthonormal in Q_D and Q_E,
///
///     A + D Eᵀ = [U Q_D] K [V Q_E]ᵀ,   K = diag(s, 0) + [Uᵀ D; R_D] [Vᵀ E; R_E]ᵀ = F diag(s') Gᵀ
///
/// of which the leading values stay (Zha, Simon 1999). Two things keep an update from touching every row of U and V (Deng
/// et al. 2024): `Q_D = (D - U Uᵀ D) T` is never formed, since `Dᵀ D - (Uᵀ D)ᵀ (Uᵀ D)` is all that R_D and T need; and U
/// is stored as a tall matrix times a small one, of which an update changes the small one and the rows that D has.
/// An update of s vectors with z numbers costs `O(z k + s² k + (k + s)³)` flops, however tall A is.
///
/// The values are those of the kept part alone: what was cut off before is not found again. Orthonormality is lost
/// slowly (a part of D below 1e-5 of its length outside of U is dropped, parts near that are known to 1e-6), so U and V
/// are made orthonormal anew every ``renewalPeriod`` updates, and tall and small are multiplied out when the small one
/// becomes ill-conditioned; either costs `O((m + n) k²)`. An update that throws leaves a decomposition of no use.
public struct TruncatedSVD: Sendable {
  public let maximumRank: Int
  /// Updates from one re-orthogonalization to the next.
  public let renewalPeriod: Int
  /// The leading singular values, descending.
  public private(set) var values: [Double]
  /// Times that tall matrices were multiplied out or made orthonormal anew.
  public private(set) var renewals = 0
  private var left: SplitBasis
  private var right: SplitBasis
  private var updates = 0

  /// - Parameters:
  ///   - matrix: where it starts; may have no rows or no columns.
  ///   - rank: singular values that are kept, at least 1.
  ///   - renewalPeriod: at least 1.
  /// - Throws: as ``LinearAlgebra/svd(_:)``; `matrix.shape` for a rank or period below 1.
  public init(_ matrix: Matrix<Double>, rank: Int, renewalPeriod: Int = 64) throws(Problem) {
    guard rank >= 1, renewalPeriod >= 1 else {
      throw Problem(.matrixShape, "a truncated decomposition of rank \(rank), renewed every \(renewalPeriod) updates")
    }
    let svd = try LinearAlgebra.svd(matrix)
    let kept = min(rank, LinearAlgebra.numericalRank(of: svd.values, relativeTolerance: Self.negligible))
    maximumRank = rank
    self.renewalPeriod = renewalPeriod
    values = Array(svd.values.prefix(kept))
    left = SplitBasis(svd.u.selecting(columns: Array(0..<kept)))
    right = SplitBasis(svd.vTransposed.selecting(rows: Array(0..<kept)).transposed)
  }

  public var rows: Int { left.rows }
  public var columns: Int { right.rows }

  /// The vectors multiplied out.
  public func decomposition() throws(Problem) -> SingularValueDecomposition {
    SingularValueDecomposition(u: try left.product(), values: values, vTransposed: try right.product().transposed)
  }

  /// Rows beneath those there are; a row may be longer than the matrix is wide, which then widens.
  public mutating func append(rows vectors: [SparseVector]) throws(Problem) {
    let axes = vectors.indices.map { SparseVector(axis: rows + $0) }
    try add(zip(axes, vectors).map { (left: $0, right: $1) })
  }

  /// Columns to the right of those there are; one may be longer than the matrix is tall, which then grows.
  public mutating func append(columns vectors: [SparseVector]) throws(Problem) {
    let axes = vectors.indices.map { SparseVector(axis: columns + $0) }
    try add(zip(vectors, axes).map { (left: $0, right: $1) })
  }

  /// The sum of `left rightᵀ` over the terms; the matrix grows to hold them. Single entries are terms of two axes.
  public mutating func add(_ terms: [(left: SparseVector, right: SparseVector)]) throws(Problem) {
    guard !terms.isEmpty else { return }
    let (d, e) = (terms.map(\.left), terms.map(\.right))
    left.grow(to: d.map(\.length).max() ?? 0)
    right.grow(to: e.map(\.length).max() ?? 0)
    let (outer, inner) = (try left.split(d), try right.split(e))

    var core = try MatrixProduct.product(outer.stacked, inner.stacked, transposingSecond: true)
    for (i, value) in values.enumerated() { core[i, i] += value }
    let svd = try LinearAlgebra.svd(core)
    let kept = min(maximumRank, LinearAlgebra.numericalRank(of: svd.values, relativeTolerance: Self.negligible))
    values = Array(svd.values.prefix(kept))
    let directions = Array(0..<kept)
    updates += 1
    var renewed = try left.turn(by: svd.u.selecting(columns: directions), outer, d)
    if try right.turn(by: svd.vTransposed.selecting(rows: directions).transposed, inner, e) { renewed = true }
    if updates % renewalPeriod == 0 {
      try orthonormalize()
      renewed = true
    }
    if renewed { renewals += 1 }
  }

  private mutating func orthonormalize() throws(Problem) {
    let (u, v) = (try LinearAlgebra.qr(left.product()), try LinearAlgebra.qr(right.product()))
    let core = try MatrixProduct.product(u.r.scaling(columns: values), v.r, transposingSecond: true)
    let svd = try LinearAlgebra.svd(core)
    values = svd.values
    left = SplitBasis(try MatrixProduct.product(u.q, svd.u))
    right = SplitBasis(try MatrixProduct.product(v.q, svd.vTransposed, transposingSecond: true))
  }

  /// Singular values below this share of the largest are none.
  private static let negligible = 1e-13
}
