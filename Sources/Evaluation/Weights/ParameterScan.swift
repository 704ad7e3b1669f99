internal import CKernels
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// What a scan counts besides its sums; joining must not depend on grouping.
protocol Tally: Sendable {
  init()
  mutating func add(_ other: Self)
}

/// Reads parameters of one element count side by side, in flat memory, several threads at once.
///
/// A thread works through spans of 2^20 elements; it reads tiles of 16,384 elements and sees blocks of 4,096. All of
/// this follows from the element count alone. Sums are canonical: a span has a power of two of blocks, so the tree
/// over them is part of the tree over all blocks, and adding the spans' sums gives what ``CanonicalSum/combine(_:)``
/// gives for all blocks.
struct ParameterScan: Sendable {
  /// Consecutive elements of all parameters.
  struct Block {
    /// Number of the first element.
    let start: Int
    let count: Int
    /// The elements of each parameter, widened; the body may change them.
    let rows: [UnsafeMutablePointer<Float>]
    /// Room for another row.
    let spare: UnsafeMutablePointer<Float>

    /// Sets an element of all rows to 0 where it is NaN or infinite in any; returns how many.
    func clearNonFinite() -> Int {
      let rows: [UnsafeMutablePointer<Float>?] = self.rows
      return Int(es_clear_nonfinite(rows, Int64(rows.count), Int64(count)))
    }

    /// Leaves `a - b` in ``spare``, rounded to float32; exact where the two are within a factor of 2 (Sterbenz).
    func subtract(_ b: UnsafePointer<Float>, from a: UnsafePointer<Float>) {
      spare.update(from: a, count: count)
      es_subtract(spare, b, Int64(count))
    }
  }

  static let spanLength = 1 << 20
  static let tileLength = 16_384

  let readers: [any ParameterReader]
  let elementCount: Int
  private let bytesPerElement: Int
  private let pool: WorkerPool
  private let listener: any ProgressListener

  /// - Parameter bytesPerElement: what one element of all readers takes in the files, for the listener.
  init(
    readers: [any ParameterReader], bytesPerElement: Int, pool: WorkerPool, listener: any ProgressListener
  ) {
    self.readers = readers
    elementCount = readers.map(\.elementCount).min() ?? 0
    self.bytesPerElement = bytesPerElement
    self.pool = pool
    self.listener = listener
  }

  /// Sums `count` quantities and counts a tally. `body` sets a block's share of each sum and adds to the tally.
  func gather<T: Tally>(
    sums count: Int = 0, _ body: (Block, _ sums: inout [Double], _ tally: inout T) -> Void
  ) throws(Problem) -> (sums: [Double], tally: T) {
    let spans = try pool.map(spanCount) { (index) throws(Problem) in
      try gather(span: index, sums: count, body)
    }
    return (
      (0..<count).map { quantity in CanonicalSum.combine(spans.map { $0.sums[quantity] }) },
      spans.reduce(into: T()) { $0.add($1.tally) }
    )
  }

  /// The elements that `body` gives for each block, in float64 and in order: all of a tensor in memory at once.
  func elements(_ body: (Block) -> UnsafePointer<Float>) throws(Problem) -> [Double] {
    var elements = [Double](repeating: 0, count: elementCount)
    try elements.withUnsafeMutableBufferPointer { (elements) throws(Problem) in
      try pool.forEach(spanCount) { (index) throws(Problem) in
        try forEachBlock(ofSpan: index) { block in
          let values = body(block)
          for i in 0..<block.count { elements[block.start + i] = Double(values[i]) }
        }
      }
    }
    return elements
  }

  /// Tells the listener that a scan will not be made.
  func skip() { listener.receive(.advanced(bytes: elementCount * bytesPerElement)) }

  // MARK: - Spans

  private var spanCount: Int { elementCount / Self.spanLength + (elementCount % Self.spanLength == 0 ? 0 : 1) }

  private func gather<T: Tally>(
    span index: Int, sums count: Int, _ body: (Block, inout [Double], inout T) -> Void
  ) throws(Problem) -> (sums: [Double], tally: T) {
    var tally = T()
    var shares = [Double](repeating: 0, count: count)
    var partials = [[Double]](repeating: [], count: count)
    try forEachBlock(ofSpan: index) { block in
      body(block, &shares, &tally)
      for quantity in 0..<count { partials[quantity].append(shares[quantity]) }
    }
    return (partials.map(CanonicalSum.combine), tally)
  }

  private func forEachBlock(ofSpan index: Int, _ body: (Block) -> Void) throws(Problem) {
    let start = index * Self.spanLength
    let span = start..<start + min(Self.spanLength, elementCount - start)
    let buffers = Buffers(readers: readers)
    for tileStart in stride(from: span.lowerBound, to: span.upperBound, by: Self.tileLength) {
      let tile = tileStart..<min(tileStart + Self.tileLength, span.upperBound)
      for (reader, row) in zip(readers, buffers.rows) {
        try reader.read(tile, into: row, scratch: buffers.scratch)
      }
      for block in CanonicalSum.blocks(of: tile.count) {
        body(
          Block(
            start: tileStart + block.lowerBound, count: block.count,
            rows: buffers.rows.map { $0 + block.lowerBound }, spare: buffers.spare))
      }
    }
    listener.receive(.advanced(bytes: span.count * bytesPerElement))
  }

  /// The working memory of one thread.
  private final class Buffers {
    let rows: [UnsafeMutablePointer<Float>]
    let spare: UnsafeMutablePointer<Float>
    let scratch: UnsafeMutableRawPointer

    init(readers: [any ParameterReader]) {
      rows = readers.map { _ in .allocate(capacity: ParameterScan.tileLength) }
      spare = .allocate(capacity: CanonicalSum.blockLength)
      let bytes = readers.map { $0.scratchBytes(for: ParameterScan.tileLength) }.max() ?? 0
      scratch = .allocate(byteCount: max(bytes, 1), alignment: 64)
    }

    deinit {
      for row in rows { row.deallocate() }
      spare.deallocate()
      scratch.deallocate()
    }
  }
}
