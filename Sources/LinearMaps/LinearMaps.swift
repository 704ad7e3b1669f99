public import EspalierBasics
public import EspalierNumerics

/// Several linear maps at once.
public enum LinearMaps {
  /// `results[i] = x maps[i]ᵀ`: as if each were applied alone, to the bit, but activations are coded once and all the
  /// work is one parallel loop where maps are rows that are widened while they are packed. For query, key and value; for
  /// gate and up.
  ///
  /// - Throws: `matrix.shape` unless there is a result for each map and the shapes fit; what `parallel` throws.
  public static func apply(
    _ maps: [any LinearMap], to x: MatrixView<Float>, into results: [MutableMatrixView<Float>], mode: NumericMode,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    guard maps.count == results.count else {
      throw Problem(.matrixShape, "\(maps.count) linear maps and \(results.count) results")
    }
    var rows: [any WidenedRows] = []
    rows.reserveCapacity(maps.count)
    for map in maps {
      guard let map = map as? any WidenedRows else { break }
      rows.append(map)
    }
    if rows.count == maps.count {
      try apply(rowsOf: rows, to: x, into: results, mode: mode, parallel: parallel)
    } else {
      for (map, result) in zip(maps, results) { try map.apply(x, into: result, mode: mode, parallel: parallel) }
    }
  }
}
