import EspalierBasics
import EspalierCheckpoints
import EspalierEvaluation
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

/// What `inspect` says of a model with parameters in reduced forms.
@Suite struct ReducedInspectionTests {
  /// Two layers: a bitmap of half the numbers each, 2:4, factors of ranks 2 and 3, a CUR, and a plain vector.
  private func checkpoint(in folder: String) throws -> SafetensorsCheckpoint {
    func matrix(_ rows: Int, _ columns: Int, keeping: Int = 1, of: Int = 1) throws -> Matrix<Float> {
      let values = (0..<rows * columns).map { Float($0 % of < keeping ? 1 + $0 : 0) }
      return try Matrix(rows: rows, columns: columns, elements: values)
    }
    var encodings: [ReducedEncoding] = []
    for layer in 0..<2 {
      let name = { (part: String) in "model.layers.\(layer).\(part).weight" }
      let half = try matrix(8, 16, keeping: 2, of: 4)
      encodings.append(try ReducedEncoding(SparseMatrix(half, elementType: .bf16), name: name("bitmap")))
      encodings.append(
        try ReducedEncoding(
          SparseMatrix(half, elementType: .bf16, pattern: .groups(keep: 2, of: 4)), name: name("pattern")))
      encodings.append(
        try ReducedEncoding(
          factors: [matrix(8, 2 + layer), matrix(2 + layer, 16)], elementType: .f32, name: name("factors")))
    }
    encodings.append(
      try ReducedEncoding(factors: [matrix(8, 3), matrix(3, 2), matrix(2, 16)], elementType: .f32, name: "cur"))
    let parts = encodings.flatMap(\.parts)
    let entry = try #require(ReducedSection.entry(for: encodings.map { ($0.name, $0.form, $0.shape) }))
    var file = SafetensorsHeader.bytes(
      for: parts.map { ($0.name, $0.elementType, $0.shape) } + [("plain", .f32, [2])],
      metadata: [(entry.key, entry.value)])
    file += parts.flatMap(\.bytes) + TestTensor("", [2], [1, 2]).bytes
    try FileSystem.write(file, to: "\(folder)/model.safetensors")
    return try SafetensorsCheckpoint(at: "\(folder)/model.safetensors")
  }

  @Test func formsAreToldFromHeaders() throws {
    try withTemporaryFolder { folder in
      let inspection = Inspection(of: try checkpoint(in: folder))
      // Bitmap: 8 rows of a word, 9 offsets, 64 values; pattern: without offsets.
      let bytes = (bitmap: 64 + 72 + 128, pattern: 64 + 128, rank2: 4 * 48, rank3: 4 * 72, cur: 4 * (24 + 6 + 32))
      let whole = 2 * bytes.bitmap + 2 * bytes.pattern + bytes.rank2 + bytes.rank3 + bytes.cur + 8
      #expect(inspection.byteCount == whole)
      #expect(inspection.plainByteCount == 4 * 2 * 128 + 3 * 4 * 128 + 8)
      #expect(inspection.parameterCount == 7 * 128 + 2)
      #expect(inspection.types.map(\.name) == ["f32", "2:4 bf16", "bitmap bf16", "cur f32", "low_rank f32"])

      let forms = inspection.tensors.compactMap(\.form)
      #expect(forms.count == 7)
      let bitmap = try #require(forms.first { $0.name == "bitmap" })
      #expect(bitmap.sparsity == 0.5 && bitmap.rank == nil && bitmap.storedNumbers == 64)
      #expect(bitmap.byteCount == bytes.bitmap)
      #expect(forms.filter { $0.name == "low_rank" }.map(\.rank) == [2, 3])
      #expect(forms.first { $0.name == "cur" }?.rank == 2)

      let json = inspection.json
      #expect(json["reduced"]?["tensor_count"] == 7 && json["reduced"]?["parameter_count"]?.integer == 7 * 128)
      #expect(json["reduced"]?["byte_count"]?.integer == whole - 8)
      #expect(json["reduced"]?["plain_byte_count"]?.integer == 4 * 2 * 128 + 3 * 4 * 128)
      let kinds = json["reduced"]?["forms"]?.array?.compactMap { $0["name"]?.string }
      #expect(kinds == ["cur", "bitmap", "low_rank", "2:4"])
      let tensor = try #require(json["tensors"]?.array?.first { $0["name"] == "model.layers.1.factors.weight" })
      #expect(tensor["form"]?["rank"] == 3 && tensor["plain_byte_count"] == 512 && tensor["byte_count"] == 288)
      #expect(json["tensors"]?.array?.last?["form"] == nil)
    }
  }

  @Test func layersAreTakenTogetherUnlessTensorsAreAskedFor() throws {
    try withTemporaryFolder { folder in
      let inspection = try Inspection(of: checkpoint(in: folder)).measured(.init(threads: 2))
      let lines = inspection.text(detail: .layers).split(separator: "\n").map(String.init)
      func words(_ start: String) throws -> [Substring] {
        try #require(lines.first { $0.hasPrefix(start) }, "\(start)").split(separator: " ")
      }
      #expect(try words("model.layers.*.bitmap.weight")[1...2] == ["bitmap", "2"])
      #expect(try words("model.layers.*.factors.weight").suffix(3) == ["2", "to", "3"])
      #expect(try words("model.layers.*.pattern.weight").suffix(3) == ["50.00", "%", "-"])
      #expect(lines.contains { $0.hasPrefix("total") && $0.contains(" 7 ") })
      #expect(lines.contains { $0.hasPrefix("bytes") && $0.hasSuffix("with the reduced forms written out") })
      let tensors = inspection.text(detail: .tensors)
      #expect(tensors.contains("model.layers.0.factors.weight  low_rank"))
      // What is measured is the numbers that the forms mean.
      let sparse = try #require(inspection.tensors.first { $0.parameter.name == "model.layers.0.bitmap.weight" })
      #expect(sparse.statistics?.zeroCount == 64)
    }
  }
}
