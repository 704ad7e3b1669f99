public import EspalierBasics
internal import EspalierLinearMaps
public import EspalierNumerics

extension ReducedMatrix.Form {
  /// The factors from left to right, where they are all of it.
  public var factors: [Matrix<Float>] {
    switch self {
    case .dense, .quantized, .split: []
    case .factors(let left, let right): [left, right]
    case .cur(let columns, let link, let rows, _, _): [columns, link, rows]
    }
  }

  /// Numbers of the factors and of what is whole beside them; nil for zeros in place and codes.
  public var factorNumbers: Int? {
    switch self {
    case .dense, .quantized: nil
    case .factors, .cur: factors.reduce(0) { $0 + $1.elements.count }
    case .split(let split): split.numbers
    }
  }

  /// The matrix `[outputs, inputs]` that it stands for: factors are multiplied in float64 and the product is rounded once.
  public func materialized(
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> Matrix<Float> {
    switch self {
    case .dense(let weight): return weight
    case .quantized(let matrix): return try matrix.materialized()
    case .factors, .cur: return try Factors.product(factors, parallel: parallel)
    case .split(let split):
      let product = try Factors.product([split.left, split.right], parallel: parallel)
      return try SplitFactors.joined(split.axis, places: split.places, whole: split.whole, others: product)
    }
  }

  /// Each stored number replaced by what `body` makes of its matrix: rounding to a stored type, say. Codes have theirs and
  /// stay.
  public func map(_ body: (Matrix<Float>) -> Matrix<Float>) -> Self {
    switch self {
    case .quantized: self
    case .dense(let weight): .dense(body(weight))
    case .split(let split): .split(split.map(body))
    case .factors(let left, let right): .factors(left: body(left), right: body(right))
    case .cur(let columns, let link, let rows, let columnIndices, let rowIndices):
      .cur(
        columns: body(columns), link: body(link), rows: body(rows), columnIndices: columnIndices, rowIndices: rowIndices
      )
    }
  }
}
