import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierNumerics
import EspalierRestructuring
import NetworkTestSupport
import TestSupport
import Testing

/// A golden model, opened and described.
struct GoldenModel {
  let golden: Golden
  let checkpoint: SafetensorsCheckpoint
  let family: Architecture
  let description: ModelDescription
  let inputs: NetworkInputs

  init(_ golden: Golden) throws {
    self.golden = golden
    checkpoint = try SafetensorsCheckpoint(at: golden.path)
    let config = try #require(checkpoint.config)
    family = try #require(Architecture.recognise(config: config, among: Architecture.builtIn()))
    description = try family.describe(config: config)
    inputs = try golden.inputs()
  }

  /// The axes that parameters which are learnt have, by name, each with all its instances.
  var axes: [(name: String, instances: [Axis])] {
    var order: [String] = []
    var groups: [String: [Axis]] = [:]
    let names = Set(checkpoint.parameters.map(\.name))
    var seen = Set<String>()
    for parameter in description.parameters
    where parameter.role.part != .buffer && parameter.names.contains(where: names.contains) {
      for axis in parameter.dimensions.flatMap(\.axes) where seen.insert(axis.instance).inserted {
        if groups[axis.name] == nil { order.append(axis.name) }
        groups[axis.name, default: []].append(axis)
      }
    }
    return order.map { ($0, groups[$0] ?? []) }
  }

  func outputs(of checkpoint: any Checkpoint, _ inputs: NetworkInputs? = nil) throws -> [NetworkOutput] {
    try Network(checkpoint, workers: Golden.workers).forward(inputs ?? self.inputs, hiddenStates: true)
  }

  func changed(_ change: StructuralChange) throws -> RestructuredCheckpoint {
    try RestructuredCheckpoint(checkpoint, of: family, change: change)
  }

  /// Writes the model with zeros at all places of the entries that `gone` names, by instance of their axis.
  func zeroed(_ gone: [String: Set<Int>], in folder: String) throws -> SafetensorsCheckpoint {
    let files = FilePool()
    var tensors: [TestTensor] = []
    for parameter in checkpoint.parameters {
      let reader = try parameter.recipe.reader(files: files)
      let scratch = UnsafeMutableRawPointer.allocate(
        byteCount: max(64, reader.scratchBytes(for: reader.elementCount)), alignment: 64)
      defer { scratch.deallocate() }
      var values = [Float](repeating: 0, count: reader.elementCount)
      try values.withUnsafeMutableBufferPointer { buffer in
        guard let start = buffer.baseAddress, reader.elementCount > 0 else { return }
        try reader.read(0..<reader.elementCount, into: start, scratch: scratch)
      }
      if let described = description.parameter(named: parameter.name) {
        try zero(&values, described, gone)
      }
      tensors.append(TestTensor(parameter.name, parameter.shape, values))
    }
    try TestTensor.write(tensors, to: "\(folder)/model.safetensors")
    try FileSystem.write(try #require(checkpoint.config).bytes(), to: "\(folder)/config.json")
    return try SafetensorsCheckpoint(at: folder)
  }

  private func zero(_ values: inout [Float], _ described: ParameterDescription, _ gone: [String: Set<Int>]) throws {
    var step = values.count
    for dimension in described.dimensions {
      let size = try dimension.size()
      step /= max(1, size)
      var choices: [String: AxisChoice] = [:]
      for axis in dimension.axes {
        guard let without = gone[axis.instance] else { continue }
        choices[axis.instance] = AxisChoice((0..<axis.size).filter { !without.contains($0) })
      }
      guard !choices.isEmpty else { continue }
      let kept = Set(try dimension.indices(taking: choices))
      for index in values.indices where !kept.contains(index / step % size) {
        // A scale stored less one is 0 where -1 is stored.
        values[index] = described.recipe.value == .plusOne ? -1 : 0
      }
    }
  }
}

/// The largest difference of two outputs, over the largest value; infinite if the shapes differ.
func distance(_ a: NetworkOutput, _ b: NetworkOutput) -> Float {
  guard a.shape == b.shape else { return .infinity }
  let largest = a.values.reduce(1) { max($0, abs($1)) }
  var worst: Float = 0
  for (x, y) in zip(a.values, b.values) {
    worst = (x - y).isNaN ? .infinity : max(worst, abs(x - y))
  }
  return worst / largest
}

extension NetworkOutput {
  /// Channels in this order: of pictures `[count, channels, height, width]` the second dimension, else the last.
  func taking(_ entries: [Int]) -> NetworkOutput {
    let dimension = shape.count == 4 ? 1 : shape.count - 1
    guard shape.indices.contains(dimension), let most = entries.max(), most < shape[dimension] else { return self }
    let area = shape[(dimension + 1)...].reduce(1, *)
    let block = area * shape[dimension]
    var taken: [Float] = []
    for start in stride(from: 0, to: values.count, by: block) {
      for entry in entries { taken += values[(start + entry * area)..<(start + (entry + 1) * area)] }
    }
    var shape = shape
    shape[dimension] = entries.count
    return NetworkOutput(name: name, shape: shape, values: taken)
  }
}
