import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

/// Files made to break readers, judged by safetensors 0.8 (`verdicts.json`).
@Suite struct SafetensorsTests {
  /// Files the reference accepts and this reader does not: a name that comes twice is never meant.
  static let stricter: Set<String> = ["duplicate_key_same.safetensors"]

  static func cases() throws -> [JSON] {
    try JSON(parsing: try FileSystem.read("\(Fixtures.safetensors)/verdicts.json"))["cases"]?.array ?? []
  }

  static func header(_ name: String) throws(Problem) -> SafetensorsHeader {
    try SafetensorsHeader(reading: try File.reading("\(Fixtures.safetensors)/\(name)"))
  }

  @Test func everyVerdictIsThatOfTheReference() throws {
    let cases = try Self.cases()
    #expect(cases.count == 55)
    for item in cases {
      let name = try #require(item["file"]?.string)
      let accepted = item["safe_open"]?.string == "accept" && !Self.stricter.contains(name)
      do {
        let header = try Self.header(name)
        #expect(accepted, "\(name) was accepted")
        let expected = try #require(item["tensors"]?.members)
        #expect(
          Set(header.tensors.map { ExactString($0.name) }) == Set(expected.keys.map { ExactString($0) }), "\(name)")
        for tensor in header.tensors {
          let entry = expected[tensor.name]
          #expect(entry?["dtype"]?.string == tensor.elementType.safetensorsName, "\(name)")
          #expect(entry?["shape"]?.array?.map(\.integer) == tensor.shape, "\(name)")
        }
        let metadata = item["metadata"]?.members?.pairs.map { [$0.key, $0.value.string ?? ""] } ?? []
        #expect(Set(header.metadata.map { [$0.key, $0.value] }) == Set(metadata), "\(name)")
      } catch let problem as Problem {
        #expect(!accepted, "\(name): \(problem)")
        #expect(problem.context.file?.hasSuffix(name) == true)
      }
    }
  }

  /// What each kind of damage is called.
  @Test(
    arguments: [
      ("empty_file", .safetensorsHeader), ("short_7_bytes", .safetensorsHeader), ("only_length", .safetensorsHeader),
      ("header_len_past_eof", .safetensorsHeader), ("header_len_huge_100MB_plus", .safetensorsHeader),
      ("header_len_u64_max", .safetensorsHeader), ("header_len_zero", .safetensorsHeader),
      ("header_not_utf8", .safetensorsHeader), ("header_json_array", .safetensorsHeader),
      ("header_trailing_garbage", .safetensorsHeader), ("utf8_bom", .safetensorsHeader),
      ("duplicate_key_same", .safetensorsHeader), ("duplicate_key_different", .safetensorsHeader),
      ("metadata_duplicate", .safetensorsHeader), ("metadata_nested", .safetensorsMetadata),
      ("metadata_not_object", .safetensorsMetadata), ("metadata_non_string_value", .safetensorsMetadata),
      ("missing_dtype", .safetensorsEntry), ("missing_offsets", .safetensorsEntry), ("shape_string", .safetensorsEntry),
      ("shape_negative", .safetensorsEntry), ("shape_number_too_big", .safetensorsEntry),
      ("offset_negative", .safetensorsEntry), ("offset_float", .safetensorsEntry),
      ("offset_one_element", .safetensorsEntry), ("offset_three_elements", .safetensorsEntry),
      ("unknown_dtype", .safetensorsType), ("dtype_lowercase", .safetensorsType), ("f4_subbyte_odd", .safetensorsType),
      ("size_mismatch_shape", .safetensorsSize), ("size_mismatch_dtype", .safetensorsSize),
      ("shape_overflow_u64", .safetensorsSize), ("shape_overflow_wraps_to_size", .safetensorsSize),
      ("overlap", .safetensorsLayout), ("overlap_identical_range", .safetensorsLayout),
      ("gap_between", .safetensorsLayout), ("gap_at_start", .safetensorsLayout), ("truncated_data", .safetensorsLayout),
      ("trailing_bytes", .safetensorsLayout), ("offsets_reversed", .safetensorsLayout),
      ("zero_size_overlap", .safetensorsLayout),
    ] as [(String, Problem.Code)])
  func damageHasItsCode(_ name: String, _ code: Problem.Code) throws {
    let problem = #expect(throws: Problem.self) { try Self.header("\(name).safetensors") }
    #expect(problem?.code == code)
  }

  @Test func aZeroInAShapeDoesNotHideAnOverflow() throws {
    #expect([0, 1 << 40, 1 << 40].checkedProduct == nil)
    #expect([1 << 40, 1 << 40, 0].checkedProduct == nil)
    #expect([3, 0, 1 << 40].checkedProduct == 0)
    #expect([-1, 2].checkedProduct == nil)
    // Neither has a tensor whose other sizes cannot be counted in bytes.
    #expect([0, 1 << 62].checkedProduct == nil)
    #expect([1 << 48].checkedProduct == 1 << 48)
    #expect([1 << 48, 2].checkedProduct == nil)
    #expect([].checkedProduct == 1)
  }

  @Test func readsWhatItWrites() throws {
    let seed: UInt64 = 3
    var generator = SeededGenerator(seed: seed)
    try withTemporaryFolder { folder in
      for round in 0..<50 {
        let tensors = (0..<Int.random(in: 0...6, using: &generator)).map { index in
          let shape = (0..<Int.random(in: 0...3, using: &generator)).map { _ in Int.random(in: 0...4, using: &generator)
          }
          let type = ElementType.allCases.randomElement(using: &generator) ?? .f32
          let values = (0..<shape.reduce(1, *)).map { _ in Float(Int.random(in: 0...1, using: &generator)) }
          return TestTensor("t\"\\\n\u{1F600}\(index)", shape, values, type)
        }
        let path = "\(folder)/\(round).safetensors"
        try TestTensor.write(tensors, to: path)
        let header = try SafetensorsHeader(reading: try File.reading(path))
        #expect(header.metadata.map(\.key) == ["format"] && header.metadata.map(\.value) == ["pt"])
        // Tensors without bytes have no place in the order of bytes.
        #expect(Set(header.tensors.map(\.name)) == Set(tensors.map(\.name)), "seed \(seed), round \(round)")
        for tensor in tensors {
          let stored = try #require(header.tensors.first { $0.name == tensor.name })
          #expect(stored.shape == tensor.shape && stored.elementType == tensor.type)
          #expect(try StorageRecipe.stored(stored).values() == tensor.values)
        }
        if let first = header.tensors.first { #expect(first.offset % 8 == 0) }
      }
    }
  }

  @Test func everyTruncationIsAProblem() throws {
    let bytes = try FileSystem.read("\(Fixtures.safetensors)/ok_metadata.safetensors")
    try withTemporaryFolder { folder in
      for length in 0..<bytes.count {
        let path = "\(folder)/cut.safetensors"
        try FileSystem.write(Array(bytes.prefix(length)), to: path)
        #expect(throws: Problem.self, "\(length) bytes") { try SafetensorsHeader(reading: try File.reading(path)) }
      }
    }
  }

  @Test func aFileCutAfterOpeningIsAProblemOfTheTensor() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/model.safetensors"
      try TestTensor.write([TestTensor("w", [100], [Float](repeating: 1, count: 100))], to: path)
      let checkpoint = try SafetensorsCheckpoint(at: path)
      try File.writing(path).resize(to: 200)
      let problem = #expect(throws: Problem.self) { try checkpoint.parameters[0].recipe.values() }
      #expect(problem?.code == .fileTruncated && problem?.context.tensor == "w" && problem?.context.file == path)
    }
  }
}
