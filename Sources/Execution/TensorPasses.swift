internal import CKernels
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierNumerics
internal import Synchronization

extension Problem.Code {
  public static let nonFiniteInput = Problem.Code("values.not-finite")
  public static let nonFiniteOutput = Problem.Code("values.overflow")
}

/// One block of every input of a tensor job, as float32, and room for the output.
public struct Block {
  /// Position among the blocks of the tensor.
  public let index: Int
  /// Position of its span: blocks of one span are visited in order, by one thread.
  public let span: Int
  /// Flat index of the first element.
  public let start: Int
  public let count: Int
  /// The inputs in the job's order. The body may overwrite them.
  public let inputs: UnsafeBufferPointer<UnsafeMutablePointer<Float>>
  /// Where the result goes; only in a writing pass.
  public let output: UnsafeMutablePointer<Float>
  /// Room for ``TensorPasses/init(readers:names:shape:scratchCount:context:)``'s `scratchCount` more arrays of
  /// `count` floats, one after the other.
  public let scratch: UnsafeBufferPointer<UnsafeMutablePointer<Float>>
}

extension Block {
  /// The inputs from `first` on, as C functions take them.
  public func withReadableInputs<T>(
    from first: Int = 0, _ body: (UnsafePointer<UnsafePointer<Float>?>) -> T
  ) -> T {
    withUnsafeTemporaryAllocation(of: UnsafePointer<Float>?.self, capacity: max(1, inputs.count - first)) { pointers in
      for index in first..<inputs.count {
        pointers.initializeElement(at: index - first, to: UnsafePointer(inputs[index]))
      }
      return body(UnsafePointer(pointers.baseAddress!))
    }
  }
}

/// Passes over the inputs of one output tensor, tile by tile, in parallel.
///
/// Inputs are read anew in every pass: from the page cache that costs no more than reading a copy of our own, and
/// memory stays flat whatever the tensor's size. The first pass over an input also hashes it and refuses values that are
/// not finite.
public final class TensorPasses {
  public let shape: [Int]
  public let elementCount: Int
  public var inputCount: Int { readers.count }
  private let readers: [any ParameterReader]
  private let names: [String]
  private let scratchCount: Int
  private let context: JobContext
  private let digests: [ChunkedDigest?]
  /// Which inputs some pass has read already.
  private var hasRead: [Bool]

  /// - Parameters:
  ///   - readers: the inputs; each has the elements of `shape`.
  ///   - names: what to call each input in messages (its model).
  ///   - scratchCount: arrays of a block's length that bodies want besides the inputs.
  public init(
    readers: [any ParameterReader], names: [String], shape: [Int], scratchCount: Int, context: JobContext
  ) {
    self.readers = readers
    self.names = names
    self.shape = shape
    self.scratchCount = scratchCount
    self.context = context
    elementCount = shape.reduce(1, *)
    digests = readers.map { ($0 as? StoredReader).map { ChunkedDigest(byteCount: $0.tensor.byteCount) } }
    hasRead = readers.map { _ in false }
  }

  public func tiling(_ blocks: Tiling.Blocks) -> Tiling { Tiling(elementCount: elementCount, blocks: blocks) }

  // MARK: - Passes

  /// Visits every block once, several at once, in no particular order; within a span, in order.
  ///
  /// - Parameter inputs: which inputs are read, all unless given; what a block holds of the others is undefined.
  public func forEachBlock(
    _ blocks: Tiling.Blocks = .flat, inputs: [Int]? = nil, _ body: (Block) throws(Problem) -> Void
  ) throws(Problem) {
    try pass(blocks, inputs: inputs, output: nil, body)
  }

  /// Visits some blocks only, before or between the passes: a sample.
  public func forBlocks(_ indices: [Int], _ body: (Block) throws(Problem) -> Void) throws(Problem) {
    let tiling = tiling(.flat)
    try context.pool.forEach(indices.count) { (position) throws(Problem) in
      let worker = SpanWorker(passes: self, tiling: tiling, reading: Array(readers.indices), hashing: [])
      let start = indices[position] * tiling.blockLength
      try worker.run(
        start..<min(elementCount, start + tiling.blockLength), spanIndex: start / tiling.spanLength, output: nil, body)
    }
  }

  /// Sums `count` quantities over the tensor: `body` gives a block's share of each, in float64, and the shares are
  /// added in a fixed tree. `inputs` as in ``forEachBlock(_:inputs:_:)``.
  public func sums(
    _ count: Int, over layout: Tiling.Blocks = .flat, inputs: [Int]? = nil,
    _ body: (Block, UnsafeMutablePointer<Double>) -> Void
  ) throws(Problem) -> [Double] {
    let blocks = tiling(layout).blockCount
    // One row a quantity, so that each is combined where it lies; a block writes one column.
    let partials = UnsafeMutablePointer<Double>.allocate(capacity: max(1, count * blocks))
    partials.initialize(repeating: 0, count: max(1, count * blocks))
    defer { partials.deallocate() }
    try forEachBlock(layout, inputs: inputs) { (block) throws(Problem) in
      withUnsafeTemporaryAllocation(of: Double.self, capacity: count) { shares in
        shares.initialize(repeating: 0)
        if let base = shares.baseAddress { body(block, base) }
        for quantity in 0..<count { partials[quantity * blocks + block.index] = shares[quantity] }
      }
    }
    return (0..<count).map { quantity in
      CanonicalSum.combine(Array(UnsafeBufferPointer(start: partials + quantity * blocks, count: blocks)))
    }
  }

  /// Sums `count` quantities for every column of the tensor seen as rows of `length` elements: `body` adds a row's
  /// values to `count` arrays of `length` sums, one after the other.
  public func columnSums(
    _ count: Int, length: Int, _ body: (Block, UnsafeMutablePointer<Double>) -> Void
  ) throws(Problem) -> [Double] {
    let size = max(1, count * length)
    let spans = max(1, tiling(.rows(length: length)).spanCount)
    let partials = UnsafeMutablePointer<Double>.allocate(capacity: size * spans)
    partials.initialize(repeating: 0, count: size * spans)
    defer { partials.deallocate() }
    try forEachBlock(.rows(length: length)) { (block) throws(Problem) in body(block, partials + size * block.span) }
    for span in 0..<spans where span > 0 {
      for index in 0..<size { partials[index] += partials[span * size + index] }
    }
    return Array(UnsafeBufferPointer(start: partials, count: count * length))
  }

  /// The last pass: `body` fills `block.output`, which is rounded once to the output's type, hashed and written.
  /// `inputs` as in ``forEachBlock(_:inputs:_:)``.
  public func write(
    _ blocks: Tiling.Blocks = .flat, inputs: [Int]? = nil, _ body: (Block) throws(Problem) -> Void
  ) throws(Problem) {
    let output = context.outputTensor
    let digest = ChunkedDigest(byteCount: output.byteCount)
    try pass(blocks, inputs: inputs, output: digest, body)
    context.written(digest.value())
  }

  /// The last pass for an output that is stored in quantized blocks: `body` turns some rows into their bytes.
  ///
  /// Bytes of blocks and pieces of digests have no common boundaries, so that what was written is read once more.
  ///
  /// - Parameter rows: that `body` is given at once.
  public func encode(
    rows: Int, ofLength length: Int, _ body: (Block, UnsafeMutableRawBufferPointer) throws(Problem) -> Void
  ) throws(Problem) {
    let format = context.outputTensor.format
    try pass(.rows(length: rows * length), inputs: nil, output: nil) { (block: Block) throws(Problem) in
      // Four bytes a number hold the blocks of every type.
      let bytes = UnsafeMutableRawBufferPointer(start: block.scratch[0], count: format.byteCount(of: block.count))
      try body(block, bytes)
      try context.write(UnsafeRawBufferPointer(bytes), at: format.byteCount(of: block.start))
    }
    try context.hashWritten()
  }

  private func pass(
    _ blocks: Tiling.Blocks, inputs: [Int]?, output: ChunkedDigest?, _ body: (Block) throws(Problem) -> Void
  ) throws(Problem) {
    let inputs = inputs ?? Array(readers.indices)
    let fresh = inputs.filter { !hasRead[$0] }
    let tiling = tiling(blocks)
    try context.pool.forEach(tiling.spanCount) { (index) throws(Problem) in
      let worker = SpanWorker(passes: self, tiling: tiling, reading: inputs, hashing: fresh)
      try worker.run(tiling.span(index), spanIndex: index, output: output, body)
    }
    for input in fresh {
      hasRead[input] = true
      if let stored = readers[input] as? StoredReader, let digest = digests[input] {
        context.read(stored.tensor, digest.value())
      }
    }
  }

  // MARK: - One span

  /// Buffers of the thread that works through a span.
  private struct SpanWorker: ~Copyable {
    let passes: TensorPasses
    let tiling: Tiling
    /// The inputs that are read, and those among them that no pass has read before.
    let reading: [Int]
    let hashing: [Int]
    private let arena: ScratchArena

    init(passes: TensorPasses, tiling: Tiling, reading: [Int], hashing: [Int]) {
      self.passes = passes
      self.tiling = tiling
      self.reading = reading
      self.hashing = hashing
      arena = ScratchArena(bytes: passes.workingBytes(tiling))
    }

    func run(
      _ span: Range<Int>, spanIndex: Int, output: ChunkedDigest?, _ body: (Block) throws(Problem) -> Void
    ) throws(Problem) {
      let readers = passes.readers
      let tile = min(tiling.tileLength, span.count)
      var carver = arena.carver()
      let floats = readers.map { _ in carver.floats(tile) }
      let scratch = (0..<passes.scratchCount).map { _ in carver.floats(min(tiling.blockLength, tile)) }
      let out = carver.floats(output == nil ? 0 : tile)
      let raw = carver.bytes(passes.readBytes(tile))
      var writer: SpanWriter?
      if let output { writer = SpanWriter(context: passes.context, digest: output, firstElement: span.lowerBound) }
      var feeds = FeedList(passes.digests, at: span.lowerBound, readers: readers, enabled: hashing)

      var position = span.lowerBound
      while position < span.upperBound {
        let range = position..<min(span.upperBound, position + tile)
        for index in reading {
          try readers[index].read(range, into: floats[index], scratch: raw)
          if hashing.contains(index) {
            feeds.update(index, raw, elements: range.count)
            try passes.requireFinite(floats[index], range, input: index)
          }
        }
        try visitBlocks(of: range, span: spanIndex, floats: floats, out: out, scratch: scratch, body)
        if let writer { try writer.append(out, count: range.count) }
        position = range.upperBound
      }
      try writer?.flush()
    }

    private func visitBlocks(
      of range: Range<Int>, span: Int, floats: [UnsafeMutablePointer<Float>], out: UnsafeMutablePointer<Float>,
      scratch: [UnsafeMutablePointer<Float>], _ body: (Block) throws(Problem) -> Void
    ) throws(Problem) {
      let length = tiling.blockLength
      var start = range.lowerBound
      var pointers = floats
      while start < range.upperBound {
        let count = min(length, range.upperBound - start)
        let offset = start - range.lowerBound
        for index in pointers.indices { pointers[index] = floats[index] + offset }
        let result: Result<Void, Problem> = pointers.withUnsafeBufferPointer { inputs in
          scratch.withUnsafeBufferPointer { scratch in
            Result { () throws(Problem) in
              try body(
                Block(
                  index: start / length, span: span, start: start, count: count, inputs: inputs, output: out + offset,
                  scratch: scratch))
            }
          }
        }
        try result.get()
        start += count
      }
    }
  }

  private func readBytes(_ count: Int) -> Int { readers.map { $0.scratchBytes(for: count) }.max() ?? 0 }

  /// Bytes that each thread needs during a pass.
  func workingBytes(_ tiling: Tiling) -> Int {
    Self.threadBytes(inputs: readers.count, tiling: tiling, scratchCount: scratchCount) { readBytes($0) }
  }

  /// What a pass over these parameters would take in each thread, known before anything is opened.
  public static func threadBytes(recipes: [Parameter], tiling: Tiling, scratchCount: Int) -> Int {
    let pieces = SpanWriter.bufferBytes
    return pieces
      + threadBytes(inputs: recipes.count, tiling: tiling, scratchCount: scratchCount) { count in
        recipes.map { $0.recipe.scratchBytes(for: count) }.max() ?? 0
      }
  }

  private static func threadBytes(
    inputs: Int, tiling: Tiling, scratchCount: Int, readBytes: (Int) -> Int
  ) -> Int {
    let tile = min(tiling.tileLength, tiling.elementCount)
    return ScratchArena.size(
      floats: Array(repeating: tile, count: inputs + 1)
        + Array(repeating: min(tiling.blockLength, tile), count: scratchCount),
      bytes: readBytes(tile))
  }

  /// Hashes stored tensors that are not read in order by the passes: adapters' factors, gathered rows.
  public func hashIndirectInputs(_ recipes: [StorageRecipe]) throws(Problem) {
    for recipe in recipes {
      if case .stored = recipe { continue }
      for tensor in recipe.storedTensors {
        let file = try context.files.file(tensor.file)
        context.read(tensor, try file.digest(of: tensor.offset..<tensor.offset + tensor.byteCount))
      }
    }
  }

  private func requireFinite(
    _ values: UnsafeMutablePointer<Float>, _ range: Range<Int>, input: Int
  ) throws(Problem) {
    guard !context.allowsNonFinite else { return }
    let found = es_first_nonfinite(values, Int64(range.count))
    guard found >= 0 else { return }
    throw Problem(
      .nonFiniteInput,
      "\(names[input]) holds \(values[Int(found)]) at element \(range.lowerBound + Int(found))",
      remedy: "The model is damaged; --allow-nonfinite carries it all the same, into types that have it.",
      tensor: context.outputTensor.name)
  }
}

/// The digests that a thread feeds while it reads a span, one an input.
private struct FeedList: ~Copyable {
  private var feeds: [FeedBox?]
  private let widths: [Int]

  init(_ digests: [ChunkedDigest?], at element: Int, readers: [any ParameterReader], enabled: [Int]) {
    let widths = readers.map { ($0 as? StoredReader)?.tensor.elementType.byteWidth ?? 0 }
    self.widths = widths
    feeds = digests.indices.map { index in
      guard enabled.contains(index), let digest = digests[index] else { return nil }
      return FeedBox(ChunkedDigest.Feed(into: digest, at: element * widths[index]))
    }
  }

  mutating func update(_ index: Int, _ raw: UnsafeMutableRawPointer, elements: Int) {
    feeds[index]?.feed.update(UnsafeRawBufferPointer(start: raw, count: elements * widths[index]))
  }

  /// A noncopyable feed in an array.
  private final class FeedBox {
    var feed: ChunkedDigest.Feed
    init(_ feed: consuming ChunkedDigest.Feed) { self.feed = feed }
  }
}
