internal import CKernels
internal import EspalierNumerics

/// `y = x Wᵀ` for few rows of x and a W of floats, which are widened in registers as they stream by: the bits of a
/// ``StoredRowsProduct``, cut into runs of rows of W.
struct StreamedProduct: TiledProduct {
  private let x: UnsafePointer<Float>
  private let xStride: Int
  private let tokens: Int
  private let matrix: StoredMatrix
  private let type: es_linear_float
  private let target: UnsafeMutablePointer<Float>
  private let targetStride: Int
  private let rowsOfTile: Int
  private let kernel: es_product_kernel

  /// Nil where that is not done: other formats and processors, no elements.
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
    guard !x.isTransposed, x.columns > 0, let elements = x.elements, let target = y.elements
    else { return nil }
    self.x = elements
    xStride = x.stride
    tokens = x.rows
    self.matrix = matrix
    self.target = target
    targetStride = y.stride
    self.kernel = kernel
    rowsOfTile = matrix.rowsOfStreamingTile
  }

  var tileCount: Int { (matrix.outputWidth + rowsOfTile - 1) / rowsOfTile }

  func run(tile index: Int) {
    let row = index * rowsOfTile
    es_linear_stream(
      kernel, type, matrix.address + row * matrix.rowStride, matrix.rowStride,
      min(rowsOfTile, matrix.outputWidth - row),
      matrix.inputWidth, x, xStride, tokens, target + row, targetStride)
  }
}
