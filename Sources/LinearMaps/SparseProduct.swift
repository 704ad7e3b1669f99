internal import CKernels
internal import EspalierNumerics

/// `y = x Wᵀ` for few rows of x and a sparse W, whose numbers are put in their places in registers as they stream by: the
/// bits of a ``StoredRowsProduct``, cut into runs of rows of W.
struct SparseProduct: TiledProduct {
  private let x: UnsafePointer<Float>
  private let xStride: Int
  private let tokens: Int
  private let matrix: SparseMatrix
  private let target: UnsafeMutablePointer<Float>
  private let targetStride: Int
  private let rowsOfTile: Int
  private let kernel: es_product_kernel

  /// The fastest kernel that streams sparse rows here; nil where there is none.
  static let fastest = MatrixProduct.Kernel.allCases.last { kernel in
    es_product_kernel(rawValue: kernel.rawValue).map(es_sparse_streams) ?? false
  }

  /// Nil where that is not done: other processors, x as columns, no elements.
  init?(
    _ x: MatrixView<Float>, _ matrix: SparseMatrix, into y: MutableMatrixView<Float>,
    kernel: MatrixProduct.Kernel? = SparseProduct.fastest
  ) {
    guard let kernel, let native = es_product_kernel(rawValue: kernel.rawValue), es_sparse_streams(native),
      !x.isTransposed, x.columns > 0, let elements = x.elements, let target = y.elements
    else { return nil }
    self.x = elements
    xStride = x.stride
    tokens = x.rows
    self.matrix = matrix
    self.target = target
    targetStride = y.stride
    self.kernel = native
    rowsOfTile = matrix.rowsOfStreamingTile
  }

  var tileCount: Int { (matrix.outputWidth + rowsOfTile - 1) / rowsOfTile }

  func run(tile index: Int) {
    let row = index * rowsOfTile
    es_sparse_stream(
      kernel, matrix.native, row, min(rowsOfTile, matrix.outputWidth - row), matrix.inputWidth, x, xStride, tokens,
      target + row, targetStride)
  }
}
