public import EspalierBasics
public import EspalierNumerics

/// A sum of maps of one shape: `W = T1 + T2 + ...`, a sparse and a low-rank part for instance.
///
///     y = x T1ᵀ + x T2ᵀ + ...        each product rounded to float32, added in the order of the terms
public struct SumMap: LinearMap {
  public let terms: [any LinearMap]

  public var outputWidth: Int { terms[0].outputWidth }
  public var inputWidth: Int { terms[0].inputWidth }
  public var byteCount: Int { terms.reduce(0) { $0 + $1.byteCount } }

  /// - Throws: `matrix.shape` for no terms, or terms of different shapes.
  public init(_ terms: [any LinearMap]) throws(Problem) {
    guard let first = terms.first else { throw Problem(.matrixShape, "a sum of no matrices") }
    for term in terms where (term.outputWidth, term.inputWidth) != (first.outputWidth, first.inputWidth) {
      throw Problem(
        .matrixShape,
        "\(first.outputWidth) x \(first.inputWidth) and \(term.outputWidth) x \(term.inputWidth) cannot be added")
    }
    self.terms = terms
  }

  public func apply(
    _ x: MatrixView<Float>, into y: MutableMatrixView<Float>, mode: NumericMode, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    try checkShapes(x, y)
    try terms[0].apply(x, into: y, mode: mode, parallel: parallel)
    guard let target = y.elements else { return }
    for term in terms.dropFirst() {
      let product = try FloatScratch(rows: y.rows, columns: y.columns)
      try term.apply(x, into: try product.target(), mode: mode, parallel: parallel)
      for row in 0..<y.rows { add(product.address + row * y.columns, to: target + row * y.stride, count: y.columns) }
    }
  }

  public func gather(
    rows indices: some Sequence<Int>, into destination: UnsafeMutablePointer<Float>
  ) throws(Problem) {
    let indices = Array(indices)
    try terms[0].gather(rows: indices, into: destination)
    for term in terms.dropFirst() {
      let rows = try FloatScratch(rows: indices.count, columns: inputWidth)
      try term.gather(rows: indices, into: rows.address)
      add(rows.address, to: destination, count: indices.count * inputWidth)
    }
  }

  private func add(_ values: UnsafePointer<Float>, to sums: UnsafeMutablePointer<Float>, count: Int) {
    for index in 0..<count { sums[index] += values[index] }
  }
}
