internal import EspalierBasics
internal import EspalierCheckpoints
public import EspalierNumerics

/// A tensor of a model that a test writes.
public struct TestTensor: Sendable {
  public var name: String
  public var shape: [Int]
  public var bytes: [UInt8]
  /// Another type keeps the values, rounded to it.
  public var type: ElementType {
    didSet { bytes = type.bytes(of: oldValue.values(of: bytes)) }
  }

  public init(_ name: String, _ shape: [Int], _ values: [Float], _ type: ElementType = .f32) {
    self.init(name, shape, bytes: type.bytes(of: values), type)
  }

  public init(_ name: String, _ shape: [Int], bytes: [UInt8], _ type: ElementType) {
    self.name = name
    self.shape = shape
    self.bytes = bytes
    self.type = type
  }

  public var values: [Float] {
    get { type.values(of: bytes) }
    set { bytes = type.bytes(of: newValue) }
  }

  /// Writes a safetensors file.
  public static func write(_ tensors: [TestTensor], to path: String) throws {
    var file = SafetensorsHeader.bytes(for: tensors.map { ($0.name, $0.type, $0.shape) }, metadata: [("format", "pt")])
    for tensor in tensors { file += tensor.bytes }
    try FileSystem.write(file, to: path)
  }
}

extension ElementType {
  public func bytes(of values: [Float]) -> [UInt8] {
    guard !values.isEmpty else { return [] }
    return [UInt8](unsafeUninitializedCapacity: values.count * byteWidth) { bytes, count in
      if let base = bytes.baseAddress { encode(values, into: base, count: values.count) }
      count = values.count * byteWidth
    }
  }

  public func values(of bytes: [UInt8]) -> [Float] {
    let count = bytes.count / byteWidth
    guard count > 0 else { return [] }
    return [Float](unsafeUninitializedCapacity: count) { values, initialized in
      bytes.withUnsafeBytes { bytes in
        if let from = bytes.baseAddress, let to = values.baseAddress { decode(from, into: to, count: count) }
      }
      initialized = count
    }
  }
}
