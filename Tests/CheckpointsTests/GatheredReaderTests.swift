import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

@Suite struct GatheredReaderTests {
  /// Rows of two matrices `a` = [[1, 2], [3, 4], [5, 6]] and `b` = [[10, 20], [30, 40]].
  private func withRecipe<T>(_ runs: [RowRun], _ body: (StorageRecipe) throws -> T) throws -> T {
    try withTemporaryFolder { folder in
      let path = "\(folder)/model.safetensors"
      try TestTensor.write(
        [
          TestTensor("a", [3, 2], [1, 2, 3, 4, 5, 6], .bf16),
          TestTensor("b", [2, 2], [10, 20, 30, 40]),
        ], to: path)
      let sources = try SafetensorsCheckpoint(at: path).parameters.map(\.recipe)
      return try body(.gathered(runs, sources: sources, shape: [runs.reduce(0) { $0 + $1.count }, 2]))
    }
  }

  static let runs: [RowRun] = [
    .rows(source: 1, first: 1, count: 1), .zeros(count: 0), .rows(source: 0, first: 1, count: 2), .zeros(count: 2),
    .mean([RowReference(source: 0, row: 0), RowReference(source: 1, row: 0), RowReference(source: 1, row: 1)]),
    .averages(count: 2),
  ]
  /// The mean of three rows, then twice the mean of the six rows before.
  static let expected: [Float] = {
    let mean: [Float] = [41 / 3, 62 / 3]
    let average = [Float((38 + Double(mean[0])) / 6), Float((50 + Double(mean[1])) / 6)]
    return [30, 40, 3, 4, 5, 6, 0, 0, 0, 0] + mean + average + average
  }()

  @Test func rowsComeFromWhereTheRunsSay() throws {
    try withRecipe(Self.runs) { recipe in
      let values = try recipe.values()
      #expect(values == Self.expected)
      #expect(recipe.storedTensors.map(\.name) == ["a", "b"])
    }
  }

  @Test func everyRangeIsPartOfTheWhole() throws {
    try withRecipe(Self.runs) { recipe in
      for start in 0...Self.expected.count {
        for end in start...Self.expected.count {
          let values = try recipe.values(start..<end)
          #expect(values == Array(Self.expected[start..<end]), "\(start)..<\(end)")
        }
      }
    }
  }

  /// In float32, 1 + 2^25 - 2^25 would lose the 1.
  @Test func meansAreAccumulatedInFloat64() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/model.safetensors"
      try TestTensor.write([TestTensor("a", [3, 1], [1, 0x1p25, -0x1p25])], to: path)
      let sources = try SafetensorsCheckpoint(at: path).parameters.map(\.recipe)
      let recipe = StorageRecipe.gathered(
        [.averages(count: 1), .rows(source: 0, first: 0, count: 3)], sources: sources, shape: [4, 1])
      #expect(try recipe.values() == [Float(1.0 / 3), 1, 0x1p25, -0x1p25])
    }
  }

  @Test func updatedRowsCanBeGathered() throws {
    try AdapterCase.lora.withCheckpoint { checkpoint in
      let updated = try #require(checkpoint.parametersByName()["model.layers.0.q_proj.weight"])
      let recipe = StorageRecipe.gathered(
        [.rows(source: 0, first: 1, count: 1), .zeros(count: 1), .averages(count: 1)], sources: [updated.recipe],
        shape: [3, 3])
      #expect(try recipe.values() == [36, 42, 48, 0, 0, 0, 18, 21, 24])
      #expect(try recipe.values(1..<3) == [42, 48])
      #expect(try recipe.reader(files: FilePool()).residentBytes > 0)
    }
  }
}
