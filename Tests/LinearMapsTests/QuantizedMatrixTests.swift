import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierLinearMaps

/// Matrices as codes and scales.
@Suite struct QuantizedMatrixTests {
  /// Two groups a row, and a last one of a single column.
  private func sample(groupOfColumn: [Int32]? = nil, inputScales: [Float]? = nil) throws -> QuantizedMatrix {
    try QuantizedMatrix(
      rows: 2, columns: 5, grid: .integer(bits: 4, symmetric: false), codes: [0, 3, 15, 7, 8, 1, 2, 3, 4, 5],
      scales: [0.5, 1, 2, 4, 8, 16], zeros: [3, 7, 8, 0, 1, 15], tileRows: 1, tileColumns: 2,
      groupOfColumn: groupOfColumn, inputScales: inputScales)
  }

  @Test func valuesByHand() throws {
    #expect(try sample().materialized().elements == [-1.5, 0, 8, 0, 0, 4, 8, 16, 24, -160])
    // Columns of groups in another order.
    #expect(
      try sample(groupOfColumn: [2, 0, 1, 0, 2]).materialized().elements == [-16, 0, 8, 2, 0, -224, 8, 16, 16, -160])
    #expect(
      try sample(inputScales: [1, 2, 4, 8, 16]).materialized().elements == [-1.5, 0, 2, 0, 0, 4, 4, 4, 3, -10])
    let symmetric = try QuantizedMatrix(
      rows: 2, columns: 2, grid: .integer(bits: 2, symmetric: true), codes: [0, 1, 2, 3], scales: [3], tileRows: 2,
      tileColumns: 2)
    #expect(try symmetric.materialized().elements == [-6, -3, 0, 3])
    let ternary = try QuantizedMatrix(
      rows: 1, columns: 3, grid: .ternary, codes: [0, 1, 2], scales: [3], tileRows: 1, tileColumns: 3)
    #expect(try ternary.materialized().elements == [-3, 0, 3])
    let floats = try QuantizedMatrix(
      rows: 2, columns: 2, grid: .float(.f8e4m3), codes: [0x38, 0xb8, 0x7e, 0x01], scales: [2, 3], tileRows: 1,
      tileColumns: 2)
    #expect(try floats.materialized().elements == [2, -2, 1344, 3 * 0x1p-9])
    let ordered = try QuantizedMatrix(
      rows: 1, columns: 2, grid: .float(.f8e5m2), codes: [0x3c, 0xbc], scales: [2, 3], tileRows: 1, tileColumns: 1,
      groupOfColumn: [1, 0])
    #expect(try ordered.materialized().elements == [3, -2])
  }

  @Test func sizes() throws {
    let matrix = try sample()
    #expect(matrix.scaleRows == 2 && matrix.scaleColumns == 3)
    #expect(matrix.byteCount == 10 + 6 + 24)
    #expect(matrix.packedByteCount == 5 + 24 + 3)
  }

  @Test(arguments: [1, 7, 200]) func productsAreThoseOfTheValues(rows: Int) throws {
    var generator = SeededGenerator(seed: 71)
    let (outputs, inputs) = (rows, 130)
    let codes = (0..<outputs * inputs).map { UInt8($0 * 7 % 16) }
    let scales = generator.floats(outputs * 5)
    let matrix = try QuantizedMatrix(
      rows: outputs, columns: inputs, grid: .integer(bits: 4, symmetric: true), codes: codes, scales: scales,
      tileRows: 1, tileColumns: 32)
    let x = try Matrix(rows: 11, columns: inputs, elements: generator.floats(11 * inputs))
    let dense = try matrix.materialized()
    func product(_ body: (MatrixView<Float>, MutableMatrixView<Float>) throws(Problem) -> Void) throws -> [Float] {
      var y = [Float](repeating: .nan, count: 11 * outputs)
      try y.withUnsafeMutableBufferPointer { (y) throws(Problem) in
        let target = try MutableMatrixView(y, rows: 11, columns: outputs)
        try x.withView { (x) throws(Problem) in try body(x, target) }
      }
      return y
    }
    let expected = try product { (x, y) throws(Problem) in
      try dense.withView { (w) throws(Problem) in try MatrixProduct.multiply(x, w.transposed, into: y) }
    }
    for mode in [NumericMode.exact, .fast] {
      let found = try product { (x, y) throws(Problem) in
        try matrix.apply(x, into: y, mode: mode, parallel: MatrixProduct.serially)
      }
      #expect(found == expected)
    }
    var gathered = [Float](repeating: 0, count: 2 * inputs)
    try matrix.gather(rows: [outputs - 1, 0], into: &gathered)
    #expect(gathered == Array(dense.elements.suffix(inputs)) + Array(dense.elements.prefix(inputs)))
    #expect(problem { try matrix.gather(rows: [outputs], into: &gathered) }?.code == .matrixShape)
  }

  @Test func refusals() throws {
    func found(
      rows: Int = 2, columns: Int = 4, grid: QuantizedMatrix.Grid = .integer(bits: 4, symmetric: true),
      codes: [UInt8] = [UInt8](repeating: 0, count: 8), scales: [Float] = [1, 1, 1, 1], zeros: [UInt8]? = nil,
      tile: (Int, Int) = (1, 2), groups: [Int32]? = nil, inputs: [Float]? = nil
    ) -> String? {
      let problem = problem {
        try QuantizedMatrix(
          rows: rows, columns: columns, grid: grid, codes: codes, scales: scales, zeros: zeros, tileRows: tile.0,
          tileColumns: tile.1, groupOfColumn: groups, inputScales: inputs)
      }
      #expect(problem == nil || problem?.code == .quantizedMatrix)
      return problem?.message.split(separator: ": ").last.map(String.init)
    }
    #expect(found() == nil)
    #expect(found(grid: .integer(bits: 9, symmetric: true)) == "codes of 9 bits")
    #expect(found(grid: .float(.f16)) == "codes of F16")
    #expect(found(rows: 3) == "8 codes")
    #expect(found(rows: -2, columns: -4) == "8 codes")
    #expect(found(rows: .max, columns: .max) == "8 codes")
    #expect(found(tile: (0, 2)) == "tiles of 0 x 2")
    #expect(found(scales: [1]) == "1 scales where tiles of 1 x 2 have 2 x 2")
    #expect(found(zeros: [8, 8, 8, 8]) == "4 zeros for 4 scales")
    #expect(found(grid: .integer(bits: 4, symmetric: false)) == "0 zeros for 4 scales")
    #expect(found(groups: [0, 1, 2, 0]) == "group 2 of 2")
    #expect(found(groups: [0, 1]) == "2 groups of columns")
    #expect(found(inputs: [1, 1, 0, 1]) == "an input's scale of 0.0")
    #expect(found(inputs: [1]) == "1 scales of inputs")
    #expect(found(scales: [1, .nan, 1, 1]) == "a scale of nan")
    #expect(found(codes: [0, 0, 16, 0, 0, 0, 0, 0]) == "the code 16 where 15 is the largest")
    #expect(
      found(grid: .integer(bits: 2, symmetric: false), zeros: [0, 4, 0, 0]) == "the zero 4 where 3 is the largest")
  }
}
