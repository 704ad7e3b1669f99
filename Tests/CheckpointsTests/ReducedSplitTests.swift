import EspalierBasics
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

/// Parameters stored as whole rows or columns beside factors.
@Suite struct ReducedSplitTests {
  private typealias File = ReducedTests.File

  /// Rows or columns 1 and 4 of 6 are whole.
  private func split(_ axis: SplitMap.Axis) throws -> SplitFactors {
    func matrix(_ rows: Int, _ columns: Int, _ seed: UInt64) throws -> Matrix<Float> {
      try ReducedTests().matrix(rows, columns, seed: seed, keep: 4)
    }
    let rows = try SplitFactors(
      .rows, places: [1, 4], whole: matrix(2, 5, 1), left: matrix(4, 3, 2), right: matrix(3, 5, 3))
    return axis == .rows ? rows : rows.transposed
  }

  @Test("They mean what they were made of", arguments: [SplitMap.Axis.rows, .columns], [ElementType.f32, .bf16])
  func meaning(axis: SplitMap.Axis, type: ElementType) throws {
    let split = try split(axis)
    let encoding = try ReducedEncoding(split, elementType: type, name: "w")
    #expect(encoding.parts.map(\.name) == ["w.places", "w.stack", "w.factor"])
    #expect(encoding.parts[0].bytes == [1, 0, 0, 0, 4, 0, 0, 0] && encoding.parts[0].elementType == .i32)
    #expect(encoding.parts[1].shape == [5, 5])
    #expect(encoding.parts[2].shape == (axis == .rows ? [4, 3] : [3, 4]))
    try File(encodings: [encoding], plainName: "z").opened { checkpoint in
      let parameter = checkpoint.parameters[0]
      #expect(parameter.shape == (axis == .rows ? [6, 5] : [5, 6]) && parameter.elementType == type)
      let storage = try #require(parameter.reducedForm)
      #expect(storage.form == .split(axis) && storage.form.name == "split_\(axis.rawValue)")
      let map = try storage.load(into: try AlignedBuffer(byteCount: storage.memoryBytes), files: FilePool())
      #expect(map is SplitMap && map.byteCount == encoding.parts.reduce(0) { $0 + $1.bytes.count })
      let values = try parameter.recipe.values()
      #expect(try map.materialized().elements == values)
      #expect(try parameter.recipe.values(3..<17) == Array(values[3..<17]))
      let rounded = split.map { matrix in
        var matrix = matrix
        matrix.elements = type.values(of: type.bytes(of: matrix.elements))
        return matrix
      }
      let product = try MatrixProduct.product(Matrix<Double>(rounded.left), Matrix<Double>(rounded.right))
      let expected = try SplitFactors.joined(
        axis, places: [1, 4], whole: rounded.whole, others: Matrix<Float>(product))
      for (a, b) in zip(values, expected.elements) { #expect(abs(a - b) < 1e-6) }
    }
  }

  @Test("Damage is found", arguments: [SplitMap.Axis.rows, .columns])
  func damage(axis: SplitMap.Axis) throws {
    let encoding = try ReducedEncoding(try split(axis), elementType: .f16, name: "a")
    var file = File(encodings: [encoding])
    #expect(file.problem == nil)
    for (place, value, message) in [
      (0, UInt8(4), "place 4 of the whole \(axis.rawValue) is not above 4 and below 6"), (0, 9, "place 9"),
      (4, 1, "place 1"), (4, 6, "place 6"), (3, 0x80, "place -2147483647"), (7, 0x7f, "place 2130706436"),
    ] {
      file.changing = ("a.places", { $0[place] = value })
      let problem = file.problem
      #expect(problem?.code == .matrixShape && problem?.message.hasPrefix(message) == true, "\(problem as Any)")
      #expect(problem?.context.tensor == "a" && problem?.context.file?.hasSuffix("model.safetensors") == true)
    }
    file.changing = nil
    for part in encoding.parts {
      file.dropping = part.name
      #expect(
        file.problem?.message == "the tensor `\(part.name)` of its form split_\(axis.rawValue) is not in the file")
    }
    file.dropping = ""
    file.typing = ["a.places": .f32]
    #expect(file.problem?.message == "the tensor is F32 [2], and should be I32 [2] in a matrix of \(shape(axis))")
    for part in ["a.stack", "a.factor"] {
      file.typing = [part: .i16]
      #expect(file.problem?.message == "the factor is stored in I16" && file.problem?.context.tensor == part)
    }
  }

  private func shape(_ axis: SplitMap.Axis) -> String { axis == .rows ? "6 x 5" : "5 x 6" }

  @Test(
    "Shapes that do not fit are refused",
    arguments: [
      ("split_rows", "[7, 5]", "the tensor is F16 [4, 3], and should be F16 [5, 3] in a matrix of 7 x 5"),
      ("split_rows", "[6, 4]", "the tensor is F16 [5, 5], and should be F16 [5, 4] in a matrix of 6 x 4"),
      ("split_rows", "[1, 5]", "2 places of 1 rows, with a stack of [5, 5]"),
      ("split_columns", "[6, 5]", "the tensor is F16 [5, 5], and should be F16 [6, 5] in a matrix of 6 x 5"),
      ("split_columns", "[5, 1]", "2 places of 1 columns, with a stack of [5, 5]"),
      ("split_columns", "[5, 6]", "the tensor is F16 [4, 3], and should be F16 [3, 4] in a matrix of 5 x 6"),
      ("split_columns", "[5, 4611686018427387904]", "[5, 4611686018427387904] is not the shape of a matrix"),
      ("split_rows", "[6, 0]", "[6, 0] is not the shape of a matrix"),
      ("split_heads", "[6, 5]", #"the form "split_heads" is not known"#),
    ])
  func shapes(form: String, shape: String, message: String) throws {
    let section = #"{"version": 1, "parameters": {"a": {"form": "\#(form)", "shape": \#(shape)}}}"#
    let encoding = try ReducedEncoding(try split(.rows), elementType: .f16, name: "a")
    let problem = try #require(File(encodings: [encoding], section: section).problem)
    #expect(problem.code == .checkpointReduced && problem.message.hasPrefix(message), "\(problem)")
  }

  @Test func othersWithoutARankAreRefused() throws {
    let whole = try Matrix<Float>(rows: 1, columns: 2, elements: [1, 2])
    for others in [0, 1 << 20] {
      let split = try SplitFactors(
        .rows, places: [0], whole: whole, left: Matrix(rows: others, columns: 0, elements: []),
        right: Matrix(rows: 0, columns: 2, elements: []))
      let problem = File(encodings: [try ReducedEncoding(split, elementType: .f16, name: "a")]).problem
      #expect(problem?.message == (others == 0 ? nil : "1 places of 1048577 rows, with a stack of [1, 2]"))
    }
  }

  @Test func encodingsThatDoNotFitAreRefused() throws {
    let split = try split(.rows)
    #expect(throws: Problem(.matrixShape, "a matrix of 6 x 5 is not of the shape [5, 6]")) {
      try ReducedEncoding(split, elementType: .f32, name: "a", shape: [5, 6])
    }
    #expect(throws: Problem(.matrixFormat, "I32 is not a type of weights")) {
      try ReducedEncoding(split, elementType: .i32, name: "a")
    }
    for places in [[4, 1], [1, 6], [-1, 1]] {
      let wrong = try SplitFactors(.rows, places: places, whole: split.whole, left: split.left, right: split.right)
      #expect(throws: Problem(.matrixShape, "places \(places) are not ascending places of 6 rows")) {
        try ReducedEncoding(wrong, elementType: .f32, name: "a")
      }
    }
  }
}
