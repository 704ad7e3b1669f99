import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNumerics
import NetworkTestSupport
import TestSupport
import Testing

@testable import EspalierNetworks

/// Networks that run on reduced forms.
@Suite struct ReducedNetworkTests {
  /// A copy of a fixture in which every matrix is changed, stored plainly or in a reduced form.
  private func write(
    _ checkpoint: SafetensorsCheckpoint, to folder: String,
    _ change: (String, Matrix<Float>) throws -> (plain: Matrix<Float>, reduced: ReducedEncoding)
  ) throws {
    for isReduced in [false, true] {
      var tensors: [(name: String, elementType: ElementType, shape: [Int])] = []
      var forms: [(name: String, form: ReducedStorage.Form, shape: [Int])] = []
      var data: [UInt8] = []
      for parameter in checkpoint.parameters {
        let values = try values(parameter)
        guard parameter.shape.count == 2 else {
          tensors.append((parameter.name, .f32, parameter.shape))
          data += ElementType.f32.bytes(of: values)
          continue
        }
        let matrix = try Matrix(rows: parameter.shape[0], columns: parameter.shape[1], elements: values)
        let (plain, reduced) = try change(parameter.name, matrix)
        if isReduced {
          forms.append((reduced.name, reduced.form, reduced.shape))
          for part in reduced.parts {
            tensors.append((part.name, part.elementType, part.shape))
            data += part.bytes
          }
        } else {
          tensors.append((parameter.name, .f32, parameter.shape))
          data += ElementType.f32.bytes(of: plain.elements)
        }
      }
      let path = "\(folder)/\(isReduced ? "reduced" : "plain")"
      try FileSystem.createFolder(path)
      try FileSystem.write(try FileSystem.read("\(checkpoint.location)/config.json"), to: "\(path)/config.json")
      let metadata = ReducedSection.entry(for: forms).map { [($0.key, $0.value)] } ?? []
      try FileSystem.write(
        SafetensorsHeader.bytes(for: tensors, metadata: metadata) + data, to: "\(path)/model.safetensors")
    }
  }

  private func values(_ parameter: Parameter) throws -> [Float] {
    let reader = try parameter.recipe.reader(files: FilePool())
    let scratch = try AlignedBuffer(byteCount: reader.scratchBytes(for: reader.elementCount))
    let buffer = try AlignedBuffer(count: reader.elementCount, of: Float.self)
    try reader.read(0..<reader.elementCount, into: buffer.floats.baseAddress!, scratch: scratch.address)
    return Array(buffer.floats)
  }

  private func outputs(_ path: String, _ inputs: NetworkInputs) throws -> [Float] {
    let network = try Network(try SafetensorsCheckpoint(at: path), residency: .resident, workers: Golden.workers)
    return Array(try #require(try network.forward(inputs).last).values)
  }

  @Test(
    "A sparse model gives the bits of the model with zeros in place",
    arguments: ["llama_gqa_untied", "llama_tied_mqa", "gpt2", "qwen2_untied"])
  func sparse(name: String) throws {
    let golden = Golden(name)
    let checkpoint = try SafetensorsCheckpoint(at: golden.path)
    try withTemporaryFolder { folder in
      try write(checkpoint, to: folder) { name, matrix in
        var pruned = matrix
        for index in pruned.elements.indices where index % 4 == 1 || index % 4 == 2 { pruned.elements[index] = 0 }
        let pattern: SparsePattern =
          matrix.columns % 4 == 0 && name.contains("proj") ? .groups(keep: 2, of: 4) : .unstructured
        return (
          pruned,
          try ReducedEncoding(try SparseMatrix(pruned, elementType: .f32, pattern: pattern), name: name)
        )
      }
      let inputs = try golden.inputs()
      let (plain, reduced) = (try outputs("\(folder)/plain", inputs), try outputs("\(folder)/reduced", inputs))
      #expect(plain.map(\.bitPattern) == reduced.map(\.bitPattern))
    }
  }

  @Test func theNetworkRunsOnTheFormItself() throws {
    let checkpoint = try SafetensorsCheckpoint(at: Golden("llama_gqa_untied").path)
    try withTemporaryFolder { folder in
      try write(checkpoint, to: folder) { name, matrix in
        (matrix, try ReducedEncoding(try SparseMatrix(matrix, elementType: .f32), name: name))
      }
      let path = "\(folder)/reduced"
      let network = try Network(try SafetensorsCheckpoint(at: path), residency: .resident, workers: Golden.workers)
      let store = ParameterStore(
        try SafetensorsCheckpoint(at: path), description: network.program.description, isResident: false)
      let requests = ["model.layers.0.mlp.up_proj.weight", "lm_head.weight"].map {
        ParameterRequest(name: $0, form: .matrix)
      }
      let maps = try store.load(requests, of: requests, pool: Golden.workers).matrices
      #expect(maps.allSatisfy { $0 is SparseMatrix } && maps.count == 2)
    }
  }

  @Test("Factors that lose nothing give the model back", arguments: ["llama_gqa_untied", "llama_tied_mqa"])
  func factors(name: String) throws {
    let golden = Golden(name)
    let checkpoint = try SafetensorsCheckpoint(at: golden.path)
    try withTemporaryFolder { folder in
      try write(checkpoint, to: folder) { name, matrix in
        // W = W I, so that the factors lose nothing.
        var identity = try Matrix(
          rows: matrix.columns, columns: matrix.columns,
          elements: [Float](repeating: 0, count: matrix.columns * matrix.columns))
        for index in 0..<matrix.columns { identity[index, index] = 1 }
        return (matrix, try ReducedEncoding(factors: [matrix, identity], elementType: .f32, name: name))
      }
      let inputs = try golden.inputs()
      let (plain, reduced) = (try outputs("\(folder)/plain", inputs), try outputs("\(folder)/reduced", inputs))
      #expect(plain == reduced)
    }
  }
}
