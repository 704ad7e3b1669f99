internal import EspalierBasics

/// Reads a parameter changed by what an adapter learned.
///
/// Rows of the base are read whole, updated in float32 and the range asked for is copied out, so that a value is the
/// same whatever range it is read in. The adapter's factors are in memory. A transposed DoRA needs the norms of columns:
/// its base is read once, a row at a time, when the reader is made.
final class UpdatedReader: ParameterReader {
  let elementCount: Int
  private let rowLength: Int
  private let base: any ParameterReader
  private let change: Change

  /// An ``Update`` with its factors read, for rows as they are stored.
  private enum Change {
    case lowRank(LowRankProduct)
    /// A magnitude a row.
    case normalizedRows(LowRankProduct, magnitude: [Float])
    /// A factor (magnitude over norm) a column.
    case scaledSum(LowRankProduct, factors: [Float])
    case scaledRows([Float])
    case scaledColumns([Float])
  }

  init(base: any ParameterReader, shape: [Int], update: Update, files: FilePool) throws(Problem) {
    self.base = base
    let rows = shape.first ?? 1
    let columns = shape.dropFirst().reduce(1, *)
    rowLength = columns
    elementCount = rows * columns
    func product(
      _ a: StoredTensor, _ b: StoredTensor, _ scale: Float, _ transposed: Bool
    ) throws(Problem) -> LowRankProduct {
      try LowRankProduct(
        a: a, b: b, scale: scale, transposed: transposed, rows: rows, columns: columns, files: files)
    }
    func vector(_ tensor: StoredTensor, alongRows: Bool) throws(Problem) -> [Float] {
      let count = alongRows ? rows : columns
      guard tensor.elementCount == count else {
        throw Problem(
          .adapterTensor, "a vector of \(count) values was expected; the shape is \(tensor.shape)", tensor: tensor.name)
      }
      return try tensor.floats(files: files)
    }
    switch update {
    case .lowRank(let a, let b, let scale, let transposed):
      change = .lowRank(try product(a, b, scale, transposed))
    case .weightDecomposed(let a, let b, let scale, let magnitude, let transposed):
      let sum = try product(a, b, scale, transposed)
      let magnitudes = try vector(magnitude, alongRows: !transposed)
      if transposed {
        let norms = try Self.columnNorms(of: base, plus: sum, rows: rows)
        var factors: [Float] = []
        for (magnitude, norm) in zip(magnitudes, norms) { factors.append(try Self.factor(magnitude, over: norm)) }
        change = .scaledSum(sum, factors: factors)
      } else {
        change = .normalizedRows(sum, magnitude: magnitudes)
      }
    case .scaled(let by, let dimension):
      let values = try vector(by, alongRows: dimension == 0)
      change = dimension == 0 ? .scaledRows(values) : .scaledColumns(values)
    case .codedLowRank(let a, let b, let scale, let transposed):
      change = .lowRank(
        try LowRankProduct(a: a, b: b, scale: scale, transposed: transposed, rows: rows, columns: columns, files: files)
      )
    case .delta(let tensor):
      throw Problem(.deltaFormat, "a change that is added element by element is read elsewhere", tensor: tensor.name)
    }
  }

  var residentBytes: Int {
    let floats = MemoryLayout<Float>.stride
    let own =
      switch change {
      case .lowRank(let product): product.residentBytes
      case .normalizedRows(let product, let values), .scaledSum(let product, let values):
        product.residentBytes + values.count * floats
      case .scaledRows(let values), .scaledColumns(let values): values.count * floats
      }
    return own + base.residentBytes
  }

  /// Bytes of an update's factors as float32, or of its codes.
  static func residentBytes(of update: Update) -> Int {
    switch update {
    case .delta(let change): DeltaDecoder.residentBytes(of: change)
    case .codedLowRank(let a, let b, _, _): (a.elementCount + b.elementCount) * MemoryLayout<Float>.stride
    default: update.storedTensors.reduce(0) { $0 + $1.elementCount * MemoryLayout<Float>.stride }
    }
  }

  func scratchBytes(for count: Int) -> Int {
    Self.scratchBytes(for: count, rowLength: rowLength) { base.scratchBytes(for: $0) }
  }

  /// Two rows of floats, then what the base needs for the range or a row.
  static func scratchBytes(for count: Int, rowLength: Int, base: (Int) -> Int) -> Int {
    2 * alignedFloatBytes(rowLength) + base(max(count, rowLength))
  }

  func read(
    _ range: Range<Int>, into destination: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) throws(Problem) {
    guard rowLength > 0, !range.isEmpty else { return }
    let room = Room(scratch, rowLength: rowLength)
    var element = range.lowerBound
    while element < range.upperBound {
      let into = destination + (element - range.lowerBound)
      let row = element / rowLength
      let wholeRows = range.upperBound / rowLength - row
      if element == row * rowLength, wholeRows > 0 {
        try readRows(row..<(row + wholeRows), into: into, room: room)
        element += wholeRows * rowLength
      } else {
        let end = min(range.upperBound, (row + 1) * rowLength)
        try readRows(row..<(row + 1), into: room.row, room: room)
        into.update(from: room.row + (element - row * rowLength), count: end - element)
        element = end
      }
    }
  }

  /// How scratch is divided.
  private struct Room {
    let row: UnsafeMutablePointer<Float>
    let product: UnsafeMutablePointer<Float>
    let base: UnsafeMutableRawPointer

    init(_ scratch: UnsafeMutableRawPointer, rowLength: Int) {
      let bytes = alignedFloatBytes(rowLength)
      row = scratch.assumingMemoryBound(to: Float.self)
      product = (scratch + bytes).assumingMemoryBound(to: Float.self)
      base = scratch + 2 * bytes
    }
  }

  private func readRows(
    _ rows: Range<Int>, into destination: UnsafeMutablePointer<Float>, room: Room
  ) throws(Problem) {
    try base.read(rows.lowerBound * rowLength..<rows.upperBound * rowLength, into: destination, scratch: room.base)
    for row in rows {
      try apply(to: destination + (row - rows.lowerBound) * rowLength, row: row, product: room.product)
    }
  }

  private func apply(
    to values: UnsafeMutablePointer<Float>, row: Int, product: UnsafeMutablePointer<Float>
  ) throws(Problem) {
    switch change {
    case .lowRank(let sum):
      sum.add(row: row, to: values, product: product)
    case .normalizedRows(let sum, let magnitude):
      sum.add(row: row, to: values, product: product)
      var squares = 0.0
      for column in 0..<rowLength { squares += Double(values[column]) * Double(values[column]) }
      scale(values, by: try Self.factor(magnitude[row], over: squares.squareRoot()))
    case .scaledSum(let sum, let factors):
      sum.add(row: row, to: values, product: product)
      scale(values, by: factors)
    case .scaledRows(let factors): scale(values, by: factors[row])
    case .scaledColumns(let factors): scale(values, by: factors)
    }
  }

  private func scale(_ values: UnsafeMutablePointer<Float>, by factor: Float) {
    for column in 0..<rowLength { values[column] *= factor }
  }

  private func scale(_ values: UnsafeMutablePointer<Float>, by factors: [Float]) {
    for column in 0..<rowLength { values[column] *= factors[column] }
  }

  // MARK: - Weight decomposition

  /// Magnitude over norm, as PEFT computes it: the norm is rounded to float32 first.
  private static func factor(_ magnitude: Float, over norm: Double) throws(Problem) -> Float {
    guard norm > 0 else {
      throw Problem(
        .adapterValue, "an output of W + BA is all zeros, so DoRA's direction is not defined",
        remedy: "The base is not the model the adapter was trained on, or outputs of it were pruned.")
    }
    return magnitude / Float(norm)
  }

  /// Norms of the columns of `base + product`, accumulated in float64 by ascending row.
  private static func columnNorms(
    of base: any ParameterReader, plus product: LowRankProduct, rows: Int
  ) throws(Problem) -> [Double] {
    let columns = product.columns
    let scratch = UnsafeMutableRawPointer.allocate(
      byteCount: 2 * alignedFloatBytes(columns) + base.scratchBytes(for: columns), alignment: 64)
    defer { scratch.deallocate() }
    let room = Room(scratch, rowLength: columns)
    var squares = [Double](repeating: 0, count: columns)
    for row in 0..<rows {
      try base.read(row * columns..<(row + 1) * columns, into: room.row, scratch: room.base)
      product.add(row: row, to: room.row, product: room.product)
      for column in 0..<columns { squares[column] += Double(room.row[column]) * Double(room.row[column]) }
    }
    return squares.map { $0.squareRoot() }
  }
}
