public import EspalierBasics
public import EspalierCheckpoints
public import EspalierLinearMaps
public import EspalierNumerics

/// A method that multiplies columns before it rounds them and divides inputs by as much.
///
/// Where what makes the inputs can be divided instead, nothing of that is left when the model runs; all matrices that
/// read the inputs then have the same factors. It only rounds: budgets of zeros are refused.
public protocol InputScaling: ReductionMethod {
  /// The factors for matrices that read the same inputs, one a column.
  ///
  /// - Parameters:
  ///   - weights: `[outputs, inputs]`, one at least.
  ///   - sharing: columns of one number get one factor; nil: each its own.
  /// - Throws: `reduction` without statistics, `matrix.shape`, `linear-algebra.non-finite`.
  func inputScales(
    of weights: [Matrix<Float>], _ statistics: SiteStatistics?, sharing: [Int]?, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> [Float]

  /// The codes of W diag(s), with s as ``QuantizedMatrix/inputScales``.
  ///
  /// - Throws: as ``inputScales(of:_:sharing:parallel:)``.
  func quantized(
    _ weight: Matrix<Float>, inputScales: [Float], _ statistics: SiteStatistics?, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> QuantizedMatrix
}

extension InputScaling {
  public func reduce(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    try Quantization.requireNoZeros(budget, Self.card.name)
    let scales = try inputScales(of: [weight], statistics, sharing: nil, parallel: parallel)
    return try Quantization.result(
      quantized(weight, inputScales: scales, statistics, parallel: parallel), of: weight, statistics, parallel)
  }

  /// Statistics that all the weights can be scaled by.
  ///
  /// - Throws: as ``inputScales(of:_:sharing:parallel:)``.
  func known(
    _ statistics: SiteStatistics?, for weights: [Matrix<Float>], sharing: [Int]?
  ) throws(Problem) -> SiteStatistics {
    guard let first = weights.first else { throw Problem(.reduction, "\(Self.card.name): no weights") }
    for weight in weights {
      _ = try Pruning.statistics(statistics, for: weight, method: Self.card.name)
      try Pruning.check(weight)
    }
    guard sharing?.count ?? first.columns == first.columns else {
      throw Problem(.matrixShape, "\(sharing?.count ?? 0) columns share factors of \(first.columns)")
    }
    return try Pruning.statistics(statistics, for: first, method: Self.card.name)
  }
}

extension [Double] {
  /// Each number as the mean of those of the columns that share its factor.
  func pooled(_ sharing: [Int]?) -> [Double] {
    guard let sharing else { return self }
    var sums: [Int: (sum: Double, count: Double)] = [:]
    for (value, group) in zip(self, sharing) {
      let old = sums[group] ?? (0, 0)
      sums[group] = (old.sum + value, old.count + 1)
    }
    return sharing.map { group in sums[group].map { $0.sum / $0.count } ?? 0 }
  }
}
