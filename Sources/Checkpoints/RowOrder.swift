public import EspalierBasics

/// A permutation of the rows of a parameter that exchanges the order of nested groups.
///
/// The index of a row is seen as digits, slowest first, of the sizes `sizes`; the file counts the same digits in the
/// order `stored`. Queries whose rotary pairs lie side by side in the file, and half a head apart in the parameter,
/// have the sizes (heads, 2, half width) and the stored order (0, 2, 1).
public struct RowOrder: Sendable, Hashable, Codable {
  /// Sizes of the groups, slowest first; their product is the number of rows.
  public let sizes: [Int]
  /// The same groups, by position in ``sizes``, in the order in which the file nests them, slowest first.
  public let stored: [Int]
  /// What one step of each group is worth in stored rows.
  private let strides: [Int]

  /// - Parameters:
  ///   - sizes: positive; their product fits `Int`.
  ///   - stored: every position of `sizes` once.
  /// - Throws: `checkpoint.format` if they are not so.
  public init(sizes: [Int], stored: [Int]) throws(Problem) {
    guard sizes.allSatisfy({ $0 > 0 }), sizes.checkedProduct != nil, stored.sorted() == Array(sizes.indices) else {
      throw Problem(.checkpointFormat, "rows cannot be in groups of \(sizes), stored in the order \(stored)")
    }
    self.sizes = sizes
    self.stored = stored
    var strides = sizes
    var step = 1
    for group in stored.reversed() {
      strides[group] = step
      step *= sizes[group]
    }
    self.strides = strides
  }

  public var rowCount: Int { sizes.reduce(1, *) }

  /// The order by which the file's rows are found in the parameter.
  public var inverse: RowOrder {
    get throws(Problem) {
      try RowOrder(
        sizes: stored.map { sizes[$0] }, stored: sizes.indices.compactMap { group in stored.firstIndex(of: group) })
    }
  }

  /// Where the file has row `row` of the parameter.
  public func storedRow(of row: Int) -> Int {
    var rest = row
    var place = 0
    for group in sizes.indices.reversed() {
      place += rest % sizes[group] * strides[group]
      rest /= sizes[group]
    }
    return place
  }
}

/// Reads the rows of a parameter in another order. Short rows are kept in memory, since they would be read one by one.
final class ReorderedReader: ParameterReader {
  let elementCount: Int
  private let rowLength: Int
  private let order: RowOrder
  private let base: any ParameterReader
  private let kept: [Float]?

  private static let shortRow = 64

  init(base: StorageRecipe, order: RowOrder, files: FilePool) throws(Problem) {
    self.base = try base.reader(files: files)
    self.order = order
    elementCount = self.base.elementCount
    rowLength = max(1, elementCount / order.rowCount)
    kept = rowLength < Self.shortRow ? try self.base.all() : nil
  }

  var residentBytes: Int { base.residentBytes + (kept?.count ?? 0) * MemoryLayout<Float>.stride }
  func scratchBytes(for count: Int) -> Int { base.scratchBytes(for: count) }

  /// Bytes of short rows, and once of what reading them takes.
  static func residentBytes(of base: StorageRecipe, _ order: RowOrder) -> Int {
    let count = base.storedTensors.reduce(0) { $0 + $1.elementCount }
    guard count / order.rowCount < shortRow else { return 0 }
    return count * MemoryLayout<Float>.stride + base.scratchBytes(for: count)
  }

  func read(
    _ range: Range<Int>, into destination: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) throws(Problem) {
    var element = range.lowerBound
    while element < range.upperBound {
      let row = element / rowLength
      let stored = order.storedRow(of: row)
      var end = row + 1
      // Rows that stay neighbours are read together.
      while end * rowLength < range.upperBound, order.storedRow(of: end) == stored + end - row { end += 1 }
      let last = min(range.upperBound, end * rowLength)
      let start = stored * rowLength + element - row * rowLength
      let into = destination + (element - range.lowerBound)
      if let kept {
        for index in 0..<last - element { into[index] = kept[start + index] }
      } else {
        try base.read(start..<start + last - element, into: into, scratch: scratch)
      }
      element = last
    }
  }
}

extension ParameterReader {
  /// All elements, for small parameters.
  func all() throws(Problem) -> [Float] {
    let scratch = UnsafeMutableRawPointer.allocate(byteCount: max(1, scratchBytes(for: elementCount)), alignment: 64)
    defer { scratch.deallocate() }
    var values = [Float](repeating: 0, count: elementCount)
    let result: Result<Void, Problem> = values.withUnsafeMutableBufferPointer { values in
      Result { () throws(Problem) in
        guard let start = values.baseAddress, elementCount > 0 else { return }
        try read(0..<elementCount, into: start, scratch: scratch)
      }
    }
    try result.get()
    return values
  }
}
