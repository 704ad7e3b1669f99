public import EspalierBasics
public import EspalierNumerics

extension Problem.Code {
  public static let safetensorsHeader = Problem.Code("safetensors.header")
  public static let safetensorsMetadata = Problem.Code("safetensors.metadata")
  public static let safetensorsEntry = Problem.Code("safetensors.entry")
  public static let safetensorsType = Problem.Code("safetensors.type")
  public static let safetensorsSize = Problem.Code("safetensors.size")
  public static let safetensorsLayout = Problem.Code("safetensors.layout")
}

/// The header of a safetensors file: what is in it and where, checked against the file's length.
///
/// The format: an 8-byte little-endian length N, N bytes of JSON (`{"name": {"dtype", "shape", "data_offsets"}}`,
/// offsets relative to the data), then the data. Tensors cover the data exactly, without holes or overlaps.
/// Every rule of the reference implementation (safetensors 0.8) is enforced, and duplicate keys are refused.
public struct SafetensorsHeader: Sendable {
  /// The tensors in the order of their bytes.
  public let tensors: [StoredTensor]
  /// `__metadata__`, in its order.
  public let metadata: [(key: String, value: String)]
  /// Digest of the header's JSON bytes.
  public let digest: Digest

  /// The longest header that is read, as in the reference implementation.
  public static let maximumBytes = 100_000_000

  /// - Parameter unknownTypesAsBytes: whether tensors of types that are not supported are taken for bytes in one dimension.
  public init(reading file: any ByteSource, unknownTypesAsBytes: Bool = false) throws(Problem) {
    do throws(Problem) {
      let size = try file.size()
      let length = try Self.length(try file.read(min(8, size), at: 0), fileSize: size)
      try self.init(
        parsing: try file.read(length, at: 8), file: file.path, fileSize: size, unknownTypesAsBytes: unknownTypesAsBytes
      )
    } catch { throw error.at(file: file.path) }
  }

  /// The length of the JSON, from the file's first 8 bytes.
  static func length(_ bytes: [UInt8], fileSize: Int) throws(Problem) -> Int {
    guard bytes.count >= 8 else {
      throw Problem(.safetensorsHeader, "the file has \(fileSize) bytes; a safetensors file has at least 8")
    }
    let length = bytes.prefix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    guard length <= maximumBytes else {
      throw Problem(
        .safetensorsHeader, "the header claims \(length) bytes; at most \(maximumBytes) are allowed",
        remedy: "The file is damaged or is not safetensors.", byteOffset: 0)
    }
    guard length <= fileSize - 8 else {
      throw Problem(
        .safetensorsHeader, "the header claims \(length) bytes but the file has only \(fileSize - 8) after its length",
        remedy: "The file is cut short or is not safetensors.", byteOffset: 0)
    }
    return Int(length)
  }

  /// - Parameters:
  ///   - bytes: the JSON, without the length before it.
  ///   - file: the path that the tensors will name.
  init(parsing bytes: [UInt8], file: String, fileSize: Int, unknownTypesAsBytes: Bool = false) throws(Problem) {
    let json: JSON
    do throws(Problem) { json = try JSON(parsing: bytes) } catch {
      throw Problem(
        .safetensorsHeader, "the header is \(error.message)", byteOffset: 8 + (error.context.byteOffset ?? 0))
    }
    guard let members = json.members else { throw Problem(.safetensorsHeader, "the header is not an object") }
    metadata = try Self.metadata(members["__metadata__"])
    digest = bytes.withUnsafeBytes { Digest(of: $0) }
    let dataStart = 8 + bytes.count
    var tensors: [StoredTensor] = []
    tensors.reserveCapacity(members.count)
    for (name, entry) in members.pairs where name != "__metadata__" {
      do throws(Problem) {
        let known = unknownTypesAsBytes ? Self.known(entry) : entry
        tensors.append(try Self.tensor(name, known, dataStart: dataStart, file: file))
      } catch { throw error.at(tensor: name) }
    }
    tensors.sort { ($0.offset, $0.byteCount) < ($1.offset, $1.byteCount) }
    try Self.requireContiguous(tensors, from: dataStart, to: fileSize)
    self.tensors = tensors
  }

  private static func metadata(_ json: JSON?) throws(Problem) -> [(key: String, value: String)] {
    guard let json else { return [] }
    guard let members = json.members else {
      throw Problem(.safetensorsMetadata, "__metadata__ is not an object")
    }
    var pairs: [(key: String, value: String)] = []
    for (key, value) in members.pairs {
      guard let text = value.string else {
        throw Problem(.safetensorsMetadata, "__metadata__ has a value that is not a string, under \"\(key)\"")
      }
      pairs.append((key, text))
    }
    return pairs
  }

  /// An entry of a type that is not supported as one of bytes; any other as it is.
  private static func known(_ entry: JSON) -> JSON {
    guard let type = entry["dtype"]?.string, ElementType(safetensorsName: type) == nil,
      let offsets = integers(entry["data_offsets"]), offsets.count == 2, offsets[0] <= offsets[1]
    else { return entry }
    var bytes = entry
    bytes["dtype"] = .string(ElementType.u8.safetensorsName)
    bytes["shape"] = [.number(offsets[1] - offsets[0])]
    return bytes
  }

  private static func tensor(
    _ name: String, _ entry: JSON, dataStart: Int, file: String
  ) throws(Problem) -> StoredTensor {
    guard let members = entry.members else { throw Problem(.safetensorsEntry, "the entry is not an object") }
    guard let typeName = members["dtype"]?.string else {
      throw Problem(.safetensorsEntry, "the entry has no dtype")
    }
    guard let type = ElementType(safetensorsName: typeName) else {
      throw Problem(
        .safetensorsType, "the element type \(typeName) is not supported",
        remedy: "Supported: \(ElementType.allCases.map(\.safetensorsName).joined(separator: ", ")).")
    }
    guard let shape = integers(members["shape"]) else {
      throw Problem(.safetensorsEntry, "the shape is not a list of whole numbers from 0")
    }
    guard let offsets = integers(members["data_offsets"]), offsets.count == 2 else {
      throw Problem(.safetensorsEntry, "data_offsets is not a pair of whole numbers from 0")
    }
    let (begin, end) = (offsets[0], offsets[1])
    guard begin <= end else {
      throw Problem(.safetensorsLayout, "data_offsets run backwards: \(begin) to \(end)")
    }
    guard let elements = shape.checkedProduct,
      case (let bytes, let overflow) = elements.multipliedReportingOverflow(by: type.byteWidth), !overflow
    else { throw Problem(.safetensorsSize, "the shape \(shape) overflows") }
    guard bytes == end - begin else {
      throw Problem(
        .safetensorsSize, "shape \(shape) of \(typeName) takes \(bytes) bytes but data_offsets span \(end - begin)")
    }
    let (start, outside) = dataStart.addingReportingOverflow(begin)
    guard !outside else { throw Problem(.safetensorsLayout, "data_offsets overflow") }
    return StoredTensor(
      name: name, elementType: type, shape: shape, file: file, offset: start, byteCount: bytes)
  }

  private static func integers(_ json: JSON?) -> [Int]? {
    guard let elements = json?.array else { return nil }
    let values = elements.compactMap { $0.integer }
    return values.count == elements.count && values.allSatisfy { $0 >= 0 } ? values : nil
  }

  private static func requireContiguous(
    _ tensors: [StoredTensor], from start: Int, to end: Int
  ) throws(Problem) {
    var expected = start
    for tensor in tensors {
      guard tensor.offset == expected else {
        let what = tensor.offset < expected ? "overlaps the tensor before it" : "leaves a hole before it"
        throw Problem(
          .safetensorsLayout, "the tensor begins at byte \(tensor.offset) and \(what); byte \(expected) was expected",
          tensor: tensor.name, byteOffset: tensor.offset)
      }
      let (next, overflow) = expected.addingReportingOverflow(tensor.byteCount)
      guard !overflow else { throw Problem(.safetensorsLayout, "data_offsets overflow", tensor: tensor.name) }
      expected = next
    }
    guard expected == end else {
      throw Problem(
        .safetensorsLayout,
        expected < end
          ? "\(end - expected) bytes after the last tensor belong to none"
          : "the tensors take \(expected - end) bytes more than the file has",
        remedy: expected > end ? "The file is cut short; fetch it again." : nil, byteOffset: min(expected, end))
    }
  }

  // MARK: - Writing

  /// The bytes before the data of a file that holds `tensors` in the given order: length, JSON, padding to 8.
  ///
  /// - Parameter tensors: name, type and shape of each; offsets are laid out back to back.
  public static func bytes(
    for tensors: [(name: String, elementType: ElementType, shape: [Int])], metadata: [(String, String)]
  ) -> [UInt8] {
    var members: [(String, JSON)] = []
    if !metadata.isEmpty { members.append(("__metadata__", .object(metadata.map { ($0.0, .string($0.1)) }))) }
    var offset = 0
    for tensor in tensors {
      let end = offset + tensor.shape.reduce(1, *) * tensor.elementType.byteWidth
      members.append(
        (
          tensor.name,
          [
            "dtype": .string(tensor.elementType.safetensorsName),
            "shape": .array(tensor.shape.map { .number($0) }),
            "data_offsets": [.number(offset), .number(end)],
          ]
        ))
      offset = end
    }
    var json = Array(JSON.object(members).text().utf8)
    json += [UInt8](repeating: UInt8(ascii: " "), count: (8 - json.count % 8) % 8)
    let length = UInt64(json.count)
    return (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * UInt64($0))) } + json
  }
}
