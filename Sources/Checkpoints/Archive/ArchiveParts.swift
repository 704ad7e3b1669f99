public import EspalierBasics
internal import EspalierLinearMaps
internal import EspalierNumerics

extension ArchiveHeader {
  /// Chunks that fit the second cache, with tables that weigh little.
  public static let standardChunkBytes = 1 << 19

  /// The parts of a file: its tensors, if it is one of weights, and what lies before and between them.
  ///
  /// - Throws: what reading throws; a file that only looks like one of weights is bytes.
  public init(describing file: any ByteSource, chunkBytes: Int = standardChunkBytes) throws(Problem) {
    let size = try file.size()
    self.init(byteCount: size, chunkBytes: chunkBytes, parts: [])
    var names: Set<ExactString> = [ExactString(Self.checkName), "__metadata__"]
    var end = 0
    func add(_ name: String, _ type: ElementType, to next: Int) {
      guard next > end else { return }
      var unique = name
      while !names.insert(ExactString(unique)).inserted { unique += "_" }
      parts.append(Part(name: unique, type: type, byteCount: next - end))
      end = next
    }
    for tensor in Self.tensors(of: file) where tensor.offset >= end && tensor.offset + tensor.byteCount <= size {
      add(end == 0 ? "espalier.head" : "espalier.gap", .u8, to: tensor.offset)
      add(tensor.name, tensor.type, to: tensor.offset + tensor.byteCount)
    }
    add(end == 0 ? Self.bytesName : "espalier.tail", .u8, to: size)
  }

  /// Whether the file was not understood, or has no tensors.
  public var isOfBytes: Bool { parts.allSatisfy { $0.name == Self.bytesName } }
  private static let bytesName = "espalier.bytes"

  /// The same with neighbouring tensors of one type as one part, which is less to say of many small ones.
  func joiningTensors() -> ArchiveHeader {
    var joined = self
    joined.parts = []
    for var part in parts {
      if joined.parts.count > 1, joined.parts[joined.parts.count - 1].type == part.type {
        joined.parts[joined.parts.count - 1].byteCount += part.byteCount
        continue
      }
      if !joined.parts.isEmpty { part.name = "espalier.tensors.\(joined.parts.count)" }
      joined.parts.append(part)
    }
    return joined
  }

  /// The same with parts marked whose bytes an earlier part has, as they are when the file is packed.
  public func markingRepeats(in file: any ByteSource, workers: WorkerPool) throws(Problem) -> ArchiveHeader {
    try RepeatedParts.marked(self, in: file, workers: workers)
  }

  private static func tensors(
    of file: any ByteSource
  ) -> [(name: String, type: ElementType, offset: Int, byteCount: Int)] {
    let path = WeightFile.name(file.path)
    let tensors: [StoredTensor]
    if path.lowercased().hasSuffix(".gguf") {
      tensors = ((try? GGUFHeader(reading: file).tensors) ?? []).compactMap { StoredTensor($0, file: path) }
    } else {
      tensors = (try? SafetensorsHeader(reading: file, unknownTypesAsBytes: true).tensors) ?? []
    }
    return tensors.sorted { $0.offset < $1.offset }.map { tensor in
      if case .elements(let type) = tensor.format { return (tensor.name, type, tensor.offset, tensor.byteCount) }
      return (tensor.name, .u8, tensor.offset, tensor.byteCount)
    }
  }

  /// Gives every part the place in the base of the tensor with its name, type and length.
  ///
  /// - Parameters:
  ///   - files: of the base, as they will be named.
  /// - Returns: which of the files the header names then: those with such a tensor.
  @discardableResult
  public mutating func align(with files: [(path: String, file: any ByteSource)]) throws(Problem) -> [Int] {
    var places: [ExactString: (type: ElementType, byteCount: Int, place: Place)] = [:]
    for (index, (_, file)) in files.enumerated() {
      for tensor in Self.tensors(of: file) {
        places[ExactString(tensor.name)] = (tensor.type, tensor.byteCount, Place(file: index, offset: tensor.offset))
      }
    }
    for index in parts.indices {
      let part = parts[index]
      guard let found = places[ExactString(part.name)], found.type == part.type, found.byteCount == part.byteCount
      else {
        continue
      }
      parts[index].base = found.place
    }
    let used = Set(parts.compactMap { $0.base?.file }).sorted()
    base = try used.map { (index) throws(Problem) in
      BaseFile(path: files[index].path, byteCount: try files[index].file.size())
    }
    for index in parts.indices {
      guard let file = parts[index].base?.file, let place = used.firstIndex(of: file) else { continue }
      parts[index].base?.file = place
    }
    return used
  }
}
