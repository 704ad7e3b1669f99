import EspalierBasics
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

extension Fixtures {
  /// Folders of matrices that the layouts' own packages quantized; `make_packed_fixtures.py` makes them.
  static let packed = FileSystem.parent(of: #filePath) + "/Fixtures/packed"
}

extension StoredTensor {
  func bytes() throws -> [UInt8] { try File.reading(file).read(byteCount, at: offset) }
}

/// Tensors of a file by name.
func storedTensors(_ path: String) throws -> [String: StoredTensor] {
  let header = try SafetensorsHeader(reading: try File.reading(path))
  return Dictionary(uniqueKeysWithValues: header.tensors.map { ($0.name, $0) })
}

/// Writes a checkpoint of tensors and a quantization section.
func writeCheckpoint(_ tensors: [TestTensor], _ section: JSON?, to folder: String) throws {
  try TestTensor.write(tensors, to: "\(folder)/model.safetensors")
  var config: JSON = ["model_type": "none", "torch_dtype": "bfloat16"]
  config["quantization_config"] = section
  try FileSystem.write(config.bytes(), to: "\(folder)/config.json")
}

extension TestTensor {
  init(_ part: ReducedEncoding.Part) {
    self.init(part.name, part.shape, bytes: part.bytes, part.elementType)
  }

  static func words(_ name: String, _ shape: [Int], _ word: UInt32 = 0) -> TestTensor {
    let bytes = (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) }
    return TestTensor(name, shape, bytes: (0..<shape.reduce(1, *)).flatMap { _ in bytes }, .i32)
  }
}

extension QuantizedMatrix {
  /// Random codes, scales and zeros.
  static func random(
    _ form: PackedLayout.Form, lowestZero: UInt8 = 0, using generator: inout SeededGenerator
  ) throws -> QuantizedMatrix {
    let most = UInt8(form.grid.largestCode)
    let scaleCount = form.scaleRows * form.scaleColumns
    var codes = (0..<form.rows * form.columns).map { _ in UInt8.random(in: 0...most, using: &generator) }
    if case .float(let type) = form.grid {
      codes = type.bytes(of: generator.floats(codes.count, scale: 300))
    }
    let scales = form.scaleType.values(of: form.scaleType.bytes(of: generator.floats(scaleCount, scale: 0.1)))
    var zeros: [UInt8]?
    if form.hasZeros { zeros = (0..<scaleCount).map { _ in UInt8.random(in: lowestZero...most, using: &generator) } }
    var groups: [Int32]?
    if form.reordersColumns {
      groups = (0..<form.columns).map { Int32($0 / form.tileColumns) }.shuffled(using: &generator)
    }
    return try QuantizedMatrix(
      rows: form.rows, columns: form.columns, grid: form.grid, codes: codes, scales: scales, zeros: zeros,
      tileRows: form.tileRows, tileColumns: form.tileColumns, groupOfColumn: groups, scaleType: form.scaleType)
  }
}
