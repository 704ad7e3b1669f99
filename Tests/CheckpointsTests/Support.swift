import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics

/// Files beside the tests.
enum Fixtures {
  private static let here = FileSystem.parent(of: #filePath)
  static let peft = "\(here)/Fixtures/peft"
  static let safetensors = "\(here)/Fixtures/safetensors"
  static let gguf = "\(here)/Fixtures/gguf"

  /// A new folder for a test, removed when `body` returns.
  static func withTemporaryFolder<T>(_ body: (String) throws -> T) throws -> T {
    let root =
      FileSystem.environment("TMPDIR") ?? "\(FileSystem.parent(of: FileSystem.parent(of: here)))/.build/temporary"
    let folder = "\(root)/espalier-\(UInt64.random(in: 0 ..< .max))"
    try FileSystem.createParents(of: folder)
    try FileSystem.createFolder(folder)
    defer { try? FileSystem.remove(folder) }
    return try body(folder)
  }
}

/// A tensor to be written into a fixture.
struct TestTensor {
  var name: String
  var shape: [Int]
  var values: [Float]
  var elementType = ElementType.f32

  /// Writes a safetensors file.
  static func write(_ tensors: [TestTensor], to path: String) throws {
    var bytes = SafetensorsHeader.bytes(
      for: tensors.map { ($0.name, $0.elementType, $0.shape) }, metadata: [("format", "pt")])
    for tensor in tensors {
      var data = [UInt8](repeating: 0, count: tensor.values.count * tensor.elementType.byteWidth)
      data.withUnsafeMutableBytes { data in
        tensor.values.withUnsafeBufferPointer { values in
          guard let from = values.baseAddress, let to = data.baseAddress else { return }
          tensor.elementType.encode(from, into: to, count: values.count)
        }
      }
      bytes += data
    }
    try FileSystem.write(bytes, to: path)
  }
}

extension StorageRecipe {
  /// Elements of the parameter; all of them by default.
  func values(_ range: Range<Int>? = nil) throws -> [Float] {
    let reader = try reader(files: FilePool())
    return try reader.values(range ?? 0..<reader.elementCount)
  }
}

extension ParameterReader {
  func values(_ range: Range<Int>) throws -> [Float] {
    let scratch = UnsafeMutableRawPointer.allocate(
      byteCount: max(1, scratchBytes(for: range.count)), alignment: 64)
    defer { scratch.deallocate() }
    let values = UnsafeMutablePointer<Float>.allocate(capacity: max(1, range.count))
    defer { values.deallocate() }
    values.initialize(repeating: .nan, count: range.count)
    try read(range, into: values, scratch: scratch)
    return Array(UnsafeBufferPointer(start: values, count: range.count))
  }
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

/// The problems a call throws; empty if it throws none.
func problems<T>(_ body: () throws(Problems) -> T) -> [Problem] {
  do {
    _ = try body()
    return []
  } catch { return error.all }
}
