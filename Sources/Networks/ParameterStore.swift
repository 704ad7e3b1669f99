internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierNumerics
internal import Synchronization

/// Fetches parameters by name from a checkpoint, in the form operations work on.
///
/// A matrix is read as it is stored, never widened as a whole; what is stored transposed is turned while it is read. One
/// that is stored in a reduced form, or as codes with scales, is applied in it.
/// Weights are read rather than mapped: memory then holds exactly what was read whatever the page cache does, huge pages
/// can back it, and a file that is cut under a running network is an error, not a crash.
final class ParameterStore: Sendable {
  /// Where a parameter's elements are: in a tensor of its own, or some rows of one that stacks several.
  struct Source: Sendable {
    var parameter: Parameter
    var description: ParameterDescription
    /// First row of the matrix `[all dimensions but the last, last]`, and the rows in order; nil for all of them.
    var rows: [Int]?
    /// The shape of what is taken.
    var shape: [Int]
  }

  private struct Key: Hashable {
    var name: ExactString
    var firstRow: Int
    var form: ParameterRequest.Form

    init(_ source: Source, _ form: ParameterRequest.Form) {
      name = ExactString(source.parameter.name)
      firstRow = source.rows?.first ?? -1
      self.form = form
    }
  }

  let description: ModelDescription
  private let stored: [ExactString: Parameter]
  private let files = FilePool()
  private let kept: Mutex<[Key: LoadedParameter]> = Mutex([:])
  /// Where all matrices go that stay.
  private let arena: Mutex<WeightArena?> = Mutex(nil)
  /// Whether what was loaded stays in memory.
  let isResident: Bool

  init(_ checkpoint: any Checkpoint, description: ModelDescription, isResident: Bool) {
    self.description = description
    stored = checkpoint.parametersByName()
    self.isResident = isResident
  }

  /// What a request asks for in this checkpoint.
  ///
  /// - Throws: `network.parameter` if it is not there, or has another shape than described.
  func source(of request: ParameterRequest) throws(Problem) -> Source {
    let name = request.name
    guard let wanted = description.parameter(named: name), let found = try find(name) else {
      throw Problem(
        .networkParameter, "the network needs `\(name)`, which the checkpoint does not have", tensor: name)
    }
    let (shape, tensor) = (found.description.recipe.canonical(found.shape), found.parameter.name)
    guard shape == wanted.canonicalShape else {
      throw Problem(
        .networkParameter, "`\(name)` shares it and should be \(wanted.canonicalShape), but it is \(shape)",
        tensor: tensor)
    }
    guard !found.description.recipe.isTransposed || shape.count == 2 else {
      throw Problem(.networkParameter, "\(shape.count) dimensions stored transposed cannot be turned", tensor: tensor)
    }
    return found
  }

  func find(_ name: String) throws(Problem) -> Source? {
    // A family may tie in a circle; no path is longer than there are parameters.
    var name = name
    for _ in description.parameters {
      guard let wanted = description.parameter(named: name) else { return nil }
      if let found = try find(wanted) { return found }
      guard let target = wanted.tiedTo else { break }
      name = target
    }
    return nil
  }

  /// The tensor of its own, or the part of another one, that a parameter is stored in.
  private func find(_ wanted: ParameterDescription) throws(Problem) -> Source? {
    if let parameter = storedParameter(wanted) {
      guard parameter.shape == wanted.shape else {
        throw Problem(
          .networkParameter, "the shape is \(parameter.shape), and \(wanted.shape) by the config",
          tensor: parameter.name)
      }
      return Source(parameter: parameter, description: wanted, rows: nil, shape: wanted.shape)
    }
    for other in description.parameters where other.replaces.contains(wanted.name) {
      if let parameter = storedParameter(other) { return try part(wanted, of: other, in: parameter) }
    }
    return nil
  }

  private func storedParameter(_ description: ParameterDescription) -> Parameter? {
    for name in [description.name] + description.aliases {
      if let parameter = stored[ExactString(name)] { return parameter }
    }
    return nil
  }

  /// Whether a stored tensor is neither read, nor a copy of what is, nor a buffer that follows from the config.
  ///
  /// - Parameter read: what is read, by its name here, in the description and in the checkpoint.
  func isUnread(_ name: String, besides read: Set<ExactString>) -> Bool {
    func isRead(_ name: String) -> Bool { read.contains(ExactString(name)) }
    if isRead(name) { return false }
    guard let parameter = description.parameter(named: name) else {
      return !Self.buffers.contains { name.hasSuffix($0) }
    }
    let isCopy =
      isRead(parameter.name) || parameter.tiedTo.map(isRead) ?? false
      || !parameter.replaces.isEmpty && parameter.replaces.allSatisfy(isRead)
      || description.parameters.contains { $0.tiedTo == parameter.name && isRead($0.name) }
    return parameter.role.part != .buffer && !isCopy
  }

  /// How the names of buffers end that older writers stored in any family.
  private static let buffers = [".rotary_emb.inv_freq", ".position_ids", ".masked_bias", ".num_batches_tracked"]

  /// Rows of a tensor that stores several parameters: all experts, or gate and up.
  private func part(
    _ wanted: ParameterDescription, of stack: ParameterDescription, in parameter: Parameter
  ) throws(Problem) -> Source {
    guard parameter.shape == stack.shape else {
      throw Problem(
        .networkParameter, "the shape is \(parameter.shape), and \(stack.shape) by the config", tensor: parameter.name)
    }
    if stack.shape == wanted.shape {
      return Source(parameter: parameter, description: stack, rows: nil, shape: stack.shape)
    }
    let labels: [Role.Part: String] = [.feedForwardGate: "gate", .feedForwardUp: "up"]
    guard let expert = wanted.expert, stack.shape.count == 3, expert < stack.shape[0], !stack.shape.contains(0),
      !stack.recipe.isTransposed, !wanted.recipe.isTransposed
    else {
      throw Problem(
        .networkParameter, "`\(wanted.name)` cannot be taken out of this tensor", tensor: parameter.name)
    }
    var rows = Array(0..<stack.shape[1])
    if let label = labels[wanted.role.part], stack.dimensions[1].labels.contains(label) {
      rows = try stack.dimensions[1].indices(ofSegment: label)
    }
    guard [rows.count, stack.shape[2]] == wanted.shape else {
      throw Problem(
        .networkParameter, "its parts are not of the shape \(wanted.shape) of `\(wanted.name)`", tensor: parameter.name)
    }
    return Source(
      parameter: parameter, description: stack, rows: rows.map { expert * stack.shape[1] + $0 }, shape: wanted.shape)
  }

  /// Bytes of the matrices and vectors that these requests bring, each once.
  func byteCount(of requests: [ParameterRequest]) throws(Problem) -> Int {
    var bytes: [Key: Int] = [:]
    for request in requests {
      let source = try source(of: request)
      bytes[Key(source, request.form)] = WeightArena.rounded(
        request.form == .matrix ? source.matrixBytes : source.shape.reduce(4, *))
    }
    return bytes.values.reduce(0, +)
  }

  /// All parameters of a section, several read at once.
  ///
  /// - Parameter all: the requests of the whole network, which share memory if they stay.
  func load(
    _ requests: [ParameterRequest], of all: [ParameterRequest], pool: WorkerPool
  ) throws(Problem) -> LoadedParameters {
    var loaded: [LoadedParameter?] = []
    for request in requests {
      let key = Key(try source(of: request), request.form)
      loaded.append(kept.withLock { $0[key] })
    }
    let missing = loaded.indices.filter { loaded[$0] == nil }
    guard !missing.isEmpty else { return collected(loaded) }
    let arena = try arena(for: isResident ? all : requests)
    let read: Mutex<[Int: LoadedParameter]> = Mutex([:])
    try pool.forEach(missing.count) { (index) throws(Problem) in
      let parameter = try load(requests[missing[index]], arena)
      read.withLock { $0[missing[index]] = parameter }
    }
    for (index, parameter) in read.withLock({ $0 }) { loaded[index] = parameter }
    return collected(loaded)
  }

  private func collected(_ loaded: [LoadedParameter?]) -> LoadedParameters {
    var parameters = LoadedParameters()
    for case let parameter? in loaded { parameters.append(parameter) }
    return parameters
  }

  private func arena(for requests: [ParameterRequest]) throws(Problem) -> WeightArena {
    if let known = arena.withLock({ $0 }) { return known }
    let made = try WeightArena(byteCount: try byteCount(of: requests))
    if isResident { arena.withLock { $0 = made } }
    return made
  }

  private func load(_ request: ParameterRequest, _ arena: WeightArena) throws(Problem) -> LoadedParameter {
    let source = try source(of: request)
    let key = Key(source, request.form)
    if let known = kept.withLock({ $0[key] }) { return known }
    let loaded: LoadedParameter
    do throws(Problem) {
      loaded =
        switch request.form {
        case .matrix: .matrix(try matrix(source, arena))
        case .vector: .vector(try floats(source))
        }
    } catch { throw error.at(tensor: source.parameter.name) }
    if isResident { kept.withLock { $0[key] = loaded } }
    return loaded
  }
}

// MARK: - Reading

extension ParameterStore.Source {
  /// The rows as they are coded, if nothing has to be computed; of a parameter stored transposed these may still be the
  /// columns.
  var coded: CodedMatrix? {
    guard description.recipe.value == .identity, shape.count > 1 else { return nil }
    if description.recipe.isTransposed, let turned = parameter.codedMatrix(transposed: true) { return turned }
    guard let coded = parameter.codedMatrix() else { return nil }
    // Rows of blocks cannot be turned or joined.
    if coded.order != nil || rows != nil || coded.columns == matrixShape.columns, !description.recipe.isTransposed {
      return coded.columns == matrixShape.columns ? coded : nil
    }
    if case .elements = coded.format, rows == nil { return coded }
    return nil
  }

  /// The reduced form that it is stored in, if a map can be that form as it is: whole, and not turned or changed.
  var reduced: ReducedStorage? {
    guard rows == nil, description.recipe.value == .identity, !description.recipe.isTransposed,
      let storage = parameter.reducedForm, (storage.rows, storage.columns) == matrixShape
    else { return nil }
    return storage
  }

  /// The codes and scales that it is stored in, if they are the map, and how they lie in memory. Layouts of codes have
  /// all matrices as `[out, in]`, so one whose parameter is stored transposed is turned back.
  var packed: (storage: PackedStorage, layout: PackedMatrix.Layout)? {
    guard rows == nil, description.recipe.value == .identity,
      let storage = parameter.packedForm(transposed: description.recipe.isTransposed),
      (storage.rows, storage.columns) == matrixShape, let layout = storage.layout
    else { return nil }
    return (storage, layout)
  }

  /// Rows and columns as a map has them.
  var matrixShape: (rows: Int, columns: Int) { description.recipe.matrixShape(of: shape) }

  /// Bytes of the matrix in memory.
  var matrixBytes: Int {
    if let reduced { return reduced.memoryBytes }
    if let packed { return packed.layout.byteCount }
    let (rows, columns) = matrixShape
    return rows * (coded?.format.byteCount(of: columns) ?? 4 * columns)
  }
}

extension ParameterStore {
  private func matrix(_ source: Source, _ arena: WeightArena) throws(Problem) -> any LinearMap {
    let (rows, columns) = source.matrixShape
    let place = try arena.take(source.matrixBytes)
    if let reduced = source.reduced {
      return try reduced.load(into: place.buffer, offset: place.offset, files: files)
    }
    if let packed = source.packed {
      return try packed.storage.load(packed.layout, into: place.buffer, offset: place.offset, files: files)
    }
    guard let coded = source.coded else {
      let values = try floats(source)
      place.address.copyMemory(from: values.address, byteCount: source.matrixBytes)
      return try StoredMatrix(
        place.buffer, offset: place.offset, format: .elements(.f32), rows: rows, columns: columns)
    }
    if let taken = source.rows {
      try forEachRun(taken) { (first, run) throws(Problem) in
        try coded.read(rows: run, into: place.address + first * coded.rowBytes, files: files)
      }
    } else if source.description.recipe.isTransposed, coded.columns != columns || source.parameter.isInStoredOrder,
      case .elements(let type) = coded.format
    {
      let stored = try AlignedBuffer(byteCount: source.matrixBytes)
      try coded.read(rows: 0..<coded.rows, into: stored.address, files: files)
      transpose(stored.address, into: place.address, rows: rows, columns: columns, width: type.byteWidth)
    } else {
      try coded.read(rows: 0..<coded.rows, into: place.address, files: files)
    }
    return try StoredMatrix(place.buffer, offset: place.offset, format: coded.format, rows: rows, columns: columns)
  }

  /// All elements as floats, in canonical layout and value.
  func floats(_ source: Source) throws(Problem) -> AlignedBuffer {
    let reader = try source.parameter.recipe.reader(files: files)
    let count = source.shape.reduce(1, *)
    let buffer = try AlignedBuffer(count: count, of: Float.self)
    let rowLength = source.shape.last ?? 1
    let tile = max(1, (1 << 18) / max(1, rowLength)) * max(1, rowLength)
    let scratch = try AlignedBuffer(byteCount: reader.scratchBytes(for: min(tile, count)))
    func read(_ range: Range<Int>, to start: Int) throws(Problem) {
      for first in stride(from: range.lowerBound, to: range.upperBound, by: tile) {
        let part = first..<min(range.upperBound, first + tile)
        try reader.read(
          part, into: buffer.floats.baseAddress! + start + first - range.lowerBound, scratch: scratch.address)
      }
    }
    if let rows = source.rows {
      try forEachRun(rows) { (first, run) throws(Problem) in
        try read(run.lowerBound * rowLength..<run.upperBound * rowLength, to: first * rowLength)
      }
    } else {
      try read(0..<count, to: 0)
    }
    transform(buffer.floats, count, source.description.recipe.value)
    guard source.description.recipe.isTransposed, source.shape.count > 1 else { return buffer }
    let (rows, columns) = source.matrixShape
    let turned = try AlignedBuffer(byteCount: buffer.byteCount)
    transpose(buffer.address, into: turned.address, rows: rows, columns: columns, width: 4)
    return turned
  }

  private func transform(
    _ values: UnsafeMutableBufferPointer<Float>, _ count: Int, _ transform: StoredForm.ValueTransform
  ) {
    switch transform {
    case .identity: break
    case .plusOne: for index in 0..<count { values[index] += 1 }
    case .negativeExponential:
      for index in 0..<count { values[index] = Float(-Elementary.exp(Double(values[index]))) }
    }
  }

  /// Calls `body` for each run of consecutive rows, with the place of the run in the list.
  private func forEachRun(
    _ rows: [Int], _ body: (_ first: Int, _ run: Range<Int>) throws(Problem) -> Void
  ) throws(Problem) {
    var first = 0
    while first < rows.count {
      var end = first + 1
      while end < rows.count, rows[end] == rows[end - 1] + 1 { end += 1 }
      try body(first, rows[first]..<rows[first] + end - first)
      first = end
    }
  }

  /// `turned[i, j] = stored[j, i]` for elements of `width` bytes.
  private func transpose(
    _ stored: UnsafeMutableRawPointer, into turned: UnsafeMutableRawPointer, rows: Int, columns: Int, width: Int
  ) {
    func move<T: BitwiseCopyable>(_ type: T.Type) {
      let (from, to) = (stored.assumingMemoryBound(to: type), turned.assumingMemoryBound(to: type))
      for block in stride(from: 0, to: rows, by: 32) {
        for column in 0..<columns {
          for row in block..<min(rows, block + 32) { to[row * columns + column] = from[column * rows + row] }
        }
      }
    }
    switch width {
    case 1: move(UInt8.self)
    case 2: move(UInt16.self)
    case 4: move(UInt32.self)
    default: move(UInt64.self)
    }
  }
}

extension Parameter {
  /// Whether it is stored in the order of its shape, and not turned.
  fileprivate var isInStoredOrder: Bool {
    if case .transposed = recipe { false } else { true }
  }
}
