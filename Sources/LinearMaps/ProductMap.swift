public import EspalierBasics
public import EspalierNumerics

/// Maps after one another: `W = F1 F2 ... Fk`. Two factors are a matrix of low rank, three a CUR decomposition.
///
///     y = ((x Fkᵀ) ... F2ᵀ) F1ᵀ        F1 [outputWidth, r1], F2 [r1, r2], ..., Fk [r(k - 1), inputWidth]
///
/// The factors are applied, never multiplied with each other: r (m + n) multiplications a row of x for two factors instead
/// of m n. What lies between is rounded to float32, so results are not those of the multiplied matrix to the bit; each
/// product keeps its own error bound, and a row of y depends on its row of x alone where each factor's does.
public struct ProductMap: LinearMap {
  /// F1 first, the one that is applied last.
  public let factors: [any LinearMap]

  public var outputWidth: Int { factors[0].outputWidth }
  public var inputWidth: Int { factors[factors.count - 1].inputWidth }
  public var byteCount: Int { factors.reduce(0) { $0 + $1.byteCount } }

  /// - Throws: `matrix.shape` for no factors, or neighbours that cannot be multiplied.
  public init(_ factors: [any LinearMap]) throws(Problem) {
    guard !factors.isEmpty else { throw Problem(.matrixShape, "a product of no matrices") }
    for (left, right) in zip(factors, factors.dropFirst()) where left.inputWidth != right.outputWidth {
      throw Problem(
        .matrixShape,
        "\(left.outputWidth) x \(left.inputWidth) cannot be multiplied by \(right.outputWidth) x \(right.inputWidth)")
    }
    self.factors = factors
  }

  public func apply(
    _ x: MatrixView<Float>, into y: MutableMatrixView<Float>, mode: NumericMode, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    try checkShapes(x, y)
    try Self.apply(factors[...], x, into: y, mode: mode, parallel: parallel)
  }

  private static func apply(
    _ factors: ArraySlice<any LinearMap>, _ x: MatrixView<Float>, into y: MutableMatrixView<Float>, mode: NumericMode,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    guard let last = factors.last else { return }
    guard factors.count > 1 else { return try last.apply(x, into: y, mode: mode, parallel: parallel) }
    let floats = try FloatScratch(rows: x.rows, columns: last.outputWidth)
    try last.apply(x, into: try floats.target(), mode: mode, parallel: parallel)
    try apply(factors.dropLast(), try floats.view(), into: y, mode: mode, parallel: parallel)
  }

  /// Rows of the multiplied matrix, summed in float32 as ``MatrixProduct`` does, over blocks of 128 ranks: a row's bits do
  /// not depend on the others asked for. Every call widens all factors but the first.
  public func gather(
    rows indices: some Sequence<Int>, into destination: UnsafeMutablePointer<Float>
  ) throws(Problem) {
    let indices = Array(indices)
    // So that what is widened pays for many rows, and memory stays small.
    let rowsAtOnce = 256
    for first in stride(from: 0, to: indices.count, by: rowsAtOnce) {
      let rows = indices[first..<min(indices.count, first + rowsAtOnce)]
      var left = try FloatScratch(rows: rows.count, columns: factors[0].inputWidth)
      let target = destination + first * inputWidth
      guard factors.count > 1 else {
        try factors[0].gather(rows: rows, into: target)
        continue
      }
      try factors[0].gather(rows: rows, into: left.address)
      for factor in factors[1..<(factors.count - 1)] {
        let product = try FloatScratch(rows: rows.count, columns: factor.inputWidth)
        try Self.multiply(left, factor, into: product.target())
        left = product
      }
      try Self.multiply(
        left, factors[factors.count - 1],
        into: MutableMatrixView(
          UnsafeMutableBufferPointer(start: target, count: rows.count * inputWidth), rows: rows.count,
          columns: inputWidth))
    }
  }

  /// `y = left F`.
  private static func multiply(
    _ left: borrowing FloatScratch, _ factor: any LinearMap, into y: MutableMatrixView<Float>
  ) throws(Problem) {
    guard let target = y.elements else { return }
    for row in 0..<y.rows { (target + row * y.stride).update(repeating: 0, count: y.columns) }
    let ranksAtOnce = 128
    for first in stride(from: 0, to: factor.outputWidth, by: ranksAtOnce) {
      let ranks = first..<min(factor.outputWidth, first + ranksAtOnce)
      let right = try FloatScratch(rows: ranks.count, columns: factor.inputWidth)
      try factor.gather(rows: ranks, into: right.address)
      try MatrixProduct.multiply(try left.columns(ranks), try right.view(), into: y, accumulate: true)
    }
  }
}

/// A matrix of floats between two products.
struct FloatScratch: ~Copyable {
  private let memory: Scratch
  let rows: Int
  let columns: Int

  init(rows: Int, columns: Int) throws(Problem) {
    let (count, overflow) = rows.multipliedReportingOverflow(by: columns)
    guard !overflow, count < Int.max / 16 else {
      throw Problem(.memoryAllocation, "\(rows) x \(columns) floats exceed the address space")
    }
    memory = Scratch(byteCount: count * MemoryLayout<Float>.stride)
    self.rows = rows
    self.columns = columns
  }

  var address: UnsafeMutablePointer<Float> { memory.address.assumingMemoryBound(to: Float.self) }

  func target() throws(Problem) -> MutableMatrixView<Float> { try target(columns: 0..<columns) }

  /// Some of the columns of all rows.
  func target(columns range: Range<Int>) throws(Problem) -> MutableMatrixView<Float> {
    let start = rows == 0 ? 0 : range.lowerBound
    return try MutableMatrixView(
      UnsafeMutableBufferPointer(start: address + start, count: rows * columns - start), rows: rows,
      columns: range.count, stride: columns)
  }

  func view() throws(Problem) -> MatrixView<Float> { try columns(0..<columns) }

  /// Some of the columns of all rows.
  func columns(_ range: Range<Int>) throws(Problem) -> MatrixView<Float> {
    let elements = UnsafeBufferPointer(start: UnsafePointer(address), count: rows * columns)
    return try MatrixView(
      rows == 0 ? elements : UnsafeBufferPointer(rebasing: elements[range.lowerBound...]), rows: rows,
      columns: range.count, stride: columns)
  }
}
