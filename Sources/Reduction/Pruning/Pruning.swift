internal import CKernels
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// What all pruning methods do before and after their own work.
enum Pruning {
  static func budgetProblem(_ method: String) -> Problem {
    Problem(
      .reduction, "\(method) makes zeros, not factors",
      remedy: "Give a sparsity or a pattern (keep so many of so many).")
  }

  /// - Throws: `linear-algebra.non-finite` naming the first weight that is not finite.
  static func check(_ weight: Matrix<Float>) throws(Problem) {
    let found = weight.elements.withUnsafeBufferPointer { elements in
      elements.baseAddress.flatMap { firstNonfinite($0, count: elements.count) }
    }
    guard let index = found else { return }
    throw Problem(
      .nonFiniteMatrix,
      "\(weight.elements[index]) at row \(index / weight.columns), column \(index % weight.columns) of a weight of "
        + "\(weight.rows) x \(weight.columns)")
  }

  /// The statistics, if they are those of inputs of `weight` and have seen some.
  ///
  /// - Throws: `reduction` if there are none, `matrix.shape`, `linear-algebra.non-finite`.
  static func statistics(
    _ statistics: SiteStatistics?, for weight: Matrix<Float>, method: String
  ) throws(Problem) -> SiteStatistics {
    guard let statistics else { throw Problem(.reduction, "\(method) needs statistics of the inputs") }
    guard statistics.width == weight.columns, statistics.squareSums.count == weight.columns else {
      throw Problem(.matrixShape, "statistics of \(statistics.width) columns for a weight of \(weight.columns) inputs")
    }
    guard statistics.count > 0 else {
      throw Problem(
        .reduction, "\(method): the statistics have seen no input of this matrix",
        remedy: "Calibrate on more text, or leave this matrix as it is.")
    }
    if let column = statistics.squareSums.firstIndex(where: { !$0.isFinite || $0 < 0 }) {
      throw Problem(
        .nonFiniteMatrix, "the sum of squares of column \(column) is \(statistics.squareSums[column])")
    }
    return statistics
  }

  /// The full second moment.
  ///
  /// - Throws: `reduction` if the statistics have none.
  static func moment(
    _ statistics: SiteStatistics?, method: String
  ) throws(Problem) -> (moment: Matrix<Double>, count: Int) {
    guard let statistics, case .full(let moment)? = statistics.moment else {
      throw Problem(.reduction, "\(method) needs the full second moment of the inputs")
    }
    return (moment, statistics.count)
  }

  /// The full second moment of inputs of `weight`.
  ///
  /// - Throws: as ``statistics(_:for:method:)``; `reduction` if the statistics have none.
  static func moment(
    _ given: SiteStatistics?, for weight: Matrix<Float>, method: String
  ) throws(Problem) -> (moment: Matrix<Double>, count: Int) {
    let (moment, count) = try moment(statistics(given, for: weight, method: method), method: method)
    guard moment.rows == weight.columns, moment.columns == weight.columns else {
      throw Problem(
        .matrixShape, "a second moment of \(moment.rows) x \(moment.columns) for a weight of \(weight.columns) inputs")
    }
    return (moment, count)
  }

  /// The result of a method, with its error.
  static func result(
    _ pruned: Matrix<Float>, of weight: Matrix<Float>, _ statistics: SiteStatistics?,
    _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let start = Machine.monotonicSeconds
    let certificate = try OutputError.certificate(
      of: pruned, original: weight, statistics: statistics, parallel: parallel)
    let seconds = Machine.monotonicSeconds - start
    let stored = es_prune_count_kept(pruned.elements, Int64(pruned.elements.count))
    var result = ReducedMatrix(.dense(pruned), certificate: certificate, storedNumbers: Int(stored))
    result.measuringSeconds = seconds
    return result
  }
}
