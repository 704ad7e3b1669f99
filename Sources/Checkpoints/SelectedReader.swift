public import EspalierBasics
internal import EspalierNumerics

/// Entries of a parameter along each of its dimensions: what stays of channels, heads or experts, and in which order.
public struct EntrySelection: Sendable, Hashable, Codable {
  /// The shape that entries are taken of.
  public let shape: [Int]
  /// For each dimension the entries taken, in the order they are wanted; nil takes all of them in their order.
  public let entries: [[Int]?]

  /// - Throws: `checkpoint.format` if the two do not have as many dimensions, or an entry is not on its dimension.
  public init(of shape: [Int], entries: [[Int]?]) throws(Problem) {
    guard shape.count == entries.count else {
      throw Problem(.checkpointFormat, "entries of \(entries.count) dimensions are taken of the shape \(shape)")
    }
    for (size, taken) in zip(shape, entries) {
      if let wrong = taken?.first(where: { $0 < 0 || $0 >= size }) {
        throw Problem(.checkpointFormat, "entry \(wrong) is taken of a dimension of \(size)")
      }
    }
    self.shape = shape
    self.entries = zip(shape, entries).map { size, taken in taken == Array(0..<size) ? nil : taken }
  }

  /// The shape of what is taken.
  public var takenShape: [Int] { zip(shape, entries).map { size, taken in taken?.count ?? size } }

  /// Nothing is left out and nothing moved.
  public var takesAll: Bool { entries.allSatisfy { $0 == nil } }
}

/// Reads what an ``EntrySelection`` takes of a parameter. Rows that stay neighbours are read together.
final class SelectedReader: ParameterReader {
  let elementCount: Int
  private let base: any ParameterReader
  private let selection: EntrySelection
  /// Sizes of the dimensions before the last: of what is taken.
  private let outer: [Int]
  /// What a step of each of these dimensions is worth in rows of the base.
  private let strides: [Int]
  /// Elements of a row, taken and of the base.
  private let (width, baseWidth): (Int, Int)

  /// Rows of the base that are read at once, at most as many floats.
  private static let bandFloats = 1 << 14

  init(base: StorageRecipe, selection: EntrySelection, files: FilePool) throws(Problem) {
    self.base = try base.reader(files: files)
    self.selection = selection
    let taken = selection.takenShape
    elementCount = taken.reduce(1, *)
    outer = Array(taken.dropLast())
    var strides = [Int](repeating: 1, count: outer.count)
    for dimension in outer.indices.dropLast().reversed() {
      strides[dimension] = strides[dimension + 1] * selection.shape[dimension + 1]
    }
    self.strides = strides
    (width, baseWidth) = (taken.last ?? 1, selection.shape.last ?? 1)
  }

  var residentBytes: Int { base.residentBytes + Self.residentBytes(of: selection) }

  static func residentBytes(of selection: EntrySelection) -> Int {
    selection.entries.reduce(0) { $0 + ($1?.count ?? 0) * MemoryLayout<Int>.stride }
  }

  func scratchBytes(for count: Int) -> Int {
    Self.scratchBytes(for: count, selection: selection) { base.scratchBytes(for: $0) }
  }

  /// A band of the base's rows and what reading it takes; where rows are whole, what reading them in place takes.
  static func scratchBytes(for count: Int, selection: EntrySelection, base: (Int) -> Int) -> Int {
    let band = bandRows(of: selection) * (selection.shape.last ?? 1)
    return alignedFloatBytes(band) + base(max(count, band))
  }

  private static func bandRows(of selection: EntrySelection) -> Int {
    max(1, bandFloats / max(1, selection.shape.last ?? 1))
  }

  func read(
    _ range: Range<Int>, into destination: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) throws(Problem) {
    guard width > 0, !range.isEmpty else { return }
    let most =
      selection.entries.last == .some(nil) || outer.isEmpty && selection.entries.isEmpty
      ? Int.max : Self.bandRows(of: selection)
    var row = range.lowerBound / width
    let end = (range.upperBound + width - 1) / width
    while row < end {
      let first = baseRow(of: row)
      var next = row + 1
      while next < end, next - row < most, baseRow(of: next) == first + next - row { next += 1 }
      // Of the first and the last row perhaps a part.
      let elements = max(range.lowerBound, row * width)..<min(range.upperBound, next * width)
      try read(
        elements, rows: row..<next, from: first, into: destination + (elements.lowerBound - range.lowerBound),
        scratch: scratch)
      row = next
    }
  }

  /// Reads elements of `rows`, which lie side by side in the base, beginning with its row `first`.
  private func read(
    _ elements: Range<Int>, rows: Range<Int>, from first: Int, into destination: UnsafeMutablePointer<Float>,
    scratch: UnsafeMutableRawPointer
  ) throws(Problem) {
    guard let columns = selection.entries.last ?? nil else {
      let shift = first * baseWidth - rows.lowerBound * width
      return try base.read(
        elements.lowerBound + shift..<elements.upperBound + shift, into: destination, scratch: scratch)
    }
    let band = scratch.assumingMemoryBound(to: Float.self)
    let inner = scratch + alignedFloatBytes(Self.bandRows(of: selection) * baseWidth)
    try base.read(first * baseWidth..<(first + rows.count) * baseWidth, into: band, scratch: inner)
    var into = destination
    for row in rows {
      let from = band + (row - rows.lowerBound) * baseWidth
      let wanted =
        max(elements.lowerBound, row * width) - row * width..<min(elements.upperBound, (row + 1) * width) - row * width
      for column in wanted {
        into.pointee = from[columns[column]]
        into += 1
      }
    }
  }

  /// The row of the base that row `row` of what is taken comes from.
  private func baseRow(of row: Int) -> Int {
    var rest = row
    var place = 0
    for dimension in outer.indices.reversed() {
      let digit = rest % outer[dimension]
      rest /= outer[dimension]
      place += (selection.entries[dimension]?[digit] ?? digit) * strides[dimension]
    }
    return place
  }
}
