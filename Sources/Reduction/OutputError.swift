public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// How far the outputs of a changed matrix are from those of the original, on the rows that the statistics saw.
public enum OutputError {
  /// sqrt(trace(D G Dᵀ) / trace(W G Wᵀ)) with D = W - W' and G the second moment: the relative Frobenius error of all
  /// outputs, computed in float64. Without a full moment, G is its diagonal and the certificate says so; without
  /// statistics it is the relative error of the weight.
  ///
  /// Cost with a full moment: twice outputs inputs² flops.
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
    let squares = OutputSquares(original: original, changed: changed)
    guard let statistics else {
      return Certificate(
        error: relative(try squares.sums(weights: nil, parallel)), norm: "relative Frobenius norm of the weight",
        kind: .exact)
    }
    let norm = "relative Frobenius norm of the outputs on the calibration data"
    if case .full(let moment)? = statistics.moment {
      return Certificate(error: relative(try squares.sums(moment: moment, parallel)), norm: norm, kind: .measured)
    }
    return Certificate(
      error: relative(try squares.sums(weights: statistics.squareSums, parallel)), norm: norm, kind: .estimate,
      assumptions: ["the inputs of the matrix are uncorrelated"])
  }

  /// The two traces of ``certificate(of:original:statistics:parallel:)`` themselves, which add up over rows.
  public static func squares(
    of changed: Matrix<Float>, original: Matrix<Float>, statistics: SiteStatistics?,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> (error: Double, whole: Double) {
    let squares = OutputSquares(original: original, changed: changed)
    if case .full(let moment)? = statistics?.moment { return try squares.sums(moment: moment, parallel) }
    return try squares.sums(weights: statistics?.squareSums, parallel)
  }

  private static func relative(_ sums: (error: Double, whole: Double)) -> Double {
    sums.whole > 0 ? (max(0, sums.error) / sums.whole).squareRoot() : sums.error > 0 ? .infinity : 0
  }
}
