internal import CKernels
public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// Removes the weights that matter least to the outputs, by their magnitude and that of the inputs they meet.
///
/// ```
/// score[i, j] = |W[i, j]| ‖X[:, j]‖₂
/// ```
///
/// W `[outputs, inputs]`, X the calibration inputs `[rows, inputs]`, of which only the sums of squares are needed. The
/// weights that stay are those of W to the bit; inputs that were always zero go first. Source: section 3.
public struct Wanda: ReductionMethod {
  public static let card = MethodCard(
    name: "wanda", summary: "Removes the weights of least magnitude times the norm of their input.",
    source: "sun2024wanda", parameters: PruningPattern.parameters(scope: "row"),
    notes: "Tiles are scored by their sum of squares, which the source does not have.")
  public static let needs = StatisticsNeed.columns

  private let parameters: ReductionParameters

  public init(_ parameters: ReductionParameters) throws(Problem) { self.parameters = parameters }

  public func reduce(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let pattern = try PruningPattern(budget, parameters, method: Self.card.name)
    try Pruning.check(weight)
    let seen = try Pruning.statistics(statistics, for: weight, method: Self.card.name)
    let norms = seen.squareSums.map { $0.squareRoot() }
    let mask = try pattern.mask(ofMagnitudes: weight, norms: norms, parallel: parallel)
    return try Pruning.result(mask.applied(to: weight, parallel: parallel), of: weight, seen, parallel)
  }

  /// The score of every weight.
  ///
  /// - Parameter squareSums: of the inputs, by column.
  public static func scores(_ weight: Matrix<Float>, squareSums: [Double]) throws(Problem) -> Matrix<Double> {
    guard squareSums.count == weight.columns else {
      throw Problem(.matrixShape, "\(squareSums.count) sums of squares for \(weight.columns) inputs")
    }
    let norms = squareSums.map { $0.squareRoot() }
    let scores = [Double](unsafeUninitializedCapacity: weight.elements.count) { scores, count in
      guard let target = scores.baseAddress else { return }
      for i in 0..<weight.rows { weight.writeMagnitudes(ofRow: i, norms: norms, to: target + i * weight.columns) }
      count = weight.elements.count
    }
    return try Matrix(rows: weight.rows, columns: weight.columns, elements: scores)
  }
}

extension PruningPattern {
  /// The mask by |W[i, j]| norms[j]; without norms by |W[i, j]|.
  func mask(
    ofMagnitudes weight: Matrix<Float>, norms: [Double]?, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> PruningMask {
    try mask(rows: weight.rows, columns: weight.columns, parallel: parallel) { row, target in
      weight.writeMagnitudes(ofRow: row, norms: norms, to: target)
    }
  }
}

extension Matrix<Float> {
  fileprivate func writeMagnitudes(ofRow row: Int, norms: [Double]?, to target: UnsafeMutablePointer<Double>) {
    elements.withUnsafeBufferPointer { elements in
      guard let start = elements.baseAddress else { return }
      es_prune_magnitudes(start + row * columns, norms, Int64(columns), target)
    }
  }
}
