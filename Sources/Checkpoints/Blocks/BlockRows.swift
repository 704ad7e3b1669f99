public import EspalierBasics
public import EspalierLinearMaps

/// Rows of a matrix as blocks of one type, where a model has their codes already: no scale is searched, no weight rounded.
public protocol BlockRows: Sendable {
  /// Bytes of a row.
  var rowBytes: Int { get }

  /// Reads rows, one after the other without gaps.
  ///
  /// - Throws: what reading the files throws, with the tensor named.
  func read(rows: Range<Int>, into destination: UnsafeMutableRawPointer) throws(Problem)
}

extension StorageRecipe {
  /// The rows of the parameter as blocks of a type; nil where its numbers are not stored so that they can be had by moving
  /// codes: blocks of that type, or codes with scales whose levels such blocks hold (with groups
  /// of whole blocks and scales that are halves), their rows in whatever order.
  ///
  /// - Parameter columns: of a row; all other dimensions count as rows.
  /// - Throws: what reading scales throws.
  public func blockRows(
    of type: BlockType, columns: Int, files: FilePool
  ) throws(Problem) -> (any BlockRows)? {
    try moved(
      to: type, columns: columns,
      by: RowMoves<any BlockRows>(
        stored: { (tensor) throws(Problem) in
          StoredBlockRows(
            tensor: tensor, rowBytes: type.byteCount(of: columns), file: try files.file(tensor.file))
        },
        packed: { (storage) throws(Problem) in try PackedBlockRows(storage, as: type, files: files) },
        ordered: { OrderedBlockRows(base: $0, order: $1) },
        gathered: { GatheredBlockRows(runs: $0, sources: $1, height: $2) }))
  }

  /// Whether there is ``blockRows(of:columns:files:)``, found from scales and zero points alone.
  public func hasBlockRows(of type: BlockType, columns: Int, files: FilePool) throws(Problem) -> Bool {
    try areMoved(to: type, columns: columns) { (storage) throws(Problem) in
      try PackedBlockRows.tables(of: storage, as: type, files: files) != nil
    }
  }

  /// Whether there may be ``blockRows(of:columns:files:)``, as far as it is known without reading: what scales and zero
  /// points are is left open.
  public func mayHaveBlockRows(of type: BlockType, columns: Int) throws(Problem) -> Bool {
    try areMoved(to: type, columns: columns) { PackedBlockRows.mayHold($0, as: type) }
  }

  private func areMoved(
    to type: BlockType, columns: Int, _ packed: (PackedStorage) throws(Problem) -> Bool
  ) throws(Problem) -> Bool {
    try withoutActuallyEscaping(packed) { (packed) throws(Problem) in
      try moved(
        to: type, columns: columns,
        by: RowMoves<Bool>(
          stored: { _ in true }, packed: { (storage) throws(Problem) in try packed(storage) ? true : nil },
          ordered: { base, _ in base }, gathered: { runs, _, _ in GatheredBlockRows.areMoved(runs) ? true : nil }))
        ?? false
    }
  }

  /// Goes down to where codes are, and back up with what is made of them; nil where numbers are computed on the way.
  private func moved<Rows>(
    to type: BlockType, columns: Int, by moves: RowMoves<Rows>
  ) throws(Problem) -> Rows? {
    switch self {
    case .coded(let tensor): return tensor.format == .blocks(type) ? try moves.stored(tensor) : nil
    case .packed(let storage): return storage.columns == columns ? try moves.packed(storage) : nil
    case .reordered(let base, let order):
      return try base.moved(to: type, columns: columns, by: moves).map { moves.ordered($0, order) }
    case .gathered(let runs, let sources, let shape):
      let perRow = shape.dropFirst().reduce(1, *)
      guard perRow > 0, perRow % columns == 0 else { return nil }
      var parts: [Rows] = []
      for source in sources {
        guard let part = try source.moved(to: type, columns: columns, by: moves) else { return nil }
        parts.append(part)
      }
      return moves.gathered(runs, parts, perRow / columns)
    case .stored, .transposed, .mapped, .updated, .selected, .combined, .reduced: return nil
    }
  }
}

/// What is made of rows of codes, and of rows that are moved.
private struct RowMoves<Rows> {
  let stored: (StoredTensor) throws(Problem) -> Rows
  let packed: (PackedStorage) throws(Problem) -> Rows?
  let ordered: (Rows, RowOrder) -> Rows
  let gathered: ([RowRun], [Rows], _ height: Int) -> Rows?
}

/// Blocks as a file has them.
struct StoredBlockRows: BlockRows {
  let tensor: StoredTensor
  let rowBytes: Int
  let file: any ByteSource

  func read(rows: Range<Int>, into destination: UnsafeMutableRawPointer) throws(Problem) {
    let bytes = UnsafeMutableRawBufferPointer(start: destination, count: rows.count * rowBytes)
    do throws(Problem) { try file.read(into: bytes, at: tensor.offset + rows.lowerBound * rowBytes) } catch {
      throw error.at(tensor: tensor.name)
    }
  }
}

/// Rows that lie in another order.
struct OrderedBlockRows: BlockRows {
  let base: any BlockRows
  let order: RowOrder

  var rowBytes: Int { base.rowBytes }

  func read(rows: Range<Int>, into destination: UnsafeMutableRawPointer) throws(Problem) {
    var row = rows.lowerBound
    while row < rows.upperBound {
      let place = order.storedRow(of: row)
      var end = row + 1
      // Rows that stay neighbours are read together.
      while end < rows.upperBound, order.storedRow(of: end) == place + end - row { end += 1 }
      try base.read(rows: place..<place + end - row, into: destination + (row - rows.lowerBound) * rowBytes)
      row = end
    }
  }
}

/// Rows that lie in several matrices, such as those of experts.
struct GatheredBlockRows: BlockRows {
  private let sources: [any BlockRows]
  /// For each run the source, its first row there, and the first row behind it here.
  private let runs: [(source: Int, first: Int, end: Int)]
  let rowBytes: Int

  /// - Parameter height: rows that a run counts as one.
  init?(runs: [RowRun], sources: [any BlockRows], height: Int) {
    guard let rowBytes = sources.first?.rowBytes, Self.areMoved(runs) else { return nil }
    self.sources = sources
    self.rowBytes = rowBytes
    var found: [(source: Int, first: Int, end: Int)] = []
    for case .rows(let source, let first, let count) in runs {
      found.append((source, first * height, (found.last?.end ?? 0) + count * height))
    }
    self.runs = found
  }

  /// Whether no run is computed.
  static func areMoved(_ runs: [RowRun]) -> Bool {
    runs.allSatisfy { if case .rows = $0 { true } else { false } }
  }

  func read(rows: Range<Int>, into destination: UnsafeMutableRawPointer) throws(Problem) {
    var start = 0
    for run in runs {
      let part = rows.clamped(to: start..<run.end)
      if !part.isEmpty {
        let first = run.first + part.lowerBound - start
        try sources[run.source].read(
          rows: first..<first + part.count, into: destination + (part.lowerBound - rows.lowerBound) * rowBytes)
      }
      start = run.end
    }
  }
}
