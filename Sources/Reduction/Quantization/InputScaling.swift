public import EspalierBasics
public import EspalierCheckpoints
public import EspalierLinearMaps
public import EspalierNumerics

/// A method that multiplies columns before it rounds them and divides inputs by as much.
///
/// Where what makes the inputs can be divided instead, nothing of that is left when the model runs; all matrices that
/// read the inputs then have the same factors.
public protocol InputScaling: ReductionMethod {
  /// The factors for matrices that read the same inputs, one a column.
  ///
  /// - Parameter weights: `[outputs, inputs]`, one at least.
  /// - Throws: `reduction` without statistics, `matrix.shape`.
  func inputScales(
    of weights: [Matrix<Float>], _ statistics: SiteStatistics?, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> [Float]

  /// The codes of W diag(s), with s as ``QuantizedMatrix/inputScales``.
  ///
  /// - Throws: as ``inputScales(of:_:parallel:)``.
  func quantized(
    _ weight: Matrix<Float>, inputScales: [Float], _ statistics: SiteStatistics?, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> QuantizedMatrix
}

extension AWQ: InputScaling {}
