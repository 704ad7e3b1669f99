internal import CKernels
public import EspalierBasics
public import EspalierNumerics

/// The damped second moment of a layer's inputs, inverted for optimal-brain-surgeon steps.
///
/// ```
/// H = (2 / n) Xᵀ X,  H[j, j] = 1 where the input j was always zero,  H += damp mean(diag H) I,   H⁻¹ = Uᵀ U
/// ```
///
/// with U upper triangular, found without inverting H: H = R Rᵀ with R upper triangular, from the last column to the
/// first, and U = R⁻¹, in blocks whose products threads share; float64. Sources: `frantar2023sparsegpt`, section 3; the
/// rest is Cholesky's factorization in blocks. Cost: 2/3 n³ flops, n² numbers.
public struct InverseFactor: Sendable {
  /// U `[inputs, inputs]`, zeros below its diagonal.
  public let upper: Matrix<Double>
  /// Inputs that were always zero.
  public let dead: [Int]

  /// - Parameters:
  ///   - moment: the sum of x xᵀ over the inputs, `[inputs, inputs]`; of its halves the upper one is read.
  ///   - count: rows summed.
  ///   - damp: from 0; a share of the mean diagonal.
  /// - Throws: `matrix.shape`, `linear-algebra.non-finite`, `reduction` if H is not positive definite.
  public init(
    moment: Matrix<Double>, count: Int, damp: Double, parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) {
    let n = moment.rows
    guard n == moment.columns else {
      throw Problem(.matrixShape, "a second moment of \(n) x \(moment.columns) is not square")
    }
    let scale = 2 / Double(max(1, count))
    var diagonal = (0..<n).map { moment[$0, $0] * scale }
    dead = diagonal.indices.filter { diagonal[$0] == 0 }
    for j in dead { diagonal[j] = 1 }
    let added = damp * diagonal.reduce(0, +) / Double(max(1, n))
    for j in diagonal.indices { diagonal[j] = -(diagonal[j] + added) }

    var failure: Problem?
    let elements = [Double](unsafeUninitializedCapacity: n * n) { target, initialized in
      guard let base = target.baseAddress else { return }
      initialized = n * n
      let factorization = Factorization(elements: base, n: n)
      do throws(Problem) {
        try moment.elements.withUnsafeBufferPointer { (moment) throws(Problem) in
          try factorization.copy(moment, scale: -scale, diagonal: diagonal, parallel)
        }
        try factorization.run(parallel)
      } catch { failure = error }
    }
    if let failure {
      guard failure.code == .notPositiveDefinite else { throw failure }
      throw Problem(
        .reduction, "the second moment is singular with a damping of \(damp)",
        remedy: "Raise the damping (0.01 is usual) or calibrate on more text.")
    }
    upper = try Matrix(rows: n, columns: n, elements: elements)
  }

  /// H⁻¹ `[inputs, inputs]`, symmetric.
  public func inverse(
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> Matrix<Double> {
    try MatrixProduct.product(upper, upper, transposingFirst: true, parallel: parallel)
  }
}

/// A square matrix whose upper half begins as -H, `H = R Rᵀ`, and ends as U = R⁻¹. In between, columns that are done hold
/// -R in the rows that are not. With J a block of columns, I the rows before it and K those behind it,
///
///     R_IJ = (H_IJ - R_IK R_JKᵀ) U_JJᵀ,   U_JK = -U_JJ R_JK U_KK
///
/// so that with both kept negative no sign is left.
private struct Factorization: @unchecked Sendable {
  let elements: UnsafeMutablePointer<Double>
  let n: Int

  /// Columns of a block: as many as a product packs at a time.
  private static let block = 96

  func copy(
    _ moment: UnsafeBufferPointer<Double>, scale: Double, diagonal: [Double], _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    guard let source = moment.baseAddress else { return }
    let bundle = 32
    try parallel((n + bundle - 1) / bundle) { (index) throws(Problem) in
      for i in index * bundle..<min(n, (index + 1) * bundle) {
        let column = Int(es_prune_first_nonfinite(source + i * n, Int64(n)))
        guard column < 0 else {
          throw Problem(
            .nonFiniteMatrix, "\(source[i * n + column]) at row \(i), column \(column) of the second moment")
        }
        let row = elements + i * n
        row.initialize(repeating: 0, count: i)
        es_prune_scale(source + i * n + i, scale, Int64(n - i), row + i)
        row[i] = diagonal[i]
      }
    }
  }

  func run(_ parallel: MatrixProduct.ParallelLoop) throws(Problem) {
    let starts = Array(stride(from: 0, to: n, by: Self.block))
    // -U_JJ R_JK of the block before, which waits for its product with U_KK.
    let scratch = Scratch(byteCount: Self.block * max(1, n) * MemoryLayout<Double>.stride)
    let waiting = scratch.address.bindMemory(to: Double.self, capacity: Self.block * n)
    var pending: Range<Int>?
    for start in starts.reversed() {
      let columns = start..<min(n, start + Self.block)
      let above = start / Self.block
      let done = pending
      let behind = done.map { n - $0.upperBound } ?? 0
      let tiles = (behind + Self.block - 1) / Self.block
      try parallel(1 + above + tiles) { (index) throws(Problem) in
        if index <= above {
          // The block's own rows first: what comes after the loop waits for them.
          let first = (above - index) * Self.block
          let rows = first..<min(n, first + Self.block)
          try addProducts(rows, columns)
          if index == 0 { try invert(columns) }
        } else if let done {
          // The widest part first, so that the threads end together.
          let first = done.upperBound + (tiles - 1 - (index - 1 - above)) * Self.block
          try finish(done, first..<min(n, first + Self.block), waiting)
        }
      }
      let rest = n - columns.upperBound
      try parallel(above + (rest + Self.block - 1) / Self.block) { (index) throws(Problem) in
        if index < above {
          let first = index * Self.block
          try divide(first..<first + Self.block, columns)
        } else {
          let first = columns.upperBound + (index - above) * Self.block
          try turn(columns, first..<min(n, first + Self.block), waiting)
        }
      }
      pending = columns
    }
    if let pending, pending.upperBound < n {
      let tiles = (n - pending.upperBound + Self.block - 1) / Self.block
      try parallel(tiles) { (index) throws(Problem) in
        let first = pending.upperBound + (tiles - 1 - index) * Self.block
        try finish(pending, first..<min(n, first + Self.block), waiting)
      }
    }
  }

  /// -H_IJ += R_IK R_JKᵀ
  private func addProducts(_ rows: Range<Int>, _ columns: Range<Int>) throws(Problem) {
    guard columns.upperBound < n else { return }
    let behind = columns.upperBound..<n
    try multiply(
      view(rows, behind), view(columns, behind).transposed, into: mutableView(rows, columns), accumulate: true)
  }

  private func invert(_ columns: Range<Int>) throws(Problem) {
    let scratch = Scratch(byteCount: Self.block * MemoryLayout<Double>.stride)
    let room = scratch.address.bindMemory(to: Double.self, capacity: Self.block)
    let first = columns.lowerBound
    let failed = es_prune_invert_factor(elements + first * n + first, Int64(n), Int64(columns.count), room)
    guard failed < 0 else {
      throw Problem(
        .notPositiveDefinite, "a moment of \(n) x \(n) is not positive definite at column \(first + Int(failed))")
    }
  }

  /// -R_IJ = (-H_IJ + R_IK R_JKᵀ) U_JJᵀ
  private func divide(_ rows: Range<Int>, _ columns: Range<Int>) throws(Problem) {
    let count = rows.count * columns.count
    let scratch = Scratch(byteCount: count * MemoryLayout<Double>.stride)
    let copy = scratch.address.bindMemory(to: Double.self, capacity: count)
    for (place, i) in rows.enumerated() {
      (copy + place * columns.count).update(from: elements + i * n + columns.lowerBound, count: columns.count)
    }
    try multiply(
      MatrixView(UnsafeBufferPointer(start: copy, count: count), rows: rows.count, columns: columns.count),
      view(columns, columns).transposed, into: mutableView(rows, columns))
  }

  /// -U_JJ R_JK, into a place of its own.
  private func turn(
    _ columns: Range<Int>, _ part: Range<Int>, _ target: UnsafeMutablePointer<Double>
  ) throws(Problem) {
    try multiply(view(columns, columns), view(columns, part), into: waitingView(columns, part, target))
  }

  /// U_JK = (-U_JJ R_JK) U_KK, for the columns `part` of K.
  private func finish(
    _ columns: Range<Int>, _ part: Range<Int>, _ waiting: UnsafeMutablePointer<Double>
  ) throws(Problem) {
    let known = columns.upperBound..<part.upperBound
    let width = n - columns.upperBound
    let left = try MatrixView(
      UnsafeBufferPointer(start: waiting, count: (columns.count - 1) * width + known.count), rows: columns.count,
      columns: known.count, stride: width)
    try multiply(left, view(known, part), into: mutableView(columns, part))
  }

  private func waitingView(
    _ columns: Range<Int>, _ part: Range<Int>, _ waiting: UnsafeMutablePointer<Double>
  ) throws(Problem) -> MutableMatrixView<Double> {
    let width = n - columns.upperBound
    return try MutableMatrixView(
      UnsafeMutableBufferPointer(
        start: waiting + part.lowerBound - columns.upperBound, count: (columns.count - 1) * width + part.count),
      rows: columns.count, columns: part.count, stride: width)
  }

  private func view(_ rows: Range<Int>, _ columns: Range<Int>) throws(Problem) -> MatrixView<Double> {
    try MatrixView(
      UnsafeBufferPointer(
        start: elements + rows.lowerBound * n + columns.lowerBound, count: (rows.count - 1) * n + columns.count),
      rows: rows.count, columns: columns.count, stride: n)
  }

  private func mutableView(_ rows: Range<Int>, _ columns: Range<Int>) throws(Problem) -> MutableMatrixView<Double> {
    try MutableMatrixView(
      UnsafeMutableBufferPointer(
        start: elements + rows.lowerBound * n + columns.lowerBound, count: (rows.count - 1) * n + columns.count),
      rows: rows.count, columns: columns.count, stride: n)
  }

  /// One tile on this thread: the blocks are what threads share.
  private func multiply(
    _ a: MatrixView<Double>, _ b: MatrixView<Double>, into c: MutableMatrixView<Double>, accumulate: Bool = false
  ) throws(Problem) {
    try MatrixProduct.multiply(
      a, b, into: c, accumulate: accumulate, kernel: .fastest, tile: MatrixProduct.Tile(rows: Self.block))
  }
}
