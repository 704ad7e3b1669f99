import EspalierBasics
import Testing

@testable import EspalierLinearMaps
@testable import EspalierNumerics

@Suite struct ProductMapTests {
  func matrix(_ rows: Int, _ columns: Int, _ type: ElementType = .f32, seed: Int) throws -> StoredMatrix {
    try StoredMatrix(
      try randomBytes(.elements(type), rows: rows, columns: columns, seed: seed), format: .elements(type), rows: rows,
      columns: columns)
  }

  /// The product of dense matrices in float64.
  func multiplied(_ factors: [any LinearMap]) throws -> Matrix<Double> {
    var result: Matrix<Double>?
    for factor in factors {
      let dense = try factor.materialized()
      let next = try Matrix(rows: dense.rows, columns: dense.columns, elements: dense.elements.map(Double.init))
      result = try result.map { try MatrixProduct.product($0, next) } ?? next
    }
    return try #require(result)
  }

  @Test(
    "Factors applied after one another are their product, in any batch and on any threads",
    arguments: [[40, 7, 100], [33, 150, 61], [30, 5, 6, 300], [50, 20]])
  func product(widths: [Int]) throws {
    let factors = try zip(widths, widths.dropFirst()).enumerated().map { index, shape in
      try matrix(shape.0, shape.1, index == 0 ? .bf16 : .f32, seed: index)
    }
    let map = try ProductMap(factors)
    let (outputs, inputs) = (widths[0], widths[widths.count - 1])
    #expect(map.outputWidth == outputs && map.inputWidth == inputs)
    #expect(map.byteCount == factors.reduce(0) { $0 + $1.byteCount })
    let expected = try multiplied(factors)
    // |error| <= a few roundings of sums of products that are at most 1 each.
    let magnitude = Double(widths.dropFirst().dropLast().reduce(1, *))
    let dense = try map.materialized()
    for (value, exact) in zip(dense.elements, expected.elements) {
      #expect(abs(Double(value) - exact) <= 64 * 0x1p-24 * magnitude)
    }
    var generator = TestGenerator(seed: inputs)
    let x = generator.values(20 * inputs)
    let whole = try apply(map, x, rows: 20)
    for t in 0..<20 {
      for o in 0..<outputs {
        let exact = (0..<inputs).reduce(0.0) { $0 + expected[o, $1] * Double(x[t * inputs + $1]) }
        #expect(abs(Double(whole[t * outputs + o]) - exact) <= 64 * 0x1p-24 * magnitude * Double(inputs))
      }
    }
    let pool = WorkerPool(threads: 3)
    defer { pool.stop() }
    for batch in [1, 8, 9] {
      let some = Array(x[..<(batch * inputs)])
      #expect(sameBits(try apply(map, some, rows: batch, parallel: pool.forEach), whole[..<(batch * outputs)]))
    }
    let fast = try apply(map, x, rows: 20, mode: .fast)
    for (a, b) in zip(fast, whole) { #expect(abs(a - b) <= 0x1p-5 * Float(magnitude) * Float(inputs)) }
  }

  @Test func gatheredRowsDoNotDependOnTheOthers() throws {
    let map = try ProductMap([matrix(600, 200, seed: 1), matrix(200, 33, .f16, seed: 2)])
    let whole = try map.materialized()
    var rows = [Float](repeating: .nan, count: 3 * 33)
    try map.gather(rows: [599, 2, 599], into: &rows)
    #expect(sameBits(rows[..<33], whole.elements[(599 * 33)...]))
    #expect(sameBits(rows[33..<66], whole.elements[66..<99]))
    #expect(sameBits(rows[66...], rows[..<33]))
    #expect(throws: Problem(.matrixShape, "row 600 of a matrix of 600 rows")) {
      try map.gather(rows: [600], into: &rows)
    }
  }

  @Test func rankZeroIsZero() throws {
    let map = try ProductMap([matrix(3, 0, seed: 1), matrix(0, 4, seed: 2)])
    #expect(try map.materialized().elements == [Float](repeating: 0, count: 12))
    #expect(try apply(map, [1, 2, 3, 4], rows: 1) == [0, 0, 0])
    #expect(try apply(map, [Float](repeating: 1, count: 40), rows: 10, mode: .fast) == [Float](repeating: 0, count: 30))
  }

  @Test("A sum is its terms added in order", arguments: NumericMode.allCases, [1, 12])
  func sum(mode: NumericMode, batch: Int) throws {
    let dense = try matrix(20, 30, .bf16, seed: 1)
    let low = try ProductMap([matrix(20, 3, seed: 2), matrix(3, 30, seed: 3)])
    let sparse = try SparseMatrix(
      try Matrix(rows: 20, columns: 30, elements: (0..<600).map { $0 % 7 == 0 ? Float($0) / 600 : 0 }),
      elementType: .f32)
    let map = try SumMap([dense, low, sparse])
    #expect(map.byteCount == dense.byteCount + low.byteCount + sparse.byteCount)
    var generator = TestGenerator(seed: 4)
    let x = generator.values(batch * 30)
    let parts = try [
      apply(dense, x, rows: batch, mode: mode), apply(low, x, rows: batch, mode: mode),
      apply(sparse, x, rows: batch, mode: mode),
    ]
    let expected = (0..<batch * 20).map { parts[0][$0] + parts[1][$0] + parts[2][$0] }
    #expect(sameBits(try apply(map, x, rows: batch, mode: mode), expected))
    let terms = try [dense.materialized(), low.materialized(), sparse.materialized()].map(\.elements)
    #expect(sameBits(try map.materialized().elements, (0..<600).map { terms[0][$0] + terms[1][$0] + terms[2][$0] }))
  }

  @Test func whatDoesNotFitIsRefused() throws {
    let (wide, tall) = (try matrix(2, 3, seed: 1), try matrix(4, 2, seed: 2))
    #expect(throws: Problem(.matrixShape, "a product of no matrices")) { try ProductMap([]) }
    #expect(throws: Problem(.matrixShape, "2 x 3 cannot be multiplied by 4 x 2")) { try ProductMap([wide, tall]) }
    #expect(throws: Problem(.matrixShape, "a sum of no matrices")) { try SumMap([]) }
    #expect(throws: Problem(.matrixShape, "2 x 3 and 4 x 2 cannot be added")) { try SumMap([wide, tall]) }
    #expect(throws: Problem(.matrixShape, "1 x 2 times the transpose of 4 x 3 does not make 1 x 4")) {
      let x: [Float] = [1, 2]
      var y = [Float](repeating: 0, count: 4)
      try x.withUnsafeBufferPointer { x in
        try y.withUnsafeMutableBufferPointer { y in
          try ProductMap([tall, wide]).apply(
            MatrixView(x, rows: 1, columns: 2), into: MutableMatrixView(y, rows: 1, columns: 4), mode: .exact,
            parallel: MatrixProduct.serially)
        }
      }
    }
  }
}
