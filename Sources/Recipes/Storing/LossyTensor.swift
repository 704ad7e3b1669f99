internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// A tensor that is rounded before it is packed: floats in two dimensions or more. Norms, biases and whatever is small
/// keep every bit.
struct LossyTensor: Sendable {
  let name: String
  /// Of the plan.
  let entry: Int
  let part: Int
  let type: ElementType
  /// In its file.
  let offset: Int
  /// Seen as a matrix.
  let rows: Int
  let columns: Int
  let site: String?
  /// The part of the same file that has the same bytes and is rounded alike: of the same type, rows and columns.
  var twin: Int?

  var elementCount: Int { rows * columns }
  var byteCount: Int { elementCount * type.byteWidth }

  /// What is smaller is not worth its steps.
  static let leastElements = 4096
  private static let leastColumns = 16
  static let types: [ElementType] = [.bf16, .f16, .f32, .f64]

  /// Rows that are rounded at a time; whatever the threads.
  var tile: Int { max(16, (1 << 18) / columns) }
  var tiles: Int { (rows + tile - 1) / tile }

  func rows(ofTile index: Int) -> Range<Int> { index * tile..<min(rows, (index + 1) * tile) }

  /// Numbers of rows, widened.
  ///
  /// - Throws: `values.not-finite`.
  func read(_ rows: Range<Int>, from file: any ByteSource) throws(Problem) -> [Float] {
    let count = rows.count * columns
    let bytes = try file.read(count * type.byteWidth, at: offset + rows.lowerBound * columns * type.byteWidth)
    let values = [Float](unsafeUninitializedCapacity: count) { target, initialized in
      bytes.withUnsafeBytes { bytes in
        if let source = bytes.baseAddress, let target = target.baseAddress {
          type.decode(source, into: target, count: count)
        }
      }
      initialized = count
    }
    let place = values.withUnsafeBufferPointer { values in
      values.baseAddress.flatMap { firstNonfinite($0, count: count) }
    }
    if let place {
      throw Problem(
        .packingGoal,
        "\(values[place]) at row \(rows.lowerBound + place / columns), column \(place % columns) cannot be rounded",
        remedy: "Mend the model, or pack it without --lossy.", file: file.path, tensor: name)
    }
    return values
  }

  func write(_ values: [Float], of rows: Range<Int>, to file: File) throws(Problem) {
    try file.write(type.encoded(values), at: offset + rows.lowerBound * columns * type.byteWidth)
  }

  /// Tensors of a file that are rounded.
  ///
  /// - Parameter header: of the file, its repeats marked.
  static func all(
    of entry: Int, _ header: ArchiveHeader, in file: any ByteSource, _ options: LossyOptions
  ) throws(Problem) -> [LossyTensor] {
    let stored = try SafetensorsHeader(reading: file).tensors
    let byPlace = Dictionary(
      stored.filter { $0.byteCount > 0 }.map { ($0.offset, $0) }, uniquingKeysWith: { first, _ in first })
    var tensors: [LossyTensor] = []
    var offset = 0
    for (index, part) in header.parts.enumerated() {
      defer { offset += part.byteCount }
      guard let tensor = byPlace[offset], tensor.byteCount == part.byteCount, types.contains(part.type),
        tensor.shape.count > 1, tensor.elementCount >= leastElements
      else { continue }
      var columns = 1
      for size in tensor.shape.reversed() where columns < leastColumns { columns *= size }
      var found = LossyTensor(
        name: tensor.name, entry: entry, part: index, type: part.type, offset: offset,
        rows: tensor.elementCount / columns, columns: columns,
        site: columns == tensor.shape.last ? options.site(of: tensor.name) : nil)
      if case .same(let other) = part.content, let first = tensors.first(where: { $0.part == other }),
        first.type == found.type, first.rows == found.rows, first.columns == found.columns
      {
        found.twin = other
      }
      tensors.append(found)
    }
    return tensors
  }
}
