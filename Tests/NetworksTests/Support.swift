import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import Testing

@testable import EspalierNetworks

/// A small model with what an independent implementation computes from it (transformers 5.23 in float64).
struct Golden: CustomTestStringConvertible {
  let name: String
  var testDescription: String { name }

  /// The fixtures, or a folder of further cases of the same shape that the environment names.
  static let folder =
    FileSystem.environment("ESPALIER_NETWORK_CASES") ?? "\(FileSystem.parent(of: #filePath))/Fixtures"

  static let names: [String] = (try? FileSystem.list(folder)) ?? []

  var path: String { "\(Golden.folder)/\(name)" }

  static let workers = WorkerPool(threads: 2)

  func network(
    residency: Network.Residency = .resident, workers: WorkerPool = Golden.workers
  ) throws -> Network {
    try Network(try SafetensorsCheckpoint(at: path), residency: residency, workers: workers)
  }

  func expected() throws -> Expected { try Expected(path) }

  /// The inputs of the golden run.
  func inputs() throws -> NetworkInputs {
    let expected = try expected()
    func rows(_ name: String) throws -> [[Int32]]? {
      try expected.integers(name).map { values, shape in
        stride(from: 0, to: values.count, by: shape[1]).map { values[$0..<$0 + shape[1]].map { Int32($0) } }
      }
    }
    var inputs = NetworkInputs(tokens: try rows("input_ids") ?? [])
    inputs.mask = try rows("attention_mask")?.map { $0.map { $0 != 0 } }
    inputs.types = try rows("token_type_ids")
    inputs.decoderTokens = try rows("decoder_input_ids")
    if let (values, shape) = try expected.floats("pixel_values") {
      inputs.pictures = try .init(
        count: shape[0], channels: shape[1], height: shape[2], width: shape[3], values: values)
    }
    return inputs
  }
}

/// The tensors of `expected.safetensors` and the numbers of `expected.json`.
struct Expected {
  let header: SafetensorsHeader
  let json: JSON

  init(_ folder: String) throws {
    header = try SafetensorsHeader(reading: try File.reading("\(folder)/expected.safetensors"))
    json = try JSON(parsing: try FileSystem.read("\(folder)/expected.json"))
  }

  init(tensors file: String) throws {
    header = try SafetensorsHeader(reading: try File.reading(file))
    json = nil
  }

  var names: [String] { header.tensors.map(\.name) }

  private func bytes(_ name: String) throws -> (bytes: [UInt8], shape: [Int])? {
    guard let tensor = header.tensors.first(where: { $0.name == name }) else { return nil }
    return (try File.reading(tensor.file).read(tensor.byteCount, at: tensor.offset), tensor.shape)
  }

  func floats(_ name: String) throws -> (values: [Float], shape: [Int])? {
    try bytes(name).map { bytes, shape in
      (bytes.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }, shape)
    }
  }

  func integers(_ name: String) throws -> (values: [Int], shape: [Int])? {
    try bytes(name).map { bytes, shape in (bytes.withUnsafeBytes { Array($0.bindMemory(to: Int.self)) }, shape) }
  }
}
