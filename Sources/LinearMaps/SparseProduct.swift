internal import CKernels
internal import EspalierNumerics

/// `y = x Wᵀ` for few rows of x and a sparse W, whose numbers are put in their places in registers as they stream by: the
/// bits of a ``StoredRowsProduct``.
struct SparseProduct: FewRowProduct {
  let operands: FewRowOperands<SparseMatrix, Float>
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
      let operands = FewRowOperands(x, matrix, into: y)
    else { return nil }
    self.operands = operands
    self.kernel = native
  }

  func run(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
    es_sparse_stream(
      kernel, operands.matrix.native, rows.lowerBound, rows.count, operands.matrix.inputWidth, operands.x,
      operands.xStride, operands.tokens, target, operands.yStride)
  }
}
