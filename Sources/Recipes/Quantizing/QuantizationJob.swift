internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNumerics

/// One tensor of a quantized model, as data.
struct QuantizationJob: TensorJob {
  let outputIndex: Int
  /// Name of the model, for messages.
  let model: String
  /// As the file is to have it.
  let content: GGUFExport.Tensor.Content
  let name: String
  let shape: [Int]
  let format: WeightFormat
  let search: BlockEncoder.Search
  /// What an error in a column counts, `[matrices, columns]`: of stacked experts each has its own.
  let importance: [Float]?

  let movedBytes: Int
  let residentBytes: Int
  let threadBytes: Int

  init(
    outputIndex: Int, model: String, content: GGUFExport.Tensor.Content, name: String, shape: [Int],
    format: WeightFormat, search: BlockEncoder.Search, importance: [Float]?
  ) {
    self.outputIndex = outputIndex
    self.model = model
    (self.content, self.name, self.shape) = (content, name, shape)
    self.format = format
    self.search = search
    self.importance = importance
    let written = format.byteCount(of: shape.reduce(1, *))
    guard case .parameter(let parameter) = content else {
      (movedBytes, residentBytes, threadBytes) = (written, written, 0)
      return
    }
    movedBytes = parameter.recipe.storedTensors.reduce(0) { $0 + $1.byteCount } + written
    let blocks = Self.isBlocks(format)
    // Codes that are carried are in memory beside those that errors are measured with.
    let kept = parameter.recipe.residentBytes
    residentBytes = blocks && parameter.isQuantized ? 2 * kept : kept
    let length = shape.last ?? 1
    threadBytes =
      TensorPasses.threadBytes(
        recipes: [parameter],
        tiling: Tiling(
          elementCount: parameter.elementCount,
          blocks: blocks ? .rows(length: Self.rowsAtOnce(of: length) * length) : .flat), scratchCount: blocks ? 2 : 0)
      + Self.encoderBytes
  }

  func run(_ context: JobContext) throws(Problem) {
    switch content {
    case .computed(let values): try write(values, context)
    case .parameter(let parameter): try run(parameter, context)
    }
  }

  private func write(_ values: [Float], _ context: JobContext) throws(Problem) {
    guard case .elements(let type) = format else {
      throw Problem(.matrixFormat, "what is computed is written as floats, not as \(format.name)", tensor: name)
    }
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: values.count * type.byteWidth, alignment: 64)
    defer { bytes.deallocate() }
    values.withUnsafeBufferPointer { values in
      guard let source = values.baseAddress, let destination = bytes.baseAddress else { return }
      type.encode(source, into: destination, count: values.count)
    }
    try context.write(UnsafeRawBufferPointer(bytes), at: 0)
    try context.hashWritten()
  }

  private func run(_ parameter: Parameter, _ context: JobContext) throws(Problem) {
    if let coded = parameter.codedMatrix(), coded.format == format {
      return try copy(coded, context)
    }
    if case .stored(let tensor) = parameter.recipe, tensor.format == format {
      return try RawCopy.copy(tensor, context: context)
    }
    let blocks = if case .blocks(let type) = format { type as BlockType? } else { nil as BlockType? }
    let passes = TensorPasses(
      readers: [try parameter.recipe.reader(files: context.files)], names: [model], shape: shape,
      scratchCount: blocks == nil ? 0 : 2, context: context)
    try passes.hashIndirectInputs([parameter.recipe])
    guard let blocks else {
      return try passes.write { (block) throws(Problem) in
        block.output.update(from: block.inputs[0], count: block.count)
      }
    }
    let carried = try parameter.recipe.blockRows(of: blocks, columns: shape.last ?? 1, files: context.files)
    try encode(passes, as: blocks, carrying: carried, context)
  }

  // MARK: - Blocks

  /// - Parameter carried: rows whose codes are there; nil to choose codes.
  private func encode(
    _ passes: TensorPasses, as type: BlockType, carrying carried: (any BlockRows)?, _ context: JobContext
  ) throws(Problem) {
    let length = shape.last ?? 1
    let rows = Self.rowsAtOnce(of: length)
    let encoder = try BlockEncoder(type, search: search)
    let errors = ErrorSums(blocks: passes.tiling(.rows(length: rows * length)).blockCount)
    do throws(Problem) {
      try passes.encode(rows: rows, ofLength: length) { (block, bytes) throws(Problem) in
        if let carried, let start = bytes.baseAddress {
          try carried.read(rows: block.start / length..<(block.start + block.count) / length, into: start)
        } else {
          try encode(block, by: encoder, into: bytes)
        }
        guard let start = bytes.baseAddress else { return }
        let decoded = block.scratch[1]
        type.decode(start, into: decoded, count: block.count)
        let values = block.inputs[0]
        let error = es_squared_distance(values, decoded, Int64(block.count))
        errors.set(
          block.index,
          .init(
            error: error, weighed: try importance == nil ? error : weighedError(values, decoded, block),
            square: es_square_sum(values, Int64(block.count))))
      }
    } catch { throw error.at(tensor: name) }
    var record = errors.record
    if carried != nil { record["carried"] = true }
    context.note(record)
  }

  /// Rows that share importance: those of a matrix, of which stacked experts have several.
  private func forEachMatrix(
    of block: Block, _ body: (_ rows: Range<Int>, _ matrix: Int) throws(Problem) -> Void
  ) throws(Problem) {
    let length = shape.last ?? 1
    let rows = block.start / length..<(block.start + block.count) / length
    guard let importance else { return try body(rows, 0) }
    let perMatrix = shape.reduce(1, *) / length / max(1, importance.count / length)
    var row = rows.lowerBound
    while row < rows.upperBound {
      let matrix = row / perMatrix
      let end = min(rows.upperBound, (matrix + 1) * perMatrix)
      try body(row..<end, matrix)
      row = end
    }
  }

  private func weighedError(
    _ values: UnsafePointer<Float>, _ decoded: UnsafePointer<Float>, _ block: Block
  ) throws(Problem) -> Double {
    let length = shape.last ?? 1
    var sum = 0.0
    try forEachMatrix(of: block) { (rows, matrix) throws(Problem) in
      importance?.withUnsafeBufferPointer { importance in
        guard let weights = importance.baseAddress else { return }
        for row in rows {
          let offset = row * length - block.start
          sum += es_weighed_squared_distance(
            values + offset, decoded + offset, weights + matrix * length, Int64(length))
        }
      }
    }
    return sum
  }

  private func encode(
    _ block: Block, by encoder: BlockEncoder, into bytes: UnsafeMutableRawBufferPointer
  ) throws(Problem) {
    let length = shape.last ?? 1
    let rowBytes = format.byteCount(of: length)
    try forEachMatrix(of: block) { (rows, matrix) throws(Problem) in
      let first = rows.lowerBound - block.start / length
      let view = try MatrixView(
        UnsafeBufferPointer(start: block.inputs[0] + first * length, count: rows.count * length), rows: rows.count,
        columns: length)
      let destination = UnsafeMutableRawBufferPointer(
        rebasing: bytes[first * rowBytes..<(first + rows.count) * rowBytes])
      guard let importance else { return try encoder.encode(view, into: destination) }
      try importance.withUnsafeBufferPointer { (importance) throws(Problem) in
        try encoder.encode(
          view, importance: UnsafeBufferPointer(rebasing: importance[matrix * length..<(matrix + 1) * length]),
          into: destination)
      }
    }
  }

  // MARK: - Copies

  /// Carries coded rows as they are, in the order of the output.
  private func copy(_ coded: CodedMatrix, _ context: JobContext) throws(Problem) {
    let height = max(1, Self.pieceBytes / max(1, coded.rowBytes))
    try context.pool.forEach((coded.rows + height - 1) / height) { (index) throws(Problem) in
      let rows = index * height..<min(coded.rows, (index + 1) * height)
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: rows.count * coded.rowBytes, alignment: 64)
      defer { buffer.deallocate() }
      guard let start = buffer.baseAddress else { return }
      try coded.read(rows: rows, into: start, files: context.files)
      try requireFinite(UnsafeRawBufferPointer(buffer), coded, context)
      try context.write(UnsafeRawBufferPointer(buffer), at: rows.lowerBound * coded.rowBytes)
    }
    try context.hashWritten()
    let file = try context.files.file(coded.stored.file)
    let start = coded.stored.offset
    context.read(coded.stored, try file.digest(of: start..<start + coded.stored.byteCount))
  }

  private func requireFinite(
    _ bytes: UnsafeRawBufferPointer, _ coded: CodedMatrix, _ context: JobContext
  ) throws(Problem) {
    guard !context.allowsNonFinite, case .elements(let type) = format, type.containsNonFinite(bytes) else { return }
    throw Problem(
      .nonFiniteInput, "the tensor holds a NaN or an infinity",
      remedy: "The model is damaged; give --allow-nonfinite to carry it all the same.", file: coded.stored.file,
      tensor: coded.stored.name)
  }

  // MARK: - Sizes

  private static func isBlocks(_ format: WeightFormat) -> Bool { if case .blocks = format { true } else { false } }

  /// Rows that fill the encoder's lanes and are a quarter of a megabyte of floats, or so.
  private static func rowsAtOnce(of length: Int) -> Int {
    let lanes = 16
    return max(lanes, (1 << 16) / max(1, length) / lanes * lanes)
  }

  private static let pieceBytes = 1 << 20
  /// What an encoder takes of a thread's stack.
  private static let encoderBytes = 128 << 10
}

/// Squares of errors by block, added in order whatever threads found them.
private final class ErrorSums: Sendable {
  struct Sums {
    var error = 0.0
    /// With importance.
    var weighed = 0.0
    var square = 0.0
  }

  private struct Cells: @unchecked Sendable {
    /// Each cell is written once, by the thread that has its block.
    let start: UnsafeMutablePointer<Sums>
  }

  private let cells: Cells
  private let count: Int

  init(blocks: Int) {
    count = blocks
    cells = Cells(start: .allocate(capacity: max(1, blocks)))
    cells.start.initialize(repeating: Sums(), count: max(1, blocks))
  }

  deinit { cells.start.deallocate() }

  func set(_ block: Int, _ sums: Sums) { cells.start[block] = sums }

  var record: JSON {
    var total = Sums()
    for index in 0..<count {
      total.error += cells.start[index].error
      total.weighed += cells.start[index].weighed
      total.square += cells.start[index].square
    }
    return [
      "squared_error": .number(total.error), "weighed_error": .number(total.weighed), "squares": .number(total.square),
    ]
  }
}
