internal import CKernels
public import EspalierBasics

/// Dense products `C = A B`, `C += A B`, whose bits depend on the numbers alone.
///
///     c[i, j] (+)= sum over p of a[i, p] * b[p, j]        A [m, k], B [k, n], C [m, n]
///
/// Transposed operands are views (``MatrixView/transposed``), so the product of activations `[tokens, in]` with a
/// weight `[out, in]` is `multiply(x, w.transposed, into: y)`, the fastest form: neither operand is rearranged.
///
/// The order of every sum is fixed by `k` alone: blocks of 2 KiB of elements, in each 16 float or 8 double lanes of
/// fused multiply-adds, lanes added in halves, block sums added in turn. A row of C does not depend on the rows
/// around it (no batch effects), nor on threads, tiles or the processor, except for the sign and payload of a NaN. NaN
/// and infinity propagate as in the sum written out. An empty sum (`k = 0`) is zero.
///
/// Error, to first order, with u = 2^-24 (float) or 2^-53 (double), L lanes and blocks of K = 512 or 256 elements:
///
///     |error of c[i, j]| <= (min(k, K) / L + log2 L + k / K + 1) u sum over p of |a[i, p] b[p, j]|
///
/// (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). Cost: 2 m n k flops; memory besides
/// the operands: 740 KiB a thread, kept from product to product.
public enum MatrixProduct {
  /// Runs `body(0)` ... `body(count - 1)`, in any order and at the same time if it likes; returns when all are done.
  public typealias ParallelLoop = (_ count: Int, _ body: (Int) throws(Problem) -> Void) throws(Problem) -> Void

  /// One index after the other, on the calling thread.
  public static func serially(_ count: Int, _ body: (Int) throws(Problem) -> Void) throws(Problem) {
    for index in 0..<count { try body(index) }
  }

  /// `c = a b`, or `c += a b` with `accumulate`. `c` must not overlap the operands.
  ///
  /// - Parameter parallel: the loop that runs the tiles of C; it changes no bit of the result.
  /// - Throws: `matrix.shape` unless a is `[m, k]`, b `[k, n]` and c `[m, n]`; what `parallel` throws.
  public static func multiply(
    _ a: MatrixView<Float>, _ b: MatrixView<Float>, into c: MutableMatrixView<Float>, accumulate: Bool = false,
    parallel: ParallelLoop = serially
  ) throws(Problem) {
    try multiply(a, b, into: c, accumulate: accumulate, kernel: .fastest, parallel: parallel)
  }

  /// The same in double precision.
  public static func multiply(
    _ a: MatrixView<Double>, _ b: MatrixView<Double>, into c: MutableMatrixView<Double>, accumulate: Bool = false,
    parallel: ParallelLoop = serially
  ) throws(Problem) {
    try multiply(a, b, into: c, accumulate: accumulate, kernel: .fastest, parallel: parallel)
  }

  /// `a b` as a new matrix, with either operand transposed first (by reading it so, not by copying).
  ///
  /// - Throws: as ``multiply(_:_:into:accumulate:parallel:)``.
  public static func product(
    _ a: Matrix<Double>, _ b: Matrix<Double>, transposingFirst: Bool = false, transposingSecond: Bool = false,
    parallel: ParallelLoop = serially
  ) throws(Problem) -> Matrix<Double> {
    try a.withView { (a) throws(Problem) in
      try b.withView { (b) throws(Problem) in
        let (left, right) = (transposingFirst ? a.transposed : a, transposingSecond ? b.transposed : b)
        var c = Matrix(repeating: 0.0, rows: left.rows, columns: right.columns)
        try c.elements.withUnsafeMutableBufferPointer { (buffer) throws(Problem) in
          let target = try MutableMatrixView(buffer, rows: left.rows, columns: right.columns)
          try multiply(left, right, into: target, parallel: parallel)
        }
        return c
      }
    }
  }

  // MARK: - Kernels and tiles; internal, so that tests can hold them against each other

  package enum Kernel: UInt32, CaseIterable, Sendable {
    case portable, avx2, avx512

    package static let fastest = Kernel(es_product_fastest_kernel())
    package static var available: [Kernel] { allCases.filter { es_product_kernel_runs($0.native) } }

    init(_ native: es_product_kernel) { self = Kernel(rawValue: native.rawValue) ?? .portable }
    var native: es_product_kernel { es_product_kernel(rawValue: rawValue) ?? .portable }
  }

  /// Rows and columns of a tile of C.
  package struct Tile: Equatable, Sendable {
    var rows = Int(ES_PRODUCT_TILE_ROWS)
    var columns = 768

    package init(rows: Int = 256, columns: Int = 768) {
      self.rows = min(rows, Int(ES_PRODUCT_TILE_ROWS))
      self.columns = columns
    }

    /// Large tiles pack least; small products are cut finer, so that there is work to share.
    static func cutting(rows: Int, columns: Int) -> Tile {
      var tile = Tile()
      let enough = 16
      while tile.count(rows: rows, columns: columns) < enough, tile.columns > 192 { tile.columns /= 2 }
      while tile.count(rows: rows, columns: columns) < enough, tile.rows > 64 { tile.rows /= 2 }
      return tile
    }

    func count(rows: Int, columns: Int) -> Int { tilesDown(rows) * tilesAcross(columns) }
    /// The part of a matrix that tile `index` covers.
    func rectangle(_ index: Int, rows: Int, columns: Int) -> es_product_tile {
      let row = index / tilesAcross(columns) * self.rows
      let column = index % tilesAcross(columns) * self.columns
      return es_product_tile(
        row: row, rows: min(self.rows, rows - row), column: column, columns: min(self.columns, columns - column))
    }

    func tilesDown(_ rows: Int) -> Int { rows / self.rows + (rows % self.rows == 0 ? 0 : 1) }
    func tilesAcross(_ columns: Int) -> Int { columns / self.columns + (columns % self.columns == 0 ? 0 : 1) }
  }

  package static func multiply(
    _ a: MatrixView<Float>, _ b: MatrixView<Float>, into c: MutableMatrixView<Float>, accumulate: Bool,
    kernel: Kernel, tile: Tile? = nil, parallel: ParallelLoop = serially
  ) throws(Problem) {
    try checkShapes((a.rows, a.columns), (b.rows, b.columns), (c.rows, c.columns))
    guard let target = c.elements else { return }
    let left = es_product_operand_f32(rowsOf: a)
    let right = es_product_operand_f32(rowsOf: b.transposed)
    try forEachTile(of: c, tile: tile, parallel: parallel) { tile, scratch in
      es_product_run_f32(kernel.native, tile, a.columns, left, right, target, c.stride, accumulate, scratch)
    }
  }

  package static func multiply(
    _ a: MatrixView<Double>, _ b: MatrixView<Double>, into c: MutableMatrixView<Double>, accumulate: Bool,
    kernel: Kernel, tile: Tile? = nil, parallel: ParallelLoop = serially
  ) throws(Problem) {
    try checkShapes((a.rows, a.columns), (b.rows, b.columns), (c.rows, c.columns))
    guard let target = c.elements else { return }
    let left = es_product_operand_f64(rowsOf: a)
    let right = es_product_operand_f64(rowsOf: b.transposed)
    try forEachTile(of: c, tile: tile, parallel: parallel) { tile, scratch in
      es_product_run_f64(kernel.native, tile, a.columns, left, right, target, c.stride, accumulate, scratch)
    }
  }

  static func checkShapes(
    _ a: (rows: Int, columns: Int), _ b: (rows: Int, columns: Int), _ c: (rows: Int, columns: Int)
  ) throws(Problem) {
    guard a.columns == b.rows, c.rows == a.rows, c.columns == b.columns else {
      throw Problem(
        .matrixShape,
        "\(a.rows) x \(a.columns) times \(b.rows) x \(b.columns) does not make \(c.rows) x \(c.columns)")
    }
  }

  /// Calls `body` once for each tile of `c`, with scratch.
  private static func forEachTile<Element>(
    of c: MutableMatrixView<Element>, tile: Tile?, parallel: ParallelLoop,
    _ body: @escaping (es_product_tile, UnsafeMutableRawPointer) -> Void
  ) throws(Problem) {
    guard c.rows > 0, c.columns > 0 else { return }
    let tile = tile ?? .cutting(rows: c.rows, columns: c.columns)
    try parallel(tile.count(rows: c.rows, columns: c.columns)) { (index) throws(Problem) in
      let rectangle = tile.rectangle(index, rows: c.rows, columns: c.columns)
      let scratch = Scratch(byteCount: Int(ES_PRODUCT_SCRATCH_BYTES))
      body(rectangle, scratch.address)
    }
  }
}

// The kernels sum along rows, so they take the right operand transposed.

extension es_product_operand_f32 {
  init(rowsOf matrix: MatrixView<Float>) {
    self.init()
    elements = UnsafeRawPointer(matrix.elements)
    stride = matrix.stride
    if matrix.isTransposed { pack = es_product_pack_columns_f32 } else { pack = es_product_pack_rows_f32 }
  }
}

extension es_product_operand_f64 {
  fileprivate init(rowsOf matrix: MatrixView<Double>) {
    self.init()
    elements = UnsafeRawPointer(matrix.elements)
    stride = matrix.stride
    if matrix.isTransposed { pack = es_product_pack_columns_f64 } else { pack = es_product_pack_rows_f64 }
  }
}
