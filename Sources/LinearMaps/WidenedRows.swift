internal import EspalierBasics
internal import EspalierNumerics

/// A map whose rows a product widens while it packs them, so that they are never widened as a whole.
protocol WidenedRows: LinearMap {
  /// The rows for the product in float32.
  var storedRows: StoredRows { get }
  /// The rows for the product in bfloat16: the stride counts bytes, or is 0 where rows do not lie evenly.
  var codedRows: StoredRows { get }
  /// The product with few rows of x, which reads W once, as it lies; nil where there is none.
  func streamed(_ x: MatrixView<Float>, into y: MutableMatrixView<Float>) -> (any TiledProduct)?
  /// Whether few rows of x meet it in integers in fast mode.
  var hasIntegerProduct: Bool { get }
  /// That product; nil where there is none.
  ///
  /// - Parameter activations: x in integers, its columns in order.
  func integerProduct(
    _ x: MatrixView<Float>, _ activations: CodedActivations, into y: MutableMatrixView<Float>
  ) -> (any TiledProduct)?
}

extension WidenedRows {
  func streamed(_ x: MatrixView<Float>, into y: MutableMatrixView<Float>) -> (any TiledProduct)? { nil }

  var hasIntegerProduct: Bool { false }

  func integerProduct(
    _ x: MatrixView<Float>, _ activations: CodedActivations, into y: MutableMatrixView<Float>
  ) -> (any TiledProduct)? { nil }

  public func apply(
    _ x: MatrixView<Float>, into y: MutableMatrixView<Float>, mode: NumericMode, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    try LinearMaps.apply(rowsOf: [self], to: x, into: [y], mode: mode, parallel: parallel)
  }

  public func gather(
    rows indices: some Sequence<Int>, into destination: UnsafeMutablePointer<Float>
  ) throws(Problem) {
    let matrix = codedRows
    var target = destination
    for index in indices {
      guard (0..<matrix.rows).contains(index) else {
        throw Problem(.matrixShape, "row \(index) of a matrix of \(matrix.rows) rows")
      }
      matrix.widening(matrix.address, matrix.stride, index, 1, 0, matrix.columns, target, matrix.columns)
      target += matrix.columns
    }
  }
}

/// A product whose parts may be computed in any order and at the same time.
protocol TiledProduct {
  var tileCount: Int { get }
  func run(tile index: Int)
}

extension StoredRowsProduct: TiledProduct {}

extension LinearMaps {
  /// So many rows of x stream W once, in integers where it is in blocks; with more, W is packed.
  static let fewRows = 8

  static func apply(
    rowsOf maps: [any WidenedRows], to x: MatrixView<Float>, into results: [MutableMatrixView<Float>],
    mode: NumericMode, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    for (map, y) in zip(maps, results) { try map.checkShapes(x, y) }
    var products: [any TiledProduct] = []
    products.reserveCapacity(maps.count)
    let few = x.rows <= fewRows
    if mode == .fast, few, !x.isTransposed, maps.contains(where: { $0.hasIntegerProduct }) {
      let activations = CodedActivations(x)
      for (map, y) in zip(maps, results) {
        if let product = map.integerProduct(x, activations, into: y) {
          products.append(product)
        } else {
          products.append(try exactProduct(map, x, into: y))
        }
      }
      try run(products, parallel: parallel)
    } else if mode == .fast, !few, !x.isTransposed, RoundedActivations.areMultiplied {
      let activations = try RoundedActivations(x, parallel: parallel)
      for (map, y) in zip(maps, results) {
        if let product = BFloat16Product(activations, map.codedRows, into: y) { products.append(product) }
      }
      try run(products, parallel: parallel)
    } else {
      for (map, y) in zip(maps, results) { products.append(try exactProduct(map, x, into: y)) }
      try run(products, parallel: parallel)
    }
  }

  /// Two ways to the same bits.
  private static func exactProduct(
    _ map: any WidenedRows, _ x: MatrixView<Float>, into y: MutableMatrixView<Float>
  ) throws(Problem) -> any TiledProduct {
    if x.rows <= fewRows, let product = map.streamed(x, into: y) { return product }
    return try StoredRowsProduct(x, map.storedRows, into: y)
  }

  /// All tiles of all products, in one loop.
  private static func run(_ products: [any TiledProduct], parallel: MatrixProduct.ParallelLoop) throws(Problem) {
    try parallel(products.reduce(0) { $0 + $1.tileCount }) { (index) throws(Problem) in
      var index = index
      for product in products {
        let count = product.tileCount
        if index < count { return product.run(tile: index) }
        index -= count
      }
    }
  }
}

extension LinearMap {
  /// - Throws: `matrix.shape` unless x can be multiplied and y takes the result.
  func checkShapes(_ x: MatrixView<Float>, _ y: MutableMatrixView<Float>) throws(Problem) {
    guard x.columns == inputWidth, y.rows == x.rows, y.columns == outputWidth else {
      throw Problem(
        .matrixShape,
        "\(x.rows) x \(x.columns) times the transpose of \(outputWidth) x \(inputWidth) does not make "
          + "\(y.rows) x \(y.columns)")
    }
  }

  /// Rows of W that one tile streams. A run of memory takes a microsecond to reach its speed, so tiles are large, but
  /// even, so that threads end together. Kernels take four rows at once.
  var rowsOfStreamingTile: Int {
    let tileBytes = max(1 << 16, min(1 << 20, byteCount / 16))
    let tiles = max(1, (byteCount + tileBytes / 2) / tileBytes)
    return max(1, (outputWidth + tiles * 4 - 1) / (tiles * 4)) * 4
  }
}
