public import EspalierBasics
internal import EspalierCheckpoints
public import EspalierNumerics

/// A tensor that will be written: what it is and where its bytes go.
public struct OutputTensor: Sendable, Hashable, Codable {
  public var name: String
  public var elementType: ElementType
  public var shape: [Int]
  /// Index into ``OutputLayout/files``.
  public var file: Int
  /// Offset of the first byte in that file.
  public var offset: Int

  public var elementCount: Int { shape.reduce(1, *) }
  public var byteCount: Int { elementCount * elementType.byteWidth }
}

/// Files of a safetensors model, known to the last byte before anything is written, so that tensors can be written in
/// any order by any thread.
public struct OutputLayout: Sendable {
  public struct OutputFile: Sendable, Hashable, Codable {
    public var name: String
    /// The bytes before the data.
    public var header: [UInt8]
    public var byteCount: Int
  }

  public let files: [OutputFile]
  /// In the order they were given.
  public let tensors: [OutputTensor]

  /// What a caller wants written.
  public struct Request: Sendable {
    public var name: String
    public var elementType: ElementType
    public var shape: [Int]
    /// The parameter that the tensor belongs to. Tensors of one parameter follow each other and lie in one file.
    public var parameter: String

    public init(name: String, elementType: ElementType, shape: [Int], parameter: String? = nil) {
      self.name = name
      self.elementType = elementType
      self.shape = shape
      self.parameter = parameter ?? name
    }

    var byteCount: Int { shape.reduce(1, *) * elementType.byteWidth }
  }

  /// Fills shards in the given order; a shard ends before the parameter that would carry it past `shardBytes`.
  ///
  /// Within a file, wider element types come first, so that every tensor is aligned to its element.
  ///
  /// - Parameter metadata: what a file's `__metadata__` says beside its format, from the parameters that it has.
  public init(
    _ requests: [Request], shardBytes: Int, metadata: ([String]) -> [(String, String)] = { _ in [] }
  ) {
    var shards: [[Int]] = [[]]
    var filled = 0
    var first = 0
    while first < requests.count {
      let end = requests[first...].firstIndex { $0.parameter != requests[first].parameter } ?? requests.count
      let bytes = requests[first..<end].reduce(0) { $0 + $1.byteCount }
      if filled > 0, filled + bytes > shardBytes {
        shards.append([])
        filled = 0
      }
      shards[shards.count - 1] += first..<end
      filled += bytes
      first = end
    }
    var files: [OutputFile] = []
    var tensors = [OutputTensor?](repeating: nil, count: requests.count)
    for (number, members) in shards.enumerated() {
      let ordered = members.enumerated().sorted { a, b in
        let (wa, wb) = (requests[a.element].elementType.byteWidth, requests[b.element].elementType.byteWidth)
        return (wb, a.offset) < (wa, b.offset)
      }.map(\.element)
      let header = SafetensorsHeader.bytes(
        for: ordered.map { (requests[$0].name, requests[$0].elementType, requests[$0].shape) },
        metadata: [("format", "pt")] + metadata(ordered.map { requests[$0].parameter }))
      var offset = header.count
      for index in ordered {
        let request = requests[index]
        tensors[index] = OutputTensor(
          name: request.name, elementType: request.elementType, shape: request.shape, file: number, offset: offset)
        offset += request.byteCount
      }
      files.append(
        OutputFile(name: Self.fileName(number, of: shards.count), header: header, byteCount: offset))
    }
    self.files = files
    self.tensors = tensors.compactMap { $0 }
  }

  private static func fileName(_ number: Int, of count: Int) -> String {
    guard count > 1 else { return "model.safetensors" }
    func five(_ value: Int) -> String {
      let digits = String(value)
      return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    }
    return "model-\(five(number + 1))-of-\(five(count)).safetensors"
  }

  /// Bytes of all files.
  public var byteCount: Int { files.reduce(0) { $0 + $1.byteCount } }

  /// `model.safetensors.index.json`, or nil where one file holds everything.
  public var index: JSON? {
    guard files.count > 1 else { return nil }
    let total = tensors.reduce(0) { $0 + $1.byteCount }
    let names = tensors.map(\.name).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    let fileOf = Dictionary(
      tensors.map { (ExactString($0.name), files[$0.file].name) }, uniquingKeysWith: { first, _ in first })
    return [
      "metadata": ["total_size": .number(total)],
      "weight_map": .object(names.map { ($0, .string(fileOf[ExactString($0)] ?? "")) }),
    ]
  }
}
