public import EspalierBasics
public import EspalierNumerics

/// A weight matrix in whatever form a method left it, as something to be applied to activations.
///
///     y[t, o] = sum over i of x[t, i] W[o, i]        x [rows, inputWidth], y [rows, outputWidth]
public protocol LinearMap: Sendable {
  /// The number of outputs: rows of W.
  var outputWidth: Int { get }
  /// The number of inputs: columns of W.
  var inputWidth: Int { get }
  /// Bytes of the form as it lies in memory.
  var byteCount: Int { get }

  /// `y = x Wᵀ`. `y` must not overlap `x`.
  ///
  /// In ``NumericMode/exact`` a row of `y` depends on its row of `x` alone, to the bit.
  ///
  /// - Throws: `matrix.shape` unless x is `[n, inputWidth]` and y `[n, outputWidth]`; what `parallel` throws.
  func apply(
    _ x: MatrixView<Float>, into y: MutableMatrixView<Float>, mode: NumericMode, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem)

  /// Rows of W, widened: row `i` of `destination` (`inputWidth` floats each) becomes row `indices[i]`.
  ///
  /// - Throws: `matrix.shape` if an index is not a row.
  func gather(rows indices: some Sequence<Int>, into destination: UnsafeMutablePointer<Float>) throws(Problem)
}

extension LinearMap {
  /// W, widened: a dense copy of `outputWidth * inputWidth` floats.
  public func materialized() throws(Problem) -> Matrix<Float> {
    var elements = [Float](repeating: 0, count: outputWidth * inputWidth)
    try elements.withUnsafeMutableBufferPointer { (buffer) throws(Problem) in
      if let start = buffer.baseAddress { try gather(rows: 0..<outputWidth, into: start) }
    }
    return try Matrix(rows: outputWidth, columns: inputWidth, elements: elements)
  }
}
