public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNetworks
internal import EspalierNumerics
public import Testing

/// A small model with what an independent implementation computes from it (transformers 5.23 in float64).
public struct Golden: Sendable, CustomTestStringConvertible {
  public let name: String
  public var testDescription: String { name }

  /// The fixtures, or a folder of further cases of the same shape that the environment names.
  public static let folder =
    FileSystem.environment("ESPALIER_NETWORK_CASES")
    ?? "\(FileSystem.parent(of: FileSystem.parent(of: #filePath)))/NetworksTests/Fixtures"

  public static let names: [String] = (try? FileSystem.list(folder)) ?? []

  public init(_ name: String) { self.name = name }

  public var path: String { "\(Golden.folder)/\(name)" }

  public static let workers = WorkerPool(threads: 2)

  public func network(
    residency: Network.Residency = .resident, workers: WorkerPool = Golden.workers
  ) throws -> Network {
    try Network(try SafetensorsCheckpoint(at: path), residency: residency, workers: workers)
  }

  public func expected() throws -> Expected { try Expected(path) }

  /// The inputs of the golden run.
  public func inputs() throws -> NetworkInputs {
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
public struct Expected {
  public let header: SafetensorsHeader
  public let json: JSON

  public init(_ folder: String) throws {
    header = try SafetensorsHeader(reading: try File.reading("\(folder)/expected.safetensors"))
    json = try JSON(parsing: try FileSystem.read("\(folder)/expected.json"))
  }

  public init(tensors file: String) throws {
    header = try SafetensorsHeader(reading: try File.reading(file))
    json = nil
  }

  public var names: [String] { header.tensors.map(\.name) }

  private func bytes(_ name: String) throws -> (bytes: [UInt8], shape: [Int])? {
    guard let tensor = header.tensors.first(where: { $0.name == name }) else { return nil }
    return (try File.reading(tensor.file).read(tensor.byteCount, at: tensor.offset), tensor.shape)
  }

  public func floats(_ name: String) throws -> (values: [Float], shape: [Int])? {
    try bytes(name).map { bytes, shape in
      (bytes.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }, shape)
    }
  }

  public func integers(_ name: String) throws -> (values: [Int], shape: [Int])? {
    try bytes(name).map { bytes, shape in (bytes.withUnsafeBytes { Array($0.bindMemory(to: Int.self)) }, shape) }
  }
}
