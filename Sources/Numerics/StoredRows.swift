internal import CKernels
package import EspalierBasics

/// The rows of a matrix in whatever form they are stored, the right operand of a ``StoredRowsProduct``. Valid while the
/// memory beneath it is.
package struct StoredRows {
  /// Widens rows `[row, row + rows)`, elements `[start, start + count)` of each, to float32, the rows `panelStride`
  /// floats apart. `start` is a multiple of 256; `start + count` is, or is the end of the row.
  package typealias Widening =
    @convention(c) (
      _ address: UnsafeRawPointer?, _ stride: Int, _ row: Int, _ rows: Int, _ start: Int, _ count: Int,
      _ panel: UnsafeMutablePointer<Float>?, _ panelStride: Int
    ) -> Void

  package let address: UnsafeRawPointer
  package let rows: Int
  package let columns: Int
  /// From one row to the next, in the unit that `widening` counts in.
  package let stride: Int
  package let widening: Widening

  package init(_ address: UnsafeRawPointer, rows: Int, columns: Int, stride: Int, widening: Widening) {
    self.address = address
    self.rows = rows
    self.columns = columns
    self.stride = stride
    self.widening = widening
  }
}

/// `c = a bᵀ`, b in whatever form its rows are stored: they are widened while they are packed, so the bits are those of
/// ``MatrixProduct`` with the widened matrix. The work is tiles of c, to be run in any order.
package struct StoredRowsProduct {
  private let left: es_product_operand_f32
  private let right: es_product_operand_f32
  private let depth: Int
  private let target: UnsafeMutablePointer<Float>?
  private let targetStride: Int
  private let rows: Int
  private let columns: Int
  private let tile: MatrixProduct.Tile
  private let kernel: MatrixProduct.Kernel

  /// - Parameters:
  ///   - kernel: nil means the fastest.
  ///   - tile: nil means by shape.
  /// - Throws: `matrix.shape` unless a is `[m, k]`, b has n rows of k numbers and c is `[m, n]`.
  package init(
    _ a: MatrixView<Float>, _ b: StoredRows, into c: MutableMatrixView<Float>, kernel: MatrixProduct.Kernel? = nil,
    tile: MatrixProduct.Tile? = nil
  ) throws(Problem) {
    try MatrixProduct.checkShapes((a.rows, a.columns), (b.columns, b.rows), (c.rows, c.columns))
    left = es_product_operand_f32(rowsOf: a)
    right = es_product_operand_f32(elements: b.address, stride: b.stride, pack: b.widening)
    depth = a.columns
    target = c.elements
    targetStride = c.stride
    rows = c.rows
    columns = c.columns
    self.tile = tile ?? .cutting(rows: c.rows, columns: c.columns)
    self.kernel = kernel ?? .fastest
  }

  package var tileCount: Int { target == nil ? 0 : tile.count(rows: rows, columns: columns) }

  /// Computes one tile of c.
  package func run(tile index: Int) {
    guard let target else { return }
    let rectangle = tile.rectangle(index, rows: rows, columns: columns)
    let scratch = Scratch(byteCount: Int(ES_PRODUCT_SCRATCH_BYTES))
    es_product_run_f32(kernel.native, rectangle, depth, left, right, target, targetStride, false, scratch.address)
  }
}
