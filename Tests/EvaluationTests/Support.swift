import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import Synchronization

/// A new folder for a test, removed when `body` returns.
func withTemporaryFolder<T>(_ body: (String) throws -> T) throws -> T {
  let tests = FileSystem.parent(of: FileSystem.parent(of: #filePath))
  let root = FileSystem.environment("TMPDIR") ?? "\(FileSystem.parent(of: tests))/.build/temporary"
  let folder = "\(root)/espalier-\(UInt64.random(in: 0 ..< .max))"
  try FileSystem.createParents(of: folder)
  try FileSystem.createFolder(folder)
  defer { try? FileSystem.remove(folder) }
  return try body(folder)
}

/// A tensor of a model that a test writes.
struct TestTensor {
  var name: String
  var shape: [Int]
  var values: [Float]
  var elementType = ElementType.f32

  init(_ name: String, _ shape: [Int], _ values: [Float], _ elementType: ElementType = .f32) {
    self.name = name
    self.shape = shape
    self.values = values
    self.elementType = elementType
  }

  var bytes: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: values.count * elementType.byteWidth)
    bytes.withUnsafeMutableBytes { bytes in
      values.withUnsafeBufferPointer { values in
        guard let source = values.baseAddress, let target = bytes.baseAddress else { return }
        elementType.encode(source, into: target, count: values.count)
      }
    }
    return bytes
  }
}

/// Opens a model of these tensors, written into a folder of its own within `folder`.
func model(
  _ tensors: [TestTensor], named name: String = "model", config: JSON? = nil, in folder: String
) throws -> SafetensorsCheckpoint {
  let path = "\(folder)/\(name)"
  try FileSystem.createFolder(path)
  let header = SafetensorsHeader.bytes(for: tensors.map { ($0.name, $0.elementType, $0.shape) }, metadata: [])
  try FileSystem.write(header + tensors.flatMap(\.bytes), to: "\(path)/model.safetensors")
  if let config { try FileSystem.write(Array(config.text().utf8), to: "\(path)/config.json") }
  return try SafetensorsCheckpoint(at: path)
}

/// Numbers that look random and are the same every time.
struct TestRandom: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var word = state
    word = (word ^ word >> 30) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
    return word ^ word >> 31
  }

  mutating func floats(_ count: Int) -> [Float] { (0..<count).map { _ in Float.random(in: -1...1, using: &self) } }
}

/// Adds up what it hears.
final class ProgressSum: ProgressListener {
  private let sums = Mutex((total: 0, advanced: 0, ended: 0))

  func receive(_ event: ProgressEvent) {
    sums.withLock { sums in
      switch event {
      case .began(_, let totalBytes): sums.total += totalBytes
      case .advanced(let bytes): sums.advanced += bytes
      case .ended: sums.ended += 1
      default: break
      }
    }
  }

  var heard: (total: Int, advanced: Int, ended: Int) { sums.withLock { $0 } }
}

/// Parameters that a test puts together.
struct GivenCheckpoint: Checkpoint {
  var location = "given"
  var config: JSON?
  var parameters: [Parameter]
  var folder: String?
  var weightFiles: [String] = []
  var warnings: [Problem] = []
}
