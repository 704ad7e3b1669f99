public import EspalierBasics
public import EspalierNumerics

/// A matrix some of whose rows, or columns, are whole while the others together are a product of two factors.
///
///     rows:     S = W' over R         [h + r, n]     W[places, :] = W', the other rows = L R      L [m - h, r]
///     columns:  S = W' beside L       [m, h + r]     W[:, places] = W', the other columns = L R   R [r, n - h]
///
/// What is whole lies in one matrix, the stack, with the factor that reads the same inputs or adds to the same outputs, so
/// two products apply the map:
///
///     rows:     t = x Sᵀ, y[places] = t[..<h], y[others] = t[h...] Lᵀ        (h + r) n + (m - h) r multiplications
///     columns:  y = (x[places], x[others] Rᵀ) Sᵀ                             (h + r) m + (n - h) r
///
/// Outputs of whole rows have the bits that the dense matrix gives. Between the products numbers are rounded to float32, as
/// in a ``ProductMap``; a row of y depends on its row of x alone where each product's does.
public struct SplitMap: LinearMap {
  /// What is whole or not.
  public enum Axis: String, Sendable, Hashable, Codable { case rows, columns }

  public let axis: Axis
  public let outputWidth: Int
  public let inputWidth: Int
  /// How many rows or columns are whole.
  public let wholeCount: Int
  private let stack: StoredMatrix
  private let factor: StoredMatrix
  /// The part of the stack that is whole, and the product.
  private let whole: StoredMatrix
  private let product: ProductMap
  /// The places of the whole rows or columns, then those of the others.
  private let order: [Int32]

  /// - Parameters:
  ///   - places: of the whole rows or columns, ascending.
  ///   - stack: W' and the factor that shares its width, above one another or side by side.
  ///   - factor: the other factor: L of rows, R of columns.
  /// - Throws: `matrix.shape` for shapes that do not fit, and places that are not ascending or not there; blocks of numbers
  ///   are not cut in columns.
  public init(
    _ axis: Axis, places: some Collection<Int>, stack: StoredMatrix, factor: StoredMatrix
  ) throws(Problem) {
    let count = places.count
    let others = axis == .rows ? factor.outputWidth : factor.inputWidth
    order = try Self.order(places, of: count + others, axis)
    self.axis = axis
    self.stack = stack
    self.factor = factor
    wholeCount = count
    let (inner, extent) =
      axis == .rows ? (factor.inputWidth, stack.outputWidth) : (factor.outputWidth, stack.inputWidth)
    guard extent - count == inner else {
      throw Problem(
        .matrixShape, "a stack of \(extent) \(axis.rawValue) is not \(count) whole ones and a factor of rank \(inner)")
    }
    switch axis {
    case .rows:
      (outputWidth, inputWidth) = (count + others, stack.inputWidth)
      whole = try stack.part(rows: 0..<count, columns: 0..<stack.inputWidth)
      product = try ProductMap([factor, try stack.part(rows: count..<extent, columns: 0..<stack.inputWidth)])
    case .columns:
      (outputWidth, inputWidth) = (stack.outputWidth, count + others)
      whole = try stack.part(rows: 0..<stack.outputWidth, columns: 0..<count)
      product = try ProductMap([try stack.part(rows: 0..<stack.outputWidth, columns: count..<extent), factor])
    }
  }

  private static func order(
    _ places: some Collection<Int>, of count: Int, _ axis: Axis
  ) throws(Problem) -> [Int32] {
    guard let most = Int32(exactly: count) else {
      throw Problem(.matrixShape, "\(count) \(axis.rawValue) are more than places are counted in")
    }
    var isWhole = [Bool](repeating: false, count: count)
    var previous = -1
    for place in places {
      guard place > previous, place < count else {
        throw Problem(
          .matrixShape, "place \(place) of the whole \(axis.rawValue) is not above \(previous) and below \(count)")
      }
      isWhole[place] = true
      previous = place
    }
    return places.map { Int32(truncatingIfNeeded: $0) } + (0..<most).filter { !isWhole[Int($0)] }
  }

  public var byteCount: Int {
    stack.byteCount + factor.byteCount + wholeCount * MemoryLayout<Int32>.stride
  }

  // MARK: - Products

  public func apply(
    _ x: MatrixView<Float>, into y: MutableMatrixView<Float>, mode: NumericMode, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    try checkShapes(x, y)
    switch axis {
    case .rows: try applyRows(x, into: y, mode: mode, parallel: parallel)
    case .columns: try applyColumns(x, into: y, mode: mode, parallel: parallel)
    }
  }

  private func applyRows(
    _ x: MatrixView<Float>, into y: MutableMatrixView<Float>, mode: NumericMode, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    let first = try FloatScratch(rows: x.rows, columns: stack.outputWidth)
    let others = try FloatScratch(rows: x.rows, columns: factor.outputWidth)
    try stack.apply(x, into: try first.target(), mode: mode, parallel: parallel)
    try factor.apply(
      try first.columns(wholeCount..<first.columns), into: try others.target(), mode: mode, parallel: parallel)
    guard let target = y.elements else { return }
    try eachRow(of: y.rows, parallel) { row in
      put(
        first.address + row * first.columns, and: others.address + row * others.columns, into: target + row * y.stride)
    }
  }

  private func applyColumns(
    _ x: MatrixView<Float>, into y: MutableMatrixView<Float>, mode: NumericMode, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    let others = try FloatScratch(rows: x.rows, columns: factor.inputWidth)
    let second = try FloatScratch(rows: x.rows, columns: stack.inputWidth)
    try eachRow(of: x.rows, parallel) { row in
      let (step, start) = x.isTransposed ? (x.stride, row) : (1, row * x.stride)
      guard let values = x.elements.map({ $0 + start }) else { return }
      let (whole, rest) = (second.address + row * second.columns, others.address + row * others.columns)
      for (index, place) in order[..<wholeCount].enumerated() { whole[index] = values[Int(place) * step] }
      for (index, place) in order[wholeCount...].enumerated() { rest[index] = values[Int(place) * step] }
    }
    try factor.apply(
      try others.view(), into: try second.target(columns: wholeCount..<second.columns), mode: mode, parallel: parallel)
    try stack.apply(try second.view(), into: y, mode: mode, parallel: parallel)
  }

  /// Each number in its place.
  private func put(
    _ whole: UnsafePointer<Float>, and others: UnsafePointer<Float>, into target: UnsafeMutablePointer<Float>
  ) {
    for (index, place) in order[..<wholeCount].enumerated() { target[Int(place)] = whole[index] }
    for (index, place) in order[wholeCount...].enumerated() { target[Int(place)] = others[index] }
  }

  /// Runs `body` for every row, some thousands of moved numbers at a time.
  private func eachRow(
    of count: Int, _ parallel: MatrixProduct.ParallelLoop, _ body: (Int) -> Void
  ) throws(Problem) {
    let rowsAtOnce = max(1, (1 << 15) / max(1, order.count))
    try withoutActuallyEscaping(body) { (body) throws(Problem) in
      try parallel((count + rowsAtOnce - 1) / rowsAtOnce) { (index) throws(Problem) in
        for row in index * rowsAtOnce..<min(count, (index + 1) * rowsAtOnce) { body(row) }
      }
    }
  }

  // MARK: - Rows

  /// Rows as ``ProductMap/gather(rows:into:)`` has them, with those of the stack between.
  public func gather(
    rows indices: some Sequence<Int>, into destination: UnsafeMutablePointer<Float>
  ) throws(Problem) {
    let indices = Array(indices)
    if let index = indices.first(where: { !(0..<outputWidth).contains($0) }) {
      throw Problem(.matrixShape, "row \(index) of a matrix of \(outputWidth) rows")
    }
    // So that memory stays small.
    let rowsAtOnce = 256
    for first in stride(from: 0, to: indices.count, by: rowsAtOnce) {
      let rows = indices[first..<min(indices.count, first + rowsAtOnce)]
      let target = destination + first * inputWidth
      if axis == .rows { try gatherRows(rows, into: target) } else { try gatherColumns(rows, into: target) }
    }
  }

  private func gatherRows(_ rows: ArraySlice<Int>, into target: UnsafeMutablePointer<Float>) throws(Problem) {
    var slots = [Int](repeating: 0, count: order.count)
    for (slot, place) in order.enumerated() { slots[Int(place)] = slot }
    var places: [Int] = []
    var others: [Int] = []
    for (index, row) in rows.enumerated() {
      if slots[row] < wholeCount {
        try whole.gather(rows: [slots[row]], into: target + index * inputWidth)
      } else {
        places.append(index)
        others.append(slots[row] - wholeCount)
      }
    }
    let made = try FloatScratch(rows: others.count, columns: inputWidth)
    try product.gather(rows: others, into: made.address)
    for (index, place) in places.enumerated() {
      (target + place * inputWidth).update(from: made.address + index * inputWidth, count: inputWidth)
    }
  }

  private func gatherColumns(_ rows: ArraySlice<Int>, into target: UnsafeMutablePointer<Float>) throws(Problem) {
    let kept = try FloatScratch(rows: rows.count, columns: wholeCount)
    let made = try FloatScratch(rows: rows.count, columns: inputWidth - wholeCount)
    try whole.gather(rows: rows, into: kept.address)
    try product.gather(rows: rows, into: made.address)
    for row in 0..<rows.count {
      put(
        kept.address + row * kept.columns, and: made.address + row * made.columns, into: target + row * inputWidth)
    }
  }
}
