internal import EspalierBasics
internal import EspalierNumerics

/// Reads a matrix that is stored as its transpose. It is decoded into memory once: a tile of it touches every stored
/// row.
final class TransposedReader: ParameterReader {
  let elementCount: Int
  private let values: AlignedBuffer
  private let base: any ParameterReader

  /// Stored rows that are decoded at once.
  private static let band = 16

  /// - Parameter shape: `[stored columns, stored rows]`.
  init(base: StorageRecipe, shape: [Int], files: FilePool) throws(Problem) {
    self.base = try base.reader(files: files)
    elementCount = shape.reduce(1, *)
    values = try AlignedBuffer(count: elementCount, of: Float.self)
    let (columns, rows) = (shape.first ?? 1, shape.last ?? 1)
    let band = try AlignedBuffer(count: Self.band * columns, of: Float.self)
    let scratch = try AlignedBuffer(byteCount: self.base.scratchBytes(for: Self.band * columns))
    let (from, into) = (band.floats, values.floats)
    for first in stride(from: 0, to: rows, by: Self.band) {
      let count = min(Self.band, rows - first)
      guard columns > 0, let start = from.baseAddress else { break }
      try self.base.read(first * columns..<(first + count) * columns, into: start, scratch: scratch.address)
      for column in 0..<columns {
        for row in 0..<count { into[column * rows + first + row] = from[row * columns + column] }
      }
    }
  }

  var residentBytes: Int { base.residentBytes + values.byteCount }
  func scratchBytes(for count: Int) -> Int { 0 }

  /// The matrix, and what decoding it takes.
  static func residentBytes(_ shape: [Int], base: StorageRecipe) -> Int {
    let band = band * (shape.first ?? 1)
    return (shape.reduce(1, *) + band) * MemoryLayout<Float>.stride + base.scratchBytes(for: band)
  }

  func read(
    _ range: Range<Int>, into destination: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) throws(Problem) {
    guard let start = values.floats.baseAddress else { return }
    destination.update(from: start + range.lowerBound, count: range.count)
  }
}
