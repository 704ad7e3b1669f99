public import EspalierBasics
internal import EspalierLinearMaps

extension Problem.Code {
  public static let ggufHeader = Problem.Code("gguf.header")
  public static let ggufMetadata = Problem.Code("gguf.metadata")
  public static let ggufTensor = Problem.Code("gguf.tensor")
  public static let ggufType = Problem.Code("gguf.type")
  public static let ggufLayout = Problem.Code("gguf.layout")
  public static let ggufSplit = Problem.Code("gguf.split")
}

/// A tensor in a GGUF file.
public struct GGUFTensor: Sendable, Hashable {
  public var name: String
  public var type: GGUFTensorType
  /// Sizes of the dimensions, slowest first: the reverse of the file's order.
  public var shape: [Int]
  /// Offset of its first byte in the file.
  public var offset: Int
  public var byteCount: Int
}

/// The header of a GGUF file: metadata, and what tensors there are and where, checked against the file's length.
///
/// The format (https://github.com/ggml-org/ggml, docs/gguf.md), versions 2 and 3, little-endian: `GGUF`, version,
/// numbers of tensors and of metadata entries, the entries, the tensors' descriptions, padding, data. Tensors lie in the
/// order of their descriptions, each at the first multiple of the alignment after the one before. Every rule of the
/// reference implementation (libggml) is enforced.
public struct GGUFHeader: Sendable {
  public let file: String
  public let version: Int
  public let alignment: Int
  public let metadata: GGUFMetadata
  /// In the order of their bytes.
  public let tensors: [GGUFTensor]

  /// Limits, the first three as in the reference implementation.
  public static let longestString = 1 << 30
  public static let longestArray = 1 << 30
  public static let longestTensorName = 63
  public static let longestKey = 65_535
  public static let longestHeader = 1 << 31

  /// - Throws: `gguf.*` with the key or tensor that is wrong, or what reading the file throws.
  public init(reading file: any ByteSource) throws(Problem) {
    do throws(Problem) {
      let size = try file.size()
      try self.init(GGUFCursor(reading: file, size: size), file: file.path)
    } catch { throw error.at(file: file.path) }
  }

  /// - Parameters:
  ///   - bytes: the beginning of the file, at least the whole header.
  ///   - fileSize: the length that the file has in all.
  init(parsing bytes: [UInt8], file: String, fileSize: Int) throws(Problem) {
    try self.init(GGUFCursor(bytes: bytes, size: fileSize), file: file)
  }

  private init(_ start: GGUFCursor, file: String) throws(Problem) {
    var cursor = start
    let (version, tensorCount, entryCount) = try Self.counts(&cursor)
    let (entries, positions) = try Self.entries(entryCount, &cursor)
    var tensors: [GGUFTensor] = []
    var offsets: [UInt64] = []
    var names = Set<ExactString>()
    tensors.reserveCapacity(tensorCount)
    for _ in 0..<tensorCount {
      let (tensor, offset) = try Self.tensor(&cursor)
      guard names.insert(ExactString(tensor.name)).inserted else {
        throw Problem(.ggufTensor, "the tensor is described twice", tensor: tensor.name)
      }
      tensors.append(tensor)
      offsets.append(offset)
    }
    self.file = file
    self.version = version
    metadata = GGUFMetadata(header: cursor.takeBytes(), entries: entries, positions: positions)
    alignment = try Self.alignment(of: metadata)
    self.tensors = try Self.placed(
      tensors, offsets: offsets, headerEnd: cursor.position, alignment: alignment, fileSize: cursor.size)
  }

  // MARK: - Parts

  private static func counts(_ cursor: inout GGUFCursor) throws(Problem) -> (version: Int, tensors: Int, entries: Int) {
    guard cursor.size >= 24 else {
      throw Problem(.ggufHeader, "the file has \(cursor.size) bytes; a GGUF file has at least 24")
    }
    let magic = try cursor.bytes(4)
    guard magic.elementsEqual("GGUF".utf8) else {
      throw Problem(.ggufHeader, "the file does not begin with GGUF", remedy: "It is of another format.", byteOffset: 0)
    }
    let version = try cursor.u32()
    guard version & 0xFFFF != 0 || version == 0 else {
      throw Problem(
        .ggufHeader, "the file is big-endian, which this version does not read",
        remedy: "Convert it with llama.cpp's gguf_convert_endian.py first.", byteOffset: 4)
    }
    guard version == 2 || version == 3 else {
      throw Problem(.ggufHeader, "GGUF version \(version) is not supported; 2 and 3 are", byteOffset: 4)
    }
    // A tensor's description takes at least 24 bytes, an entry 13.
    let tensors = try cursor.count(each: 24, of: "tensors")
    let entries = try cursor.count(each: 13, of: "metadata entries")
    return (Int(version), tensors, entries)
  }

  private static func entries(
    _ count: Int, _ cursor: inout GGUFCursor
  ) throws(Problem) -> ([GGUFMetadata.Entry], [ExactString: Int]) {
    var entries: [GGUFMetadata.Entry] = []
    var positions: [ExactString: Int] = [:]
    entries.reserveCapacity(count)
    for index in 0..<count {
      let start = cursor.position
      guard let key = String(validating: try cursor.string(limit: longestKey, what: "key"), as: UTF8.self), !key.isEmpty
      else { throw Problem(.ggufMetadata, "the key of entry \(index) is empty or no text", byteOffset: start) }
      guard positions.updateValue(index, forKey: ExactString(key)) == nil else {
        throw Problem(.ggufMetadata, "the key \(key) is there twice", byteOffset: start)
      }
      do throws(Problem) { entries.append(try entry(key, &cursor)) } catch {
        var problem = error
        problem.message = "the value of \(key): \(error.message)"
        throw problem
      }
    }
    return (entries, positions)
  }

  private static func entry(_ key: String, _ cursor: inout GGUFCursor) throws(Problem) -> GGUFMetadata.Entry {
    let type = try cursor.valueType()
    switch type {
    case .array:
      let element = try cursor.valueType()
      guard element != .array else { throw Problem(.ggufMetadata, "an array of arrays is not supported") }
      let count = try cursor.count(each: element.byteWidth ?? 8, of: "elements", limit: longestArray)
      let start = cursor.position
      if let width = element.byteWidth {
        try cursor.skip(count * width)
      } else {
        for _ in 0..<count { try cursor.skipString(limit: longestString) }
      }
      return .init(key: key, type: type, array: (element, count), bytes: start..<cursor.position)
    case .string:
      let length = try cursor.length(limit: longestString, what: "string")
      let start = cursor.position
      try cursor.skip(length)
      return .init(key: key, type: type, array: nil, bytes: start..<cursor.position)
    default:
      let start = cursor.position
      try cursor.skip(type.byteWidth ?? 0)
      return .init(key: key, type: type, array: nil, bytes: start..<cursor.position)
    }
  }

  /// A description of a tensor, with its offset from the beginning of the data.
  private static func tensor(_ cursor: inout GGUFCursor) throws(Problem) -> (GGUFTensor, offset: UInt64) {
    let start = cursor.position
    guard let name = String(validating: try cursor.string(limit: longestTensorName, what: "tensor name"), as: UTF8.self)
    else { throw Problem(.ggufTensor, "a tensor's name is no text", byteOffset: start) }
    do throws(Problem) {
      let rank = try cursor.u32()
      guard rank <= 4 else {
        throw Problem(.ggufTensor, "\(rank) dimensions; at most 4 are allowed", byteOffset: start)
      }
      var sizes: [Int] = []
      for _ in 0..<rank {
        let size = try cursor.u64()
        guard let size = Int(exactly: size) else {
          throw Problem(.ggufTensor, "a dimension of \(size) is too large", byteOffset: start)
        }
        sizes.append(size)
      }
      let id = try cursor.u32()
      guard let type = GGUFTensorType(id: id) else {
        throw Problem(.ggufType, "there is no tensor type \(id), or no longer", byteOffset: start)
      }
      let row = sizes.first ?? 1
      guard row % type.blockLength == 0 else {
        throw Problem(
          .ggufTensor, "a row of \(row) numbers is no whole number of \(type.name) blocks of \(type.blockLength)",
          byteOffset: start)
      }
      let shape = Array(sizes.reversed())
      guard let elements = shape.checkedProduct, elements < Int.max,
        case (let bytes, let overflow) = (elements / type.blockLength).multipliedReportingOverflow(by: type.blockBytes),
        !overflow
      else { throw Problem(.ggufTensor, "the shape \(shape) overflows", byteOffset: start) }
      return (
        GGUFTensor(name: name, type: type, shape: shape, offset: 0, byteCount: bytes), offset: try cursor.u64()
      )
    } catch { throw error.at(tensor: name) }
  }

  static func alignment(of metadata: GGUFMetadata) throws(Problem) -> Int {
    let key = "general.alignment"
    guard let type = metadata.type(of: key) else { return 32 }
    guard type == .u32, let alignment = metadata.integer(key), alignment > 0, alignment.nonzeroBitCount == 1 else {
      throw Problem(.ggufMetadata, "\(key) must be a power of two (a u32)")
    }
    return alignment
  }

  /// The tensors where they lie in the file.
  private static func placed(
    _ tensors: [GGUFTensor], offsets: [UInt64], headerEnd: Int, alignment: Int, fileSize: Int
  ) throws(Problem) -> [GGUFTensor] {
    guard !tensors.isEmpty else { return [] }
    func padded(_ offset: Int) -> Int? {
      let (sum, overflow) = offset.addingReportingOverflow(alignment - 1)
      return overflow ? nil : sum & ~(alignment - 1)
    }
    guard let dataStart = padded(headerEnd) else { throw Problem(.ggufLayout, "the header overflows") }
    var expected = 0
    var placed = tensors
    for index in tensors.indices {
      let tensor = tensors[index]
      guard offsets[index] == UInt64(expected) else {
        throw Problem(
          .ggufLayout, "the tensor begins \(offsets[index]) bytes into the data; \(expected) was expected",
          tensor: tensor.name)
      }
      let (offset, outside) = dataStart.addingReportingOverflow(expected)
      let (end, tooLong) = offset.addingReportingOverflow(tensor.byteCount)
      guard !outside, !tooLong, end <= fileSize, let next = padded(expected + tensor.byteCount) else {
        throw Problem(
          .ggufLayout, "the tensor reaches beyond the end of the file, which has \(fileSize) bytes",
          remedy: "The file is cut short; fetch it again.", tensor: tensor.name)
      }
      placed[index].offset = offset
      expected = next
    }
    return placed
  }
}
