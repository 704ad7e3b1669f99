import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport

/// A case of `Fixtures/merges.safetensors`, which `make_fixtures.py` computed in numpy float64.
struct Vector {
  var shape: [Int]
  /// The base, then the fine-tunes.
  var inputs: [[Float]]
  var expected: [Double]
  var parameters: JSON

  init(_ name: String) throws {
    let file = try File.reading("\(FileSystem.parent(of: #filePath))/Fixtures/merges.safetensors")
    let header = try SafetensorsHeader(reading: file)
    var values: [String: [Float]] = [:]
    shape = []
    for tensor in header.tensors where tensor.name.hasPrefix(name + ".") {
      shape = tensor.shape
      values[String(tensor.name.dropFirst(name.count + 1))] = tensor.elementType.values(
        of: try file.read(tensor.byteCount, at: tensor.offset))
    }
    inputs = (0..<max(0, values.count - 1)).map { values["\($0)"] ?? [] }
    expected = (values["expected"] ?? []).map(Double.init)
    parameters = try JSON(parsing: header.metadata.first { $0.key == name }?.value ?? "null")
  }

  func number(_ name: String) -> ParameterValue { .number(parameters[name]?.number ?? .nan) }

  /// One value a fine-tune.
  func numbers(_ name: String) -> [ParameterValue] {
    (parameters[name]?.array ?? []).map { .number($0.number ?? .nan) }
  }
}
