public import EspalierBasics

/// `scale * L R` with L `[rows, rank]` and R `[rank, columns]`, kept in memory as float32 and added row by row.
///
/// The factors of an adapter are laid out so that rows are those of the *stored* parameter, transposed or not.
struct LowRankProduct: Sendable {
  let columns: Int
  let rank: Int
  private let left: [Float]
  private let right: [Float]
  private let scale: Float

  init(
    a: StoredTensor, b: StoredTensor, scale: Float, transposed: Bool, rows: Int, columns: Int, files: FilePool
  ) throws(Problem) {
    try self.init(
      a: (a.name, a.shape, { () throws(Problem) in try a.floats(files: files) }),
      b: (b.name, b.shape, { () throws(Problem) in try b.floats(files: files) }), scale: scale, transposed: transposed,
      rows: rows, columns: columns)
  }

  /// The same of factors in coded forms.
  init(
    a: DeltaTensor, b: DeltaTensor, scale: Float, transposed: Bool, rows: Int, columns: Int, files: FilePool
  ) throws(Problem) {
    try self.init(
      a: (a.name, a.shape, { () throws(Problem) in try DeltaDecoder(a, files: files).values() }),
      b: (b.name, b.shape, { () throws(Problem) in try DeltaDecoder(b, files: files).values() }), scale: scale,
      transposed: transposed, rows: rows, columns: columns)
  }

  private typealias Factor = (name: String, shape: [Int], values: () throws(Problem) -> [Float])

  private init(a: Factor, b: Factor, scale: Float, transposed: Bool, rows: Int, columns: Int) throws(Problem) {
    let (leftFactor, rightFactor) = transposed ? (a, b) : (b, a)
    let rank = a.shape.first ?? 0
    guard leftFactor.shape.reduce(1, *) == rows * rank, rightFactor.shape.reduce(1, *) == rank * columns else {
      throw Problem(
        .adapterTensor, "factors of shapes \(a.shape) and \(b.shape) do not fit \(rows) rows of \(columns)",
        tensor: a.name)
    }
    let leftValues = try leftFactor.values()
    let rightValues = try rightFactor.values()
    left = transposed ? leftValues.transposed(rows: rank, columns: rows) : leftValues
    right = transposed ? rightValues.transposed(rows: columns, columns: rank) : rightValues
    self.columns = columns
    self.rank = rank
    self.scale = scale
  }

  var residentBytes: Int { (left.count + right.count) * MemoryLayout<Float>.stride }

  /// `values += scale * (L R)[row]`. The product is summed in float32 by ascending rank index, then scaled, as PEFT
  /// does, so that an element does not depend on what else is read.
  ///
  /// - Parameter product: room for a row.
  func add(row: Int, to values: UnsafeMutablePointer<Float>, product: UnsafeMutablePointer<Float>) {
    product.update(repeating: 0, count: columns)
    right.withUnsafeBufferPointer { right in
      guard let right = right.baseAddress else { return }
      for index in 0..<rank {
        let factor = left[row * rank + index]
        let direction = right + index * columns
        for column in 0..<columns { product[column] += factor * direction[column] }
      }
    }
    for column in 0..<columns { values[column] += scale * product[column] }
  }
}

extension StoredTensor {
  /// The whole tensor as float32; for what is small and stored element by element.
  public func floats(files: FilePool) throws(Problem) -> [Float] {
    let reader = try StoredReader(self, files: files)
    let bytes = UnsafeMutableRawPointer.allocate(
      byteCount: max(1, reader.scratchBytes(for: elementCount)), alignment: 64)
    defer { bytes.deallocate() }
    var values = [Float](repeating: 0, count: elementCount)
    let result: Result<Void, Problem> = values.withUnsafeMutableBufferPointer { values in
      guard let start = values.baseAddress else { return .success(()) }
      return Result { () throws(Problem) in try reader.read(0..<values.count, into: start, scratch: bytes) }
    }
    try result.get()
    return values
  }
}

extension [Float] {
  /// The transpose of a row-major matrix.
  fileprivate func transposed(rows: Int, columns: Int) -> [Float] {
    var result = [Float](repeating: 0, count: count)
    for row in 0..<rows {
      for column in 0..<columns { result[column * rows + row] = self[row * columns + column] }
    }
    return result
  }
}
