public import EspalierBasics
public import EspalierNumerics

/// The damped second moment of a layer's inputs, inverted for optimal-brain-surgeon steps.
///
/// ```
/// H = (2 / n) Xᵀ X,  H[j, j] = 1 where the input j was always zero,  H += damp mean(diag H) I,   H⁻¹ = Uᵀ U
/// ```
///
/// with U upper triangular, found without inverting H: if the matrix K with rows and columns of H in reverse order is
/// L Lᵀ, then U is L⁻¹ in reverse order. L⁻¹ comes from halves of K by matrix products, so that threads share the work
/// and rounding is that of float64. Sources: `frantar2023sparsegpt`, section 3; the recursion is the usual one for
/// Cholesky's factor and its inverse. Cost: about n³ flops, 2 n² numbers.
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
    if let index = moment.elements.firstIndex(where: { !$0.isFinite }) {
      throw Problem(
        .nonFiniteMatrix, "\(moment.elements[index]) at row \(index / n), column \(index % n) of the second moment")
    }
    let scale = 2 / Double(max(1, count))
    var diagonal = (0..<n).map { moment[$0, $0] * scale }
    dead = diagonal.indices.filter { diagonal[$0] == 0 }
    for j in dead { diagonal[j] = 1 }
    let added = damp * diagonal.reduce(0, +) / Double(max(1, n))
    // K[i, j] = H[n - 1 - i, n - 1 - j]: its lower half, which alone is read, is the upper one of H.
    var elements = [Double](unsafeUninitializedCapacity: n * n) { k, initialized in
      moment.elements.withUnsafeBufferPointer { moment in
        for i in 0..<n * n { k[n * n - 1 - i] = moment[i] * scale }
      }
      for i in 0..<n { k[i * n + i] = diagonal[n - 1 - i] + added }
      initialized = n * n
    }
    do throws(Problem) {
      try elements.withUnsafeMutableBufferPointer { (k) throws(Problem) in
        try InPlace(elements: k, stride: n).invertFactor(0..<n, parallel)
      }
    } catch {
      guard error.code == .notPositiveDefinite else { throw error }
      throw Problem(
        .reduction, "the second moment is singular with a damping of \(damp)",
        remedy: "Raise the damping (0.01 is usual) or calibrate on more text.")
    }
    elements.reverse()
    upper = try Matrix(rows: n, columns: n, elements: elements)
  }

  /// H⁻¹ `[inputs, inputs]`, symmetric.
  public func inverse(
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> Matrix<Double> {
    try MatrixProduct.product(upper, upper, transposingFirst: true, parallel: parallel)
  }
}

/// A square matrix whose diagonal blocks are replaced, K = L Lᵀ by L⁻¹ with zeros above the diagonal.
private struct InPlace {
  let elements: UnsafeMutableBufferPointer<Double>
  let stride: Int

  private static let leaf = 128

  /// With halves 1 and 2, M = L⁻¹ and B = K₂₁ M₁₁ᵀ = L₂₁:
  ///
  ///     K₂₂ -= B Bᵀ,   M₂₁ = -M₂₂ B M₁₁
  func invertFactor(_ range: Range<Int>, _ parallel: MatrixProduct.ParallelLoop) throws(Problem) {
    let n = range.count
    guard n > Self.leaf else { return try invertLeaf(range) }
    // Halves at a multiple of the leaf's size keep the products whole.
    let h = max(Self.leaf, n / 2 / Self.leaf * Self.leaf)
    let (first, second) = (range.lowerBound..<range.lowerBound + h, range.lowerBound + h..<range.upperBound)
    try invertFactor(first, parallel)
    let rest = n - h
    var below = [Double](repeating: 0, count: rest * h)
    try below.withUnsafeMutableBufferPointer { (below) throws(Problem) in
      let scratch = InPlace(elements: below, stride: h)
      // Blocks of a triangle: what is zero beyond them is not multiplied.
      for block in Self.blocks(of: h) {
        let (known, place) = (first.lowerBound..<first.lowerBound + block.upperBound, first.shifted(to: block))
        try MatrixProduct.multiply(
          view(second, known), view(place, known).transposed, into: scratch.mutableView(0..<rest, block),
          parallel: parallel)
      }
      var minus = below.map { -$0 }
      try minus.withUnsafeMutableBufferPointer { (minus) throws(Problem) in
        let negated = InPlace(elements: minus, stride: h)
        for block in Self.blocks(of: rest) {
          try MatrixProduct.multiply(
            negated.view(block, 0..<h), scratch.view(0..<block.upperBound, 0..<h).transposed,
            into: mutableView(
              second.shifted(to: block), second.lowerBound..<second.lowerBound + block.upperBound),
            accumulate: true, parallel: parallel)
        }
        try invertFactor(second, parallel)
        for block in Self.blocks(of: h) {
          try MatrixProduct.multiply(
            negated.view(0..<rest, block.lowerBound..<h),
            view(first.lowerBound + block.lowerBound..<first.upperBound, first.shifted(to: block)),
            into: scratch.mutableView(0..<rest, block), parallel: parallel)
        }
      }
      for block in Self.blocks(of: rest) {
        try MatrixProduct.multiply(
          view(second.shifted(to: block), second.lowerBound..<second.lowerBound + block.upperBound),
          scratch.view(0..<block.upperBound, 0..<h), into: mutableView(second.shifted(to: block), first),
          parallel: parallel)
      }
    }
    for i in first { for j in second { elements[i * stride + j] = 0 } }
  }

  private static func blocks(of count: Int) -> [Range<Int>] {
    let length = max(leaf, count / 4)
    return Swift.stride(from: 0, to: count, by: length).map { $0..<min(count, $0 + length) }
  }

  private func invertLeaf(_ range: Range<Int>) throws(Problem) {
    guard !range.isEmpty else { return }
    let n = range.count
    var block: [Double] = []
    for i in range { block += elements[i * stride + range.lowerBound..<i * stride + range.upperBound] }
    let factor = try LinearAlgebra.cholesky(Matrix(rows: n, columns: n, elements: block)).elements
    block.withUnsafeMutableBufferPointer { m in
      factor.withUnsafeBufferPointer { l in
        var sums = [Double](repeating: 0, count: n)
        for i in 0..<n {
          for j in 0..<i { sums[j] = 0 }
          for p in 0..<i {
            let factor = l[i * n + p]
            for j in 0...p { sums[j] += factor * m[p * n + j] }
          }
          let pivot = 1 / l[i * n + i]
          for j in 0..<i { m[i * n + j] = -sums[j] * pivot }
          m[i * n + i] = pivot
          for j in i + 1..<max(n, i + 1) { m[i * n + j] = 0 }
        }
        for i in 0..<n {
          for j in 0..<n { elements[(range.lowerBound + i) * stride + range.lowerBound + j] = m[i * n + j] }
        }
      }
    }
  }

  private func part(_ rows: Range<Int>, _ columns: Range<Int>) -> Slice<UnsafeMutableBufferPointer<Double>> {
    elements[rows.lowerBound * stride + columns.lowerBound..<(rows.upperBound - 1) * stride + columns.upperBound]
  }

  private func view(_ rows: Range<Int>, _ columns: Range<Int>) throws(Problem) -> MatrixView<Double> {
    try MatrixView(
      UnsafeBufferPointer(rebasing: part(rows, columns)), rows: rows.count, columns: columns.count, stride: stride)
  }

  private func mutableView(_ rows: Range<Int>, _ columns: Range<Int>) throws(Problem) -> MutableMatrixView<Double> {
    try MutableMatrixView(
      UnsafeMutableBufferPointer(rebasing: part(rows, columns)), rows: rows.count, columns: columns.count,
      stride: stride)
  }
}

extension Range<Int> {
  /// A part of this range, given as if it began at 0.
  fileprivate func shifted(to part: Range) -> Range {
    lowerBound + part.lowerBound..<lowerBound + part.upperBound
  }
}
