public import EspalierBasics
public import EspalierNumerics

/// Several linear maps at once.
public enum LinearMaps {
  /// `results[i] = x maps[i]ᵀ`: as if each were applied alone, to the bit, but activations are coded once and all the
  /// work is one parallel loop. For query, key and value; for gate and up.
  ///
  /// - Throws: `matrix.shape` unless there is a result for each map and the shapes fit; what `parallel` throws.
  public static func apply(
    _ maps: [any LinearMap], to x: MatrixView<Float>, into results: [MutableMatrixView<Float>], mode: NumericMode,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    guard maps.count == results.count else {
      throw Problem(.matrixShape, "\(maps.count) linear maps and \(results.count) results")
    }
    var stored: [StoredMatrix] = []
    stored.reserveCapacity(maps.count)
    for map in maps {
      guard let map = map as? StoredMatrix else { break }
      stored.append(map)
    }
    if stored.count == maps.count {
      try StoredMatrix.apply(stored, to: x, into: results, mode: mode, parallel: parallel)
    } else {
      for (map, result) in zip(maps, results) { try map.apply(x, into: result, mode: mode, parallel: parallel) }
    }
  }
}

/// A product whose parts may be computed in any order and at the same time.
protocol TiledProduct {
  var tileCount: Int { get }
  func run(tile index: Int)
}

extension StoredRowsProduct: TiledProduct {}

extension StoredMatrix {
  /// So many rows of x stream W once, in integers where it is in blocks; with more, W is packed.
  static let fewRows = 8

  static func apply(
    _ matrices: [StoredMatrix], to x: MatrixView<Float>, into results: [MutableMatrixView<Float>], mode: NumericMode,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    for (matrix, y) in zip(matrices, results) {
      guard x.columns == matrix.inputWidth, y.rows == x.rows, y.columns == matrix.outputWidth else {
        throw Problem(
          .matrixShape,
          "\(x.rows) x \(x.columns) times the transpose of \(matrix.outputWidth) x \(matrix.inputWidth) does not make "
            + "\(y.rows) x \(y.columns)")
      }
    }
    var products: [any TiledProduct] = []
    products.reserveCapacity(matrices.count)
    let few = x.rows <= fewRows
    if mode == .fast, few, !x.isTransposed, matrices.contains(where: \.hasIntegerProduct) {
      let activations = CodedActivations(x)
      for (matrix, y) in zip(matrices, results) {
        if let product = IntegerProduct(activations, matrix, into: y) {
          products.append(product)
        } else {
          products.append(try matrix.exactProduct(x, into: y))
        }
      }
      try run(products, parallel: parallel)
    } else if mode == .fast, !few, !x.isTransposed, RoundedActivations.areMultiplied {
      let activations = try RoundedActivations(x, parallel: parallel)
      for (matrix, y) in zip(matrices, results) {
        if let product = BFloat16Product(activations, matrix, into: y) { products.append(product) }
      }
      try run(products, parallel: parallel)
    } else {
      for (matrix, y) in zip(matrices, results) { products.append(try matrix.exactProduct(x, into: y)) }
      try run(products, parallel: parallel)
    }
  }

  /// Two ways to the same bits.
  private func exactProduct(
    _ x: MatrixView<Float>, into y: MutableMatrixView<Float>
  ) throws(Problem) -> any TiledProduct {
    if x.rows <= Self.fewRows, let product = StreamedProduct(x, self, into: y) { return product }
    return try StoredRowsProduct(x, storedRows, into: y)
  }

  private var hasIntegerProduct: Bool {
    if case .blocks(let type) = format { type.dot != nil } else { false }
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
