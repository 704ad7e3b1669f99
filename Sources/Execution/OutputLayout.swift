public import EspalierBasics
public import EspalierCheckpoints
public import EspalierLinearMaps
public import EspalierNumerics

/// A tensor that will be written: what it is and where its bytes go.
public struct OutputTensor: Sendable, Hashable, Codable {
  public var name: String
  public var format: WeightFormat
  public var shape: [Int]
  /// Index into ``OutputLayout/files``.
  public var file: Int
  /// Offset of the first byte in that file.
  public var offset: Int

  public var elementCount: Int { shape.reduce(1, *) }
  public var byteCount: Int { format.byteCount(of: elementCount) }
  /// In its file.
  var byteRange: Range<Int> { offset..<offset + byteCount }
  /// The type of its numbers; of blocks, float32, which they decode to.
  public var elementType: ElementType { if case .elements(let type) = format { type } else { .f32 } }
}

/// Files of a model, known to the last byte before anything is written, so that tensors can be written in any order by
/// any thread.
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
  /// Whether the files end up beside the folder that tells of them, not in it.
  public let liesBeside: Bool

  init(files: [OutputFile], tensors: [OutputTensor], liesBeside: Bool) {
    self.files = files
    self.tensors = tensors
    self.liesBeside = liesBeside
  }

  /// What a caller wants written.
  public struct Request: Sendable {
    public var name: String
    public var elementType: ElementType
    public var shape: [Int]
    /// The parameter in a reduced form that the tensor is a part of; nil for a parameter of its own.
    public var reduced: ReducedParameter?

    public init(name: String, elementType: ElementType, shape: [Int], reduced: ReducedParameter? = nil) {
      self.name = name
      self.elementType = elementType
      self.shape = shape
      self.reduced = reduced
    }

    var byteCount: Int { shape.reduce(1, *) * elementType.byteWidth }
  }

  /// A parameter that is stored as several tensors (`Docs/reduced.md`).
  public struct ReducedParameter: Sendable, Hashable {
    public var name: String
    public var form: ReducedStorage.Form
    public var shape: [Int]

    public init(name: String, form: ReducedStorage.Form, shape: [Int]) {
      self.name = name
      self.form = form
      self.shape = shape
    }
  }

  /// A safetensors model: fills shards in the given order; a shard ends before the tensor that would carry it past `shardBytes`. The parts of
  /// a reduced parameter, which follow each other, stay in one file, and its header tells of them.
  ///
  /// Within a file, wider element types come first, so that every tensor is aligned to its element.
  ///
  /// - Parameters:
  ///   - metadata: of every file, beside what tells of reduced parameters.
  ///   - stem: what the files are called.
  public init(
    _ requests: [Request], shardBytes: Int, metadata: [(key: String, value: String)] = [("format", "pt")],
    stem: String = "model"
  ) {
    var shards: [[Int]] = [[]]
    var filled = 0
    for unit in Self.units(requests) {
      let bytes = unit.reduce(0) { $0 + requests[$1].byteCount }
      if filled > 0, filled + bytes > shardBytes {
        shards.append([])
        filled = 0
      }
      shards[shards.count - 1] += unit
      filled += bytes
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
        metadata: metadata + Self.sections(members.compactMap { requests[$0].reduced }))
      var offset = header.count
      for index in ordered {
        let request = requests[index]
        tensors[index] = OutputTensor(
          name: request.name, format: .elements(request.elementType), shape: request.shape, file: number,
          offset: offset)
        offset += request.byteCount
      }
      files.append(
        OutputFile(name: Self.fileName(stem, number, of: shards.count), header: header, byteCount: offset))
    }
    self.init(files: files, tensors: tensors.compactMap { $0 }, liesBeside: false)
  }

  /// Runs of tensors that no file boundary may part.
  private static func units(_ requests: [Request]) -> [Range<Int>] {
    var units: [Range<Int>] = []
    for (index, request) in requests.enumerated() {
      if let reduced = request.reduced, let last = units.last, requests[last.lowerBound].reduced == reduced {
        units[units.count - 1] = last.lowerBound..<index + 1
      } else {
        units.append(index..<index + 1)
      }
    }
    return units
  }

  /// The metadata entry for the reduced parameters of a file, each of whose parts names it.
  private static func sections(_ parts: [ReducedParameter]) -> [(key: String, value: String)] {
    var seen: Set<ExactString> = []
    let parameters = parts.filter { seen.insert(ExactString($0.name)).inserted }
    return [ReducedSection.entry(for: parameters.map { ($0.name, $0.form, $0.shape) })].compactMap { $0 }
  }

  private static func fileName(_ stem: String, _ number: Int, of count: Int) -> String {
    count > 1 ? "\(stem)\(part(number, of: count)).safetensors" : "\(stem).safetensors"
  }

  /// `-00001-of-00003`, for the file number 0.
  static func part(_ number: Int, of count: Int) -> String {
    func five(_ value: Int) -> String {
      let digits = String(value)
      return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    }
    return "-\(five(number + 1))-of-\(five(count))"
  }

  /// Bytes of all files.
  public var byteCount: Int { files.reduce(0) { $0 + $1.byteCount } }

  /// `model.safetensors.index.json`, or nil where one file holds everything.
  public var index: JSON? {
    guard files.count > 1, !liesBeside else { return nil }
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
