import EspalierBasics
import EspalierCheckpoints
import TestSupport
import Testing

/// Adapters saved by PEFT 0.21.2 and what its `merge_and_unload` made of them in float32.
@Suite struct AdapterGoldenTests {
  static let adapters = [
    "dora_all", "dora_conv1d_gpt2", "ia3", "ia3_gpt2", "lora_all", "lora_conv1d_gpt2", "lora_embed_head",
    "lora_modules_to_save", "lora_patterns", "lora_qv", "lora_regex_layers", "rslora_all", "rslora_dora_attn",
  ]

  static func open(_ name: String) throws -> (base: SafetensorsCheckpoint, adapted: AdaptedCheckpoint) {
    let base = try SafetensorsCheckpoint(
      at: "\(Fixtures.peft)/\(name.hasSuffix("gpt2") ? "base_gpt2" : "base_llama")")
    return (base, try AdaptedCheckpoint(base: base, adapterAt: "\(Fixtures.peft)/\(name)"))
  }

  @Test(arguments: adapters) func everyChangedTensorIsThatOfPEFT(_ name: String) throws {
    let (base, adapted) = try Self.open(name)
    let expected = try SafetensorsCheckpoint(at: "\(Fixtures.peft)/\(name)/expected.safetensors").parametersByName()
    #expect(adapted.warnings.isEmpty)
    #expect(adapted.parameters.map(\.name) == base.parameters.map(\.name))
    #expect(expected.count > 0)
    for parameter in adapted.parameters {
      let values = try parameter.recipe.values()
      guard let reference = try expected[ExactString("merged.\(parameter.name)")]?.recipe.values() else {
        #expect(
          values == (try base.parametersByName()[ExactString(parameter.name)]?.recipe.values()), "\(parameter.name)")
        continue
      }
      let largest = reference.map(abs).max() ?? 0
      let distance = zip(values, reference).map { abs($0 - $1) }.max() ?? .infinity
      #expect(values.count == reference.count)
      #expect(distance <= 1e-5 * largest, "\(parameter.name): \(distance) of \(largest)")
    }
  }

  @Test(arguments: adapters) func aValueIsTheSameInWhateverRangeItIsRead(_ name: String) throws {
    let seed: UInt64 = 11
    var generator = SeededGenerator(seed: seed)
    for parameter in try Self.open(name).adapted.parameters {
      guard case .updated = parameter.recipe else { continue }
      let whole = try parameter.recipe.values()
      let reader = try parameter.recipe.reader(files: FilePool())
      for _ in 0..<20 {
        let bounds = [0, 0].map { _ in Int.random(in: 0...whole.count, using: &generator) }.sorted()
        let part = try reader.values(bounds[0]..<bounds[1])
        #expect(
          part.map(\.bitPattern) == whole[bounds[0]..<bounds[1]].map(\.bitPattern),
          "seed \(seed), \(parameter.name), \(bounds)")
      }
    }
  }

  @Test func factorsAreCountedAsResident() throws {
    let adapted = try Self.open("lora_qv").adapted
    let query = try #require(adapted.parametersByName()["model.layers.0.self_attn.q_proj.weight"])
    // A is [4, 48] and B is [48, 4], in float32.
    #expect(try query.recipe.reader(files: FilePool()).residentBytes == 2 * 4 * 48 * 4)
    #expect(query.recipe.storedTensors.map(\.shape) == [[48, 48], [4, 48], [48, 4]])
  }
}
