public import EspalierBasics
internal import EspalierNumerics
internal import Synchronization

/// Gives ranges of a parameter's elements as float32. One reader serves several threads.
public protocol ParameterReader: Sendable {
  var elementCount: Int { get }
  /// Bytes the reader keeps in memory for as long as it lives.
  var residentBytes: Int { get }
  /// Bytes of scratch that ``read(_:into:scratch:)`` needs for a range of `count` elements.
  func scratchBytes(for count: Int) -> Int
  /// Reads elements `range` (row-major, flattened) into `destination`.
  ///
  /// - Parameter scratch: room of ``scratchBytes(for:)``, 64-byte aligned.
  /// - Throws: what reading the files throws, with the tensor named.
  func read(
    _ range: Range<Int>, into destination: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) throws(Problem)
}

/// Bytes of a row of `count` floats in scratch: a multiple of 64, so that what follows stays aligned.
func alignedFloatBytes(_ count: Int) -> Int { (count * MemoryLayout<Float>.stride + 63) / 64 * 64 }

/// Opened files by path, so that a file shared by many parameters is opened once.
public final class FilePool: Sendable {
  private let files = Mutex<[String: any ByteSource]>([:])

  public init() {}

  public func file(_ path: String) throws(Problem) -> any ByteSource {
    if let file = files.withLock({ $0[path] }) { return file }
    let opened = try WeightFile.open(path)
    return files.withLock { files in
      if let other = files[path] { return other }
      files[path] = opened
      return opened
    }
  }
}

/// Reads a tensor as it is stored.
public final class StoredReader: ParameterReader {
  public let tensor: StoredTensor
  private let file: any ByteSource

  public init(_ tensor: StoredTensor, files: FilePool) throws(Problem) {
    self.tensor = tensor
    file = try files.file(tensor.file)
  }

  public var elementCount: Int { tensor.elementCount }
  public var residentBytes: Int { 0 }
  public func scratchBytes(for count: Int) -> Int { count * tensor.elementType.byteWidth }

  /// The stored bytes of the range are left at the beginning of `scratch`.
  public func read(
    _ range: Range<Int>, into destination: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) throws(Problem) {
    let width = tensor.elementType.byteWidth
    let bytes = UnsafeMutableRawBufferPointer(start: scratch, count: range.count * width)
    try readBytes(at: range.lowerBound * width, into: bytes)
    tensor.elementType.decode(scratch, into: destination, count: range.count)
  }

  /// Reads stored bytes, beginning `offset` bytes into the tensor.
  public func readBytes(at offset: Int, into bytes: UnsafeMutableRawBufferPointer) throws(Problem) {
    do throws(Problem) { try file.read(into: bytes, at: tensor.offset + offset) } catch {
      throw error.at(tensor: tensor.name)
    }
  }
}

extension StorageRecipe {
  /// What ``ParameterReader/residentBytes`` of its reader will be, known before anything is opened.
  public var residentBytes: Int {
    switch self {
    case .stored, .coded: 0
    case .reordered(let base, let order): base.residentBytes + ReorderedReader.residentBytes(of: base, order)
    case .transposed(let base, let shape): base.residentBytes + TransposedReader.residentBytes(shape, base: base)
    case .mapped(let base, _): base.residentBytes
    case .updated(let base, _, let update): base.residentBytes + UpdatedReader.residentBytes(of: update)
    case .gathered(let runs, let sources, _):
      sources.reduce(runs.count * MemoryLayout<RowRun>.stride) { $0 + $1.residentBytes }
    case .selected(let base, let selection): base.residentBytes + SelectedReader.residentBytes(of: selection)
    case .combined(let terms, _, _): terms.reduce(0) { $0 + $1.recipe.residentBytes }
    case .reduced(let storage): storage.memoryBytes
    case .packed(let storage): storage.residentBytes
    }
  }

  /// What ``ParameterReader/scratchBytes(for:)`` of its reader will be, known before anything is opened.
  public func scratchBytes(for count: Int) -> Int {
    switch self {
    case .stored(let tensor): count * tensor.elementType.byteWidth
    case .coded(let tensor): BlockReader.scratchBytes(for: count, format: tensor.format)
    case .reordered(let base, _), .mapped(let base, _): base.scratchBytes(for: count)
    case .transposed: 0
    case .updated(let base, _, .delta(let change)):
      max(base.scratchBytes(for: count), DeltaDecoder.scratchBytes(of: change))
    case .updated(let base, let shape, _):
      UpdatedReader.scratchBytes(for: count, rowLength: shape.dropFirst().reduce(1, *)) { base.scratchBytes(for: $0) }
    case .gathered(_, let sources, let shape):
      GatheredReader.scratchBytes(for: count, rowLength: shape.dropFirst().reduce(1, *)) { count in
        sources.map { $0.scratchBytes(for: count) }.max() ?? 0
      }
    case .selected(let base, let selection):
      SelectedReader.scratchBytes(for: count, selection: selection) { base.scratchBytes(for: $0) }
    case .combined(let terms, _, _):
      CombinedReader.scratchBytes { count in terms.map { $0.recipe.scratchBytes(for: count) }.max() ?? 0 }
    case .reduced(let storage): ReducedReader.scratchBytes(for: count, columns: storage.columns)
    case .packed(let storage): storage.scratchBytes(for: count)
    }
  }

  /// A reader of the parameter; small factors of an adapter are read into memory now.
  public func reader(files: FilePool) throws(Problem) -> any ParameterReader {
    switch self {
    case .stored(let tensor): try StoredReader(tensor, files: files)
    case .coded(let tensor): try BlockReader(tensor, files: files)
    case .reordered(let base, let order): try ReorderedReader(base: base, order: order, files: files)
    case .transposed(let base, let shape): try TransposedReader(base: base, shape: shape, files: files)
    case .mapped(let base, let map): try MappedReader(base: base.reader(files: files), map: map)
    case .updated(let base, _, .delta(let change)):
      try ChangedReader(base: base.reader(files: files), change: change, files: files)
    case .updated(let base, let shape, let update):
      try UpdatedReader(base: base.reader(files: files), shape: shape, update: update, files: files)
    case .gathered(let runs, let sources, let shape):
      try GatheredReader(runs: runs, sources: sources, shape: shape, files: files)
    case .selected(let base, let selection): try SelectedReader(base: base, selection: selection, files: files)
    case .combined(let terms, let constant, let shape):
      try CombinedReader(terms: terms, constant: constant, elementCount: shape.reduce(1, *), files: files)
    case .reduced(let storage): try ReducedReader(storage, files: files)
    case .packed(let storage): try PackedReader(storage, files: files)
    }
  }
}
