import EspalierBasics
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

/// Parameters that come from blocks, other orders of rows, transposes and functions of what is stored.
@Suite struct CodedParameterTests {
  /// Q8_0 blocks with a scale of 0.5 and seeded codes, and what they are worth.
  private static func blocks(rows: Int, columns: Int) -> (bytes: [UInt8], values: [Float]) {
    var generator = SeededGenerator(seed: 11)
    var bytes: [UInt8] = []
    var values: [Float] = []
    for _ in 0..<rows * columns / 32 {
      bytes += [0x00, 0x38]
      for _ in 0..<32 {
        let code = Int8.random(in: -127...127, using: &generator)
        bytes.append(UInt8(bitPattern: code))
        values.append(Float(code) / 2)
      }
    }
    return (bytes, values)
  }

  private static func withParameter(
    rows: Int, columns: Int, _ body: (Parameter, [Float]) throws -> Void
  ) throws {
    let (bytes, values) = blocks(rows: rows, columns: columns)
    var file = TestGGUF()
    file.tensors = [("w", [columns, rows], 8, bytes)]
    try withTemporaryFolder { folder in
      try file.write(to: "\(folder)/m.gguf")
      try body(try #require(GGUFCheckpoint(unmappedAt: "\(folder)/m.gguf").parameters.first), values)
    }
  }

  @Test func anyRangeOfBlocksIsRead() throws {
    try Self.withParameter(rows: 3, columns: 64) { parameter, values in
      #expect(parameter.elementType == .f16 && parameter.shape == [3, 64] && parameter.isQuantized)
      #expect(parameter.storedFormat == .blocks(.q8_0))
      for first in stride(from: 0, through: 192, by: 5) {
        for last in stride(from: first, through: 192, by: 7) {
          let part = try parameter.recipe.values(first..<last)
          #expect(part == Array(values[first..<last]))
        }
      }
    }
  }

  @Test func rowsAreReordered() throws {
    // Two heads of width 4: stored 0 2 1 3 of each head's halves interleaved.
    let order = try RowOrder(sizes: [2, 2, 2], stored: [0, 2, 1])
    #expect((0..<8).map(order.storedRow) == [0, 2, 1, 3, 4, 6, 5, 7])
    // Heads of (query, key, value), stored part after part.
    let fused = try RowOrder(sizes: [2, 3, 2], stored: [1, 0, 2])
    #expect((0..<12).map(fused.storedRow) == [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11])
    try Self.withParameter(rows: 8, columns: 64) { parameter, values in
      let recipe = StorageRecipe.reordered(parameter.recipe, order)
      let expected = (0..<8).flatMap { values[(order.storedRow(of: $0) * 64)...].prefix(64) }
      #expect(try recipe.values() == expected)
      for (first, last) in [(3, 500), (64, 128), (100, 101), (130, 300)] {
        let part = try recipe.values(first..<last)
        #expect(part == Array(expected[first..<last]))
      }
      #expect(recipe.storedTensors == parameter.recipe.storedTensors)
    }
  }

  @Test(arguments: [
    ([-2, -3], [0, 1]), ([2, 0], [0, 1]), ([2, 3], [0]), ([2, 3], [0, 0]), ([2, 3], [0, 2]),
    ([1 << 40, 1 << 40], [0, 1]),
  ])
  func whatIsNoOrderIsRefused(sizes: [Int], stored: [Int]) {
    let problem = #expect(throws: Problem.self) { try RowOrder(sizes: sizes, stored: stored) }
    #expect(problem?.code == .checkpointFormat)
  }

  @Test func shortRowsAreReorderedInMemory() throws {
    let order = try RowOrder(sizes: [2, 2, 2], stored: [0, 2, 1])
    try withTemporaryFolder { folder in
      try TestTensor.write(
        [TestTensor("b", [8], (0..<8).map(Float.init))], to: "\(folder)/m.safetensors")
      let bias = try SafetensorsCheckpoint(at: "\(folder)/m.safetensors").parameters[0]
      let recipe = StorageRecipe.reordered(bias.recipe, order)
      #expect(try recipe.values() == [0, 2, 1, 3, 4, 6, 5, 7])
      #expect(try recipe.values(1..<6) == [2, 1, 3, 4, 6])
      #expect(try recipe.residentBytes >= recipe.reader(files: FilePool()).residentBytes)
    }
  }

  @Test(arguments: [(3, 64), (37, 32), (1, 32)])
  func matricesAreTransposed(rows: Int, columns: Int) throws {
    try Self.withParameter(rows: rows, columns: columns) { parameter, values in
      let recipe = StorageRecipe.transposed(parameter.recipe, shape: [columns, rows])
      let expected = (0..<columns).flatMap { column in (0..<rows).map { values[$0 * columns + column] } }
      #expect(try recipe.values() == expected)
      let part = try recipe.values(5..<20)
      #expect(part == Array(expected[5..<20]))
      #expect(try recipe.residentBytes >= recipe.reader(files: FilePool()).residentBytes)
    }
  }

  @Test func valuesAreMapped() throws {
    try withTemporaryFolder { folder in
      let logarithms: [Float] = [-2, 0, 0.5, 3.25]
      var file = TestGGUF()
      file.add("norm", shape: [3], [1, 1.25, -3])
      file.add("decay", shape: [4], [-0.13533528, -1, -1.6487213, -25.79034])
      try file.write(to: "\(folder)/m.gguf")
      let parameters = try GGUFCheckpoint(unmappedAt: "\(folder)/m.gguf").parametersByName()
      let norm = try #require(parameters["norm"])
      #expect(try StorageRecipe.mapped(norm.recipe, .minusOne).values() == [0, 0.25, -4])
      let decay = try #require(parameters["decay"])
      for (value, expected) in zip(try StorageRecipe.mapped(decay.recipe, .logarithmOfNegative).values(), logarithms) {
        #expect(abs(value - expected) <= 2e-7 * max(1, abs(expected)))
      }
    }
  }

  @Test func codedRowsAreHandedOut() throws {
    try Self.withParameter(rows: 8, columns: 64) { parameter, values in
      let order = try RowOrder(sizes: [2, 2, 2], stored: [0, 2, 1])
      var reordered = parameter
      reordered.recipe = .reordered(parameter.recipe, order)
      for candidate in [parameter, reordered] {
        let matrix = try #require(candidate.codedMatrix())
        #expect(matrix.format == .blocks(.q8_0) && matrix.rows == 8 && matrix.columns == 64 && matrix.rowBytes == 68)
        var bytes = [UInt8](repeating: 0, count: 5 * matrix.rowBytes)
        try bytes.withUnsafeMutableBytes { try matrix.read(rows: 2..<7, into: $0.baseAddress!, files: FilePool()) }
        var floats = [Float](repeating: 0, count: 5 * 64)
        BlockType.q8_0.decode(bytes, into: &floats, count: floats.count)
        #expect(try floats == candidate.recipe.values(2 * 64..<7 * 64))
      }
      var transposed = parameter
      transposed.shape = [64, 8]
      transposed.recipe = .transposed(parameter.recipe, shape: [64, 8])
      #expect(transposed.codedMatrix() == nil)
      #expect(transposed.codedMatrix(transposed: true) == parameter.codedMatrix())
      #expect(parameter.codedMatrix(transposed: true) == nil)
      var mapped = parameter
      mapped.recipe = .mapped(parameter.recipe, .minusOne)
      #expect(mapped.codedMatrix() == nil)
    }
  }

  @Test func rowsOfAStackAreATensor() {
    let stack = StoredTensor(
      name: "e", format: .blocks(.q8_0), shape: [4, 3, 64], file: "f", offset: 100, byteCount: 4 * 3 * 68)
    let expert = stack.rows(2..<3, name: "e[2]", shape: [3, 64])
    #expect(expert.offset == 100 + 2 * 3 * 68 && expert.byteCount == 3 * 68 && expert.elementCount == 192)
  }
}
