internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics
internal import EspalierReduction

/// The factors of what changed in one matrix, rounded to the type they are stored in.
struct AdapterFactors {
  /// `[rank, inputs]`.
  private(set) var a: Matrix<Float>
  /// `[outputs, rank]`.
  private(set) var b: Matrix<Float>
  /// ‖delta - B A‖ / ‖delta‖ of the factors as they are stored.
  private(set) var certificate: Certificate
  /// A, then B, as files hold them.
  private(set) var bytes: [UInt8]

  /// Matrices whose smaller side is longer are decomposed by a randomized method where an eighth of their directions or
  /// fewer are wanted: it takes a share of the time, and its error is measured like any other.
  static let longestExactSide = 1536

  /// - Parameters:
  ///   - delta: `[outputs, inputs]`.
  ///   - name: of the parameter; keys random numbers.
  init(
    of delta: Matrix<Float>, name: String, options: AdapterExtractionOptions, exactSide: Int = longestExactSide,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    let side = min(delta.rows, delta.columns)
    let limit = min(options.rank ?? .max, side)
    if options.energy == nil, side > exactSide, limit <= side / 8 {
      let svd = try Self.leading(limit, of: delta, name: name, parallel: parallel)
      let roots = svd.values.map { $0.squareRoot() }
      b = Matrix<Float>(svd.u.scaling(columns: roots))
      a = Matrix<Float>(svd.vTransposed.scaling(rows: roots))
      certificate = try Self.certificate(b, a, delta, parallel)
    } else {
      let adapter = try Self.nearest(delta, limit: limit, energy: options.energy, parallel: parallel)
      (a, b, certificate) = (adapter.a, adapter.b, adapter.certificate)
    }
    let type = options.elementType
    bytes = type.encoded(a.elements) + type.encoded(b.elements)
    guard type != .f32 else { return }
    (a, b) = (a.rounded(to: type), b.rounded(to: type))
    let floor = certificate.floor
    certificate = try Self.certificate(b, a, delta, parallel)
    certificate.floor = floor
  }

  /// The nearest of some rank, by all singular values.
  private static func nearest(
    _ delta: Matrix<Float>, limit: Int, energy: Double?, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ExtractedAdapter {
    guard let energy else { return try ExtractedAdapter(of: delta, rank: limit, parallel: parallel) }
    var adapter = try ExtractedAdapter(of: delta, energy: energy, parallel: parallel)
    guard adapter.a.rows > limit else { return adapter }
    // The leading directions come first, so that fewer of them are the best of their rank.
    adapter.a = adapter.a.selecting(rows: Array(0..<limit))
    adapter.b = adapter.b.selecting(columns: Array(0..<limit))
    let squares = adapter.singularValues.reversed().map { $0 * $0 }
    let (lost, whole) = (squares.dropLast(limit).reduce(0, +), squares.reduce(0, +))
    adapter.certificate = try certificate(adapter.b, adapter.a, delta, parallel)
    adapter.certificate.floor = whole > 0 ? (lost / whole).squareRoot() : 0
    return adapter
  }

  private static func leading(
    _ rank: Int, of delta: Matrix<Float>, name: String, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> SingularValueDecomposition {
    let oversampling = 16
    let count = delta.columns * (rank + oversampling)
    let normals = [Float](unsafeUninitializedCapacity: count) { values, initialized in
      if let start = values.baseAddress {
        KeyedRandom(seed: 0, name: name).normals(startingAt: 0, into: start, count: count)
      }
      initialized = count
    }
    return try LinearAlgebra.randomizedSVD(
      Matrix<Double>(delta), rank: rank, oversampling: oversampling, powerIterations: 4,
      gaussian: { Double(normals[$0]) }, parallel: parallel)
  }

  private static func certificate(
    _ b: Matrix<Float>, _ a: Matrix<Float>, _ delta: Matrix<Float>, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> Certificate {
    let product = try MatrixProduct.product(Matrix<Double>(b), Matrix<Double>(a), parallel: parallel)
    return try OutputError.certificate(
      of: Matrix<Float>(product), original: delta, statistics: nil, parallel: parallel)
  }
}

extension AdapterExtraction.Target {
  /// The fine-tuned matrix minus the base's, in float32, as `[outputs, inputs]`.
  func delta(files: FilePool) throws(Problem) -> Matrix<Float> {
    let readers = [try fineTuned.recipe.reader(files: files), try base.recipe.reader(files: files)]
    let count = base.elementCount
    var elements = [Float](repeating: 0, count: count)
    let piece = 1 << 18
    let other = UnsafeMutablePointer<Float>.allocate(capacity: piece)
    defer { other.deallocate() }
    let scratch = UnsafeMutableRawPointer.allocate(
      byteCount: max(64, readers.map { $0.scratchBytes(for: piece) }.max() ?? 0), alignment: 64)
    defer { scratch.deallocate() }
    try elements.withUnsafeMutableBufferPointer { (elements) throws(Problem) in
      guard let target = elements.baseAddress else { return }
      for start in stride(from: 0, to: count, by: piece) {
        let range = start..<min(count, start + piece)
        try readers[0].read(range, into: target + start, scratch: scratch)
        try readers[1].read(range, into: other, scratch: scratch)
        for index in 0..<range.count { target[start + index] -= other[index] }
      }
    }
    let matrix = try Matrix(rows: base.shape[0], columns: base.shape[1], elements: elements)
    return isTransposed ? matrix.transposed : matrix
  }
}
