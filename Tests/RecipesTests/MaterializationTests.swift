import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierLinearMaps
import EspalierNumerics
import EspalierRecipes
import TestSupport
import Testing

/// Models with parameters in reduced forms, written as plain ones.
@Suite struct MaterializationTests {
  /// A tiny llama, one matrix of it a bitmap, one in factors of bfloat16.
  private func reducedModel(_ folder: String) throws -> (bitmap: [Float], factors: [Float]) {
    let names = ("model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight")
    var model = TinyLlama(value: 1)
    model.without = [names.0, names.1]
    try model.write(to: folder)
    let sparse = try Matrix<Float>(rows: 2, columns: 2, elements: [0, 3, 0, 0])
    let (left, right) = (
      try Matrix<Float>(rows: 3, columns: 1, elements: [1, 2, 3]),
      try Matrix<Float>(rows: 1, columns: 2, elements: [0.5, -4])
    )
    let encodings = [
      try ReducedEncoding(SparseMatrix(sparse, elementType: .f32), name: names.0),
      try ReducedEncoding(factors: [left, right], elementType: .bf16, name: names.1),
    ]
    let parts = encodings.flatMap(\.parts)
    let entry = try #require(ReducedSection.entry(for: encodings.map { ($0.name, $0.form, $0.shape) }))
    let file = SafetensorsHeader.bytes(
      for: parts.map { ($0.name, $0.elementType, $0.shape) }, metadata: [(entry.key, entry.value)])
    try FileSystem.rename("\(folder)/model.safetensors", to: "\(folder)/plain.safetensors")
    try FileSystem.write(file + parts.flatMap(\.bytes), to: "\(folder)/reduced.safetensors")
    return ([0, 3, 0, 0], [0.5, -4, 1, -8, 1.5, -12])
  }

  private func options(_ output: String) -> MergeOptions {
    var options = MergeOptions(output: output)
    options.threads = 2
    return options
  }

  @Test func reducedFormsBecomePlain() throws {
    try withTemporaryFolder { folder in
      let expected = try reducedModel("\(folder)/model")
      let plan = try Conversion.materialization(
        of: "\(folder)/model", elementType: nil, allowingPlain: false, options: options("\(folder)/out"))
      let outline = ConversionOutline(plan)
      #expect(
        Set(outline.reducedForms) == [
          "bitmap F32 to F32: 1 tensor, 44 B become 16 B", "low_rank BF16 to BF16: 1 tensor, 10 B become 12 B",
        ])
      #expect(outline.text.hasPrefix("reduced   ") && outline.text.contains("bitmap F32 to F32: 1 tensor"))
      #expect(outline.text.contains("F32 stays: 19 tensors"))
      #expect(outline.summary.hasPrefix("materialize: 21 tensors"))
      #expect(outline.reducedFormsJSON.array?.count == 2)

      let report = try Conversion.run(plan, listener: SilentListener())
      #expect(report.json["event"] == "materialized")
      let written = try OutputModel("\(folder)/out")
      #expect(written.names.count == 21)
      #expect(written.values("model.layers.0.self_attn.q_proj.weight") == expected.bitmap)
      #expect(written.values("model.layers.1.mlp.up_proj.weight") == expected.factors)
      #expect(written.types["model.layers.1.mlp.up_proj.weight"] == .bf16)
      #expect(written.first("model.layers.1.mlp.gate_proj.weight") == 2)
      #expect(written.config?["model_type"] == "llama")
      let outcome = try Verification.verify("\(folder)/out", threads: 1, listener: SilentListener())
      #expect(outcome.problems.isEmpty && outcome.tensors == 21)

      // What is plain now is refused, unless that is fine.
      let again = problems {
        try Conversion.materialization(
          of: "\(folder)/out", elementType: nil, allowingPlain: false, options: options("\(folder)/again"))
      }
      #expect(again.map(\.code) == [.nothingReduced])
      let copy = try Conversion.materialization(
        of: "\(folder)/out", elementType: nil, allowingPlain: true, options: options("\(folder)/again"))
      #expect(ConversionOutline(copy).reducedForms.isEmpty)
    }
  }

  @Test func conversionsListFormsToo() throws {
    try withTemporaryFolder { folder in
      _ = try reducedModel("\(folder)/model")
      let plan = try Conversion.plan(of: "\(folder)/model", elementType: .f16, options: options("\(folder)/out"))
      let outline = ConversionOutline(plan)
      #expect(outline.text.contains("low_rank BF16 to F16: 1 tensor"))
      let conversions = try #require(outline.json["conversions"]?.array)
      #expect(conversions.contains { $0["from"] == "bitmap F32" && $0["to"] == "F16" && $0["bytes_after"] == 8 })
      #expect(outline.json["tensors"]?.array?.contains { $0["stored"] == "low_rank BF16" } == true)
    }
  }
}
