internal import CKernels
internal import EspalierBasics
internal import EspalierNumerics

/// trace(D G Dᵀ) of D = W - W' and trace(W G Wᵀ): squared lengths of outputs, in float64.
///
/// Neither D nor W is ever there as a whole in float64. Each row's sum is by itself, and they are added in a fixed tree,
/// so that threads change no bit.
struct OutputSquares {
  let original: Matrix<Float>
  let changed: Matrix<Float>

  /// Rows of one call, and columns of G at a time: as many as a product packs.
  private static let bundle = 96

  /// G is diagonal.
  ///
  /// - Parameter weights: the diagonal; nil for ones.
  func sums(
    weights: [Double]?, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> (error: Double, whole: Double) {
    let (rows, columns) = (original.rows, original.columns)
    let bundle = max(1, 16384 / max(1, columns))
    var sums = [(error: Double, whole: Double)](repeating: (0, 0), count: rows)
    try sums.withUnsafeMutableBufferPointer { (sums) throws(Problem) in
      // Every index writes the places of its rows.
      try parallel((rows + bundle - 1) / bundle) { (index) throws(Problem) in
        original.elements.withUnsafeBufferPointer { original in
          changed.elements.withUnsafeBufferPointer { changed in
            guard let a = original.baseAddress, let b = changed.baseAddress else { return }
            for row in index * bundle..<min(rows, (index + 1) * bundle) {
              let start = row * columns
              es_prune_weighed_squares(
                a + start, b + start, weights, Int64(columns), &sums[row].error, &sums[row].whole)
            }
          }
        }
      }
    }
    return (CanonicalSum.combine(sums.map(\.error)), CanonicalSum.combine(sums.map(\.whole)))
  }

  /// G is any symmetric matrix `[inputs, inputs]`; its lower half is read. With rows P of D or W and columns cut into
  /// blocks J, the trace is the sum over J of the scalar products of 2 P_(before J) G_(before J, J) + P_J G_JJ with P_J.
  ///
  /// - Parameter wantsWhole: whether the original's is wanted too; otherwise it is 0.
  /// - Throws: `matrix.shape`.
  func sums(
    moment: Matrix<Double>, wantsWhole: Bool = true, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> (error: Double, whole: Double) {
    let n = original.columns
    guard moment.rows == n, moment.columns == n else {
      throw Problem(.matrixShape, "a second moment of \(moment.rows) x \(moment.columns) for \(n) inputs")
    }
    let bundles = (original.rows + Self.bundle - 1) / Self.bundle
    var sums = [Double](repeating: 0, count: 2 * bundles)
    try sums.withUnsafeMutableBufferPointer { (sums) throws(Problem) in
      // Every index writes its own place: of the difference, then of the original.
      try parallel(sums.count) { (index) throws(Problem) in
        guard wantsWhole || index % 2 == 0 else { return }
        let first = index / 2 * Self.bundle
        let rows = first..<min(original.rows, first + Self.bundle)
        sums[index] = try trace(rows, ofDifference: index % 2 == 0, moment)
      }
    }
    func total(_ part: Int) -> Double { CanonicalSum.combine((0..<bundles).map { sums[2 * $0 + part] }) }
    return (total(0), total(1))
  }

  private func trace(
    _ rows: Range<Int>, ofDifference: Bool, _ moment: Matrix<Double>
  ) throws(Problem) -> Double {
    let n = original.columns
    let scratch = Scratch(byteCount: rows.count * (n + Self.bundle) * MemoryLayout<Double>.stride)
    let panel = scratch.address.bindMemory(to: Double.self, capacity: rows.count * (n + Self.bundle))
    let products = panel + rows.count * n
    original.elements.withUnsafeBufferPointer { original in
      changed.elements.withUnsafeBufferPointer { changed in
        guard let a = original.baseAddress, let b = changed.baseAddress else { return }
        let start = rows.lowerBound * n
        es_prune_difference(a + start, ofDifference ? b + start : nil, Int64(rows.count * n), panel)
      }
    }
    return try moment.elements.withUnsafeBufferPointer { (moment) throws(Problem) in
      /// The sum of (P[:, depth] G[depth, block]) P[:, block].
      func part(_ depth: Range<Int>, _ block: Range<Int>) throws(Problem) -> Double {
        let left = try MatrixView(
          UnsafeBufferPointer(start: panel + depth.lowerBound, count: (rows.count - 1) * n + depth.count),
          rows: rows.count, columns: depth.count, stride: n)
        let right = try MatrixView(
          UnsafeBufferPointer(rebasing: moment[(block.lowerBound * n + depth.lowerBound)...]), rows: block.count,
          columns: depth.count, stride: n)
        let count = rows.count * block.count
        try MatrixProduct.multiply(
          left, right.transposed,
          into: MutableMatrixView(
            UnsafeMutableBufferPointer(start: products, count: count), rows: rows.count, columns: block.count),
          accumulate: false, kernel: .fastest, tile: MatrixProduct.Tile(rows: Self.bundle))
        var sum = 0.0
        for i in 0..<rows.count {
          sum += es_prune_dot(products + i * block.count, panel + i * n + block.lowerBound, Int64(block.count))
        }
        return sum
      }
      var sum = 0.0
      for start in stride(from: 0, to: n, by: Self.bundle) {
        let block = start..<min(n, start + Self.bundle)
        if start > 0 { sum += 2 * (try part(0..<start, block)) }
        sum += try part(block, block)
      }
      return sum
    }
  }
}
