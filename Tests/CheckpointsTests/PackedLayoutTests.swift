import EspalierBasics
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

/// What is written in a layout is read again, number by number.
@Suite struct PackedLayoutTests {
  typealias Form = PackedLayout.Form

  private static func integer(_ bits: Int, symmetric: Bool = true) -> QuantizedMatrix.Grid {
    .integer(bits: bits, symmetric: symmetric)
  }

  private static let forms: [(PackedLayout, [Form])] = [
    (.gptq, transposed([2, 3, 4, 8])), (.gptqV2, transposed([2, 3, 4, 8])),
    (
      .awq,
      [
        Form(rows: 24, columns: 50, grid: integer(4, symmetric: false), tileColumns: 50),
        Form(rows: 64, columns: 128, grid: integer(4, symmetric: false), tileColumns: 32),
        Form(rows: 8, columns: 7, grid: integer(4), tileColumns: 7),
      ]
    ),
    (
      .packQuantized,
      (2...8).flatMap { bits in
        [true, false].flatMap { symmetric in
          [
            Form(rows: 13, columns: 96, grid: integer(bits, symmetric: symmetric), tileColumns: 32, scaleType: .bf16),
            Form(rows: 13, columns: 71, grid: integer(bits, symmetric: symmetric), tileColumns: 71, scaleType: .f32),
            Form(
              rows: 13, columns: 71, grid: integer(bits, symmetric: symmetric), tileRows: 13, tileColumns: 71),
            Form(
              rows: 5, columns: 64, grid: integer(bits, symmetric: symmetric), tileColumns: 16, reordersColumns: true),
          ]
        }
      } + [Form(rows: 9, columns: 40, grid: .ternary, tileColumns: 20, scaleType: .bf16)]
    ),
    (.intQuantized, elements([integer(8), integer(8, symmetric: false), integer(3, symmetric: false), .ternary])),
    (.floatQuantized, elements([.float(.f8e4m3), .float(.f8e5m2)])),
  ]

  private static func transposed(_ bits: [Int]) -> [Form] {
    bits.flatMap { bits in
      [true, false].flatMap { symmetric in
        [
          Form(rows: 32, columns: 96, grid: integer(bits, symmetric: symmetric), tileColumns: 32),
          Form(rows: 64, columns: 32, grid: integer(bits, symmetric: symmetric), tileColumns: 32, scaleType: .bf16),
          Form(rows: 96, columns: 160, grid: integer(bits, symmetric: symmetric), tileColumns: 160),
          Form(
            rows: 32, columns: 128, grid: integer(bits, symmetric: symmetric), tileColumns: 16, reordersColumns: true),
        ]
      }
    } + [Form(rows: 32, columns: 32, grid: .ternary, tileColumns: 16)]
  }

  private static func elements(_ grids: [QuantizedMatrix.Grid]) -> [Form] {
    grids.flatMap { grid in
      [
        Form(rows: 11, columns: 30, grid: grid, tileRows: 11, tileColumns: 30, scaleType: .f32),
        Form(rows: 11, columns: 30, grid: grid, tileColumns: 30, scaleType: .bf16),
        Form(rows: 11, columns: 30, grid: grid, tileColumns: 10),
        Form(rows: 11, columns: 30, grid: grid, tileRows: 4, tileColumns: 16, scaleType: .f32),
      ]
    }
  }

  @Test(arguments: forms) func whatIsWrittenIsRead(layout: PackedLayout, forms: [Form]) throws {
    var generator = SeededGenerator(seed: 3)
    for form in forms {
      let matrix = try QuantizedMatrix.random(
        form, lowestZero: layout == .gptq ? 1 : 0, using: &generator)
      let parts = try layout.encode(matrix, parameter: "a.b.weight")
      let foreseen = try layout.tensors(of: form, parameter: "a.b.weight")
      #expect(foreseen.map(\.name) == parts.map(\.name) && foreseen.map(\.shape) == parts.map(\.shape))
      #expect(foreseen.map(\.byteCount) == parts.map(\.bytes.count))
      let section = try layout.configuration(for: [("a.b.weight", form)], plain: ["lm_head.weight"])
      try withTemporaryFolder { folder in
        try writeCheckpoint(parts.map { TestTensor($0) } + [TestTensor("n", [2], [1, 2])], section, to: folder)
        let parameters = try SafetensorsCheckpoint(at: folder).parameters
        #expect(parameters.map(\.name) == ["a.b.weight", "n"])
        #expect(parameters[0].shape == [form.rows, form.columns])
        #expect(parameters[0].elementType == (form.scaleType == .f32 ? .bf16 : form.scaleType))
        let expected = try matrix.materialized().elements
        let read = try parameters[0].recipe.values()
        #expect(read.map(\.bitPattern) == expected.map(\.bitPattern), "\(form)")
        for _ in 0..<12 {
          let bounds = [0, 1].map { _ in Int.random(in: 0...expected.count, using: &generator) }.sorted()
          let part = try parameters[0].recipe.values(bounds[0]..<bounds[1])
          #expect(part == Array(expected[bounds[0]..<bounds[1]]), "\(form) \(bounds)")
        }
        let reader = try parameters[0].recipe.reader(files: FilePool())
        #expect(reader.residentBytes == parameters[0].recipe.residentBytes)
        #expect(reader.scratchBytes(for: 100) == parameters[0].recipe.scratchBytes(for: 100))
      }
    }
  }

  /// One matrix by hand: two outputs of 8 inputs with 4 bits would be too few words to see the order in; 8 of 8 show it.
  @Test func wordsAreWhatTheLayoutsSay() throws {
    // Output o, input i has the code (o + 2 i) mod 16.
    let codes = (0..<8).flatMap { output in (0..<8).map { UInt8((output + 2 * $0) % 16) } }
    let matrix = try QuantizedMatrix(
      rows: 8, columns: 8, grid: .integer(bits: 4, symmetric: false), codes: codes,
      scales: [Float](repeating: 0.5, count: 8), zeros: [1, 2, 3, 4, 5, 6, 7, 8], tileRows: 1, tileColumns: 8,
      scaleType: .f16)
    func words(_ layout: PackedLayout, _ suffix: String) throws -> [UInt32] {
      let part = try #require(
        try layout.encode(matrix, parameter: "m.weight").first { $0.name == "m.\(suffix)" })
      return stride(from: 0, to: part.bytes.count, by: 4).map { start in
        (0..<4).reduce(0) { $0 | UInt32(part.bytes[start + $1]) << (8 * UInt32($1)) }
      }
    }
    // Inputs 0 to 7 of output 0: 0 2 4 6 8 a c e from the lowest nibble up; of output 1 one more each.
    #expect(try words(.gptq, "qweight").prefix(2) == [0xECA8_6420, 0xFDB9_7531])
    #expect(try words(.packQuantized, "weight_packed").prefix(2) == [0xECA8_6420, 0xFDB9_7531])
    // Outputs 0 2 4 6 1 3 5 7 of input 0, then of input 1.
    #expect(try words(.awq, "qweight").prefix(2) == [0x7531_6420, 0x9753_8642])
    #expect(try words(.gptq, "qzeros") == [0x7654_3210])
    #expect(try words(.gptqV2, "qzeros") == [0x8765_4321])
    #expect(try words(.awq, "qzeros") == [0x8642_7531])
    #expect(try words(.packQuantized, "weight_zero_point") == [0x8765_4321])
  }

  @Test func configurationsSayHowMatricesDiffer() throws {
    let common = Form(rows: 32, columns: 64, grid: Self.integer(4), tileColumns: 32)
    let wide = Form(rows: 32, columns: 64, grid: Self.integer(8, symmetric: false), tileColumns: 64)
    let narrow = Form(rows: 64, columns: 32, grid: Self.integer(4), tileColumns: 32)
    let matrices = [("a.0.weight", common), ("a.1.weight", wide), ("b.weight", narrow)]
    let gptq = try PackedLayout.gptqV2.configuration(for: matrices, plain: ["head.weight"])
    #expect(
      gptq == [
        "quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": false, "sym": true, "lm_head": false,
        "checkpoint_format": "gptq_v2", "pack_dtype": "int32",
        "dynamic": [#"+:^a\.1$"#: ["bits": 8, "group_size": -1, "sym": false], "-:^head$": .object([])],
      ])
    let compressed = try PackedLayout.packQuantized.configuration(for: matrices, plain: ["head.weight"])
    #expect(compressed["config_groups"]?.members?.keys == ["group_0", "group_1", "group_2"])
    #expect(compressed["config_groups"]?["group_1"]?["targets"] == ["a.1"])
    #expect(compressed["ignore"] == ["head"])
    #expect(problem { try PackedLayout.awq.configuration(for: matrices) }?.message.contains("one size") == true)
    #expect(problem { try PackedLayout.awq.configuration(for: []) }?.message == "no matrix is quantized")
    let quantizing = try PackedLayout.intQuantized.configuration(for: [matrices[1]], quantizesInputs: true)
    #expect(quantizing["config_groups"]?["group_0"]?["input_activations"]?["strategy"] == "token")
    // Matrices of one model that differ are read again.
    var generator = SeededGenerator(seed: 9)
    for layout in [PackedLayout.gptq, .gptqV2, .packQuantized] {
      let made = try matrices.map {
        ($0.0, try QuantizedMatrix.random($0.1, lowestZero: 1, using: &generator))
      }
      let tensors = try made.flatMap { try layout.encode($0.1, parameter: $0.0) }.map { TestTensor($0) }
      try withTemporaryFolder { folder in
        try writeCheckpoint(tensors, try layout.configuration(for: matrices, plain: ["head.weight"]), to: folder)
        let parameters = try SafetensorsCheckpoint(at: folder).parameters
        #expect(parameters.map(\.name) == made.map(\.0))
        for (parameter, (_, matrix)) in zip(parameters, made) {
          let read = try parameter.recipe.values()
          #expect(try read == matrix.materialized().elements)
        }
      }
    }
  }

  /// GPT-2's own layers are `[in, out]`, its head is not.
  @Test func layersOfTransposedFamiliesAreGivenAsTheFamilyHasThem() throws {
    var generator = SeededGenerator(seed: 4)
    let form = Form(rows: 32, columns: 64, grid: Self.integer(4), tileColumns: 32)
    let matrix = try QuantizedMatrix.random(form, using: &generator)
    let names = ["h.0.mlp.c_fc.weight", "lm_head.weight"]
    let tensors = try names.flatMap { try PackedLayout.gptq.encode(matrix, parameter: $0) }.map { TestTensor($0) }
    try withTemporaryFolder { folder in
      try writeCheckpoint(tensors, nil, to: folder)
      var config: JSON = ["model_type": "gpt2"]
      config["quantization_config"] = try PackedLayout.gptq.configuration(for: names.map { ($0, form) })
      try FileSystem.write(config.bytes(), to: "\(folder)/config.json")
      let parameters = try SafetensorsCheckpoint(at: folder).parameters
      #expect(parameters.map(\.name) == names && parameters.map(\.shape) == [[64, 32], [32, 64]])
      #expect(parameters.map(\.isQuantized) == [true, true])
      let elements = try matrix.materialized().elements
      let (layer, head) = (try parameters[0].recipe.values(), try parameters[1].recipe.values())
      #expect(head == elements)
      #expect(layer == (0..<64).flatMap { column in (0..<32).map { elements[$0 * 64 + column] } })
    }
  }

  private static let refused: [(PackedLayout, Form, String)] = [
    (.gptq, Form(rows: 32, columns: 32, grid: integer(5), tileColumns: 32), "codes of 5 bits; 2, 3, 4 and 8 can be"),
    (.gptq, Form(rows: 33, columns: 32, grid: integer(4), tileColumns: 32), "multiples of 8"),
    (.gptq, Form(rows: 32, columns: 32, grid: .float(.f8e4m3), tileColumns: 32), "its codes are floats"),
    (.gptq, Form(rows: 32, columns: 32, grid: integer(4), tileColumns: 32, scaleType: .f32), "scales of F32"),
    (.gptqV2, Form(rows: 32, columns: 32, grid: integer(4), tileRows: 32, tileColumns: 32), "32 rows share a scale"),
    (.awq, Form(rows: 32, columns: 32, grid: integer(8), tileColumns: 32), "codes of 8 bits; 4 can be"),
    (.awq, Form(rows: 12, columns: 32, grid: integer(4), tileColumns: 32), "not a multiple of 8"),
    (.awq, Form(rows: 8, columns: 32, grid: integer(4), tileColumns: 20), "not whole groups"),
    (.awq, Form(rows: 8, columns: 32, grid: integer(4), tileColumns: 16, reordersColumns: true), "another order"),
    (.packQuantized, Form(rows: 8, columns: 32, grid: integer(4), tileRows: 4, tileColumns: 8), "blocks of rows"),
    (.packQuantized, Form(rows: 8, columns: 30, grid: integer(4), tileColumns: 16), "not whole groups"),
    (.intQuantized, Form(rows: 8, columns: 32, grid: integer(8), tileColumns: 16, reordersColumns: true), "another"),
    (.floatQuantized, Form(rows: 8, columns: 32, grid: integer(8), tileColumns: 16), "its codes are integers"),
    (.floatQuantized, Form(rows: 0, columns: 32, grid: .float(.f8e4m3), tileColumns: 16), "it is empty"),
  ]

  @Test(arguments: refused) func whatALayoutLacksIsRefused(layout: PackedLayout, form: Form, words: String) {
    let found = problem { try layout.tensors(of: form, parameter: "a.weight") }
    #expect(found?.code == .checkpointPacked)
    #expect(found?.message.contains(words) == true, "\(found?.message ?? "nothing")")
  }

  @Test func otherRefusalsOfWriting() throws {
    var generator = SeededGenerator(seed: 1)
    let form = Form(rows: 32, columns: 32, grid: Self.integer(4, symmetric: false), tileColumns: 32)
    var matrix = try QuantizedMatrix.random(form, lowestZero: 1, using: &generator)
    #expect(
      problem { try PackedLayout.gptq.encode(matrix, parameter: "a.bias") }?.message.contains("`.weight`") == true)
    matrix.zeros?[7] = 0
    #expect(
      problem { try PackedLayout.gptq.encode(matrix, parameter: "a.weight") }?.remedy?.contains("gptq_v2") == true)
    #expect(try PackedLayout.gptqV2.encode(matrix, parameter: "a.weight").count == 4)
    matrix.inputScales = [Float](repeating: 2, count: 32)
    #expect(
      problem { try PackedLayout.gptqV2.encode(matrix, parameter: "a.weight") }?.message.contains("folded") == true)
  }
}
