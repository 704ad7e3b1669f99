internal import EspalierBasics
internal import EspalierLinearMaps
internal import EspalierNumerics

/// Reads a parameter out of a reduced form, which is in memory as long as the reader lives: what ``LinearMap/gather``
/// gives, so a network that runs on the form and a file that it was materialized into mean the same numbers.
final class ReducedReader: ParameterReader {
  private let map: any LinearMap
  let residentBytes: Int

  init(_ storage: ReducedStorage, files: FilePool) throws(Problem) {
    residentBytes = storage.memoryBytes
    map = try storage.load(into: try AlignedBuffer(byteCount: residentBytes), files: files)
  }

  var elementCount: Int { map.outputWidth * map.inputWidth }

  func scratchBytes(for count: Int) -> Int { Self.scratchBytes(for: count, columns: map.inputWidth) }

  /// Rows that a range only begins or ends in are read whole.
  static func scratchBytes(for count: Int, columns: Int) -> Int { alignedFloatBytes(count + 2 * columns) }

  func read(
    _ range: Range<Int>, into destination: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) throws(Problem) {
    let columns = map.inputWidth
    guard !range.isEmpty, columns > 0 else { return }
    let rows = range.lowerBound / columns..<(range.upperBound + columns - 1) / columns
    guard range.lowerBound % columns != 0 || range.upperBound % columns != 0 else {
      return try map.gather(rows: rows, into: destination)
    }
    let whole = scratch.assumingMemoryBound(to: Float.self)
    try map.gather(rows: rows, into: whole)
    destination.update(from: whole + (range.lowerBound - rows.lowerBound * columns), count: range.count)
  }
}
