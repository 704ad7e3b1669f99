import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierNetworks

/// Networks that run on quantized safetensors folders.
@Suite struct QuantizedNetworkTests {
  /// Models that compressed-tensors quantized, which the tests of checkpoints compare with its own numbers.
  private static let folder =
    "\(FileSystem.parent(of: FileSystem.parent(of: #filePath)))/CheckpointsTests/Fixtures/packed"

  private func outputs(_ checkpoint: SafetensorsCheckpoint, _ residency: Network.Residency) throws -> [Float] {
    let network = try Network(checkpoint, residency: residency, workers: Golden.workers)
    let inputs = NetworkInputs(tokens: [[1, 2, 3, 5, 8, 13, 21, 34, 55], [60, 1]])
    return Array(try #require(try network.forward(inputs).last).values)
  }

  @Test(
    "A quantized model gives the bits of the model written out", arguments: ["llama-w4a16", "llama-int8", "llama-fp8"])
  func quantized(name: String) throws {
    let checkpoint = try SafetensorsCheckpoint(at: "\(Self.folder)/\(name)")
    try withTemporaryFolder { folder in
      let tensors = try checkpoint.parameters.map { parameter in
        let reader = try parameter.recipe.reader(files: FilePool())
        let scratch = try AlignedBuffer(byteCount: reader.scratchBytes(for: reader.elementCount))
        let buffer = try AlignedBuffer(count: reader.elementCount, of: Float.self)
        try reader.read(
          0..<reader.elementCount, into: #require(buffer.floats.baseAddress), scratch: scratch.address)
        return TestTensor(parameter.name, parameter.shape, Array(buffer.floats))
      }
      try TestTensor.write(tensors, to: "\(folder)/model.safetensors")
      let config = try #require(checkpoint.config)
      try FileSystem.write(config.bytes(), to: "\(folder)/config.json")
      let expected = try outputs(try SafetensorsCheckpoint(at: folder), .resident)
      #expect(expected.count > 600 && expected.allSatisfy(\.isFinite))
      for residency in [Network.Residency.resident, .streamed] {
        let found = try outputs(checkpoint, residency)
        #expect(found.map(\.bitPattern) == expected.map(\.bitPattern))
      }
    }
  }
}
