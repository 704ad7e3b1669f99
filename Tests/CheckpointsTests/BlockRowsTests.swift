import EspalierBasics
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

/// Codes with scales that become blocks as they are.
@Suite struct BlockRowsTests {
  struct Case: CustomTestStringConvertible {
    let layout: PackedLayout
    let bits: Int
    var isSymmetric = true
    let group: Int
    /// Types that give the very numbers.
    let exact: [BlockType]
    /// Types whose minima are rounded to halves.
    var near: [BlockType] = []
    var columns = 512
    var scaleType = ElementType.f16
    var reordersColumns = false

    var testDescription: String { "\(layout.rawValue) \(bits) \(isSymmetric) \(group)" }

    var form: PackedLayout.Form {
      PackedLayout.Form(
        rows: 32, columns: columns, grid: .integer(bits: bits, symmetric: isSymmetric), tileColumns: group,
        reordersColumns: reordersColumns, scaleType: scaleType)
    }
  }

  static let cases = [
    Case(layout: .gptq, bits: 4, group: 32, exact: [.q4_0, .q5_0, .q8_0, .q4_1, .q5_1]),
    Case(layout: .gptq, bits: 4, group: 128, exact: [.q4_0, .q5_0, .q8_0, .q4_1, .q5_1]),
    Case(layout: .gptq, bits: 8, group: 64, exact: [.q8_0]),
    Case(
      layout: .gptqV2, bits: 3, group: 512, exact: [.q3_K, .q4_0, .q4_1, .q4_K, .q5_0, .q5_1, .q5_K, .q6_K, .q8_0]),
    Case(
      layout: .gptqV2, bits: 2, isSymmetric: false, group: 256,
      exact: [.q2_K, .q3_K, .q4_0, .q4_K, .q5_0, .q5_K, .q6_K, .q8_0], near: [.q4_1, .q5_1]),
    Case(layout: .awq, bits: 4, isSymmetric: false, group: 32, exact: [.q5_0, .q8_0], near: [.q4_1, .q5_1]),
    Case(
      layout: .awq, bits: 4, isSymmetric: false, group: 512, exact: [.q4_K, .q5_0, .q5_K, .q6_K, .q8_0],
      near: [.q4_1, .q5_1]),
    Case(
      layout: .packQuantized, bits: 5, isSymmetric: false, group: 256, exact: [.q5_K, .q6_K, .q8_0], near: [.q5_1]),
    Case(layout: .packQuantized, bits: 5, group: 96, exact: [.q5_0, .q8_0, .q5_1], columns: 288),
    Case(layout: .packQuantized, bits: 6, group: 512, exact: [.q6_K, .q8_0]),
    Case(layout: .packQuantized, bits: 7, isSymmetric: false, group: 32, exact: [.q8_0]),
    Case(layout: .intQuantized, bits: 8, group: 512, exact: [.q8_0]),
    // Groups that blocks do not lie in, columns in another order, scales that are no halves.
    Case(layout: .packQuantized, bits: 4, group: 16, exact: []),
    Case(layout: .gptq, bits: 4, group: 32, exact: [], reordersColumns: true),
    Case(layout: .packQuantized, bits: 4, group: 32, exact: [], scaleType: .f32),
    Case(layout: .packQuantized, bits: 4, group: 32, exact: [.q4_0, .q5_0, .q8_0, .q4_1, .q5_1], scaleType: .bf16),
  ]

  private func stored(_ wanted: Case, in folder: String) throws -> (parameter: Parameter, values: [Float]) {
    var generator = SeededGenerator(seed: 17)
    let matrix = try QuantizedMatrix.random(
      wanted.form, lowestZero: wanted.layout == .gptq ? 1 : 0, using: &generator)
    let parts = try wanted.layout.encode(matrix, parameter: "a.weight")
    let section = try wanted.layout.configuration(for: [("a.weight", wanted.form)], plain: [])
    try writeCheckpoint(parts.map { TestTensor($0) }, section, to: folder)
    let parameter = try #require(try SafetensorsCheckpoint(at: folder).parameters.first)
    return (parameter, try matrix.materialized().elements)
  }

  private func decoded(_ rows: any BlockRows, _ type: BlockType, _ range: Range<Int>, columns: Int) throws -> [Float] {
    let bytes = UnsafeMutableRawPointer.allocate(byteCount: range.count * rows.rowBytes, alignment: 1)
    defer { bytes.deallocate() }
    try rows.read(rows: range, into: bytes)
    var values = [Float](repeating: .nan, count: range.count * columns)
    type.decode(bytes, into: &values, count: values.count)
    return values
  }

  @Test(arguments: cases) func blocksMeanWhatCodesMean(_ wanted: Case) throws {
    try withTemporaryFolder { folder in
      let (parameter, values) = try stored(wanted, in: folder)
      let (files, columns) = (FilePool(), wanted.columns)
      for type in BlockType.allCases {
        let rows = try parameter.recipe.blockRows(of: type, columns: columns, files: files)
        let foreseen = try parameter.recipe.hasBlockRows(of: type, columns: columns, files: files)
        let isHeld = wanted.exact.contains(type) || wanted.near.contains(type)
        #expect((rows != nil) == isHeld && foreseen == isHeld, "\(type)")
        // What headers tell refuses nothing that scales allow.
        let possible = try parameter.recipe.mayHaveBlockRows(of: type, columns: columns)
        #expect(possible || !isHeld, "\(type)")
        guard let rows else { continue }
        let found = try decoded(rows, type, 0..<32, columns: columns)
        if wanted.exact.contains(type) {
          #expect(found == values, "\(type)")
        } else {
          // Half a unit in the last place of the largest minimum.
          let largest = try #require(values.map(abs).max())
          #expect(found != values)
          #expect(zip(found, values).allSatisfy { abs($0 - $1) <= 2 * largest * 0x1p-11 }, "\(type)")
        }
        let part = try decoded(rows, type, 5..<9, columns: columns)
        #expect(part == Array(found[5 * columns..<9 * columns]))
      }
    }
  }

  @Test func rowsMayLieElsewhere() throws {
    try withTemporaryFolder { folder in
      let (parameter, values) = try stored(Self.cases[0], in: folder)
      let (files, columns) = (FilePool(), 512)
      let order = try RowOrder(sizes: [2, 2, 8], stored: [0, 2, 1])
      let reordered = StorageRecipe.reordered(parameter.recipe, order)
      let gathered = StorageRecipe.gathered(
        [.rows(source: 1, first: 0, count: 1), .rows(source: 0, first: 0, count: 1)],
        sources: [parameter.recipe, reordered], shape: [2, 32, columns])
      let rows = try #require(try gathered.blockRows(of: .q4_0, columns: columns, files: files))
      let found = try decoded(rows, .q4_0, 0..<64, columns: columns)
      let expected = try gathered.values()
      #expect(found == expected)
      #expect(try decoded(rows, .q4_0, 30..<35, columns: columns) == Array(expected[30 * columns..<35 * columns]))
      #expect(Array(found[32 * columns..<33 * columns]) == Array(values[..<columns]))
      #expect(try gathered.hasBlockRows(of: .q4_0, columns: columns, files: files))
      let zeros = StorageRecipe.gathered([.zeros(count: 1)], sources: [parameter.recipe], shape: [1, 32, columns])
      #expect(try gathered.mayHaveBlockRows(of: .q4_0, columns: columns))
      #expect(try !gathered.mayHaveBlockRows(of: .q2_K, columns: columns))
      #expect(try !zeros.mayHaveBlockRows(of: .q4_0, columns: columns))
      #expect(try !zeros.hasBlockRows(of: .q4_0, columns: columns, files: files))
      #expect(try zeros.blockRows(of: .q4_0, columns: columns, files: files) == nil)
      let changed = StorageRecipe.mapped(parameter.recipe, .plusOne)
      #expect(try changed.blockRows(of: .q4_0, columns: columns, files: files) == nil)
    }
  }
}
