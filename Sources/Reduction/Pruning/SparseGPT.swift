internal import CKernels
public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// Removes weights from left to right, block of columns by block, and lets those to their right make up for them.
///
/// ```
/// H⁻¹ = Uᵀ U                                               (``InverseFactor``)
/// score[i, j] = W[i, j]² / U[j, j]²
/// e[i, j] = W[i, j] / U[j, j] if pruned, else 0
/// W[i, l] -= e[i, j] U[j, l]           l > j
/// ```
///
/// W `[outputs, inputs]`; all arithmetic in float64, one rounding at the end. In a block of columns the weights of least
/// score go as they stand when the block begins, over all rows together; with keep of n, the least of a group as they
/// stand when the sweep reaches it. What the columns before it did to a block is one product, so a weight is read and
/// written once a block. Weights of inputs that were always zero go. Source: algorithm 1.
///
/// Cost: n³ + outputs n² flops for n inputs; 8 outputs n + 16 n² bytes.
public struct SparseGPT: SharedInputs {
  public static let card = MethodCard(
    name: "sparsegpt", summary: "Removes weights column by column and updates the rest by the inputs' second moment.",
    source: "frantar2023sparsegpt",
    parameters: [
      ParameterCard(
        "block_size", .integer(1...65536), default: .number(128), "columns whose weights are chosen at once"),
      ParameterCard(
        "damp", .number(0...1), default: .number(0.01), "what is added to the moment's diagonal, by its mean"),
    ],
    notes: """
      As in the authors' code a block loses every score up to that of rank Int(size * sparsity), one more than the share \
      itself, and inputs that were always zero lose their weights beyond it.
      """)
  public static let needs = StatisticsNeed.moment

  private let blockSize: Int
  private let damp: Double

  public init(_ parameters: ReductionParameters) throws(Problem) {
    blockSize = Int(parameters.number("block_size") ?? 128)
    damp = parameters.number("damp") ?? 0.01
  }

  public func check(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget
  ) throws(Problem) {
    try check(budget, for: weight)
    _ = try Pruning.moment(statistics, for: weight, method: Self.card.name)
    try Pruning.check(weight)
  }

  public func prepare(
    _ statistics: SiteStatistics?, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> InverseFactor {
    let (moment, count) = try Pruning.moment(statistics, method: Self.card.name)
    return try InverseFactor(moment: moment, count: count, damp: damp, parallel: parallel)
  }

  public func reduce(
    _ weight: Matrix<Float>, _ factor: InverseFactor, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let pruned = try solve(weight, factor, to: budget, parallel: parallel)
    return try Pruning.result(pruned, of: weight, statistics, parallel)
  }

  /// The pruned weight alone; matrices that share their inputs share the factor.
  ///
  /// - Throws: `reduction`, `matrix.shape`, `linear-algebra.non-finite`, as ``reduce(_:_:to:parallel:)``.
  public func solve(
    _ weight: Matrix<Float>, _ factor: InverseFactor, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> Matrix<Float> {
    try check(budget, for: weight)
    try Pruning.check(weight)
    guard factor.upper.rows == weight.columns else {
      throw Problem(.matrixShape, "a factor of \(factor.upper.rows) columns for a weight of \(weight.columns) inputs")
    }
    var result = weight
    guard !weight.elements.isEmpty else { return result }
    for j in factor.dead { for i in 0..<weight.rows { result[i, j] = 0 } }
    // -e of all columns so far, row after row.
    var errors = [Double](repeating: 0, count: weight.elements.count)
    try result.elements.withUnsafeMutableBufferPointer { (result) throws(Problem) in
      try errors.withUnsafeMutableBufferPointer { (errors) throws(Problem) in
        try factor.upper.elements.withUnsafeBufferPointer { (upper) throws(Problem) in
          let sweep = Sweep(
            rows: weight.rows, columns: weight.columns, weights: result, errors: errors, upper: upper)
          for start in stride(from: 0, to: weight.columns, by: blockSize) {
            try sweep.prune(start..<min(start + blockSize, weight.columns), to: budget, parallel)
          }
        }
      }
    }
    return result
  }

  private func check(_ budget: MatrixBudget, for weight: Matrix<Float>) throws(Problem) {
    switch budget {
    case .sparsity(let share): try PruningPattern.check(share: share)
    case .pattern(let keep, let of):
      try PruningPattern.groups(keep: keep, of: of).check(rows: weight.rows, columns: weight.columns)
      guard blockSize % of == 0 else {
        throw Problem(.reduction, "\(Self.card.name): block_size \(blockSize) is no multiple of the pattern's \(of)")
      }
    case .rank, .parameters: throw Pruning.budgetProblem(Self.card.name)
    }
  }
}

/// The matrix as it is swept.
private struct Sweep {
  let rows: Int
  let columns: Int
  let weights: UnsafeMutableBufferPointer<Float>
  let errors: UnsafeMutableBufferPointer<Double>
  let upper: UnsafeBufferPointer<Double>

  /// Rows of one call: the work must not depend on the number of threads.
  private static let bundle = 16

  func prune(_ block: Range<Int>, to budget: MatrixBudget, _ parallel: MatrixProduct.ParallelLoop) throws(Problem) {
    let (start, width) = (block.lowerBound, block.count)
    var current = [Double](repeating: 0, count: rows * width)
    var marks = [UInt8](repeating: 0, count: rows * width)
    try current.withUnsafeMutableBufferPointer { (current) throws(Problem) in
      try marks.withUnsafeMutableBufferPointer { (marks) throws(Problem) in
        guard let values = current.baseAddress, let marks = marks.baseAddress, let errors = errors.baseAddress,
          let upper = upper.baseAddress
        else { return }
        for i in 0..<rows { for j in 0..<width { values[i * width + j] = Double(weights[i * columns + start + j]) } }
        if start > 0 { try bringUpToDate(block, current, parallel) }
        var (drop, of) = (0, 0)
        switch budget {
        case .sparsity(let share): try choose(share, block, values, marks, parallel)
        case .pattern(let keep, let group): (drop, of) = (group - keep, group)
        case .rank, .parameters: break
        }
        try parallel((rows + Self.bundle - 1) / Self.bundle) { (index) throws(Problem) in
          for i in index * Self.bundle..<min(rows, (index + 1) * Self.bundle) {
            es_prune_sweep(
              values + i * width, Int64(width), upper + start * columns + start, Int64(columns), marks + i * width,
              Int64(drop), Int64(of), errors + i * columns + start)
            for j in 0..<width { weights[i * columns + start + j] = Float(values[i * width + j]) }
          }
        }
      }
    }
  }

  /// Adds what the columns before the block do to it: `W[:, block] += (-E[:, ..<start]) U[..<start, block]`.
  private func bringUpToDate(
    _ block: Range<Int>, _ current: UnsafeMutableBufferPointer<Double>, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    let start = block.lowerBound
    let before = try MatrixView(UnsafeBufferPointer(errors), rows: rows, columns: start, stride: columns)
    let influence = try MatrixView(
      UnsafeBufferPointer(rebasing: upper[start...]), rows: start, columns: block.count, stride: columns)
    let target = try MutableMatrixView(current, rows: rows, columns: block.count)
    try MatrixProduct.multiply(before, influence, into: target, accumulate: true, parallel: parallel)
  }

  /// Marks every score up to that of rank Int(size * share).
  private func choose(
    _ share: Double, _ block: Range<Int>, _ values: UnsafeMutablePointer<Double>, _ marks: UnsafeMutablePointer<UInt8>,
    _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    guard share > 0 else { return }
    let width = block.count
    let size = rows * width
    let diagonal = block.map { upper[$0 * columns + $0] }
    var scores = [Double](repeating: 0, count: size)
    try scores.withUnsafeMutableBufferPointer { (scores) throws(Problem) in
      guard let target = scores.baseAddress else { return }
      try parallel((rows + Self.bundle - 1) / Self.bundle) { (index) throws(Problem) in
        for i in index * Self.bundle..<min(rows, (index + 1) * Self.bundle) {
          es_prune_scores(values + i * width, diagonal, Int64(width), target + i * width)
        }
      }
      let cut = OrderStatistic.value(ofRank: min(size - 1, Int(Double(size) * share)), in: UnsafeBufferPointer(scores))
      for index in 0..<size { marks[index] = scores[index] <= cut ? 1 : 0 }
    }
  }
}
