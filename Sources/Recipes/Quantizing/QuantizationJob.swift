internal import CKernels
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
  /// As the file is to have it: its name, shape and values.
  let parameter: Parameter
  let format: WeightFormat
  let search: BlockEncoder.Search
  /// What an error in a column counts, `[matrices, columns]`: of stacked experts each has its own.
  let importance: [Float]?

  let movedBytes: Int
  let residentBytes: Int
  let threadBytes: Int

  init(
    outputIndex: Int, model: String, parameter: Parameter, format: WeightFormat, search: BlockEncoder.Search,
    importance: [Float]?
  ) {
    self.outputIndex = outputIndex
    self.model = model
    self.parameter = parameter
    self.format = format
    self.search = search
    self.importance = importance
    let stored = parameter.recipe.storedTensors.reduce(0) { $0 + $1.byteCount }
    movedBytes = stored + format.byteCount(of: parameter.elementCount)
    residentBytes = parameter.recipe.residentBytes
    let tiling = Tiling(
      elementCount: parameter.elementCount,
      blocks: Self.isBlocks(format)
        ? .rows(length: Self.rowsAtOnce(of: parameter.rowLength) * parameter.rowLength) : .flat)
    threadBytes =
      TensorPasses.threadBytes(recipes: [parameter], tiling: tiling, scratchCount: Self.isBlocks(format) ? 2 : 0)
      + Self.encoderBytes
  }

  func run(_ context: JobContext) throws(Problem) {
    if let coded = parameter.codedMatrix(), coded.format == format, parameter.shape.count >= 2 {
      return try copy(coded, context)
    }
    if case .stored(let tensor) = parameter.recipe, tensor.format == format {
      return try RawCopy.copy(tensor, context: context)
    }
    let blocks = if case .blocks(let type) = format { type as BlockType? } else { nil as BlockType? }
    let passes = TensorPasses(
      readers: [try parameter.recipe.reader(files: context.files)], names: [model], shape: parameter.shape,
      scratchCount: blocks == nil ? 0 : 2, context: context)
    try passes.hashIndirectInputs([parameter.recipe])
    guard let blocks else {
      return try passes.write { (block) throws(Problem) in
        block.output.update(from: block.inputs[0], count: block.count)
      }
    }
    try encode(passes, as: blocks, context)
  }

  // MARK: - Blocks

  private func encode(_ passes: TensorPasses, as type: BlockType, _ context: JobContext) throws(Problem) {
    let length = parameter.rowLength
    let rows = Self.rowsAtOnce(of: length)
    let encoder = try BlockEncoder(type, search: search)
    let errors = ErrorSums(blocks: passes.tiling(.rows(length: rows * length)).blockCount)
    do throws(Problem) {
      try passes.encode(rows: rows, ofLength: length) { (block, bytes) throws(Problem) in
        try encode(block, by: encoder, into: bytes)
        guard let start = bytes.baseAddress else { return }
        let decoded = block.scratch[1]
        type.decode(start, into: decoded, count: block.count)
        let values = block.inputs[0]
        errors.set(
          block.index, error: es_squared_distance(values, decoded, Int64(block.count)),
          square: es_square_sum(values, Int64(block.count)))
      }
    } catch { throw error.at(tensor: parameter.name) }
    context.note(errors.record)
  }

  /// Rows of one matrix after the other: each has its own importance.
  private func encode(
    _ block: Block, by encoder: BlockEncoder, into bytes: UnsafeMutableRawBufferPointer
  ) throws(Problem) {
    let length = parameter.rowLength
    let perMatrix = importance.map { parameter.elementCount / length / max(1, $0.count / length) } ?? Int.max
    let rows = block.start / length..<(block.start + block.count) / length
    let rowBytes = format.byteCount(of: length)
    var row = rows.lowerBound
    while row < rows.upperBound {
      let matrix = row / perMatrix
      let end = min(rows.upperBound, perMatrix == .max ? .max : (matrix + 1) * perMatrix)
      let view = try MatrixView(
        UnsafeBufferPointer(start: block.inputs[0] + (row - rows.lowerBound) * length, count: (end - row) * length),
        rows: end - row, columns: length)
      let destination = UnsafeMutableRawBufferPointer(
        rebasing: bytes[(row - rows.lowerBound) * rowBytes..<(end - rows.lowerBound) * rowBytes])
      guard let importance else {
        try encoder.encode(view, into: destination)
        row = end
        continue
      }
      try importance.withUnsafeBufferPointer { (importance) throws(Problem) in
        try encoder.encode(
          view, importance: UnsafeBufferPointer(rebasing: importance[matrix * length..<(matrix + 1) * length]),
          into: destination)
      }
      row = end
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
    context.read(
      coded.stored, try OutputFolder.digest(of: file, at: coded.stored.offset, byteCount: coded.stored.byteCount))
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
  private struct Cells: @unchecked Sendable {
    /// Each cell is written once, by the thread that has its block.
    let start: UnsafeMutablePointer<(error: Double, square: Double)>
  }

  private let cells: Cells
  private let count: Int

  init(blocks: Int) {
    count = blocks
    cells = Cells(start: .allocate(capacity: max(1, blocks)))
    cells.start.initialize(repeating: (0, 0), count: max(1, blocks))
  }

  deinit { cells.start.deallocate() }

  func set(_ block: Int, error: Double, square: Double) { cells.start[block] = (error, square) }

  var record: JSON {
    var (error, square) = (0.0, 0.0)
    for index in 0..<count {
      error += cells.start[index].error
      square += cells.start[index].square
    }
    return ["squared_error": .number(error), "squares": .number(square)]
  }
}
