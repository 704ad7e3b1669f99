internal import CKernels
public import EspalierBasics
public import EspalierNumerics

/// What a sweep over the columns of a weight has to know of its inputs: the factor R of their damped second moment,
/// H = R Rᵀ (``MomentFactor``), and U = R⁻¹ within each block of columns.
///
/// Cost: n³ / 3 flops for n inputs, 4 n² bytes, and 8 n² while it is made (twice that by activity).
public struct ColumnFactor: Sendable {
  /// Rᵀ `[inputs, inputs]` below the blocks on the diagonal, which is where products read it; the rest is undefined.
  let lower: [Float]
  /// U of one block after the other, row after row.
  let inverses: [Double]
  /// Places in the sweep of inputs that were always zero.
  let dead: [Int]
  /// The column that is swept at each place; nil: in their order.
  let order: [Int32]?
  let blockSize: Int
  let columns: Int

  /// - Parameters:
  ///   - byActivity: whether columns are swept from the largest sum of squares of their inputs to the least, equal ones by
  ///     index; one whose input was always zero counts as a mean square of 1/2.
  /// - Throws: as ``MomentFactor/init(moment:count:damp:parallel:)``.
  public init(
    moment: Matrix<Double>, count: Int, damp: Double, blockSize: Int, byActivity: Bool = false,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) {
    let order = byActivity ? Self.order(of: moment, count: count) : nil
    var (upper, dead) = try MomentFactor(
      moment: order.map { (order) throws(Problem) in try Self.ordered(moment, order, parallel) } ?? moment,
      count: count, damp: damp, clearing: false, parallel: parallel
    ).taken()
    let n = upper.rows
    let inverses = try Self.inverses(of: upper, blockSize, parallel)
    var failure: Problem?
    lower = [Float](unsafeUninitializedCapacity: n * n) { target, initialized in
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
    (self.inverses, self.dead, self.order, self.blockSize, columns) = (inverses, dead, order, blockSize, n)
  }

  /// Bytes while one is made and used in sweeps over matrices that read the same inputs: R in float64 and its transpose,
  /// the moment in another order, U within blocks, and of each matrix the block that is swept, three times.
  static func workingBytes(
    _ shapes: [(outputs: Int, inputs: Int)], blockSize: Int, byActivity: Bool
  ) -> Int {
    let width = shapes.reduce(0) { max($0, $1.inputs) }
    let block = min(blockSize, width)
    let rows = shapes.reduce(0) { $0 + $1.outputs }
    return (byActivity ? 20 : 12) * width * width + 8 * width * block + 24 * rows * block
  }

  /// Blocks of columns, all but the last of full size.
  var blocks: [Range<Int>] { Self.blocks(columns, blockSize) }

  private static func blocks(_ columns: Int, _ size: Int) -> [Range<Int>] {
    stride(from: 0, to: columns, by: size).map { $0..<min(columns, $0 + size) }
  }

  private static func inverses(
    of upper: Matrix<Double>, _ blockSize: Int, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> [Double] {
    let n = upper.rows
    let blocks = blocks(n, blockSize)
    let size = blocks.reduce(0) { $0 + $1.count * $1.count }
    var failure: Problem?
    let inverses = [Double](unsafeUninitializedCapacity: size) { target, initialized in
      guard let base = target.baseAddress else { return }
      initialized = size
      do throws(Problem) {
        try upper.elements.withUnsafeBufferPointer { (upper) throws(Problem) in
          guard let source = upper.baseAddress else { return }
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

  // MARK: - Order

  private static func order(of moment: Matrix<Double>, count: Int) -> [Int32] {
    let scale = 2 / Double(max(1, count))
    let squares = (0..<min(moment.rows, moment.columns)).map { moment[$0, $0] == 0 ? 1 : moment[$0, $0] * scale }
    return squares.indices.sorted { squares[$0] == squares[$1] ? $0 < $1 : squares[$0] > squares[$1] }.map(Int32.init)
  }

  /// Rows and columns in another order.
  private static func ordered(
    _ moment: Matrix<Double>, _ order: [Int32], _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> Matrix<Double> {
    let n = moment.rows
    guard moment.columns == n else {
      throw Problem(.matrixShape, "a second moment of \(n) x \(moment.columns) is not square")
    }
    var failure: Problem?
    let elements = [Double](unsafeUninitializedCapacity: n * n) { target, initialized in
      guard let target = target.baseAddress else { return }
      initialized = n * n
      do throws(Problem) {
        try moment.elements.withUnsafeBufferPointer { (source) throws(Problem) in
          guard let source = source.baseAddress else { return }
          try parallel(n) { (row) throws(Problem) in
            es_order_doubles(source + Int(order[row]) * n, order, Int64(n), target + row * n)
          }
        }
      } catch { failure = error }
    }
    if let failure { throw failure }
    return try Matrix(rows: n, columns: n, elements: elements)
  }
}
