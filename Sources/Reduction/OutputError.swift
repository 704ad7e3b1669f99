public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// How far the outputs of a changed matrix are from those of the original, on the rows that the statistics saw.
public enum OutputError {
  /// sqrt(trace(D G Dᵀ) / trace(W G Wᵀ)) with D = W - W' and G the second moment: the relative Frobenius error of all
  /// outputs, computed in float64. Without a full moment, G is its diagonal and the certificate says so; without
  /// statistics it is the relative error of the weight.
  ///
  /// - Throws: `matrix.shape` if the shapes do not fit.
  public static func certificate(
    of changed: Matrix<Float>, original: Matrix<Float>, statistics: SiteStatistics?,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> Certificate {
    guard changed.rows == original.rows, changed.columns == original.columns,
      statistics.map({ $0.width == original.columns }) ?? true
    else {
      throw Problem(
        .matrixShape,
        "\(changed.rows) x \(changed.columns) against \(original.rows) x \(original.columns) and statistics of "
          + "\(statistics?.width ?? original.columns) columns")
    }
    let difference = zip(original.elements, changed.elements).map { Double($0) - Double($1) }
    let reference = original.elements.map(Double.init)
    let rows = original.rows
    let (d, w) = (
      try Matrix(rows: rows, columns: original.columns, elements: difference),
      try Matrix(rows: rows, columns: original.columns, elements: reference)
    )
    func ratio(_ weigh: (Matrix<Double>) throws(Problem) -> Double) throws(Problem) -> Double {
      let (error, whole) = (try weigh(d), try weigh(w))
      return whole > 0 ? (max(0, error) / whole).squareRoot() : error > 0 ? .infinity : 0
    }
    switch statistics?.moment {
    case .full(let moment)?:
      let error = try ratio { (m) throws(Problem) in
        let weighted = try MatrixProduct.product(m, moment, parallel: parallel)
        return zip(weighted.elements, m.elements).reduce(0) { $0 + $1.0 * $1.1 }
      }
      return Certificate(
        error: error, norm: "relative Frobenius norm of the outputs on the calibration data", kind: .measured)
    default:
      guard let statistics else {
        let error = try ratio { (m) throws(Problem) in m.elements.reduce(0) { $0 + $1 * $1 } }
        return Certificate(error: error, norm: "relative Frobenius norm of the weight", kind: .exact)
      }
      let squares = statistics.squareSums
      let error = try ratio { (m) throws(Problem) in
        var sum = 0.0
        for i in 0..<m.rows { for j in 0..<m.columns { sum += m[i, j] * m[i, j] * squares[j] } }
        return sum
      }
      return Certificate(
        error: error, norm: "relative Frobenius norm of the outputs on the calibration data", kind: .estimate,
        assumptions: ["the inputs of the matrix are uncorrelated"])
    }
  }
}
