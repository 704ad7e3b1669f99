import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierNumerics
import EspalierRecipes
import TestSupport
import Testing

/// Models written as safetensors folders, from GGUF files and in other types.
@Suite struct ConversionTests {
  private static let fixtures =
    "\(packageFolder)/Tests/ArchitecturesTests/GGUFFixtures"

  private func convert(
    _ model: String, to output: String, type: ElementType? = nil,
    options change: (inout MergeOptions) -> Void = { _ in }
  ) throws -> (plan: MergePlan, checkpoint: SafetensorsCheckpoint) {
    var options = MergeOptions(output: output)
    options.threads = 2
    change(&options)
    let plan = try Conversion.plan(of: model, elementType: type, options: options)
    _ = try Conversion.run(plan, listener: SilentListener())
    return (plan, try SafetensorsCheckpoint(at: output))
  }

  private func bytes(_ tensor: StoredTensor) throws -> [UInt8] {
    try File.reading(tensor.file).read(tensor.byteCount, at: tensor.offset)
  }

  private func values(_ parameter: Parameter) throws -> [Float] {
    let tensor = try #require(parameter.recipe.storedTensors.first)
    return try tensor.floats(files: FilePool())
  }

  /// The output of a float16 file is the checkpoint that the file was made from, byte for byte; what GGUF files keep in
  /// float32 (norms, positions, routers) has its values.
  @Test(arguments: ["llama_bias", "qwen2_fused", "gpt2", "gpt_neox", "qwen3_moe", "phi3"])
  func ggufGivesBackTheCheckpoint(name: String) throws {
    try withTemporaryFolder { folder in
      let (plan, written) = try convert("\(Self.fixtures)/\(name).gguf", to: "\(folder)/out")
      let original = try SafetensorsCheckpoint(at: "\(Self.fixtures)/\(name).safetensors")
      #expect(written.parameters.map(\.name) == original.parameters.map(\.name))
      for (found, wanted) in zip(written.parameters, original.parameters) {
        #expect(found.shape == wanted.shape, "\(found.name)")
        if found.elementType == wanted.elementType {
          let (a, b) = (try #require(found.recipe.storedTensors.first), try #require(wanted.recipe.storedTensors.first))
          #expect(try bytes(a) == bytes(b), "\(found.name)")
        } else {
          #expect(found.elementType == .f32, "\(found.name)")
          #expect(try values(found) == values(wanted), "\(found.name)")
        }
      }
      #expect(written.config?["torch_dtype"] == "float16")
      // The fixtures have no vocabulary, and the folder is a whole model without its tokenizer.
      #expect(plan.warnings.map(\.code.rawValue) == ["tokenizer.missing"] && plan.unknownTensors.isEmpty)
      let names = try FileSystem.list("\(folder)/out")
      #expect(names == ["config.json", "espalier-manifest.json", "model.safetensors"])
      let outcome = try Verification.verify("\(folder)/out", threads: 1, listener: SilentListener())
      #expect(outcome.problems.isEmpty && outcome.tensors == original.parameters.count)
    }
  }

  @Test(arguments: Conversion.elementTypes)
  func everyFloatGetsTheTypeAskedFor(type: ElementType) throws {
    try withTemporaryFolder { folder in
      let (_, written) = try convert("\(Self.fixtures)/gemma.gguf", to: "\(folder)/out", type: type)
      let original = try SafetensorsCheckpoint(at: "\(Self.fixtures)/gemma.safetensors")
      #expect(written.parameters.allSatisfy { $0.elementType == type })
      // The file has the checkpoint's bfloat16 numbers in float32.
      for (found, wanted) in zip(written.parameters, original.parameters) {
        let rounded = type.values(of: type.bytes(of: try values(wanted)))
        #expect(try values(found) == rounded, "\(found.name)")
      }
      let names: [ElementType: JSON] = [.f32: "float32", .f16: "float16", .bf16: "bfloat16"]
      #expect(written.config?["torch_dtype"] == names[type])
    }
  }

  @Test func aFolderIsConvertedWithItsFiles() throws {
    try withTemporaryFolder { folder in
      try TinyLlama(value: 0.1, type: .bf16).write(to: "\(folder)/model")
      for (name, text) in [("LICENSE", "free"), ("README.md", "# A model"), ("generation_config.json", "{}")] {
        try FileSystem.write(Array(text.utf8), to: "\(folder)/model/\(name)")
      }
      let (_, written) = try convert("\(folder)/model", to: "\(folder)/out", type: .f32) { $0.shardBytes = 1 << 16 }
      #expect(written.parameters.allSatisfy { $0.elementType == .f32 } && written.parameters.count == 21)
      #expect(try FileSystem.read("\(folder)/out/README.md") == Array("# A model".utf8))
      #expect(try FileSystem.read("\(folder)/out/LICENSE") == Array("free".utf8))
      #expect(FileSystem.isFile("\(folder)/out/generation_config.json"))
      let value = try #require(try values(written.parameters[0]).first)
      #expect(value == ElementType.bf16.values(of: ElementType.bf16.bytes(of: [0.1])).first)
    }
  }

  /// Blocks of Q8_0 in a model of an unknown architecture.
  @Test func quantizedWeightsBecomeFloat16() throws {
    var block: [UInt8] = [0x00, 0x34]  // a scale of 0.25
    block += (0..<32).map { UInt8(bitPattern: Int8($0 * 4 - 64)) }
    func number(_ value: Int, _ bytes: Int) -> [UInt8] {
      (0..<bytes).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }
    func string(_ text: String) -> [UInt8] { number(text.utf8.count, 8) + Array(text.utf8) }
    var file = Array("GGUF".utf8) + number(3, 4) + number(1, 8) + number(1, 8)
    file += string("general.architecture") + number(8, 4) + string("made-up")
    file += string("w") + number(2, 4) + number(32, 8) + number(2, 8) + number(8, 4) + number(0, 8)
    file += [UInt8](repeating: 0, count: (32 - file.count % 32) % 32) + block + block
    try withTemporaryFolder { folder in
      try FileSystem.write(file, to: "\(folder)/m.gguf")
      let (plan, written) = try convert("\(folder)/m.gguf", to: "\(folder)/out")
      #expect(plan.warnings.contains { $0.code == .ggufMetadata })
      #expect(written.parameters.map(\.name) == ["w"] && written.parameters[0].elementType == .f16)
      let row = (0..<32).map { Float($0 * 4 - 64) / 4 }
      #expect(try values(written.parameters[0]) == row + row)
      #expect(written.config == nil)
    }
  }

  @Test func ggufAndSafetensorsAreMerged() throws {
    try withTemporaryFolder { folder in
      try FileSystem.createFolder("\(folder)/hf")
      for (from, to) in [("llama_bias.json", "config.json"), ("llama_bias.safetensors", "model.safetensors")] {
        try FileSystem.write(try FileSystem.read("\(Self.fixtures)/\(from)"), to: "\(folder)/hf/\(to)")
      }
      let recipe = """
        merge_method: linear
        models:
          - {model: hf, parameters: {weight: 0.5}}
          - {model: \(Self.fixtures)/llama_bias.gguf, parameters: {weight: 0.5}}
        """
      try FileSystem.write(Array(recipe.utf8), to: "\(folder)/recipe.yml")
      let pipeline = try MergePipeline(
        recipeAt: "\(folder)/recipe.yml", options: MergeOptions(output: "\(folder)/out"), listener: SilentListener())
      #expect(pipeline.warnings.isEmpty)
      _ = try pipeline.run(listener: SilentListener())
      let (merged, original) = (
        try SafetensorsCheckpoint(at: "\(folder)/out"), try SafetensorsCheckpoint(at: "\(folder)/hf")
      )
      #expect(merged.parameters.map(\.name) == original.parameters.map(\.name))
      for (found, wanted) in zip(merged.parameters, original.parameters) {
        #expect(try values(found) == values(wanted), "\(found.name)")
      }
    }
  }

  @Test func problemsSpeakOfNoRecipe() throws {
    try withTemporaryFolder { folder in
      let found = problems { try convert("\(folder)/nothing", to: "\(folder)/out") }
      #expect(found.map(\.code) == [.checkpointMissing])
      #expect(found[0].context.recipeLine == nil && found[0].context.file == nil)
      try TinyLlama().write(to: "\(folder)/out")
      let existing = problems { try convert("\(Self.fixtures)/llama_bias.gguf", to: "\(folder)/out") }
      #expect(existing.contains { $0.code == .outputExists } && existing.allSatisfy { $0.context.recipeLine == nil })
    }
  }
}
