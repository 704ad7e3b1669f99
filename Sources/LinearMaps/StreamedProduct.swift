internal import CKernels
internal import EspalierNumerics

/// `y = x Wᵀ` for few rows of x and a W of floats, which are widened in registers as they stream by: the bits of a
/// ``StoredRowsProduct``.
struct StreamedProduct: FewRowProduct {
  let operands: FewRowOperands<StoredMatrix, Float>
  private let type: es_linear_float
  private let kernel: es_product_kernel

  /// Nil where that is not done: other formats and processors, x as columns, no elements.
  init?(
    _ x: MatrixView<Float>, _ matrix: StoredMatrix, into y: MutableMatrixView<Float>,
    kernel: MatrixProduct.Kernel = .fastest
  ) {
    guard let kernel = es_product_kernel(rawValue: kernel.rawValue), es_linear_streams(kernel) else { return nil }
    switch matrix.format {
    case .elements(.f32): type = .f32
    case .elements(.f16): type = .f16
    case .elements(.bf16): type = .bf16
    default: return nil
    }
    guard let operands = FewRowOperands(x, matrix, into: y) else { return nil }
    self.operands = operands
    self.kernel = kernel
  }

  func run(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
    let matrix = operands.matrix
    es_linear_stream(
      kernel, type, matrix.address(ofRow: rows.lowerBound), matrix.rowStride, rows.count, matrix.inputWidth, operands.x,
      operands.xStride, operands.tokens, target, operands.yStride)
  }
}
