import EspalierBasics
import EspalierLinearMaps
import TestSupport
import Testing

@testable import EspalierCheckpoints

/// Files made to break readers, judged by libggml (`verdicts.json`), and what is read from sound ones.
@Suite struct GGUFHeaderTests {
  static func header(_ name: String) throws(Problem) -> GGUFHeader {
    try GGUFHeader(reading: try File.reading("\(Fixtures.gguf)/\(name)"))
  }

  static func parsed(_ file: TestGGUF) throws(Problem) -> GGUFHeader {
    try GGUFHeader(parsing: file.bytes, file: "f", fileSize: file.bytes.count)
  }

  @Test func everyVerdictIsThatOfTheReference() throws {
    let cases = try JSON(parsing: try FileSystem.read("\(Fixtures.gguf)/verdicts.json"))["cases"]?.array ?? []
    #expect(cases.count == 27)
    for item in cases {
      let name = try #require(item["file"]?.string)
      let accepted = item["libggml"]?["verdict"]?.string == "accept"
      do {
        let header = try Self.header(name)
        #expect(accepted, "\(name) was accepted")
        let names = try #require(item["gguf_py"]?["tensors"]?.array).compactMap(\.string)
        #expect(header.tensors.map(\.name) == names)
        #expect(header.tensors.count == item["libggml"]?["n_tensors"]?.integer)
      } catch let problem as Problem {
        #expect(!accepted, "\(name): \(problem)")
        #expect(problem.context.file?.hasSuffix(name) == true)
      }
    }
  }

  /// What each kind of damage is called.
  @Test(
    arguments: [
      ("bad_magic", .ggufHeader), ("version_99", .ggufHeader), ("version_0", .ggufHeader),
      ("truncated_header", .ggufHeader), ("empty", .ggufHeader), ("tensor_count_huge", .ggufHeader),
      ("string_len_huge", .ggufHeader), ("array_len_huge", .ggufHeader), ("tensor_name_too_long", .ggufHeader),
      ("big_endian_v3", .ggufHeader), ("kv_count_too_big", .ggufMetadata), ("kv_bad_type", .ggufMetadata),
      ("duplicate_key", .ggufMetadata), ("alignment_zero", .ggufMetadata), ("alignment_not_pow2", .ggufMetadata),
      ("tensor_bad_type", .ggufType), ("tensor_dims_5", .ggufTensor), ("tensor_dim_overflow", .ggufTensor),
      ("tensor_row_not_block_multiple", .ggufTensor), ("duplicate_tensor_name", .ggufTensor),
      ("tensor_offset_unaligned", .ggufLayout), ("tensor_offset_past_end", .ggufLayout),
      ("overlapping_tensors", .ggufLayout), ("truncated_data", .ggufLayout),
    ] as [(String, Problem.Code)])
  func damageHasItsCode(_ name: String, _ code: Problem.Code) throws {
    let problem = #expect(throws: Problem.self) { try Self.header("\(name).gguf") }
    #expect(problem?.code == code)
  }

  @Test func everyTruncationIsAProblem() throws {
    let bytes = try FileSystem.read("\(Fixtures.gguf)/ok_two_tensors.gguf")
    let whole = try GGUFHeader(parsing: bytes, file: "f", fileSize: bytes.count)
    let end = whole.tensors.map { $0.offset + $0.byteCount }.max() ?? 0
    for length in 0..<end {
      #expect(throws: Problem.self, "\(length) bytes") {
        try GGUFHeader(parsing: Array(bytes.prefix(length)), file: "f", fileSize: length)
      }
    }
  }

  @Test func valuesOfEveryTypeAreRead() throws {
    var file = TestGGUF()
    file.entries = [
      ("a.u8", 0, [200]), ("a.i8", 1, [200]), ("a.u16", 2, [1, 2]), ("a.i16", 3, [0xFE, 0xFF]),
      ("a.u32", 4, [0xFF, 0xFF, 0xFF, 0xFF]), ("a.i32", 5, [0xFF, 0xFF, 0xFF, 0xFF]),
      ("a.f32", 6, TestGGUF.floats([-1.5])), ("a.bool", 7, [1]), ("a.string", 8, TestGGUF.string("h\u{e9}")),
      ("a.u64", 10, TestGGUF.u64(-1)), ("a.i64", 11, TestGGUF.u64(-3)),
      ("a.f64", 12, TestGGUF.u64(Int(bitPattern: UInt(0.1.bitPattern)))),
      ("a.strings", 9, TestGGUF.array(8, ["", "x", "yz"].map(TestGGUF.string))),
      ("a.bytes", 9, TestGGUF.array(0, [[1], [2], [255]])),
      ("a.floats", 9, TestGGUF.array(6, [TestGGUF.floats([0.5]), TestGGUF.floats([2])])),
      ("a.truths", 9, TestGGUF.array(7, [[0], [1]])),
    ]
    let metadata = try Self.parsed(file).metadata
    #expect(metadata.keys == file.entries.map(\.key))
    #expect(metadata.integer("a.u8") == 200 && metadata.integer("a.i8") == -56)
    #expect(metadata.integer("a.u16") == 513 && metadata.integer("a.i16") == -2)
    #expect(metadata.integer("a.u32") == 4_294_967_295 && metadata.integer("a.i32") == -1)
    #expect(metadata["a.f32"] == .f32(-1.5) && metadata["a.f64"] == .f64(0.1) && metadata.truth("a.bool") == true)
    #expect(metadata.text("a.string") == "h\u{e9}" && metadata.string("a.string")?.count == 3)
    #expect(metadata["a.u64"] == .unsigned(.max) && metadata.integer("a.u64") == nil)
    #expect(metadata.integer("a.i64") == -3 && metadata.number("a.i64") == -3)
    #expect(metadata.strings("a.strings") == [[], Array("x".utf8), Array("yz".utf8)])
    #expect(metadata.integers("a.bytes") == [1, 2, 255] && metadata.floats("a.bytes") == [1, 2, 255])
    #expect(metadata.floats("a.floats") == [0.5, 2] && metadata.integers("a.floats") == nil)
    #expect(metadata.array("a.truths")?.truths == [false, true])
    // Asking for what it is not gives nil.
    #expect(metadata.strings("a.bytes") == nil && metadata.text("a.u8") == nil && metadata["b"] == nil)
    #expect(metadata.array("a.string") == nil && metadata.floats("a.strings") == nil)
  }

  @Test func aLargeVocabularyIsReadFromAFile() throws {
    var file = TestGGUF()
    let tokens = (0..<150_000).map { "token\($0)" }
    file.add("tokenizer.ggml.tokens", tokens)
    file.add("after", 7)
    try withTemporaryFolder { folder in
      let path = "\(folder)/vocabulary.gguf"
      try file.write(to: path)
      let metadata = try GGUFHeader(reading: try File.reading(path)).metadata
      #expect(metadata.array("tokenizer.ggml.tokens")?.count == 150_000 && metadata.integer("after") == 7)
      #expect(metadata.strings("tokenizer.ggml.tokens")?.last == Array("token149999".utf8))
    }
  }

  @Test func keysAndNamesAreComparedByTheirBytes() throws {
    var file = TestGGUF()
    file.add("caf\u{e9}", 1)
    file.add("cafe\u{301}", 2)
    file.add("t\u{e9}", shape: [1], [1])
    file.add("te\u{301}", shape: [1], [2])
    let header = try Self.parsed(file)
    #expect(header.metadata.integer("caf\u{e9}") == 1 && header.metadata.integer("cafe\u{301}") == 2)
    #expect(header.tensors.count == 2)
  }

  @Test func namesThatAreNoTextAreRefused() {
    var bytes = TestGGUF.string("kk")
    bytes[8] = 0xFF
    let file =
      Array("GGUF".utf8) + TestGGUF.u32(3) + TestGGUF.u64(0) + TestGGUF.u64(1) + bytes + TestGGUF.u32(0) + [1, 2, 3]
    let problem = #expect(throws: Problem.self) {
      try GGUFHeader(parsing: file, file: "f", fileSize: file.count)
    }
    #expect(problem?.code == .ggufMetadata)
  }

  @Test func sizesAreReversedAndBlocksCounted() throws {
    var file = TestGGUF()
    file.tensors = [
      ("q", [64, 3], 8, [UInt8](repeating: 1, count: 2 * 3 * 34)),
      ("scalar", [], 0, TestGGUF.floats([4])),
      ("empty", [32, 0], 2, []),
      ("last", [2], 1, [0, 0, 0, 0]),
    ]
    let tensors = try Self.parsed(file).tensors
    #expect(tensors.map(\.shape) == [[3, 64], [], [0, 32], [2]])
    #expect(tensors.map(\.byteCount) == [204, 4, 0, 4])
    #expect(tensors.map(\.type.name) == ["Q8_0", "F32", "Q4_0", "F16"])
    #expect(tensors.allSatisfy { $0.offset % 32 == 0 })
  }

  @Test func theListOfTypesAgreesWithTheDecoders() {
    for type in GGUFTensorType.all {
      guard let format = type.format else { continue }
      #expect(format.name == type.name)
      #expect(format.byteCount(of: type.blockLength) == type.blockBytes)
    }
    #expect(Set(GGUFTensorType.all.map(\.id)).count == GGUFTensorType.all.count)
    #expect(GGUFTensorType(id: 4) == nil && GGUFTensorType(id: 43) == nil)
  }
}
