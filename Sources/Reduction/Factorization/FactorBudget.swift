internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

extension MatrixBudget {
  /// The rank of two factors of a matrix `[outputs, inputs]`.
  ///
  /// - Parameter method: who asks, for messages.
  /// - Throws: `reduction` for a budget of zeros, a rank that is not in 1 ... min(outputs, inputs), or a share that is not
  ///   in (0, 1] or makes a rank of 0.
  func rank(outputs: Int, inputs: Int, method: String) throws(Problem) -> Int {
    let largest = min(outputs, inputs)
    guard largest > 0 else {
      throw Problem(.reduction, "\(method): a matrix of \(outputs) x \(inputs) has nothing to factor")
    }
    switch self {
    case .rank(let rank):
      guard (1...largest).contains(rank) else {
        throw Problem(
          .reduction, "\(method): rank \(rank) for a matrix of \(outputs) x \(inputs), which has 1 to \(largest)")
      }
      return rank
    case .parameters(let share):
      guard share > 0, share <= 1 else {
        throw Problem(.reduction, "\(method): a share of \(share) of the numbers, which must be above 0 and at most 1")
      }
      let (all, each) = (Double(outputs) * Double(inputs), Double(outputs) + Double(inputs))
      let rank = min(largest, Int(share * all / each))
      guard rank >= 1 else {
        throw Problem(
          .reduction, "\(method): \(share) of a matrix of \(outputs) x \(inputs) does not pay for one rank",
          remedy: "One rank takes \(each / all) of it.")
      }
      return rank
    case .sparsity, .pattern:
      throw Problem(
        .reduction, "\(method) makes factors, not zeros", remedy: "Its budget is a rank or a share of the parameters.")
    }
  }
}

extension SiteStatistics {
  /// - Throws: `matrix.shape` if the width is not that of the weight; `reduction` if no row was seen.
  func check(inputs: Int, method: String) throws(Problem) {
    guard width == inputs else {
      throw Problem(.matrixShape, "\(method): statistics of \(width) columns for a weight with \(inputs) inputs")
    }
    guard count > 0 else { throw Problem(.reduction, "\(method): the statistics saw no rows") }
  }

  /// S `[width, r]` with `S Sᵀ` the second moment as far as it was kept.
  ///
  /// - Throws: `reduction` where there is none or it does not fit the width; as
  ///   ``LinearAlgebra/semidefiniteFactor(_:)``.
  func momentFactor(method: String) throws(Problem) -> Matrix<Double> {
    switch moment {
    case .full(let moment)? where moment.rows == width: return try LinearAlgebra.semidefiniteFactor(moment)
    case .sketch(let sketch)? where sketch.columns == width: return sketch.transposed
    case .blocks(let blocks)? where blocks.reduce(0, { $0 + $1.rows }) == width:
      let factors = try blocks.map { (block) throws(Problem) in try LinearAlgebra.semidefiniteFactor(block) }
      let total = factors.reduce(0) { $0 + $1.columns }
      var result = try Matrix(rows: width, columns: total, elements: [Double](repeating: 0, count: width * total))
      var (row, column) = (0, 0)
      for factor in factors {
        for i in 0..<factor.rows { for j in 0..<factor.columns { result[row + i, column + j] = factor[i, j] } }
        row += factor.rows
        column += factor.columns
      }
      return result
    case nil:
      throw Problem(
        .reduction, "\(method) needs the second moment of the inputs, and the statistics have none",
        remedy: "Calibrate with moments.")
    default: throw Problem(.reduction, "\(method): the second moment does not have the \(width) columns of its site")
    }
  }

  /// Of these columns alone, in this order. Blocks of a moment are not taken apart: they are left out.
  func selecting(columns indices: [Int]) -> SiteStatistics {
    var result = SiteStatistics(width: indices.count)
    result.count = count
    result.sums = indices.map { sums[$0] }
    result.squareSums = indices.map { squareSums[$0] }
    result.absoluteSums = indices.map { absoluteSums[$0] }
    switch moment {
    case .full(let moment)?: result.moment = .full(moment.selecting(rows: indices).selecting(columns: indices))
    case .sketch(let sketch)?: result.moment = .sketch(sketch.selecting(columns: indices))
    case .blocks?, nil: result.moment = nil
    }
    return result
  }
}
