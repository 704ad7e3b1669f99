import EspalierBasics
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

/// Parameters that are stored in reduced forms.
@Suite struct ReducedTests {
  /// A file with reduced parameters and one ordinary tensor, `plain`.
  struct File {
    var encodings: [ReducedEncoding]
    /// What is written instead of what the encodings say.
    var section: String?
    var plainName = "plain"
    var dropping = ""
    var changing: (String, (inout [UInt8]) -> Void)?
    var typing: [String: ElementType] = [:]

    func write(to path: String) throws {
      var tensors: [(name: String, elementType: ElementType, shape: [Int])] = []
      var data: [UInt8] = []
      for part in encodings.flatMap(\.parts) where part.name != dropping {
        tensors.append((part.name, typing[part.name] ?? part.elementType, part.shape))
        var bytes = part.bytes
        if let (name, change) = changing, name == part.name { change(&bytes) }
        data += bytes
      }
      tensors.append((plainName, .f32, [2]))
      data += TestTensor("", [2], [1, 2]).bytes
      let entry = ReducedSection.entry(for: encodings.map { ($0.name, $0.form, $0.shape) })
      let metadata = [("format", "pt"), (ReducedSection.key, section ?? entry?.value ?? "")]
      try FileSystem.write(SafetensorsHeader.bytes(for: tensors, metadata: metadata) + data, to: path)
    }

    func opened<T>(_ body: (SafetensorsCheckpoint) throws -> T) throws -> T {
      try withTemporaryFolder { folder in
        let path = "\(folder)/model.safetensors"
        try write(to: path)
        return try body(try SafetensorsCheckpoint(at: path))
      }
    }

    /// The problem of opening the file, or of reading its first parameter.
    var problem: Problem? {
      TestSupport.problem { try opened { _ = try $0.parameters[0].recipe.values() } }
    }
  }

  func matrix(_ rows: Int, _ columns: Int, seed: UInt64, keep: Int = 2, of: Int = 4) throws -> Matrix<Float> {
    var generator = SeededGenerator(seed: seed)
    var values = generator.floats(rows * columns)
    for index in values.indices where index % of >= keep { values[index] = 0 }
    return try Matrix(rows: rows, columns: columns, elements: values)
  }

  func rounded(_ values: [Float], _ type: ElementType) -> [Float] { type.values(of: type.bytes(of: values)) }

  @Test("Sparse matrices mean what they were made of", arguments: [ElementType.f32, .f16, .bf16])
  func sparse(type: ElementType) throws {
    let dense = try matrix(12, 200, seed: 1)
    let any = try ReducedEncoding(SparseMatrix(dense, elementType: type), name: "a.weight", shape: [3, 4, 200])
    let pattern = try ReducedEncoding(
      SparseMatrix(dense, elementType: type, pattern: .groups(keep: 2, of: 4)), name: "b.weight")
    try File(encodings: [any, pattern]).opened { checkpoint in
      #expect(checkpoint.parameters.map(\.name) == ["a.weight", "b.weight", "plain"])
      #expect(checkpoint.parameters.map(\.shape) == [[3, 4, 200], [12, 200], [2]])
      #expect(checkpoint.parameters.map(\.elementType) == [type, type, .f32])
      #expect(checkpoint.parameters[0].recipe.storedTensors.map(\.name) == any.parts.map(\.name))
      #expect(checkpoint.parameters[1].reducedForm?.form == .pattern(keep: 2, of: 4))
      let expected = rounded(dense.elements, type)
      for parameter in checkpoint.parameters.prefix(2) {
        #expect(try parameter.recipe.values() == expected)
        for range in [0..<200, 200..<600, 3..<5, 199..<201, 150..<1000, 2399..<2400, 7..<7] {
          #expect(try parameter.recipe.values(range) == Array(expected[range]), "\(range)")
        }
        let reader = try parameter.recipe.reader(files: FilePool())
        #expect(reader.residentBytes == parameter.recipe.residentBytes && reader.residentBytes > 0)
        #expect(reader.scratchBytes(for: 1000) == parameter.recipe.scratchBytes(for: 1000))
      }
      #expect(try checkpoint.parameters[2].recipe.values() == [1, 2])
    }
  }

  @Test("Factors mean their product", arguments: [[9, 3, 20], [9, 3, 4, 20], [5, 0, 6]])
  func factors(widths: [Int]) throws {
    let factors = try zip(widths, widths.dropFirst()).enumerated().map { index, shape in
      try matrix(shape.0, shape.1, seed: UInt64(index), keep: 4)
    }
    let encoding = try ReducedEncoding(factors: factors, elementType: .bf16, name: "w")
    #expect(encoding.form == (widths.count == 3 ? .lowRank : .cur))
    try File(encodings: [encoding], plainName: "z").opened { checkpoint in
      let parameter = checkpoint.parameters[0]
      #expect(parameter.shape == [widths[0], widths[widths.count - 1]] && parameter.elementType == .bf16)
      let stored = try factors.map { factor in
        let buffer = try AlignedBuffer(byteCount: factor.elements.count * 2)
        ElementType.bf16.encode(factor.elements, into: buffer.address, count: factor.elements.count)
        return try StoredMatrix(buffer, format: .elements(.bf16), rows: factor.rows, columns: factor.columns)
      }
      let expected = try ProductMap(stored).materialized().elements
      #expect(try parameter.recipe.values() == expected)
      #expect(try parameter.recipe.values(5..<27) == Array(expected[5..<27]))
      let storage = try #require(parameter.reducedForm)
      let map = try storage.load(into: try AlignedBuffer(byteCount: storage.memoryBytes), files: FilePool())
      #expect(map.byteCount == encoding.parts.reduce(0) { $0 + $1.bytes.count })
    }
  }

  @Test func nanIsData() throws {
    var dense = try matrix(2, 8, seed: 3)
    dense[0, 1] = .nan
    let encoding = try ReducedEncoding(SparseMatrix(dense, elementType: .bf16), name: "a")
    let values = try File(encodings: [encoding]).opened { try $0.parameters[0].recipe.values() }
    #expect(values[1].isNaN && values.filter(\.isNaN).count == 1)
  }

  @Test func damageIsFound() throws {
    let encoding = try ReducedEncoding(SparseMatrix(try matrix(4, 100, seed: 4), elementType: .f16), name: "a")
    var file = File(encodings: [encoding])
    #expect(file.problem == nil)
    file.changing = ("a.bitmap", { $0[0] ^= 1 })
    #expect(file.problem?.code == .matrixSparse)
    #expect(file.problem?.message == "row 0 has 49 numbers by its bitmap, and 50 by the row offsets")
    #expect(file.problem?.context.tensor == "a" && file.problem?.context.file?.hasSuffix("model.safetensors") == true)
    file.changing = ("a.bitmap", { $0[15] = 0x80 })
    #expect(file.problem?.message == "the bitmap of row 0 has columns beyond the last of 100")
    file.changing = ("a.row_offsets", { $0[8] += 1 })
    #expect(file.problem?.message == "row 0 has 50 numbers by its bitmap, and 51 by the row offsets")
    file.changing = ("a.row_offsets", { $0[15] = 0x80 })
    #expect(file.problem?.code == .matrixSparse)
    file.changing = ("a.row_offsets", { $0[32] = 0 })
    #expect(file.problem?.code == .matrixSparse)
    file.changing = nil
    for part in encoding.parts {
      file.dropping = part.name
      #expect(file.problem?.message == "the tensor `\(part.name)` of its form bitmap is not in the file")
      #expect(file.problem?.context.tensor == "a")
    }
    file.dropping = ""
    file.typing = ["a.values": .i16]
    #expect(file.problem?.code == .matrixFormat)
    file.typing = ["a.bitmap": .i8]
    #expect(
      file.problem?.message == "the tensor is I8 [4, 16], and should be U8 [4, 16] in a matrix of 4 x 100")
    file.typing = [:]
    file.plainName = "a"
    #expect(file.problem?.message == "the parameter is stored twice, whole and in a reduced form")
  }

  @Test func aTruncatedFileIsRefused() throws {
    let encoding = try ReducedEncoding(SparseMatrix(try matrix(4, 100, seed: 4), elementType: .f16), name: "a")
    try withTemporaryFolder { folder in
      let path = "\(folder)/model.safetensors"
      try File(encodings: [encoding]).write(to: path)
      let bytes = try FileSystem.read(path)
      try FileSystem.write(Array(bytes.dropLast(9)), to: path)
      #expect(problem { try SafetensorsCheckpoint(at: path) }?.code == .safetensorsLayout)
    }
  }

  @Test func patternsAreChecked() throws {
    let sparse = try SparseMatrix(
      try matrix(2, 8, seed: 5), elementType: .f32, pattern: .groups(keep: 2, of: 4))
    var file = File(encodings: [try ReducedEncoding(sparse, name: "a")])
    #expect(file.problem == nil)
    file.changing = ("a.bitmap", { $0[0] = 0b0111_0001 })
    #expect(
      file.problem?.message == "row 0 has 1 numbers in columns 0 to 3, where the pattern has 2 of 4")
  }

  @Test(
    "Sections that are not understood are refused",
    arguments: [
      ("nonsense", "the metadata entry espalier.reduced is"),
      ("{}", "reduced forms of version (none); 1 is known"),
      (#"{"version": 2, "parameters": {}}"#, "reduced forms of version 2; 1 is known"),
      (#"{"version": 1}"#, "the metadata entry espalier.reduced lists no parameters"),
      (
        #"{"version": 1, "parameters": {"a": {"form": "tensor_train", "shape": [4, 100]}}}"#,
        #"the form "tensor_train" is not known"#
      ),
      (#"{"version": 1, "parameters": {"a": {"shape": [4, 100]}}}"#, "the form (none) is not known"),
      (
        #"{"version": 1, "parameters": {"a": {"form": "pattern", "keep": 2, "shape": [4, 100]}}}"#,
        "the pattern has no whole numbers `keep` and `of`"
      ),
      (
        #"{"version": 1, "parameters": {"a": {"form": "bitmap", "shape": [4, 1.5]}}}"#,
        "the shape is not whole numbers"
      ),
      (
        #"{"version": 1, "parameters": {"a": {"form": "bitmap", "shape": [400]}}}"#,
        "[400] is not the shape of a matrix"
      ),
      (
        #"{"version": 1, "parameters": {"a": {"form": "pattern", "keep": 0, "of": 2, "shape": [1000000000000, 0]}}}"#,
        "[1000000000000, 0] is not the shape of a matrix"
      ),
      (
        #"{"version": 1, "parameters": {"a": {"form": "bitmap", "shape": [-4, 100]}}}"#,
        "[-4, 100] is not the shape of a matrix"
      ),
      (
        #"{"version": 1, "parameters": {"a": {"form": "bitmap", "shape": [4000000000, 4000000000]}}}"#,
        "[4000000000, 4000000000] is not the shape of a matrix"
      ),
      (
        #"{"version": 1, "parameters": {"a": {"form": "bitmap", "shape": [5, 100]}}}"#,
        "the tensor is U8 [4, 16], and should be U8 [5, 16] in a matrix of 5 x 100"
      ),
      (
        #"{"version": 1, "parameters": {"a": {"form": "low_rank", "shape": [4, 100]}}}"#,
        "the tensor `a.left` of its form low_rank is not in the file"
      ),
    ])
  func sections(text: String, message: String) throws {
    let encoding = try ReducedEncoding(SparseMatrix(try matrix(4, 100, seed: 4), elementType: .f16), name: "a")
    let problem = try #require(File(encodings: [encoding], section: text).problem)
    #expect(problem.code == .checkpointReduced && problem.message.hasPrefix(message), "\(problem)")
  }

  @Test func encodingsThatDoNotFitAreRefused() throws {
    let dense = try matrix(4, 8, seed: 1)
    let sparse = try SparseMatrix(dense, elementType: .f32)
    #expect(throws: Problem(.matrixShape, "a matrix of 4 x 8 is not of the shape [8, 4]")) {
      try ReducedEncoding(sparse, name: "a", shape: [8, 4])
    }
    #expect(throws: Problem(.matrixShape, "1 factors; a file has 2 or 3")) {
      try ReducedEncoding(factors: [dense], elementType: .f32, name: "a")
    }
    #expect(throws: Problem(.matrixShape, "4 x 8 cannot be multiplied by 4 x 8")) {
      try ReducedEncoding(factors: [dense, dense], elementType: .f32, name: "a")
    }
    #expect(throws: Problem(.matrixFormat, "I32 is not a type of weights")) {
      try ReducedEncoding(factors: [dense, dense.transposed], elementType: .i32, name: "a")
    }
    #expect(ReducedSection.entry(for: []) == nil)
  }
}
