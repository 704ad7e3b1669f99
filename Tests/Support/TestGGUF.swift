internal import EspalierBasics

/// Writes small GGUF files for tests.
public struct TestGGUF {
  public var version: UInt32 = 3
  public var alignment = 32
  /// Metadata: key, number of the type, bytes of the value.
  public var entries: [(key: String, type: UInt32, value: [UInt8])] = []
  /// Tensors: name, sizes with the fastest first, number of the type, bytes.
  public var tensors: [(name: String, sizes: [Int], type: UInt32, bytes: [UInt8])] = []

  public init() {}

  public static func u32(_ value: Int) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
  public static func u64(_ value: Int) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
  public static func string(_ text: String) -> [UInt8] { u64(text.utf8.count) + Array(text.utf8) }
  public static func floats(_ values: [Float]) -> [UInt8] { values.flatMap { u32(Int($0.bitPattern)) } }
  public static func array(_ type: UInt32, _ elements: [[UInt8]]) -> [UInt8] {
    u32(Int(type)) + u64(elements.count) + elements.flatMap { $0 }
  }

  public mutating func add(_ key: String, _ value: Int) { entries.append((key, 4, Self.u32(value))) }
  public mutating func add(_ key: String, _ value: Float) { entries.append((key, 6, Self.floats([value]))) }
  public mutating func add(_ key: String, _ value: String) { entries.append((key, 8, Self.string(value))) }
  public mutating func add(_ key: String, _ values: [String]) {
    entries.append((key, 9, Self.array(8, values.map(Self.string))))
  }

  /// Adds a tensor of float32.
  public mutating func add(_ name: String, shape: [Int], _ values: [Float]) {
    tensors.append((name, shape.reversed(), 0, Self.floats(values)))
  }

  public var bytes: [UInt8] {
    var out = Array("GGUF".utf8) + Self.u32(Int(version)) + Self.u64(tensors.count) + Self.u64(entries.count)
    for entry in entries { out += Self.string(entry.key) + Self.u32(Int(entry.type)) + entry.value }
    var data: [UInt8] = []
    func padding(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: (alignment - count % alignment) % alignment) }
    for tensor in tensors {
      out += Self.string(tensor.name) + Self.u32(tensor.sizes.count) + tensor.sizes.flatMap(Self.u64)
      out += Self.u32(Int(tensor.type)) + Self.u64(data.count)
      data += tensor.bytes
      data += padding(data.count)
    }
    return out + padding(out.count) + data
  }

  public func write(to path: String) throws { try FileSystem.write(bytes, to: path) }
}
