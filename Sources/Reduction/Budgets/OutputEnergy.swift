public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

extension OutputError {
  /// ‖W X‖²_F = trace(W G Wᵀ), what ``certificate(of:original:statistics:parallel:)`` relates errors to: G is the full
  /// second moment of the rows that the statistics saw, or its diagonal if it is not there; without statistics ‖W‖²_F.
  ///
  /// - Throws: `matrix.shape` if the widths do not fit.
  public static func energy(
    of weight: Matrix<Float>, statistics: SiteStatistics?,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> Double {
    guard statistics.map({ $0.width == weight.columns }) ?? true else {
      throw Problem(
        .matrixShape,
        "\(weight.rows) x \(weight.columns) against statistics of \(statistics?.width ?? 0) columns")
    }
    let wide = Matrix<Double>(weight)
    if case .full(let moment)? = statistics?.moment {
      let weighted = try MatrixProduct.product(wide, moment, parallel: parallel)
      return max(0, zip(weighted.elements, wide.elements).reduce(0) { $0 + $1.0 * $1.1 })
    }
    var sum = 0.0
    for i in 0..<wide.rows {
      for j in 0..<wide.columns { sum += wide[i, j] * wide[i, j] * (statistics?.squareSums[j] ?? 1) }
    }
    return sum
  }
}
