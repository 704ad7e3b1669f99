internal import CKernels
internal import EspalierBasics
internal import EspalierNumerics

/// A square matrix in memory with zeros below its diagonal, factored and inverted in blocks whose products threads share.
/// The blocks depend on the size alone, and so do the bits of the result.
struct UpperTriangle: @unchecked Sendable {
  let elements: UnsafeMutablePointer<Double>
  let count: Int
  /// Elements from one row to the next.
  let stride: Int

  /// Columns of a block: as many as a product packs at a time.
  static let block = 96

  /// Replaces -H, of which the upper half is read, by R with H = R Rᵀ, from the last columns to the first. With J a block
  /// of columns, I the rows before it and K the columns behind it,
  ///
  ///     R_JJ R_JJᵀ = H_JJ - R_JK R_JKᵀ,   R_IJ = (H_IJ - R_IK R_JKᵀ) R_JJ⁻ᵀ
  ///
  /// - Throws: `linear-algebra.not-positive-definite`.
  func factor(_ parallel: MatrixProduct.ParallelLoop) throws(Problem) {
    let size = Self.block * Self.block
    let divisors = Room<Double>(size)
    let divisor = divisors.values
    for columns in blocks.reversed() {
      // Rows at a time: the more, the less often what they meet is packed.
      let height = columns.lowerBound < 8 * Self.block ? Self.block : 2 * Self.block
      let tiles = (columns.lowerBound + height - 1) / height
      try parallel(1 + tiles) { (index) throws(Problem) in
        // The block's own rows first: what comes after the loop waits for them.
        let first = (index - 1) * height
        let rows = index == 0 ? columns : first..<min(columns.lowerBound, first + height)
        if columns.upperBound < count {
          let behind = columns.upperBound..<count
          try multiply(
            view(rows, behind), view(columns, behind).transposed, into: mutableView(rows, columns), accumulate: true)
        }
        if index == 0 { try factorDiagonal(columns, divisor) }
      }
      let width = columns.count
      try parallel(columns.lowerBound / Self.block) { (index) throws(Problem) in
        let first = index * Self.block
        let own = Room<Double>(size)
        let copy = own.values
        for i in 0..<Self.block {
          (copy + i * width).update(from: elements + (first + i) * stride + columns.lowerBound, count: width)
        }
        try multiply(
          Self.view(copy, rows: Self.block, columns: width, stride: width),
          Self.view(divisor, rows: width, columns: width, stride: width).transposed,
          into: mutableView(first..<first + Self.block, columns))
      }
    }
  }

  /// Replaces what is left of -H on the diagonal by R, and writes -R⁻¹ to `divisor`.
  private func factorDiagonal(
    _ columns: Range<Int>, _ divisor: UnsafeMutablePointer<Double>
  ) throws(Problem) {
    let (first, width) = (columns.lowerBound, columns.count)
    let room = Room<Double>(width)
    let start = elements + first * stride + first
    let failed = es_prune_factor(start, Int64(stride), Int64(width), room.values)
    guard failed < 0 else {
      throw Problem(
        .notPositiveDefinite,
        "a matrix of \(count) x \(count) is not positive definite at column \(first + Int(failed))")
    }
    for i in 0..<width { (divisor + i * width).update(from: start + i * stride, count: width) }
    es_prune_invert(divisor, Int64(width), Int64(width), room.values)
    es_prune_scale(divisor, -1, Int64(width * width), divisor)
  }

  /// Replaces R by U = R⁻¹: with J a block of rows and K the columns behind it, `U_JK = -U_JJ R_JK U_KK`.
  func invert(_ parallel: MatrixProduct.ParallelLoop) throws(Problem) {
    let blocks = blocks
    try parallel(blocks.count) { (index) throws(Problem) in
      let (first, width) = (blocks[index].lowerBound, blocks[index].count)
      let room = Room<Double>(width)
      es_prune_invert(elements + first * stride + first, Int64(stride), Int64(width), room.values)
    }
    guard blocks.count > 1 else { return }
    let room = Room<Double>(Self.block * count)
    let halfway = room.values
    for rows in blocks.dropLast().reversed() {
      let start = rows.upperBound
      let width = count - start
      let tiles = (width + Self.block - 1) / Self.block
      try parallel(tiles) { (index) throws(Problem) in
        let part = start + index * Self.block..<min(count, start + (index + 1) * Self.block)
        let target = halfway + part.lowerBound - start
        try multiply(
          view(rows, rows), view(rows, part),
          into: Self.mutableView(target, rows: rows.count, columns: part.count, stride: width))
        for i in 0..<rows.count { es_prune_scale(target + i * width, -1, Int64(part.count), target + i * width) }
      }
      try parallel(tiles) { (index) throws(Problem) in
        // The widest first, so that threads end together.
        let first = start + (tiles - 1 - index) * Self.block
        let part = first..<min(count, first + Self.block)
        let known = start..<part.upperBound
        try multiply(
          Self.view(halfway, rows: rows.count, columns: known.count, stride: width), view(known, part),
          into: mutableView(rows, part))
      }
    }
  }

  /// Writes what is above the blocks on the diagonal to another matrix, rows and columns exchanged, in float32.
  ///
  /// - Parameters:
  ///   - block: columns of a block.
  ///   - target: `[count, count]`; what is not below the blocks is left alone.
  func writeTransposed(
    block: Int, to target: UnsafeMutablePointer<Float>, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    let tile = 64
    let parts = Swift.stride(from: 0, to: count, by: tile).map { $0..<min(count, $0 + tile) }
    try parallel(parts.count) { (index) throws(Problem) in
      for part in Swift.stride(from: 0, to: count, by: block).map({ $0..<min(count, $0 + block) }) {
        // Columns of the part that are in this block, and the rows above it.
        let columns = parts[index].clamped(to: part)
        guard !columns.isEmpty else { continue }
        es_prune_transpose(
          elements + columns.lowerBound, Int64(stride), Int64(part.lowerBound), Int64(columns.count),
          target + columns.lowerBound * count, Int64(count))
      }
    }
  }

  private var blocks: [Range<Int>] {
    Swift.stride(from: 0, to: count, by: Self.block).map { $0..<min(count, $0 + Self.block) }
  }

  // MARK: - Parts as operands

  private func view(_ rows: Range<Int>, _ columns: Range<Int>) throws(Problem) -> MatrixView<Double> {
    try Self.view(
      elements + rows.lowerBound * stride + columns.lowerBound, rows: rows.count, columns: columns.count,
      stride: stride)
  }

  private func mutableView(_ rows: Range<Int>, _ columns: Range<Int>) throws(Problem) -> MutableMatrixView<Double> {
    try Self.mutableView(
      elements + rows.lowerBound * stride + columns.lowerBound, rows: rows.count, columns: columns.count,
      stride: stride)
  }

  /// Memory as an operand.
  static func view<Element>(
    _ start: UnsafePointer<Element>, rows: Int, columns: Int, stride: Int
  ) throws(Problem) -> MatrixView<Element> {
    try MatrixView(
      UnsafeBufferPointer(start: start, count: (rows - 1) * stride + columns), rows: rows, columns: columns,
      stride: stride)
  }

  static func mutableView<Element>(
    _ start: UnsafeMutablePointer<Element>, rows: Int, columns: Int, stride: Int
  ) throws(Problem) -> MutableMatrixView<Element> {
    try MutableMatrixView(
      UnsafeMutableBufferPointer(start: start, count: (rows - 1) * stride + columns), rows: rows, columns: columns,
      stride: stride)
  }

  /// One tile on this thread: blocks are what threads share.
  private func multiply(
    _ a: MatrixView<Double>, _ b: MatrixView<Double>, into c: MutableMatrixView<Double>, accumulate: Bool = false
  ) throws(Problem) {
    try MatrixProduct.multiply(
      a, b, into: c, accumulate: accumulate, kernel: .fastest, tile: MatrixProduct.Tile())
  }
}
