import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierNumerics
import EspalierRecipes
import TestSupport
import Testing

/// Models with PEFT adapters merged into them, run, against the logits of PEFT 0.21.2 in float32.
@Suite struct AdapterLogitsTests {
  private static let folder =
    "\(FileSystem.parent(of: FileSystem.parent(of: #filePath)))/CheckpointsTests/Fixtures/peft"

  /// `NAME.input_ids` and `NAME.logits`, with the adapter beside the weights.
  private static let expected = "\(FileSystem.parent(of: #filePath))/Fixtures/peft-logits.safetensors"

  private static let adapters = [
    "dora_all", "dora_conv1d_gpt2", "ia3", "ia3_gpt2", "lora_all", "lora_conv1d_gpt2", "lora_embed_head",
    "lora_modules_to_save", "lora_patterns", "lora_qv", "lora_regex_layers", "rslora_all", "rslora_dora_attn",
  ]

  private static func base(of adapter: String) -> String {
    "\(folder)/\(adapter.hasSuffix("gpt2") ? "base_gpt2" : "base_llama")"
  }

  private func logits(_ checkpoint: any Checkpoint, _ tokens: [[Int32]]) throws -> NetworkOutput {
    let outputs = try Network(checkpoint, workers: WorkerPool(threads: 2)).forward(NetworkInputs(tokens: tokens))
    return try #require(outputs.first { $0.name == "logits" })
  }

  private func worst(_ a: [Float], _ b: [Float]) -> Float {
    zip(a, b).reduce(0) { $1.0.isNaN || $1.1.isNaN ? .infinity : max($0, abs($1.0 - $1.1)) }
  }

  /// PEFT's own logits differ by up to 7e-5 between the adapter beside the weights and merged into them.
  @Test(arguments: adapters) func logitsAreThoseOfPEFT(_ name: String) throws {
    let expected = try SafetensorsHeader(reading: try File.reading(Self.expected))
    func tensor(_ name: String) throws -> (shape: [Int], bytes: [UInt8]) {
      let tensor = try #require(expected.tensors.first { $0.name == name })
      return (tensor.shape, try File.reading(tensor.file).read(tensor.byteCount, at: tensor.offset))
    }
    let ids = try tensor("\(name).input_ids")
    let values = ids.bytes.withUnsafeBytes { Array($0.bindMemory(to: Int.self)) }.map { Int32($0) }
    let tokens = stride(from: 0, to: values.count, by: ids.shape[1]).map { Array(values[$0..<$0 + ids.shape[1]]) }

    let base = try SafetensorsCheckpoint(at: Self.base(of: name))
    let adapted = try logits(
      try AdaptedCheckpoint(base: base, adapterAt: "\(Self.folder)/\(name)"), tokens)
    let (shape, bytes) = try tensor("\(name).logits")
    #expect(adapted.shape == shape)
    #expect(worst(adapted.values, ElementType.f32.values(of: bytes)) <= 2e-4)
    // The adapter does something.
    #expect(worst(adapted.values, try logits(base, tokens).values) > 1e-2)

    // Merged and written, the weights are those that were run.
    try withTemporaryFolder { folder in
      let plan = try Conversion.plan(
        of: "\(Self.base(of: name))+\(Self.folder)/\(name)", elementType: .f32,
        options: MergeOptions(output: "\(folder)/merged"))
      _ = try Conversion.run(plan, listener: SilentListener())
      let merged = try logits(try SafetensorsCheckpoint(at: "\(folder)/merged"), tokens)
      #expect(merged.values == adapted.values)
    }
  }
}
