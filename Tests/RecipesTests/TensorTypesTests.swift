import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierRecipes

@Suite("Types of a mix")
struct TensorTypesTests {
  private static let folder = "\(FileSystem.parent(of: #filePath))/Fixtures/quantization"

  @Test(
    "As llama.cpp's quantizer chooses them, by layer, grouped queries, experts and rows that do not divide",
    arguments: ["deep", "experts", "narrow", "tall"])
  func mixes(model: String) throws {
    let json = try JSON(parsing: try FileSystem.read("\(Self.folder)/types.json"))
    let described = try #require(json[model])
    var metadata = GGUFMetadata()
    metadata.set("general.architecture", to: .text("llama"))
    for (key, name) in [
      ("block_count", "layers"), ("attention.head_count", "heads"), ("attention.head_count_kv", "keyValueHeads"),
      ("expert_count", "experts"),
    ] {
      let value = try #require(described[name]?.integer)
      metadata.set("llama.\(key)", to: .u32(UInt32(value)))
    }
    let mixes = described["mixes"]?.array?.compactMap(\.string) ?? []
    #expect(mixes.count >= 19)
    let rows = try #require(described["tensors"]?.array)
    let tensors = rows.map { row in
      TypedTensor(
        name: row[0]?.string ?? "", shape: row[1]?.array?.compactMap(\.integer) ?? [], plain: .elements(.f32))
    }
    #expect(tensors.count > 80 && tensors.allSatisfy { !$0.name.isEmpty && !$0.shape.isEmpty })
    for (place, name) in mixes.enumerated() {
      let mix = try #require(QuantizationMix.named(name))
      let found = TensorTypes(mix: mix, model: MixModel(metadata)).choices(for: tensors).map(\.format.name)
      let expected = rows.compactMap { $0[2]?.string?.split(separator: " ")[place] }.map(String.init)
      for (index, tensor) in tensors.enumerated() where found[index] != expected[index] {
        Issue.record("\(name): \(tensor.name) is \(found[index]), expected \(expected[index])")
      }
    }
  }

  @Test("The last rule that fits goes before the mix; what is not multiplied by stays")
  func rules() throws {
    let mix = try #require(QuantizationMix.named("q4_k_m"))
    let rules = try ["ffn=Q6_K", "blk\\.1\\.=q8_0", "norm=Q8_0"].map { (text) throws(Problem) in
      try TensorTypeRule(text)
    }
    let tensors =
      ["blk.0.ffn_up.weight", "blk.1.ffn_up.weight", "blk.0.attn_q.weight"].map {
        TypedTensor(name: $0, shape: [256, 256], plain: .elements(.bf16))
      } + [TypedTensor(name: "blk.0.attn_norm.weight", shape: [256], plain: .elements(.f32))]
    let types = TensorTypes(mix: mix, model: MixModel(GGUFMetadata()), rules: rules)
    #expect(types.choices(for: tensors).map(\.format.name) == ["Q6_K", "Q8_0", "Q4_K", "F32"])
    let assigned = types.choices(for: tensors, assigned: [ExactString("blk.0.ffn_up.weight"): .blocks(.q2_K)])
    #expect(assigned[0].format == .blocks(.q2_K))
    for bad in ["=Q6_K", "ffn", "ffn=Q9", "ffn=Q8_K", "(=Q6_K"] {
      #expect(throws: Problem.self, "\(bad)") { try TensorTypeRule(bad) }
    }
  }

  @Test("Whole files have the bytes of llama.cpp's, mix by mix; they verify, and are made once")
  func files() throws {
    let json = try JSON(parsing: try FileSystem.read("\(Self.folder)/digests.json"))
    let digests = try #require(json.members).pairs
    #expect(digests.count >= 19)
    try withTemporaryFolder { folder in
      let source = "\(Self.folder)/source.gguf"
      let families = Architecture.builtIn()
      let checkpoint = try Architecture.openCheckpoint(at: source, families: families)
      for (name, digest) in digests {
        let mix = try #require(QuantizationMix.named(name))
        var options = MergeOptions(output: "\(folder)/\(name).gguf")
        options.threads = 2
        let plan = try QuantizationPlan(
          QuantizationRequest(mix: mix), of: source, checkpoint: checkpoint, families: families, options: options)
        _ = try QuantizationRun.execute(plan, listener: SilentListener())
        let found = try FileHash.sha256(of: try File.reading(options.output))
        #expect(found == digest.string, "\(name)")
        #expect(throws: Problems.self) {
          try QuantizationPlan(
            QuantizationRequest(mix: mix), of: source, checkpoint: checkpoint, families: families, options: options)
        }
      }
    }
  }
}
