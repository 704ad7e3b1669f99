import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNumerics
import NetworkTestSupport
import TestSupport
import Testing

@testable import EspalierNetworks

/// Networks that run on quantized safetensors folders.
@Suite struct QuantizedNetworkTests {
  /// Models that compressed-tensors quantized, which the tests of checkpoints compare with its own numbers.
  private static let folder =
    "\(FileSystem.parent(of: FileSystem.parent(of: #filePath)))/CheckpointsTests/Fixtures/packed"

  private func outputs(
    _ checkpoint: SafetensorsCheckpoint, _ residency: Network.Residency, mode: NumericMode = .exact
  ) throws -> [Float] {
    let network = try Network(checkpoint, mode: mode, residency: residency, workers: Golden.workers)
    let inputs = NetworkInputs(tokens: [[1, 2, 3, 5, 8, 13, 21, 34, 55], [60, 1]])
    return Array(try #require(try network.forward(inputs).last).values)
  }

  /// A copy of a model with every number written out.
  private func writeOut(_ checkpoint: SafetensorsCheckpoint, to folder: String) throws {
    let tensors = try checkpoint.parameters.map { parameter in
      TestTensor(parameter.name, parameter.shape, try values(parameter))
    }
    try TestTensor.write(tensors, to: "\(folder)/model.safetensors")
    try FileSystem.write(try #require(checkpoint.config).bytes(), to: "\(folder)/config.json")
  }

  private func values(_ parameter: Parameter) throws -> [Float] {
    let reader = try parameter.recipe.reader(files: FilePool())
    let scratch = try AlignedBuffer(byteCount: reader.scratchBytes(for: reader.elementCount))
    let buffer = try AlignedBuffer(count: reader.elementCount, of: Float.self)
    try reader.read(0..<reader.elementCount, into: #require(buffer.floats.baseAddress), scratch: scratch.address)
    return Array(buffer.floats)
  }

  /// Exact mode gives the bits of the model written out, wherever weights are; fast mode is near. Matrices stay packed.
  private func check(_ checkpoint: SafetensorsCheckpoint) throws {
    try withTemporaryFolder { folder in
      try writeOut(checkpoint, to: folder)
      let expected = try outputs(try SafetensorsCheckpoint(at: folder), .resident)
      #expect(expected.count > 600 && expected.allSatisfy(\.isFinite))
      let largest = expected.reduce(0) { max($0, abs($1)) }
      for residency in [Network.Residency.resident, .streamed] {
        let found = try outputs(checkpoint, residency)
        #expect(found.map(\.bitPattern) == expected.map(\.bitPattern))
        let fast = try outputs(checkpoint, residency, mode: .fast)
        #expect(zip(fast, expected).allSatisfy { abs($0 - $1) <= 0.05 * largest })
      }
    }
    let network = try Network(checkpoint, residency: .resident, workers: Golden.workers)
    let store = ParameterStore(checkpoint, description: network.program.description, isResident: false)
    var packed = 0
    for index in network.plan.sections.indices {
      for request in network.plan.sections[index].requests where request.form == .matrix {
        let source = try store.source(of: request)
        guard source.parameter.isQuantized else { continue }
        let map = try store.load([request], of: [request], pool: Golden.workers).matrices[0]
        #expect(map is PackedMatrix && map.byteCount == source.matrixBytes, "\(request.name)")
        packed += 1
      }
    }
    #expect(packed == checkpoint.parameters.count(where: \.isQuantized))
  }

  @Test(
    "A quantized model gives the bits of the model written out", arguments: ["llama-w4a16", "llama-int8", "llama-fp8"])
  func quantized(name: String) throws { try check(try SafetensorsCheckpoint(at: "\(Self.folder)/\(name)")) }

  @Test(
    "So does one that was quantized here, in any layout", arguments: PackedLayout.allCases,
    ["llama_gqa_untied", "gpt2"])
  func layouts(layout: PackedLayout, model: String) throws {
    let original = try SafetensorsCheckpoint(at: "\(Golden.folder)/\(model)")
    var generator = SeededGenerator(seed: 11)
    var tensors: [TestTensor] = []
    var matrices: [(parameter: String, form: PackedLayout.Form)] = []
    for parameter in original.parameters {
      var shape = parameter.shape
      let isLinear = shape.count == 2 && (parameter.name.contains("proj") || parameter.name.contains("c_"))
      guard isLinear else {
        tensors.append(TestTensor(parameter.name, shape, try values(parameter)))
        continue
      }
      // GPT-2 has its matrices turned; layouts have not.
      if model == "gpt2" { shape.reverse() }
      let grid: QuantizedMatrix.Grid =
        layout == .floatQuantized ? .float(.f8e4m3) : .integer(bits: layout.bits, symmetric: false)
      // Groups of 32 and rows are computed in integers, groups of 16 are not; most layouts need whole ones.
      let groupSize = layout == .intQuantized ? shape[1] : [.gptq, .gptqV2].contains(layout) ? 32 : 16
      let reorders = [.gptq, .gptqV2].contains(layout)
      let form = PackedLayout.Form(
        rows: shape[0], columns: shape[1], grid: grid, tileColumns: groupSize, reordersColumns: reorders)
      let count = shape[0] * shape[1]
      let zero = layout.bits == 8 ? UInt8(131) : 6
      let codes =
        layout == .floatQuantized
        ? ElementType.f8e4m3.bytes(of: generator.floats(count, scale: 200))
        : (0..<count).map { _ in UInt8.random(in: 0...UInt8(grid.largestCode), using: &generator) }
      let step: Float = layout == .floatQuantized || layout.bits == 8 ? 0.002 : 0.02
      let scaleCount = shape[0] * ((shape[1] + groupSize - 1) / groupSize)
      let matrix = try QuantizedMatrix(
        rows: shape[0], columns: shape[1], grid: grid, codes: codes,
        scales: ElementType.f16.values(of: ElementType.f16.bytes(of: [Float](repeating: step, count: scaleCount))),
        zeros: layout == .floatQuantized ? nil : [UInt8](repeating: zero, count: scaleCount), tileRows: 1,
        tileColumns: groupSize,
        groupOfColumn: reorders ? (0..<shape[1]).map { Int32($0 / groupSize) }.shuffled(using: &generator) : nil,
        scaleType: .f16)
      matrices.append((parameter.name, form))
      for part in try layout.encode(matrix, parameter: parameter.name) {
        tensors.append(TestTensor(part.name, part.shape, bytes: part.bytes, part.elementType))
      }
    }
    try withTemporaryFolder { folder in
      try TestTensor.write(tensors, to: "\(folder)/model.safetensors")
      var config = try #require(original.config)
      config["quantization_config"] = try layout.configuration(for: matrices)
      try FileSystem.write(config.bytes(), to: "\(folder)/config.json")
      let checkpoint = try SafetensorsCheckpoint(at: folder)
      #expect(checkpoint.parameters.count(where: \.isQuantized) == matrices.count && !matrices.isEmpty)
      try check(checkpoint)
    }
  }
}

extension PackedLayout {
  fileprivate var bits: Int { self == .intQuantized || self == .floatQuantized ? 8 : 4 }
}
