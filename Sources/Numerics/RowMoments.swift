internal import CKernels
public import EspalierBasics

/// Sums over rows x of floats: of x, x² and |x| by column, and of x xᵀ.
///
/// Each is a float64 sum whose order is the order of the rows, so it depends neither on threads nor on the processor.
/// Of x xᵀ, at most ``productRows`` rows are multiplied in float32 at a time; the products are added in float64.
public enum RowMoments {
  /// Rows of a float32 product; one block of ``MatrixProduct``. A float32 sum of so few terms loses about 1e-6 of its
  /// size; one over all rows loses what lies below 1e-4 of the largest singular value.
  public static let productRows = 512

  /// Adds to the sums by column.
  ///
  /// - Parameter rows: not transposed.
  public static func addColumns(
    of rows: MatrixView<Float>, sums: UnsafeMutablePointer<Double>, squares: UnsafeMutablePointer<Double>,
    absolutes: UnsafeMutablePointer<Double>, parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) {
    guard let elements = rows.elements else { return }
    let span = 256
    try parallel((rows.columns + span - 1) / span) { (index) throws(Problem) in
      let first = index * span
      es_add_column_sums(
        elements + first, Int64(rows.stride), Int64(rows.rows), Int64(min(span, rows.columns - first)), sums + first,
        squares + first, absolutes + first)
    }
  }

  /// Adds the sum of x xᵀ over the rows to the upper half of a matrix, diagonal included; the lower half is left alone,
  /// save in squares along the diagonal. ``mirror(_:width:)`` completes it in the end.
  ///
  /// Cost: about rows · width² flops, half of a full product.
  ///
  /// - Parameters:
  ///   - rows: at most ``productRows``, not transposed.
  ///   - columns: the columns x has.
  ///   - moment: `[columns.count, columns.count]`.
  /// - Throws: `matrix.shape` for too many rows.
  public static func addProduct(
    of rows: MatrixView<Float>, columns: Range<Int>, to moment: UnsafeMutablePointer<Double>,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) {
    guard rows.rows <= productRows, !rows.isTransposed, columns.upperBound <= rows.columns, columns.lowerBound >= 0
    else {
      throw Problem(.matrixShape, "the product of \(rows.rows) rows at once, where \(productRows) are the most")
    }
    guard let elements = rows.elements, rows.rows > 0 else { return }
    let width = columns.count
    let tile = MatrixProduct.Tile()
    var tiles: [(row: Int, column: Int)] = []
    for row in stride(from: 0, to: width, by: tile.rows) {
      for column in stride(from: row, to: width, by: tile.columns) { tiles.append((row, column)) }
    }
    func view(_ first: Int, _ count: Int) throws(Problem) -> MatrixView<Float> {
      let start = columns.lowerBound + first
      return try MatrixView(
        UnsafeBufferPointer(start: elements + start, count: (rows.rows - 1) * rows.stride + count), rows: rows.rows,
        columns: count, stride: rows.stride)
    }
    try parallel(tiles.count) { (index) throws(Problem) in
      let (row, column) = tiles[index]
      let (down, across) = (min(tile.rows, width - row), min(tile.columns, width - column))
      let scratch = Scratch(byteCount: down * across * MemoryLayout<Float>.stride)
      let product = scratch.address.bindMemory(to: Float.self, capacity: down * across)
      try MatrixProduct.multiply(
        view(row, down).transposed, view(column, across),
        into: MutableMatrixView(
          UnsafeMutableBufferPointer(start: product, count: down * across), rows: down, columns: across),
        accumulate: false, kernel: .fastest, tile: tile)
      for i in 0..<down {
        es_add_widened(product + i * across, moment + (row + i) * width + column, Int64(across))
      }
    }
  }

  /// Copies the upper half of a square matrix to the lower.
  public static func mirror(_ moment: UnsafeMutablePointer<Double>, width: Int) {
    let block = 64
    for first in stride(from: 0, to: width, by: block) {
      for second in stride(from: first, to: width, by: block) {
        for i in first..<min(width, first + block) {
          for j in max(i + 1, second)..<max(i + 1, min(width, second + block)) {
            moment[j * width + i] = moment[i * width + j]
          }
        }
      }
    }
  }

  /// The cosines between the rows of two matrices of one shape, row by row.
  public static func cosines(
    _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, rows: Int, width: Int,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> [Double] {
    let values = try AlignedBuffer(count: rows, of: Double.self)
    let target = values.values(of: Double.self)
    let span = max(1, 65_536 / max(1, width))
    try parallel((rows + span - 1) / span) { (index) throws(Problem) in
      for row in index * span..<min(rows, (index + 1) * span) {
        target[row] = es_cosine(a + row * width, b + row * width, Int64(width))
      }
    }
    return Array(target[..<rows])
  }
}
