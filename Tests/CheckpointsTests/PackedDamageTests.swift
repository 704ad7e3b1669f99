import EspalierBasics
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

/// Quantized checkpoints that contradict themselves or are in layouts that are not read: refused by name.
@Suite struct PackedDamageTests {
  private static let gptqSection: JSON = ["quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": true]
  private static let awqSection: JSON = ["quant_method": "awq", "bits": 4, "group_size": 16, "version": "gemm"]

  /// A matrix of 16 x 32 with two groups.
  private static func gptq() -> [TestTensor] {
    [
      .words("m.qweight", [4, 16]), .words("m.qzeros", [2, 2], 0x7777_7777),
      TestTensor("m.scales", [2, 16], [Float](repeating: 1, count: 32), .f16), .words("m.g_idx", [32], 1),
    ]
  }

  private static func awq() -> [TestTensor] {
    [
      .words("m.qweight", [32, 2]), .words("m.qzeros", [2, 2]),
      TestTensor("m.scales", [2, 16], [Float](repeating: 1, count: 32), .f16),
    ]
  }

  private static func group(_ weights: [(String, JSON)], format: String? = nil, targets: JSON = ["Linear"]) -> JSON {
    var base: [(String, JSON)] = [("num_bits", 4), ("type", "int"), ("strategy", "group"), ("group_size", 16)]
    base.removeAll { pair in weights.contains { $0.0 == pair.0 } }
    return ["targets": targets, "weights": .object(base + weights), "format": format.map { .string($0) } ?? .null]
  }

  private static func compressedSection(
    _ group: JSON = group([]), format: String = "pack-quantized", with others: [(String, JSON)] = []
  ) -> JSON {
    .object(
      [("quant_method", "compressed-tensors"), ("format", .string(format)), ("config_groups", ["group_0": group])]
        + others)
  }

  private static func packed(shape: [Float] = [16, 32]) -> [TestTensor] {
    [
      .words("m.weight_packed", [16, 4]),
      TestTensor("m.weight_scale", [16, 2], [Float](repeating: 1, count: 32), .bf16),
      TestTensor("m.weight_shape", [shape.count], shape, .i64),
    ]
  }

  private static func opening(_ tensors: [TestTensor], _ section: JSON?) throws -> [Problem] {
    try withTemporaryFolder { folder in
      try writeCheckpoint(tensors, section, to: folder)
      return problems { try SafetensorsCheckpoint(at: folder) }
    }
  }

  @Test func whatIsDamagedHereIsWholeOtherwise() throws {
    #expect(try Self.opening(Self.gptq(), Self.gptqSection).isEmpty)
    #expect(try Self.opening(Self.awq(), Self.awqSection).isEmpty)
    #expect(try Self.opening(Self.packed(), Self.compressedSection()).isEmpty)
  }

  private static func changed(_ tensors: [TestTensor], _ name: String, to tensor: TestTensor?) -> [TestTensor] {
    tensors.filter { $0.name != name } + [tensor].compactMap { $0 }
  }

  private static let ones = [Float](repeating: 1, count: 1024)

  /// Tensors that do not fit, with a part of what is said of them.
  private static let tensors: [(String, [TestTensor], JSON, String)] = [
    ("no scales", changed(gptq(), "m.scales", to: nil), gptqSection, "`m.scales` of a quantized matrix"),
    ("no zeros", changed(gptq(), "m.qzeros", to: nil), gptqSection, "`m.qzeros` of a quantized matrix"),
    ("no codes", changed(gptq(), "m.qweight", to: nil), gptqSection, "`m.qweight` is not in the model"),
    (
      "few codes", changed(gptq(), "m.qweight", to: .words("m.qweight", [3, 16])), gptqSection, "should be I32 [4, 16]"
    ),
    (
      "stacked codes", changed(gptq(), "m.qweight", to: .words("m.qweight", [2, 2, 16])), gptqSection,
      "stacked ones are not read"
    ),
    ("no codes at all", changed(gptq(), "m.qweight", to: .words("m.qweight", [0, 16])), gptqSection, "are no matrix"),
    (
      "scales of another width",
      changed(gptq(), "m.scales", to: TestTensor("m.scales", [2, 8], .init(ones.prefix(16)), .f16)),
      gptqSection, "should be F16 [2, 16]"
    ),
    (
      "whole scales", changed(gptq(), "m.scales", to: .words("m.scales", [2, 16])), gptqSection,
      "scales are stored in I32"
    ),
    (
      "zeros of other bits", changed(gptq(), "m.qzeros", to: .words("m.qzeros", [2, 4])), gptqSection,
      "should be I32 [2, 2]"
    ),
    ("few groups", changed(gptq(), "m.g_idx", to: .words("m.g_idx", [20])), gptqSection, "should be I32 [3, 16]"),
    (
      "wide groups", changed(gptq(), "m.g_idx", to: TestTensor("m.g_idx", [32], .init(ones.prefix(32)), .f16)),
      gptqSection,
      "should be I32 [32]"
    ),
    (
      "groups of another size", changed(gptq(), "m.g_idx", to: nil),
      ["quant_method": "gptq", "bits": 4, "group_size": 8], "should be F16 [4, 16]"
    ),
    (
      "other bits", gptq(), ["quant_method": "gptq", "bits": 8, "group_size": 16], "should be I32 [8, 16]"
    ),
    (
      "twice", gptq() + [TestTensor("m.weight", [16, 32], .init(ones.prefix(512)))], gptqSection,
      "stored twice, plain and quantized"
    ),
    ("nothing quantized", [TestTensor("m.weight", [2], [1, 2])], gptqSection, "no tensor is stored so"),
    (
      "awq of other zeros", changed(awq(), "m.qzeros", to: .words("m.qzeros", [2, 1])), awqSection,
      "should be I32 [2, 2]"
    ),
    ("awq without zeros", changed(awq(), "m.qzeros", to: nil), awqSection, "`m.qzeros` of a quantized matrix"),
    (
      "awq of another group", awq(), ["quant_method": "awq", "bits": 4, "group_size": 5, "version": "gemm"],
      "should be F16 [7, 16]"
    ),
    ("shape of other rows", packed(shape: [15, 32]), compressedSection(), "the shape [15, 32] does not fit"),
    ("shape of other columns", packed(shape: [16, 99]), compressedSection(), "should be I32 [16, 13]"),
    ("shape beyond all", packed(shape: [16, 1e18]), compressedSection(), "does not fit codes"),
    ("negative shape", packed(shape: [16, -32]), compressedSection(), "does not fit codes"),
    ("stacked shape", packed(shape: [2, 16, 32]), compressedSection(), "does not fit codes"),
    ("no scale", changed(packed(), "m.weight_scale", to: nil), compressedSection(), "`m.weight_scale` of a quantized"),
    (
      "asymmetric without zeros", packed(), compressedSection(group([("symmetric", false)])),
      "`m.weight_zero_point` of the matrix is not"
    ),
    (
      "zeros of another shape", packed() + [.words("m.weight_zero_point", [3, 2])],
      compressedSection(group([("symmetric", false)])), "should be I32 [2, 2]"
    ),
    (
      "channels", packed(), compressedSection(group([("strategy", "channel"), ("group_size", nil)])),
      "should be BF16 [16, 1]"
    ),
    (
      "vast groups", changed(packed(), "m.weight_shape", to: nil),
      compressedSection(group([("group_size", .number(Int.max))])), "should be BF16 [16, 1]"
    ),
    (
      "ignored", packed(), compressedSection(with: [("ignore", ["m"])]), "the config says that it is not (`ignore`)"
    ),
    (
      "ignored by a pattern", packed(), compressedSection(with: [("ignore", ["re:^m$"])]),
      "the config says that it is not (`ignore`)"
    ),
    (
      "meant by no group", packed(), compressedSection(group([], targets: ["re:^n", "o.p"])),
      "no group of the config means it"
    ),
    ("packed, but said not to be", packed(), compressedSection(format: "int-quantized"), "is packed in words, but"),
    (
      "floats, but said to be integers",
      [
        TestTensor("m.weight", [2, 16], .init(ones.prefix(32)), .f8e4m3),
        TestTensor("m.weight_scale", [2, 1], [1, 1], .bf16),
      ], compressedSection(group([("num_bits", 8)]), format: "int-quantized"), "is F8_E4M3, but the group"
    ),
    (
      "codes of halves",
      [
        TestTensor("m.weight", [2, 16], .init(ones.prefix(32)), .f16),
        TestTensor("m.weight_scale", [2, 1], [1, 1], .bf16),
      ], compressedSection(group([("num_bits", 8), ("type", "float")]), format: "float-quantized"),
      "codes are stored in F16"
    ),
    (
      "a vector", [TestTensor("m.weight", [2], [1, 2], .i8), TestTensor("m.weight_scale", [1], [1], .bf16)],
      compressedSection(group([("num_bits", 8)]), format: "int-quantized"), "are no matrix"
    ),
  ]

  @Test(arguments: tensors) func tensorsThatDoNotFitAreRefused(
    _: String, tensors: [TestTensor], section: JSON, words: String
  ) throws {
    let found = try Self.opening(tensors, section)
    #expect(found.contains { $0.code == .checkpointPacked && $0.message.contains(words) }, "\(found)")
    #expect(found.allSatisfy { $0.code == .checkpointPacked })
  }

  private static let sections: [(JSON, [String])] = [
    (["quant_method": "bitsandbytes"], ["by the method \"bitsandbytes\""]),
    (.object([]), ["by a method without a name"]),
    ("nonsense", ["by a method without a name"]),
    (["quant_method": "gptq", "group_size": 16], ["no whole number `bits`"]),
    (
      ["quant_method": "gptq", "bits": 5, "group_size": 0, "checkpoint_format": "marlin", "pack_dtype": "int16"],
      ["the format \"marlin\"", "words of int16", "have 5 bits", "group_size is 0"]
    ),
    (
      ["quant_method": "gptq", "bits": 4, "group_size": -2, "is_marlin_format": true],
      ["\"marlin\"", "group_size is -2"]
    ),
    (["quant_method": "gptq", "bits": 4, "group_size": "all"], ["group_size is \"all\""]),
    (
      ["quant_method": "awq", "w_bit": 3, "q_group_size": 16, "version": "gemv"],
      ["packed for \"gemv\"", "have 3 bits"]
    ),
    (["quant_method": "awq", "bits": 4, "backend": "llm-awq"], ["packed by \"llm-awq\""]),
    (compressedSection(format: "marlin-24"), ["the format \"marlin-24\""]),
    (compressedSection(format: "nvfp4-pack-quantized"), ["the format \"nvfp4-pack-quantized\""]),
    (
      compressedSection(with: [("sparsity_config", ["format": "sparse-24-bitmask"]), ("transform_config", ["a": 1])]),
      ["sparse format \"sparse-24-bitmask\"", "`transform_config`"]
    ),
    (compressedSection(group([("num_bits", 16)])), ["integers of 16 bits"]),
    (compressedSection(group([("type", "float")])), ["floats of 4 bits"]),
    (compressedSection(group([("group_size", 0)])), ["groups of 0 columns"]),
    (compressedSection(group([("strategy", "block")])), ["blocks of (none)"]),
    (compressedSection(group([("strategy", "tensor_group")])), ["by \"tensor_group\""]),
    (
      compressedSection(["targets": ["Linear"], "input_activations": ["num_bits": 8]]),
      ["quantizes inputs and no weights"]
    ),
    (compressedSection(["targets": ["Linear"]]), ["does not say how weights"]),
    (compressedSection(group([], targets: ["re:(unclosed"])), ["the pattern"]),
    (
      ["quant_method": "compressed-tensors", "format": "pack-quantized"],
      ["names the format \"pack-quantized\" and no groups"]
    ),
  ]

  @Test(arguments: sections) func whatIsNotReadIsNamedAllAtOnce(section: JSON, words: [String]) throws {
    let found = try Self.opening([TestTensor("m.weight", [2], [1, 2])], section)
    #expect(found.count == words.count, "\(found)")
    for word in words { #expect(found.contains { $0.message.contains(word) }, "\(word) in \(found)") }
    #expect(found.allSatisfy { $0.code == .checkpointPacked })
  }

  @Test(arguments: [2, -1, Int.max]) func groupsThatDoNotExistAreFoundWhenRead(group: Int) throws {
    var tensors = Self.gptq()
    tensors[3] = .words("m.g_idx", [32], UInt32(truncatingIfNeeded: group == .max ? 1 << 31 : group))
    try withTemporaryFolder { folder in
      try writeCheckpoint(tensors, Self.gptqSection, to: folder)
      let parameter = try #require(try SafetensorsCheckpoint(at: folder).parameters.first)
      let found = problem { try parameter.recipe.reader(files: FilePool()) }
      #expect(found?.code == .checkpointPacked && found?.context.tensor == "m.g_idx")
      #expect(found?.message.hasPrefix("column 0 is in group ") == true)
    }
  }

  @Test func aFileCutShortAfterItWasOpenedIsAProblem() throws {
    for (tensors, section) in [
      (Self.gptq(), Self.gptqSection), (Self.awq(), Self.awqSection),
      (Self.packed().reversed(), Self.compressedSection()),
    ] {
      try withTemporaryFolder { folder in
        try writeCheckpoint(tensors, section, to: folder)
        let parameter = try #require(try SafetensorsCheckpoint(at: folder).parameters.first)
        let whole = try File.reading("\(folder)/model.safetensors").size()
        for size in stride(from: whole - 1, to: whole - 200, by: -23) {
          try File.writing("\(folder)/model.safetensors").resize(to: size)
          #expect(problem { try parameter.recipe.values() }?.code == .fileTruncated)
        }
      }
    }
  }

  @Test func olderModelsHaveTheSectionInAFileOfItsOwn() throws {
    for (name, tensors, section): (String, [TestTensor], JSON) in [
      ("quantize_config.json", Self.gptq(), ["bits": 4, "group_size": 16, "desc_act": true]),
      ("quant_config.json", Self.awq(), ["w_bit": 4, "q_group_size": 16, "version": "GEMM", "zero_point": true]),
    ] {
      try withTemporaryFolder { folder in
        try writeCheckpoint(tensors, nil, to: folder)
        try FileSystem.write(section.bytes(), to: "\(folder)/\(name)")
        let parameters = try SafetensorsCheckpoint(at: folder).parameters
        #expect(parameters.map(\.name) == ["m.weight"] && parameters[0].elementType == .f16)
        // Codes are 0; zeros 8 of GPTQ's first version, 0 of AWQ's.
        let read = try parameters[0].recipe.values()
        #expect(read == [Float](repeating: name.hasPrefix("quantize") ? -8 : 0, count: 512))
        try FileSystem.write(Array("{".utf8), to: "\(folder)/\(name)")
        let found = problem { try SafetensorsCheckpoint(at: folder) }
        #expect(found?.code == .json && found?.context.file == "\(folder)/\(name)")
      }
    }
  }

  @Test func theTextOfAModelOfSeveralTowersMayHaveTheSection() throws {
    try withTemporaryFolder { folder in
      try writeCheckpoint(Self.gptq(), nil, to: folder)
      let config: JSON = ["model_type": "none", "text_config": ["quantization_config": Self.gptqSection, "a": 1]]
      try FileSystem.write(config.bytes(), to: "\(folder)/config.json")
      let checkpoint = try SafetensorsCheckpoint(at: folder)
      #expect(checkpoint.config == ["model_type": "none", "text_config": ["a": 1]])
      #expect(checkpoint.parameters.map(\.name) == ["m.weight"])
    }
  }

  /// The tensors of a matrix may lie in several files; scales of caches and inputs are left out, with a warning.
  @Test func partsLieAnywhereAndScalesOfInputsAreLeftOut() throws {
    try withTemporaryFolder { folder in
      let parts = Self.packed()
      let section = Self.compressedSection(with: [("kv_cache_scheme", ["num_bits": 8])])
      try writeCheckpoint([], section, to: folder)
      try FileSystem.remove("\(folder)/model.safetensors")
      try TestTensor.write([parts[0], TestTensor("a.k_scale", [1], [1])], to: "\(folder)/one.safetensors")
      try TestTensor.write([parts[1], TestTensor("m.input_scale", [1], [1])], to: "\(folder)/two.safetensors")
      try TestTensor.write([parts[2], TestTensor("n.input_scale", [1], [1])], to: "\(folder)/z.safetensors")
      let checkpoint = try SafetensorsCheckpoint(at: folder)
      #expect(checkpoint.parameters.map(\.name) == ["m.weight", "n.input_scale"])
      let read = try checkpoint.parameters[0].recipe.values()
      #expect(read == [Float](repeating: -8, count: 512))
      #expect(
        checkpoint.warnings.map(\.message) == [
          "the config has keys and values quantized as they are cached; they are not here",
          "2 tensors that quantize inputs or cached keys and values are left out",
        ])
    }
  }

  /// Before a folder is written its shapes are known from its headers alone.
  @Test func aFolderThatIsNotWrittenYetIsUnderstood() throws {
    let tensors = Self.packed() + [TestTensor("n", [2], [1, 2])]
    let header = SafetensorsHeader.bytes(for: tensors.map { ($0.name, $0.type, $0.shape) }, metadata: [])
    let config: JSON = ["quantization_config": Self.compressedSection(), "a": 1]
    let size = header.count + tensors.reduce(0) { $0 + $1.bytes.count }
    let foreseen = try ForeseenCheckpoint(
      at: "nowhere", files: [("model.safetensors", header, size)], small: [("config.json", config.bytes())])
    #expect(foreseen.config == ["a": 1])
    #expect(foreseen.parameters.map(\.name) == ["m.weight", "n"])
    #expect(foreseen.parameters[0].shape == [16, 32])
  }

  @Test func weightsOfPlainFormatsAreReadAsTheyAre() throws {
    for section: JSON in [
      ["quant_method": "compressed-tensors", "format": "dense", "config_groups": .object([])],
      ["quant_method": "compressed-tensors", "format": "dense", "config_groups": ["group_0": Self.group([])]],
      Self.compressedSection(with: [("quantization_status", "frozen")]), .null,
    ] {
      #expect(try Self.opening([TestTensor("m.weight", [2], [1, 2])], section).isEmpty)
    }
    try withTemporaryFolder { folder in
      try writeCheckpoint([TestTensor("m.weight", [2], [1, 2])], nil, to: folder)
      try FileSystem.write(Self.gptqSection.bytes(), to: "\(folder)/quantize_config.json")
      let parameters = try SafetensorsCheckpoint(at: folder).parameters
      #expect(parameters.map(\.name) == ["m.weight"])
    }
  }

  @Test func aGroupOfMinusOnesMeansColumnsInOrder() throws {
    var tensors = Self.packed()
    tensors[1] = TestTensor("m.weight_scale", [16, 2], (0..<32).map { Float($0 % 2 + 1) }, .bf16)
    try withTemporaryFolder { folder in
      try writeCheckpoint(
        tensors + [.words("m.weight_g_idx", [32], .max)], Self.compressedSection(), to: folder)
      let read = try SafetensorsCheckpoint(at: folder).parameters[0].recipe.values(0..<32)
      #expect(read == (0..<32).map { $0 < 16 ? -8 : -16 })
    }
  }
}
