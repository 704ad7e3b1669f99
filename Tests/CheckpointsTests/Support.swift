import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics

/// Files beside the tests.
enum Fixtures {
  private static let here = FileSystem.parent(of: #filePath)
  static let peft = "\(here)/Fixtures/peft"
  static let safetensors = "\(here)/Fixtures/safetensors"
  static let gguf = "\(here)/Fixtures/gguf"

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
