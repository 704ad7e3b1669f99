import EspalierBasics
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

/// Quantized matrices against gptqmodel, autoawq and compressed-tensors.
@Suite struct PackedGoldenTests {
  static let matrices =
    [1, 2].flatMap { version in [2, 3, 4, 8].map { "gptq-v\(version)-\($0)" } }
    + ["awq", "compressed-pack", "compressed-naive"]
  static let models = ["llama-w4a16", "llama-int8", "llama-fp8"]

  @Test(arguments: matrices + models) func weightsAreThoseOfThePackage(name: String) throws {
    let folder = "\(Fixtures.packed)/\(name)"
    let checkpoint = try SafetensorsCheckpoint(at: folder)
    #expect(checkpoint.config?["quantization_config"] == nil && checkpoint.config?["model_type"] != nil)
    let parameters = checkpoint.parametersByName()
    let expected = try storedTensors("\(folder)/expected.safetensors").filter { $0.key.hasSuffix(".weight") }
    #expect(!expected.isEmpty)
    for (name, tensor) in expected {
      let parameter = try #require(parameters[ExactString(name)])
      #expect(parameter.isQuantized && parameter.packedForm != nil)
      #expect(parameter.shape == tensor.shape && parameter.elementType == tensor.elementType)
      let values = try parameter.recipe.values()
      #expect(try parameter.elementType.bytes(of: values) == tensor.bytes(), "\(name)")
      // Any part is read as it is in the whole.
      for (first, last) in [(0, 1), (5, 6), (31, 33), (30, 131), (96, 192), (1, values.count)] {
        let part = try parameter.recipe.values(first..<last)
        #expect(part == Array(values[first..<last]), "\(name) \(first)..<\(last)")
      }
    }
    // Nothing of how they are stored is left, and nothing else is lost.
    let own = [
      "qweight", "qzeros", "scales", "g_idx", "weight_packed", "weight_scale", "weight_shape", "weight_zero_point",
    ]
    #expect(!checkpoint.parameters.contains { parameter in own.contains { parameter.name.hasSuffix(".\($0)") } })
    let plain = try storedTensors("\(folder)/model.safetensors").keys.filter { name in
      !own.contains { name.hasSuffix(".\($0)") } && expected[name] == nil
    }
    for name in plain {
      let parameter = try #require(parameters[ExactString(name)])
      #expect(!parameter.isQuantized)
    }
    #expect(checkpoint.parameters.count == expected.count + plain.count)
  }

  /// The layout, grid and tiles of a matrix of the fixtures, from what was drawn for it and what the package wrote.
  private static func matrix(
    _ module: String, _ inputs: [String: StoredTensor], _ storage: PackedStorage, bits: Int
  ) throws -> (PackedLayout, QuantizedMatrix)? {
    let layout: PackedLayout
    var grid = QuantizedMatrix.Grid.integer(bits: bits, symmetric: inputs["\(module).zeros"] == nil)
    switch storage.coding {
    case .gptq(_, let offset): layout = offset == 1 ? .gptq : .gptqV2
    case .awq: layout = .awq
    case .words: layout = .packQuantized
    case .elements where storage.codes.elementType == .i8: layout = .intQuantized
    case .elements:
      layout = .floatQuantized
      grid = .float(storage.codes.elementType)
    }
    guard bits > 1 else { return nil }
    let scales = try #require(inputs["\(module).scales"])
    let groups = try inputs["\(module).groups"].map { tensor in
      ElementType.i32.values(of: try tensor.bytes()).map { Int32($0) }
    }
    let matrix = try QuantizedMatrix(
      rows: storage.rows, columns: storage.columns, grid: grid, codes: #require(inputs["\(module).codes"]).bytes(),
      scales: ElementType.f32.values(of: scales.bytes()), zeros: inputs["\(module).zeros"]?.bytes(),
      tileRows: storage.blockRows, tileColumns: storage.groupSize, groupOfColumn: groups, scaleType: storage.elementType
    )
    return (layout, matrix)
  }

  @Test(arguments: matrices) func tensorsAreThoseThePackageWrites(name: String) throws {
    let folder = "\(Fixtures.packed)/\(name)"
    let stored = try storedTensors("\(folder)/model.safetensors")
    let inputs = try storedTensors("\(folder)/expected.safetensors")
    var compared = 0
    for parameter in try SafetensorsCheckpoint(at: folder).parameters {
      guard let storage = parameter.packedForm else { continue }
      let module = String(parameter.name.dropLast(".weight".count))
      // Which are five bits in bytes, no tensor tells.
      let bits = (name, module) == ("compressed-naive", "m.9") ? 5 : storage.bits
      guard let (layout, matrix) = try Self.matrix(module, inputs, storage, bits: bits) else { continue }
      let parts = try layout.encode(matrix, parameter: parameter.name)
      for part in parts {
        let tensor = try #require(stored[part.name])
        #expect(part.elementType == tensor.elementType && part.shape == tensor.shape, "\(part.name)")
        #expect(try part.bytes == tensor.bytes(), "\(part.name)")
        compared += 1
      }
      #expect(parts.count == stored.keys.filter { $0.hasPrefix("\(module).") }.count, "\(module)")
    }
    #expect(compared >= 6)
  }

  @Test func inputsThatAreQuantizedAreWarnedOf() throws {
    #expect(try SafetensorsCheckpoint(at: "\(Fixtures.packed)/llama-w4a16").warnings.isEmpty)
    let warnings = try SafetensorsCheckpoint(at: "\(Fixtures.packed)/llama-int8").warnings
    #expect(
      warnings.map(\.message)
        == ["the config has inputs of layers quantized as they come; weights alone are quantized here"])
  }
}
