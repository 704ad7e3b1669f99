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
    let errors = OrderStatistic.Room(weight.elements.count)
    try result.elements.withUnsafeMutableBufferPointer { (result) throws(Problem) in
      try factor.upper.elements.withUnsafeBufferPointer { (upper) throws(Problem) in
        guard let result = result.baseAddress, let upper = upper.baseAddress else { return }
        let sweep = Sweep(
          rows: weight.rows, columns: weight.columns, weights: result, errors: errors.values, upper: upper)
        for start in stride(from: 0, to: weight.columns, by: blockSize) {
          try sweep.prune(start..<min(start + blockSize, weight.columns), to: budget, parallel)
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
private struct Sweep: @unchecked Sendable {
  let rows: Int
  let columns: Int
  let weights: UnsafeMutablePointer<Float>
  let errors: UnsafeMutablePointer<Double>
  let upper: UnsafePointer<Double>

  /// Rows of one call: the work must not depend on the number of threads.
  private static let bundle = 96

  func prune(_ block: Range<Int>, to budget: MatrixBudget, _ parallel: MatrixProduct.ParallelLoop) throws(Problem) {
    let (start, width) = (block.lowerBound, block.count)
    let size = rows * width
    // The block as it stands, and, where they are needed, the scores and room to search them.
    let room = OrderStatistic.Room(3 * size)
    let (values, scores) = (room.values, room.values + size)
    var (share, drop, of) = (0.0, 0, 0)
    switch budget {
    case .sparsity(let wanted): share = wanted
    case .pattern(let keep, let group): (drop, of) = (group - keep, group)
    case .rank, .parameters: break
    }
    let diagonal = block.map { upper[$0 * columns + $0] }
    try eachBundle(parallel) { (range) throws(Problem) in
      for i in range {
        es_prune_difference(weights + i * columns + start, nil, Int64(width), values + i * width)
      }
      try bringUpToDate(block, range, values)
      guard share > 0 else { return }
      for i in range { es_prune_scores(values + i * width, diagonal, Int64(width), scores + i * width) }
    }
    // Every score up to that of rank Int(size * share) goes.
    let rank = Int64(min(size - 1, Int(Double(size) * share)))
    let cut = share > 0 ? es_prune_select(scores, Int64(size), rank, scores + size) : -1
    try eachBundle(parallel) { (range) throws(Problem) in
      let marks = UnsafeMutablePointer<UInt8>.allocate(capacity: width)
      defer { marks.deallocate() }
      for i in range {
        if share > 0 {
          es_prune_mark_up_to(scores + i * width, Int64(width), cut, marks)
        } else {
          marks.initialize(repeating: 0, count: width)
        }
        es_prune_sweep(
          values + i * width, Int64(width), upper + start * columns + start, Int64(columns), marks, Int64(drop),
          Int64(of), errors + i * columns + start)
        es_decode_f64(values + i * width, weights + i * columns + start, Int64(width))
      }
    }
  }

  private func eachBundle(
    _ parallel: MatrixProduct.ParallelLoop, _ body: @escaping (Range<Int>) throws(Problem) -> Void
  ) throws(Problem) {
    try parallel((rows + Self.bundle - 1) / Self.bundle) { (index) throws(Problem) in
      try body(index * Self.bundle..<min(rows, (index + 1) * Self.bundle))
    }
  }

  /// Adds what the columns before the block do to it: `W[:, block] += (-E[:, ..<start]) U[..<start, block]`.
  private func bringUpToDate(
    _ block: Range<Int>, _ range: Range<Int>, _ values: UnsafeMutablePointer<Double>
  ) throws(Problem) {
    let (start, width) = (block.lowerBound, block.count)
    guard start > 0 else { return }
    let before = try MatrixView(
      UnsafeBufferPointer(start: errors + range.lowerBound * columns, count: (range.count - 1) * columns + start),
      rows: range.count, columns: start, stride: columns)
    let influence = try MatrixView(
      UnsafeBufferPointer(start: upper + start, count: (start - 1) * columns + width), rows: start, columns: width,
      stride: columns)
    let target = try MutableMatrixView(
      UnsafeMutableBufferPointer(start: values + range.lowerBound * width, count: range.count * width),
      rows: range.count, columns: width)
    try MatrixProduct.multiply(
      before, influence, into: target, accumulate: true, kernel: .fastest,
      tile: MatrixProduct.Tile(rows: Self.bundle))
  }
}
