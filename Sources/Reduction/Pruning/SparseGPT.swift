internal import CKernels
public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// Removes weights from left to right, block of columns by block, and lets those to their right make up for them.
///
/// ```
/// H = R Rᵀ,  U = R⁻¹                                       (``MomentFactor``)
/// score[i, j] = W[i, j]² / U[j, j]²
/// e[i, j] = W[i, j] / U[j, j] if pruned, else 0
/// W[i, l] -= e[i, j] U[j, l]           l > j
/// ```
///
/// W `[outputs, inputs]`. In a block of columns the weights of least score go as they stand when the block begins, over
/// all rows together; with keep of n, the least of a group as they stand when the sweep reaches it. Weights of inputs
/// that were always zero go. Source: algorithm 1.
///
/// U itself is needed only within the blocks. With D the change of the weights before a block B, which is E U, what those
/// columns do to the block is
///
///     W[:, B] -= E U[.., B] = -D R[.., B] U[B, B]
///
/// so that R is never inverted as a whole and a weight is read and written once. Of all this only the product D R is taken
/// in float32, in which the source works throughout; the rest is float64, rounded once at the end.
///
/// Cost: n³ / 3 + outputs n² flops for n inputs; 4 outputs n + 4 n² bytes, and 8 n² while the moment is factored.
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

  /// R, and U within each block of columns.
  public struct Factor: Sendable {
    /// Rᵀ `[inputs, inputs]` below the blocks on the diagonal, which is where products read it; the rest is undefined.
    let lower: [Float]
    /// U of one block after the other, row after row.
    let inverses: [Double]
    /// Inputs that were always zero.
    let dead: [Int]
  }

  public func prepare(
    _ statistics: SiteStatistics?, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> Factor {
    let (moment, count) = try Pruning.moment(statistics, method: Self.card.name)
    var (upper, dead) = try MomentFactor(
      moment: moment, count: count, damp: damp, clearing: false, parallel: parallel
    ).taken()
    let inverses = try inverses(of: upper, parallel)
    let n = upper.rows
    var failure: Problem?
    let lower = [Float](unsafeUninitializedCapacity: n * n) { target, initialized in
      guard let target = target.baseAddress else { return }
      initialized = n * n
      do throws(Problem) {
        try upper.elements.withUnsafeMutableBufferPointer { (buffer) throws(Problem) in
          guard let base = buffer.baseAddress else { return }
          try UpperTriangle(elements: base, count: n, stride: n).writeTransposed(block: blockSize, to: target, parallel)
        }
      } catch { failure = error }
    }
    if let failure { throw failure }
    return Factor(lower: lower, inverses: inverses, dead: dead)
  }

  private func inverses(
    of upper: Matrix<Double>, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> [Double] {
    let n = upper.rows
    let blocks = blocks(of: n)
    let size = blocks.reduce(0) { $0 + $1.count * $1.count }
    var failure: Problem?
    let inverses = [Double](unsafeUninitializedCapacity: size) { target, initialized in
      guard let base = target.baseAddress else { return }
      initialized = size
      do throws(Problem) {
        try upper.elements.withUnsafeBufferPointer { (upper) throws(Problem) in
          guard let source = upper.baseAddress else { return }
          // All blocks before one are of full size.
          try parallel(blocks.count) { (index) throws(Problem) in
            let (start, width) = (blocks[index].lowerBound, blocks[index].count)
            let place = base + start * blockSize
            for i in 0..<width {
              let row = place + i * width
              row.initialize(repeating: 0, count: i)
              (row + i).initialize(from: source + (start + i) * n + start + i, count: width - i)
            }
            try UpperTriangle(elements: place, count: width, stride: width).invert(MatrixProduct.serially)
          }
        }
      } catch { failure = error }
    }
    if let failure { throw failure }
    return inverses
  }

  private func blocks(of columns: Int) -> [Range<Int>] {
    stride(from: 0, to: columns, by: blockSize).map { $0..<min(columns, $0 + blockSize) }
  }

  public func reduce(
    _ weight: Matrix<Float>, _ factor: Factor, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let pruned = try solve(weight, factor, to: budget, parallel: parallel)
    return try Pruning.result(pruned, of: weight, statistics, parallel)
  }

  /// The pruned weight alone.
  func solve(
    _ weight: Matrix<Float>, _ factor: Factor, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> Matrix<Float> {
    var result = weight
    guard !weight.elements.isEmpty else { return result }
    for j in factor.dead { for i in 0..<weight.rows { result[i, j] = 0 } }
    let changes = Room<Float>(weight.elements.count)
    try result.elements.withUnsafeMutableBufferPointer { (result) throws(Problem) in
      try factor.lower.withUnsafeBufferPointer { (lower) throws(Problem) in
        try factor.inverses.withUnsafeBufferPointer { (inverses) throws(Problem) in
          guard let result = result.baseAddress, let lower = lower.baseAddress,
            let inverses = inverses.baseAddress
          else { return }
          let sweep = Sweep(
            rows: weight.rows, columns: weight.columns, weights: result, changes: changes.values, lower: lower)
          for block in blocks(of: weight.columns) {
            try sweep.prune(block, inverses + block.lowerBound * blockSize, to: budget, parallel)
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
private struct Sweep: @unchecked Sendable {
  let rows: Int
  let columns: Int
  let weights: UnsafeMutablePointer<Float>
  /// D: what was taken from the weights of the columns so far, before rounding.
  let changes: UnsafeMutablePointer<Float>
  /// Rᵀ, below the blocks on its diagonal.
  let lower: UnsafePointer<Float>

  /// Rows of one call: the work must not depend on the number of threads.
  private static let bundle = 96

  /// - Parameter inverse: U within the block.
  func prune(
    _ block: Range<Int>, _ inverse: UnsafePointer<Double>, to budget: MatrixBudget,
    _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    let (start, width) = (block.lowerBound, block.count)
    let size = rows * width
    // The block as it stands; scores, before them products; and room to search them, before that products in float32.
    let room = Room<Double>(3 * size)
    let (values, scores) = (room.values, room.values + size)
    var (share, drop, of) = (0.0, 0, 0)
    switch budget {
    case .sparsity(let wanted): share = wanted
    case .pattern(let keep, let group): (drop, of) = (group - keep, group)
    case .rank, .parameters: break
    }
    let diagonal = (0..<width).map { inverse[$0 * width + $0] }
    try eachBundle(parallel) { (range) throws(Problem) in
      for i in range {
        es_prune_difference(weights + i * columns + start, nil, Int64(width), values + i * width)
      }
      if start > 0 { try bringUpToDate(block, inverse, range, values, scores) }
      guard share > 0 else { return }
      for i in range { es_prune_scores(values + i * width, diagonal, Int64(width), scores + i * width) }
    }
    // Every score up to that of rank Int(size * share) goes.
    let rank = Int64(min(size - 1, Int(Double(size) * share)))
    let cut = share > 0 ? es_prune_select(scores, Int64(size), rank, scores + size) : -1
    try eachBundle(parallel) { (range) throws(Problem) in
      let together = Int(ES_PRUNE_SWEEP_ROWS)
      let own = Room<Double>(24 * width)
      for first in stride(from: range.lowerBound, to: range.upperBound, by: together) {
        es_prune_sweep(
          values + first * width, Int64(min(together, range.upperBound - first)), Int64(width), inverse, cut,
          Int64(drop), Int64(of), own.values)
      }
      for i in range {
        let place = i * columns + start
        es_prune_exchange(values + i * width, Int64(width), weights + place, changes + place)
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

  /// Adds what the columns before the block do to it: `W[:, block] += (D R[.., block]) U[block, block]`.
  ///
  /// - Parameter products: room for the block, twice.
  private func bringUpToDate(
    _ block: Range<Int>, _ inverse: UnsafePointer<Double>, _ range: Range<Int>,
    _ values: UnsafeMutablePointer<Double>, _ products: UnsafeMutablePointer<Double>
  ) throws(Problem) {
    let (start, width, first) = (block.lowerBound, block.count, range.lowerBound)
    let tile = MatrixProduct.Tile(rows: Self.bundle)
    let narrow = UnsafeMutableRawPointer(products + (rows + first) * width)
      .bindMemory(to: Float.self, capacity: range.count * width)
    try MatrixProduct.multiply(
      UpperTriangle.view(changes + first * columns, rows: range.count, columns: start, stride: columns),
      UpperTriangle.view(lower + start * columns, rows: width, columns: start, stride: columns).transposed,
      into: UpperTriangle.mutableView(narrow, rows: range.count, columns: width, stride: width),
      accumulate: false, kernel: .fastest, tile: tile)
    let wide = products + first * width
    es_prune_difference(narrow, nil, Int64(range.count * width), wide)
    // U is zero below its diagonal.
    let step = 64
    for part in stride(from: 0, to: width, by: step).map({ $0..<min(width, $0 + step) }) {
      try MatrixProduct.multiply(
        UpperTriangle.view(wide, rows: range.count, columns: part.upperBound, stride: width),
        UpperTriangle.view(inverse + part.lowerBound, rows: part.upperBound, columns: part.count, stride: width),
        into: UpperTriangle.mutableView(
          values + first * width + part.lowerBound, rows: range.count, columns: part.count, stride: width),
        accumulate: true, kernel: .fastest, tile: tile)
    }
  }
}
