import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import NetworkTestSupport
import TestSupport
import Testing

@testable import EspalierNetworks

/// Networks on the coded rows of GGUF files, against transformers on the dequantized weights.
@Suite struct GGUFNetworkTests {
  /// Small models beside the tests, and those of a folder that the environment names.
  static let files: [String] = {
    var folders = ["\(FileSystem.parent(of: #filePath))/GGUF"]
    if let goldens = FileSystem.environment("ESPALIER_GOLDENS") {
      let models = "\(goldens)/gguf/models"
      folders += ((try? FileSystem.list(models)) ?? []).map { "\(models)/\($0)" }
    }
    return folders.flatMap { folder in
      ((try? FileSystem.list(folder)) ?? []).filter { $0.hasSuffix(".gguf") }.map { "\(folder)/\($0)" }
    }
  }()

  @Test(arguments: files)
  func logitsAndGreedyTokensAgree(file: String) throws {
    let expected = try Expected(tensors: file.dropLast(".gguf".utf8.count) + ".expected.safetensors")
    let network = try Network(try Architecture.openCheckpoint(at: file), workers: Golden.workers)
    let tokens = try #require(try expected.integers("input_ids")).values.map { Int32($0) }
    let output = try #require(try network.forward(NetworkInputs(tokens: [tokens])).first { $0.name == "logits" })
    let reference = try #require(try expected.floats("logits"))
    #expect(output.shape == [1] + reference.shape)
    let largest = reference.values.reduce(0) { max($0, abs($1)) }
    let worst = zip(output.values, reference.values).reduce(0) { max($0, abs($1.0 - $1.1)) }
    #expect(worst <= 1e-4 + 1e-5 * largest)

    let prompt = try #require(try expected.integers("greedy_prompt")).values.map { Int32($0) }
    let greedy = try #require(try expected.integers("greedy_tokens")).values.map { Int32($0) }
    let session = Session(try CausalLanguageModel(network))
    #expect(try Generator(maxTokens: greedy.count).continuation(of: prompt, in: session).tokens == greedy)
  }

  @Test func anArchitectureThatNobodyKnowsIsNamed() throws {
    try withTemporaryFolder { folder in
      var file = TestGGUF()
      file.add("general.architecture", "made-up")
      file.add("t", shape: [2], [1, 2])
      try file.write(to: "\(folder)/m.gguf")
      let checkpoint = try Architecture.openCheckpoint(at: "\(folder)/m.gguf")
      let found = problem { try Network(checkpoint, workers: Golden.workers) }
      #expect(found?.code == .architectureUnsupported)
      #expect(found?.message == "no known family fits the architecture made-up")
    }
  }

  /// Coded matrices stay as they are: what the network keeps is what the file has, but for vectors.
  @Test(arguments: files)
  func weightsStayCoded(file: String) throws {
    let checkpoint = try Architecture.openCheckpoint(at: file)
    let network = try Network(checkpoint, workers: Golden.workers)
    let stored = checkpoint.parameters.filter { $0.shape.count > 1 }
      .reduce(0) { $0 + $1.recipe.storedTensors.reduce(0) { $0 + $1.byteCount } }
    let vectors = checkpoint.parameters.filter { $0.shape.count < 2 }.reduce(0) { $0 + 4 * $1.elementCount + 64 }
    #expect(try network.weightBytes() <= stored + vectors + 64 * checkpoint.parameters.count)
  }
}
