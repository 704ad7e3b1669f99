import EspalierBasics
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierEvaluation

@Suite struct InspectionTests {
  private let llama: JSON = [
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4, "intermediate_size": 6,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 5,
    "tie_word_embeddings": true,
  ]

  private func zeros(_ name: String, _ shape: [Int], _ type: ElementType = .bf16) -> TestTensor {
    TestTensor(name, shape, [Float](repeating: 0, count: shape.reduce(1, *)), type)
  }

  @Test func headersTellFamilyRolesTiesAndWhatDoesNotFit() throws {
    try withTemporaryFolder { folder in
      let checkpoint = try model(
        [
          zeros("model.embed_tokens.weight", [5, 4]),
          zeros("model.layers.0.self_attn.q_proj.weight", [4, 4]),
          zeros("model.layers.0.self_attn.k_proj.weight", [4, 4]),  // the config asks for [2, 4]
          zeros("model.layers.0.self_attn.gate.weight", [3], .f32),
          zeros("model.norm.weight", [4], .f32),
          zeros("extra", [], .i64),
        ], config: llama, in: folder)
      let inspection = Inspection(of: checkpoint)
      #expect(inspection.outline.family == "llama")
      #expect(
        inspection.outline.ties == [
          .init(name: "lm_head.weight", target: "model.embed_tokens.weight", isStored: false)
        ])
      #expect(inspection.outline.unknown == ["extra", "model.layers.0.self_attn.gate.weight"])
      #expect(
        inspection.outline.misfits == [
          .init(name: "model.layers.0.self_attn.k_proj.weight", expected: [2, 4], found: [4, 4])
        ])
      #expect(inspection.outline.missing.contains("model.layers.0.mlp.up_proj.weight"))
      #expect(!inspection.outline.missing.contains("lm_head.weight"))
      #expect(inspection.parameterCount == 20 + 16 + 16 + 3 + 4 + 1)
      #expect(inspection.byteCount == 2 * (20 + 16 + 16) + 4 * (3 + 4) + 8)
      #expect(inspection.types.map(\.name) == ["f32", "bf16", "i64"])
      #expect(inspection.types.map(\.parameterCount) == [7, 52, 1])
      #expect(inspection.roles.map(\.name) == ["embedding", "attentionKey", "attentionQuery", "norm", "unknown"])
      #expect(
        inspection.layers.map(\.name) == [
          "model elsewhere", "text before layers", "text layer 0", "text after layers",
        ])
      // What the description does not name joins the layer whose tensors have the same beginning.
      #expect(inspection.layers[2].tensorCount == 3)
      #expect(inspection.tensors.allSatisfy { $0.statistics == nil && $0.spectrum == nil })
    }
  }

  @Test func quantizedTensorsShowTheTypeTheyAreStoredIn() throws {
    try withTemporaryFolder { folder in
      var parameters = try model([zeros("a", [2, 256]), zeros("b", [4], .f32)], in: folder).parameters
      let stored = StoredTensor(
        name: "a", format: .blocks(.q4_K), shape: [2, 256], file: "f", offset: 0, byteCount: 288)
      parameters[0] = Parameter(stored)
      let inspection = Inspection(of: GivenCheckpoint(parameters: parameters))
      #expect(inspection.types.map(\.name) == ["f32", "Q4_K"] && inspection.types.map(\.byteCount) == [16, 288])
      #expect(inspection.text(detail: .tensors).contains("Q4_K"))
      #expect(inspection.json["tensors"]?[0]?["type"] == "Q4_K" && inspection.byteCount == 304)
    }
  }

  @Test func anUnknownFamilyIsInferredFromNames() throws {
    try withTemporaryFolder { folder in
      let tensors = ["blocks.10.w", "blocks.2.w", "head", "blocks.99999999999999999999.w", "a.1"].map { zeros($0, [2]) }
      let inspection = Inspection(of: try model(tensors, config: ["model_type": "nothing"], in: folder))
      #expect(inspection.outline.family == nil)
      #expect(inspection.outline.unknown == [])
      #expect(inspection.layers.map(\.name) == ["layer 2", "layer 10", "elsewhere"])
      #expect(inspection.layers.map(\.tensorCount) == [1, 1, 3])
    }
  }

  @Test func aConfigThatCannotBeReadIsReportedAndNotFatal() throws {
    try withTemporaryFolder { folder in
      let inspection = Inspection(
        of: try model([zeros("w", [2])], config: ["model_type": "llama", "hidden_size": "wide"], in: folder))
      #expect(inspection.outline.family == nil)
      #expect(inspection.outline.problems.map(\.code.rawValue) == ["architecture.config"])
      #expect(inspection.outline.problems.first?.context.file?.hasSuffix("config.json") == true)
      #expect(inspection.tensors.count == 1)
    }
  }

  // MARK: - Measured

  private func statistics(_ values: [Float], _ type: ElementType = .f32) throws -> TensorStatistics {
    try withTemporaryFolder { folder in
      let inspection = Inspection(of: try model([TestTensor("w", [values.count], values, type)], in: folder))
      return try #require(try inspection.measured(MeasurementOptions(threads: 2)).tensors[0].statistics)
    }
  }

  @Test func statisticsByHand() throws {
    let found = try statistics([3, -4, 0, -0.0, .nan, .infinity, -.infinity, 12])
    #expect(found.elementCount == 8 && found.finiteCount == 5)
    #expect(found.norm == 13)
    #expect(found.rootMeanSquare == (169.0 / 5).squareRoot())
    #expect(found.sum == 11 && found.mean == 11.0 / 5)
    #expect(found.minimum == -4 && found.maximum == 12)
    #expect(found.zeroCount == 2 && found.zeroFraction == 0.25)
    #expect(found.nanCount == 1 && found.infinityCount == 2)
  }

  @Test func nothingFiniteHasNoExtremes() throws {
    for values in [[], [.nan, -.nan], [Float.infinity]] {
      let found = try statistics(values)
      #expect(found.minimum == nil && found.maximum == nil && found.norm == 0 && found.rootMeanSquare == 0)
      #expect(found.mean == 0 && found.finiteCount == 0 && found.elementCount == values.count)
    }
  }

  @Test(arguments: [ElementType.f16, .bf16, .f8e4m3, .f8e5m2, .f64, .i32, .u8])
  func everyTypeIsWidened(_ type: ElementType) throws {
    let found = try statistics([0, 1, 2, 4, 2], type)
    #expect(found.norm == 5 && found.minimum == 0 && found.maximum == 4 && found.zeroCount == 1)
  }

  /// Against plain loops over sorted copies, at lengths around every stride, with specials strewn in.
  @Test(arguments: [1, 15, 17, 4095, 4096, 4097, 8191, 10_001]) func censusFollowsItsDefinition(_ count: Int) {
    var random = SeededGenerator(seed: UInt64(count))
    let specials: [Float] = [
      .nan, -.nan, .infinity, -.infinity, 0, -0.0, .leastNonzeroMagnitude, -.greatestFiniteMagnitude,
    ]
    let values = random.floats(count).map { $0 > 0.8 ? specials.randomElement(using: &random) ?? 0 : $0 }
    let census = values.withUnsafeBufferPointer { ValueCensus($0.baseAddress!, count: count) }
    let finite = values.filter(\.isFinite)
    #expect(census.nanCount == values.count(where: \.isNaN), "seed \(count)")
    #expect(census.infinityCount == values.count(where: \.isInfinite), "seed \(count)")
    #expect(census.zeroCount == values.count { $0 == 0 }, "seed \(count)")
    #expect(census.minimum == finite.min() ?? .infinity, "seed \(count)")
    #expect(census.maximum == finite.max() ?? -.infinity, "seed \(count)")
  }

  /// Three spans, the last one short: the same bits from one thread and several, and those of the canonical sums.
  @Test func figuresDoNotDependOnThreads() throws {
    var random = SeededGenerator(seed: 7)
    let values = random.floats(2 * ParameterScan.spanLength + 5 * 4096 + 77)
    try withTemporaryFolder { folder in
      let tensors = [
        TestTensor("large", [values.count], values), TestTensor("small", [2, 3], [1, 2, 3, 4, 5, 6]),
        TestTensor("empty", [0, 3], []), TestTensor("scalar", [], [2]),
      ]
      let inspection = Inspection(of: try model(tensors, in: folder))
      let listener = ProgressSum()
      let one = try inspection.measured(MeasurementOptions(spectra: true, threads: 1, listener: listener))
      #expect(listener.heard == (inspection.byteCount + 24, inspection.byteCount + 24, 1))
      for threads in [2, 5] {
        let other = try inspection.measured(MeasurementOptions(spectra: true, threads: threads))
        #expect(other.json == one.json)
      }
      let large = try #require(one.tensors.first { $0.parameter.name == "large" }?.statistics)
      #expect(large.squaredNorm == values.withUnsafeBufferPointer(CanonicalSum.squaredNorm))
      #expect(large.sum == values.withUnsafeBufferPointer(CanonicalSum.sum))
    }
  }

  @Test func aFileCutShortAfterOpeningNamesTheTensor() throws {
    try withTemporaryFolder { folder in
      let checkpoint = try model([TestTensor("w", [4], [1, 2, 3, 4])], in: folder)
      let path = "\(folder)/model/model.safetensors"
      let bytes = try FileSystem.read(path)
      try FileSystem.remove(path)
      try FileSystem.write(Array(bytes.dropLast(3)), to: path)
      let problem = #expect(throws: Problem.self) { try Inspection(of: checkpoint).measured() }
      #expect(problem?.code == .fileTruncated)
      #expect(problem?.context.tensor == "w")
    }
  }

  // MARK: - Reports

  @Test func textOfASmallModel() throws {
    try withTemporaryFolder { folder in
      let checkpoint = try model(
        [
          TestTensor("layers.0.w", [2, 2], [3, 0, 0, -4]), TestTensor("layers.1.w", [2, 2], [1, .nan, 0, 0]),
          TestTensor("bias", [3], [1, 2, 2], .bf16),
        ], in: folder)
      let measured = try Inspection(of: checkpoint).measured(MeasurementOptions(spectra: true, threads: 1))
      let expected = """
        family      not recognised: places are inferred from names
        tensors     3
        parameters  11 (11)
        bytes       38 (38 B)

        type  tensors  parameters  bytes  L2 norm   RMS    min   max    zeros  NaN  inf
        f32         2           8   32 B     5.10  1.93  -4.00  3.00  50.00 %    1    0
        bf16        1           3    6 B     3.00  1.73   1.00  2.00      0 %    0    0

        damaged: layers.1.w holds 1 NaN and 0 infinite

        tensor      shape  type  bytes  role     L2 norm    RMS    min   max    zeros  NaN  inf
        bias            3  bf16    6 B  unknown     3.00   1.73   1.00  2.00      0 %    0    0
        layers.0.w    2x2  f32    16 B  unknown     5.00   2.50  -4.00  3.00  50.00 %    0    0
        layers.1.w    2x2  f32    16 B  unknown     1.00  0.577      0  1.00  50.00 %    1    0

        spectrum of  largest  smallest  stable rank  rank 90 %  rank 99 %
        layers.0.w      4.00      3.00         1.56          2          2
        no spectrum of layers.1.w: nan at row 0, column 1 of a matrix of 2 x 2

        """
      #expect(measured.text(detail: .tensors) == "\(checkpoint.location)\n" + expected)
      let layers = measured.text(detail: .layers).split(separator: "\n").suffix(4).map { $0.prefix(9) }
      #expect(layers == ["layer    ", "layer 0  ", "layer 1  ", "elsewhere"])
    }
  }

  @Test func jsonSurvivesTheStrictReader() throws {
    try withTemporaryFolder { folder in
      let tensors = [TestTensor("a \"quoted\"\u{1}", [1, 2], [.infinity, 2]), TestTensor("ü", [1, 1], [3])]
      let measured = try Inspection(of: model(tensors, in: folder)).measured(MeasurementOptions(spectra: true))
      for pretty in [false, true] {
        #expect(try JSON(parsing: Array(measured.json.text(pretty: pretty).utf8)) == measured.json)
      }
      #expect(measured.json["tensors"]?[0]?["spectrum"]?["problem"]?.string?.contains("non-finite") == true)
      #expect(measured.json["tensors"]?[1]?["spectrum"]?["largest"]?.number == 3)
      #expect(measured.json["parameter_count"]?.integer == 3)
    }
  }
}
