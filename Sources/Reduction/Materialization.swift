public import EspalierBasics
internal import EspalierLinearMaps
public import EspalierNumerics

extension ReducedMatrix.Form {
  /// The factors from left to right; none of a matrix with zeros in place or of codes.
  public var factors: [Matrix<Float>] {
    switch self {
    case .dense, .quantized: []
    case .factors(let left, let right): [left, right]
    case .cur(let columns, let link, let rows, _, _): [columns, link, rows]
    }
  }

  /// The matrix `[outputs, inputs]` that it stands for: factors are multiplied in float64 and the product is rounded once.
  public func materialized(
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> Matrix<Float> {
    if case .dense(let weight) = self { return weight }
    if case .quantized(let matrix) = self { return try matrix.materialized() }
    return try Factors.product(factors, parallel: parallel)
  }

  /// Each stored number replaced by what `body` makes of its matrix: rounding to a stored type, say. Codes have theirs and
  /// stay.
  public func map(_ body: (Matrix<Float>) -> Matrix<Float>) -> Self {
    switch self {
    case .quantized: self
    case .dense(let weight): .dense(body(weight))
    case .factors(let left, let right): .factors(left: body(left), right: body(right))
    case .cur(let columns, let link, let rows, let columnIndices, let rowIndices):
      .cur(
        columns: body(columns), link: body(link), rows: body(rows), columnIndices: columnIndices, rowIndices: rowIndices
      )
    }
  }
}
