import EspalierArchitectures
import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

/// GGUF files of uneven models: arrays in the metadata, with an entry a layer.
@Suite struct UnevenGGUFTests {
  private static let families = Architecture.builtIn()

  private func write(_ export: GGUFExport, to path: String) throws {
    var file = TestGGUF()
    export.metadata.forEachEntry { key, type, array, value in
      var bytes: [UInt8] = []
      if let array {
        bytes = TestGGUF.u32(Int(array.type.rawValue)) + TestGGUF.u64(array.count)
      } else if type == .string {
        bytes = TestGGUF.u64(value.count)
      }
      file.entries.append((key, type.rawValue, bytes + value))
    }
    for tensor in export.tensors {
      let parameter = try #require(tensor.parameter)
      file.add(tensor.name, shape: tensor.shape, try UnevenModel.values(parameter))
    }
    try file.write(to: path)
  }

  private func export(_ name: String, _ change: (inout [LayerShape]) -> Void) throws -> GGUFExport {
    let model = try UnevenModel(name) { _, layers in change(&layers) }
    return try withTemporaryFolder { folder in
      let cut = try model.writeCut(to: "\(folder)/cut")
      return try model.family.ggufExport(of: cut, families: Self.families)
    }
  }

  /// Widths and heads of each layer, a layer without attention and an empty one go into arrays and come back.
  @Test func thereAndBack() throws {
    let model = try UnevenModel("llama_gqa_untied") { _, layers in
      layers[0].sizes["inner"] = 24
      layers[0].sizes["keyValueHeads"] = 1
      layers[1].missing = ["attention"]
    }
    try withTemporaryFolder { folder in
      let cut = try model.writeCut(to: "\(folder)/cut")
      let export = try model.family.ggufExport(of: cut, families: Self.families)
      #expect(export.metadata.text("general.architecture") == "deci")
      let shape = try model.family.layerShapes(config: model.config)[0].layers
      let heads = shape.map { $0.missing.isEmpty ? $0.sizes["keyValueHeads"]! * $0.sizes["queriesPerGroup"]! : 0 }
      #expect(export.metadata.integers("deci.feed_forward_length") == shape.map { $0.sizes["inner"]! })
      #expect(export.metadata.integers("deci.attention.head_count") == heads)
      #expect(
        export.metadata.integers("deci.attention.head_count_kv")
          == shape.map { $0.missing.isEmpty ? $0.sizes["keyValueHeads"]! : 0 })
      #expect(export.metadata.integer("deci.attention.key_length") != nil)
      try write(export, to: "\(folder)/model.gguf")
      let read = try GGUFCheckpoint(at: "\(folder)/model.gguf", families: Self.families)
      let config = try #require(read.config)
      // What the config says of all layers is now the largest that a layer has.
      #expect(config["model_type"] == "llama" && config["num_key_value_heads"] == 1)
      #expect(config["espalier"] == ["layers": ["text": [["intermediate_size": 24], ["without": ["attention"]]]]])
      let description = try model.family.describe(config: config)
      #expect(description.parameters.map(\.name) == model.uneven.parameters.map(\.name))
      #expect(description.parameters.map(\.shape) == model.uneven.parameters.map(\.shape))
      let stored = cut.parametersByName()
      #expect(read.parameters.count == cut.parameters.count)
      for parameter in read.parameters {
        let original = try #require(stored[ExactString(parameter.name)])
        #expect(parameter.shape == original.shape)
        #expect(try UnevenModel.values(parameter) == UnevenModel.values(original), "\(parameter.name)")
      }
      #expect(distance(try UnevenModel.outputs(read), try UnevenModel.outputs(cut)) == 0)
    }
  }

  /// What llama.cpp would compute otherwise, or not at all.
  @Test func refusals() throws {
    func messages(_ name: String, _ change: (inout [LayerShape]) -> Void) -> [String] {
      problems { try export(name, change) }.map(\.message)
    }
    #expect(
      messages("llama_gqa_untied") { $0[0].missing = ["attention"] } == [
        "layer 0: llama.cpp takes the width of heads from the first layer, which has none"
      ])
    #expect(
      messages("llama_gqa_untied") { $0[1].missing = ["mlp"] } == [
        "layer 1: llama.cpp leaves out the attention of a layer without mlp"
      ])
    #expect(
      messages("qwen3") { $0[0].sizes["inner"] = 16 } == [
        "the layers of the model differ, and llama.cpp takes the sizes of the first for all in files of the family qwen3"
      ])
    #expect(try export("llama_gqa_untied") { $0[1].missing = ["attention", "mlp"] }.tensors.count > 0)
  }

  /// Arrays that do not say one thing of each layer.
  @Test func damage() throws {
    let good = try export("llama_gqa_untied") { $0[0].sizes["inner"] = 24 }
    func problem(_ key: String, _ values: [Int32]) throws -> Problem? {
      var export = good
      export.metadata.set("deci.\(key)", to: .i32s(values))
      return try withTemporaryFolder { folder in
        export.tensors = []
        try write(export, to: "\(folder)/model.gguf")
        return problems { try GGUFCheckpoint(at: "\(folder)/model.gguf", families: Self.families) }.first
      }
    }
    let layers = try #require(good.metadata.integer("deci.block_count"))
    let wide = [Int32](repeating: 8, count: layers)
    #expect(
      try problem("feed_forward_length", wide + [8])?.message
        == "`feed_forward_length` should have a whole number for each of \(layers) layers")
    #expect(try problem("feed_forward_length", [-1] + wide.dropFirst())?.code == .ggufMetadata)
    #expect(
      try problem("attention.head_count_kv", [0] + wide.dropFirst())?.message
        == "layer 0: `attention.head_count_kv` is 0, and the other sizes of its block attention are not")
  }
}
