internal import CKernels
internal import EspalierBasics
internal import EspalierNumerics

/// Goes over the columns of a weight from left to right, block by block; each weight becomes zero, a level of a grid, or
/// stays, and those to its right make up for it.
///
/// ```
/// H = R Rᵀ,  U = R⁻¹                                       (``ColumnFactor``)
/// e[i, j] = (W[i, j] - Q[i, j]) / U[j, j]
/// W[i, l] -= e[i, j] U[j, l]           l > j
/// ```
///
/// Pruning alone is SparseGPT, rounding alone GPTQ, both together its joint form. Which weights of a block are pruned is
/// said at ``SparseGPT``.
///
/// U itself is needed only within the blocks. With D the change of the weights before a block B, which is E U, what those
/// columns do to the block is
///
///     W[:, B] -= E U[.., B] = -D R[.., B] U[B, B]
///
/// so that R is never inverted as a whole and a weight is read and written once. Of all this only the product D R is taken
/// in float32, in which the sources work throughout; the rest is float64, rounded once at the end.
///
/// Cost: outputs n² flops for n inputs; 4 outputs n bytes.
struct ColumnSweep {
  let factor: ColumnFactor
  /// Zeros to make.
  let budget: MatrixBudget
  /// Nil: weights that are not pruned stay as they are.
  var rounding: Rounding?

  /// How weights are rounded.
  struct Rounding: @unchecked Sendable {
    /// Where grids and codes are kept; its columns are in the order of the sweep.
    let grids: es_rounding
    /// Fits the grids of a block as it begins; nil where they are there or the sweep fits them.
    var begin: ((Block) throws(Problem) -> Void)?
  }

  /// Some rows of a block of columns.
  struct Block {
    let rows: Range<Int>
    let columns: Range<Int>
    /// `[rows, columns]` as they stand.
    let values: UnsafeMutablePointer<Double>
  }

  /// The new weight, its columns in the order of the sweep, as those of `weight` are.
  ///
  /// - Throws: `reduction` if it overflows.
  func run(_ weight: Matrix<Float>, parallel: MatrixProduct.ParallelLoop) throws(Problem) -> Matrix<Float> {
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
          let blocks = BlockSweep(
            rows: weight.rows, columns: weight.columns, weights: result, changes: changes.values, lower: lower,
            rounding: rounding)
          for block in factor.blocks {
            try blocks.sweep(block, inverses + block.lowerBound * factor.blockSize, to: budget, parallel)
          }
        }
      }
    }
    return result
  }
}

/// The matrix as it is swept.
private struct BlockSweep: @unchecked Sendable {
  let rows: Int
  let columns: Int
  let weights: UnsafeMutablePointer<Float>
  /// D: what was taken from the weights of the columns so far, before rounding.
  let changes: UnsafeMutablePointer<Float>
  /// Rᵀ, below the blocks on its diagonal.
  let lower: UnsafePointer<Float>
  let rounding: ColumnSweep.Rounding?

  /// Rows of one call: the work must not depend on the number of threads.
  private static let bundle = 96

  /// - Parameter inverse: U within the block.
  func sweep(
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
      if let begin = rounding?.begin {
        try begin(ColumnSweep.Block(rows: range, columns: block, values: values + range.lowerBound * width))
      }
      guard share > 0 else { return }
      for i in range { es_prune_scores(values + i * width, diagonal, Int64(width), scores + i * width) }
    }
    // Every score up to that of rank Int(size * share) goes.
    let rank = Int64(min(size - 1, Int(Double(size) * share)))
    let cut = share > 0 ? es_prune_select(scores, Int64(size), rank, scores + size) : -1
    try eachBundle(parallel) { (range) throws(Problem) in
      let together = Int(ES_PRUNE_SWEEP_ROWS)
      let own = Room<Double>(32 * width)
      for first in stride(from: range.lowerBound, to: range.upperBound, by: together) {
        let place = es_sweep_place(
          rows: Int64(min(together, range.upperBound - first)), row: Int64(first), column: Int64(start))
        let target = values + first * width
        if var grids = rounding?.grids {
          es_prune_sweep(target, place, Int64(width), inverse, cut, Int64(drop), Int64(of), &grids, own.values)
        } else {
          es_prune_sweep(target, place, Int64(width), inverse, cut, Int64(drop), Int64(of), nil, own.values)
        }
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
