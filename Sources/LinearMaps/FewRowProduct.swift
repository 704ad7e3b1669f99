internal import EspalierNumerics

/// Few rows of x, the matrix they meet, and where y goes.
///
/// `Activation` is the element of x: floats, or codes of 32 of them.
struct FewRowOperands<Matrix: LinearMap, Activation> {
  let x: UnsafePointer<Activation>
  /// Elements from one row of x to the next.
  let xStride: Int
  /// Rows of x.
  let tokens: Int
  let matrix: Matrix
  let y: UnsafeMutablePointer<Float>
  let yStride: Int
  fileprivate let rowsOfTile: Int

  /// Nil if y has no elements.
  init?(
    _ x: UnsafePointer<Activation>, stride: Int, tokens: Int, _ matrix: Matrix, into y: MutableMatrixView<Float>
  ) {
    guard let target = y.elements else { return nil }
    self.x = x
    xStride = stride
    self.tokens = tokens
    self.matrix = matrix
    self.y = target
    yStride = y.stride
    rowsOfTile = matrix.rowsOfStreamingTile
  }
}

extension FewRowOperands where Activation == Float {
  /// Nil for x as columns, or no elements.
  init?(_ x: MatrixView<Float>, _ matrix: Matrix, into y: MutableMatrixView<Float>) {
    guard !x.isTransposed, x.columns > 0, let elements = x.elements else { return nil }
    self.init(elements, stride: x.stride, tokens: x.rows, matrix, into: y)
  }
}

/// `y = x Wᵀ` for few rows of x, which reads W once, as it lies; its tiles are runs of rows of W.
protocol FewRowProduct: TiledProduct {
  associatedtype Matrix: LinearMap
  associatedtype Activation
  var operands: FewRowOperands<Matrix, Activation> { get }
  /// Computes the columns `rows` of y: x times these rows of W, row `rows.lowerBound` at `target`.
  func run(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>)
}

extension FewRowProduct {
  var tileCount: Int { (operands.matrix.outputWidth + operands.rowsOfTile - 1) / operands.rowsOfTile }

  func run(tile index: Int) {
    let first = index * operands.rowsOfTile
    run(first..<min(first + operands.rowsOfTile, operands.matrix.outputWidth), into: operands.y + first)
  }
}
