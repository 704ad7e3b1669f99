public import EspalierBasics
public import EspalierNumerics

/// Gathers ``SiteStatistics`` from rows as they come.
///
/// The result depends on the rows and their order alone: not on how many come at once, nor on threads. Rows wait until
/// ``RowMoments/productRows`` are together, are multiplied in float32, and the product is added in float64.
public final class SiteAccumulator {
  public let width: Int
  public let shape: MomentShape
  /// Rows that are in the sums.
  private(set) var count = 0
  private let sums: AlignedBuffer
  private let moments: AlignedBuffer
  private let waiting: AlignedBuffer
  private var waitingRows = 0

  /// - Parameter momentLimit: as ``MomentShape/init(width:limit:)``.
  /// - Throws: `memory.allocation`.
  public init(width: Int, momentLimit: Int) throws(Problem) {
    self.width = width
    shape = MomentShape(width: width, limit: momentLimit)
    sums = try AlignedBuffer(count: 3 * width, of: Double.self)
    moments = try AlignedBuffer(count: shape.elementCount, of: Double.self)
    waiting = try AlignedBuffer(count: RowMoments.productRows * width, of: Float.self)
    sums.bytes.initializeMemory(as: UInt8.self, repeating: 0)
    moments.bytes.initializeMemory(as: UInt8.self, repeating: 0)
  }

  /// Bytes of memory that one takes.
  public static func byteCount(width: Int, momentLimit: Int) -> Int {
    8 * MomentShape(width: width, limit: momentLimit).elementCount + 24 * width + 4 * width * RowMoments.productRows
  }

  /// - Parameters:
  ///   - rows: `[any number, width]`, not transposed.
  ///   - parallel: shares the work; it changes no bit of the result.
  /// - Throws: `matrix.shape` for rows of another width.
  public func add(
    _ rows: MatrixView<Float>, parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) {
    guard rows.columns == width, !rows.isTransposed else {
      throw Problem(.matrixShape, "rows of \(rows.columns) numbers where \(width) are gathered")
    }
    guard let elements = rows.elements else { return }
    var row = 0
    while row < rows.rows {
      let taken = min(RowMoments.productRows - waitingRows, rows.rows - row)
      let start = elements + row * rows.stride
      row += taken
      if taken == RowMoments.productRows {
        let part = UnsafeBufferPointer(start: start, count: (taken - 1) * rows.stride + width)
        try multiply(try MatrixView(part, rows: taken, columns: width, stride: rows.stride), parallel)
        continue
      }
      for index in 0..<taken {
        (waiting.floats.baseAddress! + (waitingRows + index) * width).update(
          from: start + index * rows.stride, count: width)
      }
      waitingRows += taken
      if waitingRows == RowMoments.productRows { try flush(parallel) }
    }
  }

  private func flush(_ parallel: MatrixProduct.ParallelLoop) throws(Problem) {
    guard waitingRows > 0 else { return }
    try multiply(try MatrixView(UnsafeBufferPointer(waiting.floats), rows: waitingRows, columns: width), parallel)
    waitingRows = 0
  }

  private func multiply(_ rows: MatrixView<Float>, _ parallel: MatrixProduct.ParallelLoop) throws(Problem) {
    let sums = sums.values(of: Double.self).baseAddress!
    try RowMoments.addColumns(
      of: rows, sums: sums, squares: sums + width, absolutes: sums + 2 * width, parallel: parallel)
    var moment = moments.values(of: Double.self).baseAddress!
    for block in shape.blocks {
      try RowMoments.addProduct(of: rows, columns: block, to: moment, parallel: parallel)
      moment += block.count * block.count
    }
    count += rows.rows
  }

  /// What all rows so far add up to; no more can be added.
  public func finish(
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> FinishedStatistics {
    try flush(parallel)
    var moment = moments.values(of: Double.self).baseAddress!
    for block in shape.blocks {
      RowMoments.mirror(moment, width: block.count)
      moment += block.count * block.count
    }
    return FinishedStatistics(count: count, shape: shape, width: width, sums: sums, moments: moments)
  }

  /// ``finish(parallel:)`` as a value.
  public func statistics(
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> SiteStatistics {
    try finish(parallel: parallel).value()
  }
}

/// Statistics in the memory they were gathered in: moments are too large to be copied without need.
public struct FinishedStatistics {
  public let count: Int
  public let shape: MomentShape
  public let width: Int
  let sums: AlignedBuffer
  let moments: AlignedBuffer

  /// Whether no row had NaN or infinity, and no product overflowed: none is larger than one on the diagonal.
  public var isFinite: Bool {
    guard sums.values(of: Double.self)[..<(3 * width)].allSatisfy(\.isFinite) else { return false }
    let moments = moments.values(of: Double.self)
    var first = 0
    for block in shape.blocks {
      for place in 0..<block.count where !moments[first + place * (block.count + 1)].isFinite { return false }
      first += block.count * block.count
    }
    return true
  }

  public func value() throws(Problem) -> SiteStatistics {
    var statistics = SiteStatistics(width: width)
    statistics.count = count
    let sums = sums.values(of: Double.self)
    statistics.sums = Array(sums[..<width])
    statistics.squareSums = Array(sums[width..<2 * width])
    statistics.absoluteSums = Array(sums[(2 * width)..<(3 * width)])
    var matrices: [Matrix<Double>] = []
    var first = 0
    for block in shape.blocks {
      let size = block.count * block.count
      let elements = Array(moments.values(of: Double.self)[first..<first + size])
      matrices.append(try Matrix(rows: block.count, columns: block.count, elements: elements))
      first += size
    }
    if matrices.count == 1 { statistics.moment = .full(matrices[0]) }
    if matrices.count > 1 { statistics.moment = .blocks(matrices) }
    return statistics
  }
}
