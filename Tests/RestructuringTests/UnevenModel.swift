import EspalierArchitectures
import EspalierBasics
import EspalierNetworks
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

/// A golden model from which units and blocks were taken, cut out and as zeros in place.
struct UnevenModel {
  static let fixtures = "\(packageFolder)/Tests/NetworksTests/Fixtures"

  let family: Architecture
  let original: SafetensorsCheckpoint
  /// The config that says what single layers have.
  let config: JSON
  let even: ModelDescription
  let uneven: ModelDescription

  /// - Parameter change: takes from the shapes of the layers of each tower.
  init(_ name: String, _ change: (_ tower: String, inout [LayerShape]) -> Void) throws {
    original = try SafetensorsCheckpoint(at: "\(Self.fixtures)/\(name)")
    let before = try #require(original.config)
    family = try #require(Architecture.recognise(config: before, among: Architecture.builtIn()))
    let family = family
    let changes = try family.layerShapes(config: before).map { tower, layers in
      var layers = layers
      change(tower, &layers)
      return ConfigChange.shapes(tower: tower, layers)
    }
    config = try family.config(before, with: changes)
    even = try family.describe(config: before)
    uneven = try family.describe(config: config)
  }

  static func values(_ parameter: Parameter) throws -> [Float] {
    try parameter.recipe.reader(files: FilePool()).all()
  }

  /// Where in the original tensor the elements of the smaller one are.
  private func kept(_ big: ParameterDescription, _ small: ParameterDescription) throws -> [Int] {
    var positions = [0]
    for (a, b) in zip(big.dimensions, small.dimensions) {
      let sizes = Dictionary(b.axes.map { ($0.name, $0.size) }, uniquingKeysWith: { $1 })
      let chosen = try a.indices { axis in sizes[axis.name].map { Array(0..<$0) } }
      let size = try a.size()
      positions = positions.flatMap { base in chosen.map { base * size + $0 } }
    }
    return positions
  }

  /// The uneven model: what was taken is not there.
  func writeCut(to folder: String) throws -> SafetensorsCheckpoint {
    let tensors = try original.parameters.compactMap { stored -> TestTensor? in
      let values = try Self.values(stored)
      guard let big = even.parameter(named: stored.name) else { return TestTensor(stored.name, stored.shape, values) }
      guard let small = uneven.parameter(named: stored.name) else { return nil }
      return TestTensor(stored.name, small.shape, try kept(big, small).map { values[$0] })
    }
    return try write(tensors, config, to: folder)
  }

  /// The original with zeros where the uneven model has nothing.
  func writeZeroed(to folder: String) throws -> SafetensorsCheckpoint {
    let tensors = try original.parameters.map { stored -> TestTensor in
      var values = try Self.values(stored)
      if let big = even.parameter(named: stored.name) {
        let small = uneven.parameter(named: stored.name)
        let left = try small.map { small in Set(try kept(big, small)) } ?? []
        for index in values.indices where !left.contains(index) { values[index] = 0 }
      }
      return TestTensor(stored.name, stored.shape, values)
    }
    return try write(tensors, try #require(original.config), to: folder)
  }

  private func write(_ tensors: [TestTensor], _ config: JSON, to folder: String) throws -> SafetensorsCheckpoint {
    try FileSystem.createFolder(folder)
    try FileSystem.write(config.bytes(pretty: true), to: "\(folder)/config.json")
    try TestTensor.write(tensors, to: "\(folder)/model.safetensors")
    return try SafetensorsCheckpoint(at: folder)
  }

  static let workers = WorkerPool(threads: 2)

  /// The last output of a network, for two sequences of tokens.
  static func outputs(
    _ checkpoint: any Checkpoint, residency: Network.Residency = .resident
  ) throws -> [Float] {
    let network = try Network(checkpoint, residency: residency, workers: workers)
    var inputs = NetworkInputs(tokens: tokens)
    if checkpoint.config?["model_type"] == "t5" { inputs.decoderTokens = [[0, 11, 5], [0, 7]] }
    return Array(try #require(try network.forward(inputs).last).values)
  }

  static let tokens: [[Int32]] = [[5, 90, 33, 2, 49, 7, 7, 61, 12], [3, 1, 64, 20]]
}

/// The largest difference, as a part of the largest value.
func distance(_ a: [Float], _ b: [Float]) -> Float {
  guard a.count == b.count else { return .infinity }
  let peak = b.reduce(0) { max($0, abs($1)) }
  return zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) } / max(peak, .leastNormalMagnitude)
}
