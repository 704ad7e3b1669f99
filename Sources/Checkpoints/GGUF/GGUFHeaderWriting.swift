public import EspalierBasics
public import EspalierLinearMaps
internal import EspalierNumerics

/// A tensor that a GGUF file is to hold.
public struct GGUFTensorRequest: Sendable, Hashable {
  public var name: String
  public var type: GGUFTensorType
  /// Sizes of the dimensions, slowest first.
  public var shape: [Int]

  /// - Throws: `gguf.type` if GGUF has no such format.
  public init(name: String, format: WeightFormat, shape: [Int]) throws(Problem) {
    guard let type = GGUFTensorType(format) else {
      throw Problem(.ggufType, "GGUF files have no type for \(format.name)", tensor: name)
    }
    self.name = name
    self.type = type
    self.shape = shape
  }

  /// How its numbers are coded.
  public var format: WeightFormat { type.format ?? .elements(.f32) }
  public var byteCount: Int { format.byteCount(of: shape.reduce(1, *)) }
}

extension GGUFTensorType {
  /// The type of tensors in a format; nil if there is none.
  public init?(_ format: WeightFormat) {
    guard let type = Self.all.first(where: { $0.format == format }) else { return nil }
    self = type
  }
}

extension GGUFHeader {
  /// The bytes of a file before its data, and where its tensors lie in the data.
  public struct Written: Sendable {
    /// Padded to the alignment.
    public var bytes: [UInt8]
    /// From the beginning of the data, tensor by tensor.
    public var offsets: [Int]
    public var dataBytes: Int
  }

  /// The header of a version 3 file.
  ///
  /// - Parameter tensors: in the order of their bytes.
  /// - Throws: `gguf.tensor` for a name longer than 63 bytes or there twice, more than four dimensions, rows that are no
  ///   whole blocks; `gguf.metadata` for an alignment that is no power of two.
  public static func bytes(
    for tensors: [GGUFTensorRequest], metadata: GGUFMetadata
  ) throws(Problem) -> Written {
    let alignment = try Self.alignment(of: metadata)
    func padded(_ count: Int) -> Int { (count + alignment - 1) / alignment * alignment }
    var bytes: [UInt8] = Array("GGUF".utf8)
    bytes.append(littleEndian: UInt32(3))
    bytes.append(littleEndian: UInt64(tensors.count))
    bytes.append(littleEndian: UInt64(metadata.count))
    bytes += metadata.encoded
    var offsets: [Int] = []
    var offset = 0
    var names = Set<ExactString>()
    for tensor in tensors {
      try require(tensor, &names)
      bytes.append(ggufString: tensor.name.utf8)
      bytes.append(littleEndian: UInt32(tensor.shape.count))
      for size in tensor.shape.reversed() { bytes.append(littleEndian: UInt64(size)) }
      bytes.append(littleEndian: tensor.type.id)
      bytes.append(littleEndian: UInt64(offset))
      offsets.append(offset)
      offset += padded(tensor.byteCount)
    }
    bytes += [UInt8](repeating: 0, count: padded(bytes.count) - bytes.count)
    return Written(bytes: bytes, offsets: offsets, dataBytes: offset)
  }

  /// The alignment that metadata ask for, 32 if they do not.
  public static func alignment(in metadata: GGUFMetadata) -> Int { (try? alignment(of: metadata)) ?? 32 }

  private static func require(_ tensor: GGUFTensorRequest, _ names: inout Set<ExactString>) throws(Problem) {
    guard tensor.name.utf8.count <= longestTensorName else {
      throw Problem(
        .ggufTensor, "the name is longer than \(longestTensorName) bytes, which GGUF files allow", tensor: tensor.name)
    }
    guard names.insert(ExactString(tensor.name)).inserted else {
      throw Problem(.ggufTensor, "two tensors have this name", tensor: tensor.name)
    }
    guard tensor.shape.count <= 4, tensor.shape.checkedProduct != nil else {
      throw Problem(
        .ggufTensor, "the shape \(tensor.shape) has more than four dimensions or is too large", tensor: tensor.name)
    }
    let row = tensor.shape.last ?? 1
    guard row % tensor.type.blockLength == 0 else {
      throw Problem(
        .ggufTensor,
        "a row of \(row) numbers is no whole number of \(tensor.type.name) blocks of "
          + "\(tensor.type.blockLength)", tensor: tensor.name)
    }
  }
}
