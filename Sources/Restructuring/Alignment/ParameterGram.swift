internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// Products of two parameters of one shape, read piece by piece.
struct ParameterProducts {
  let files: FilePool
  let parallel: MatrixProduct.ParallelLoop

  /// Floats of each parameter that are held at once, where the dimension is not the first.
  static let pieceFloats = 1 << 23

  /// The inner products of everything at one place of a dimension with everything at another:
  ///
  ///     gram[p, q] = Σ a[.. p ..] b[.. q ..]     over all other dimensions
  ///
  /// Products of float32 summed in float32 by ``MatrixProduct``, whose error bound holds for each piece of the sum.
  ///
  /// - Returns: `[size, size]`, row-major.
  func gram(_ a: StorageRecipe, _ b: StorageRecipe, shape: [Int], along dimension: Int) throws(Problem) -> [Float] {
    let size = shape[dimension]
    let outer = shape[..<dimension].reduce(1, *)
    let inner = shape[(dimension + 1)...].reduce(1, *)
    var gram = [Float](repeating: 0, count: size * size)
    guard outer > 0, inner > 0, size > 0 else { return gram }
    let together = max(1, min(outer, Self.pieceFloats / (size * inner)))
    let (left, right) = (try a.reader(files: files), try b.reader(files: files))
    let floats = together * size * inner
    let first = try AlignedBuffer(byteCount: floats * MemoryLayout<Float>.stride)
    let second = try AlignedBuffer(byteCount: floats * MemoryLayout<Float>.stride)
    let isMoved = inner > 1 && together > 1
    let moved = try AlignedBuffer(byteCount: isMoved ? floats * MemoryLayout<Float>.stride : 0)
    let scratch = try AlignedBuffer(
      byteCount: max(64, left.scratchBytes(for: floats), right.scratchBytes(for: floats)))
    for start in stride(from: 0, to: outer, by: together) {
      let count = min(together, outer - start)
      let range = (start * size * inner)..<((start + count) * size * inner)
      for (reader, buffer) in [(left, first), (right, second)] {
        guard let address = buffer.floats.baseAddress else { continue }
        try reader.read(range, into: address, scratch: scratch.address)
        if inner > 1, count > 1 {
          Self.gather(address, into: moved.floats, outer: count, size: size, inner: inner)
          address.update(from: UnsafePointer(moved.floats.baseAddress ?? address), count: range.count)
        }
      }
      try gram.withUnsafeMutableBufferPointer { (target) throws(Problem) in
        let target = try MutableMatrixView(target, rows: size, columns: size)
        let rows = inner > 1 ? size : count
        let columns = inner > 1 ? count * inner : size
        let x = try MatrixView(UnsafeBufferPointer(first.floats), rows: rows, columns: columns)
        let y = try MatrixView(UnsafeBufferPointer(second.floats), rows: rows, columns: columns)
        // Where the dimension is the last, its places are columns.
        let (p, q) = inner > 1 ? (x, y.transposed) : (x.transposed, y)
        try MatrixProduct.multiply(p, q, into: target, accumulate: true, parallel: parallel)
      }
    }
    return gram
  }

  /// From `[outer, size, inner]` to `[size, outer, inner]`.
  private static func gather(
    _ values: UnsafeMutablePointer<Float>, into moved: UnsafeMutableBufferPointer<Float>, outer: Int, size: Int,
    inner: Int
  ) {
    guard let target = moved.baseAddress else { return }
    for block in 0..<outer {
      for place in 0..<size {
        (target + (place * outer + block) * inner).update(
          from: UnsafePointer(values + (block * size + place) * inner), count: inner)
      }
    }
  }

  /// `Σ a b`, `Σ a²` and `Σ b²`, in float64.
  func products(_ a: StorageRecipe, _ b: StorageRecipe) throws(Problem) -> AlignmentProducts {
    let (left, right) = (try a.reader(files: files), try b.reader(files: files))
    let piece = min(max(1, left.elementCount), 1 << 16)
    let buffers = try AlignedBuffer(byteCount: 2 * piece * MemoryLayout<Float>.stride)
    let scratch = try AlignedBuffer(
      byteCount: max(64, left.scratchBytes(for: piece), right.scratchBytes(for: piece)))
    var products = AlignmentProducts()
    guard let x = buffers.floats.baseAddress else { return products }
    let y = x + piece
    for start in stride(from: 0, to: left.elementCount, by: piece) {
      let range = start..<min(left.elementCount, start + piece)
      try left.read(range, into: x, scratch: scratch.address)
      try right.read(range, into: y, scratch: scratch.address)
      for index in 0..<range.count {
        let (p, q) = (Double(x[index]), Double(y[index]))
        products.both += p * q
        products.first += p * p
        products.second += q * q
      }
    }
    return products
  }
}

/// Inner products of two models' parameters.
public struct AlignmentProducts: Sendable, Hashable {
  public var both = 0.0
  public var first = 0.0
  public var second = 0.0
  /// What matching maximizes: the sum of inner products, each parameter's with its weight.
  public var agreement = 0.0

  public init() {}

  /// `⟨a, b⟩ / ‖a‖ ‖b‖`.
  public var cosine: Double {
    let norms = (first * second).squareRoot()
    return norms > 0 ? both / norms : 0
  }

  /// `‖a - b‖`.
  public var distance: Double { max(0, first + second - 2 * both).squareRoot() }

  static func + (a: AlignmentProducts, b: AlignmentProducts) -> AlignmentProducts {
    var sum = a
    sum.both += b.both
    sum.first += b.first
    sum.second += b.second
    sum.agreement += b.agreement
    return sum
  }
}
