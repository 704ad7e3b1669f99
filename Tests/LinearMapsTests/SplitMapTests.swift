import EspalierBasics
import Testing

@testable import EspalierLinearMaps
@testable import EspalierNumerics

/// Rows or columns that are whole beside factors.
@Suite struct SplitMapTests {
  func matrix(_ rows: [[Float]]) throws -> Matrix<Float> {
    try Matrix(rows: rows.count, columns: rows.first?.count ?? 0, elements: rows.flatMap { $0 })
  }

  func random(_ rows: Int, _ columns: Int, seed: Int) throws -> Matrix<Float> {
    var generator = TestGenerator(seed: seed)
    return try Matrix(rows: rows, columns: columns, elements: generator.values(rows * columns))
  }

  func product(_ left: Matrix<Float>, _ right: Matrix<Float>) throws -> Matrix<Float> {
    Matrix<Float>(try MatrixProduct.product(Matrix<Double>(left), Matrix<Double>(right)))
  }

  /// The map of factors that are stored as `type`.
  func map(_ split: SplitFactors, _ type: ElementType = .f32) throws -> SplitMap {
    func stored(_ matrix: Matrix<Float>) throws -> StoredMatrix {
      let buffer = try AlignedBuffer(byteCount: matrix.elements.count * type.byteWidth)
      type.encode(matrix.elements, into: buffer.address, count: matrix.elements.count)
      return try StoredMatrix(buffer, format: .elements(type), rows: matrix.rows, columns: matrix.columns)
    }
    return try SplitMap(
      split.axis, places: split.places, stack: stored(split.stack), factor: stored(split.factor))
  }

  @Test("By hand: rows 1 and 3 are whole, the others of rank 1; and the same with columns")
  func byHand() throws {
    let split = try SplitFactors(
      .rows, places: [1, 3], whole: matrix([[1, 2, 3], [4, 5, 6]]), left: matrix([[1], [2]]),
      right: matrix([[1, 0, -1]]))
    let rows = try map(split)
    #expect(rows.outputWidth == 4 && rows.inputWidth == 3 && rows.wholeCount == 2)
    #expect(rows.byteCount == 4 * split.numbers + 4 * 2 && split.numbers == 6 + 2 + 3)
    #expect(try rows.materialized().elements == [1, 0, -1, 1, 2, 3, 2, 0, -2, 4, 5, 6])
    #expect(try apply(rows, [1, 1, 2, 0, 1, 0], rows: 2) == [-1, 9, -2, 21, 0, 2, 0, 5])

    let columns = try map(split.transposed)
    #expect(columns.axis == .columns && columns.outputWidth == 3 && columns.inputWidth == 4)
    #expect(try columns.materialized() == rows.materialized().transposed)
    #expect(try apply(columns, [1, 10, 100, 1000], rows: 1) == [4211, 5020, 5829])
    var row = [Float](repeating: .nan, count: 8)
    try columns.gather(rows: [2, 0], into: &row)
    #expect(row == [-1, 3, -2, 6, 1, 1, 2, 4])
  }

  @Test(
    "Applied it is its matrix, in any batch, on any threads and with inputs that lie as columns",
    arguments: [SplitMap.Axis.rows, .columns], [ElementType.f32, .bf16])
  func applied(axis: SplitMap.Axis, type: ElementType) throws {
    let places = [0, 3, 4, 17, 69]
    let rows = try SplitFactors(
      .rows, places: places, whole: random(5, 40, seed: 1), left: random(65, 7, seed: 2), right: random(7, 40, seed: 3))
    let map = try map(axis == .rows ? rows : rows.transposed, type)
    let (outputs, inputs) = (map.outputWidth, map.inputWidth)
    let dense = try map.materialized()
    var generator = TestGenerator(seed: 4)
    let x = generator.values(300 * inputs)
    let whole = try apply(map, x, rows: 300)
    for t in 0..<300 {
      for o in 0..<outputs {
        let exact = (0..<inputs).reduce(0.0) { $0 + Double(dense[o, $1]) * Double(x[t * inputs + $1]) }
        // A few roundings of sums of products that are at most 7 each.
        #expect(abs(Double(whole[t * outputs + o]) - exact) <= 64 * 0x1p-24 * 7 * Double(inputs))
      }
    }
    let pool = WorkerPool(threads: 3)
    defer { pool.stop() }
    for batch in [1, 8, 9, 300] {
      let some = Array(x[..<(batch * inputs)])
      #expect(sameBits(try apply(map, some, rows: batch, parallel: pool.forEach), whole[..<(batch * outputs)]))
      let fast = try apply(map, some, rows: batch, mode: .fast)
      for (a, b) in zip(fast, whole) { #expect(abs(a - b) <= 0x1p-5 * 7 * Float(inputs)) }
    }
    // Outputs of whole rows are those of the dense matrix, to the bit.
    if axis == .rows {
      let buffer = try AlignedBuffer(byteCount: dense.elements.count * 4)
      ElementType.f32.encode(dense.elements, into: buffer.address, count: dense.elements.count)
      let plain = try StoredMatrix(buffer, format: .elements(.f32), rows: outputs, columns: inputs)
      let expected = try apply(plain, x, rows: 300)
      for t in 0..<300 { for o in places { #expect(whole[t * outputs + o] == expected[t * outputs + o]) } }
    }
    let turned = try Matrix(rows: 300, columns: inputs, elements: x).transposed
    var y = [Float](repeating: .nan, count: 300 * outputs)
    try turned.withView { (view) throws(Problem) in
      try y.withUnsafeMutableBufferPointer { (y) throws(Problem) in
        try map.apply(
          view.transposed, into: MutableMatrixView(y, rows: 300, columns: outputs), mode: .exact,
          parallel: MatrixProduct.serially)
      }
    }
    for (a, b) in zip(y, whole) { #expect(abs(a - b) <= 64 * 0x1p-24 * 7 * Float(inputs)) }
  }

  @Test(arguments: [SplitMap.Axis.rows, .columns]) func gatheredRowsDoNotDependOnTheOthers(axis: SplitMap.Axis) throws {
    let rows = try SplitFactors(
      .rows, places: Array(stride(from: 1, to: 600, by: 3)), whole: random(200, 33, seed: 1),
      left: random(400, 20, seed: 2), right: random(20, 33, seed: 3))
    let split = axis == .rows ? rows : rows.transposed
    let map = try map(split)
    let (whole, width) = (try map.materialized(), map.inputWidth)
    let expected = try SplitFactors.joined(
      axis, places: split.places, whole: split.whole,
      others: product(split.left, split.right))
    for (a, b) in zip(whole.elements, expected.elements) { #expect(abs(a - b) < 1e-5) }
    let last = map.outputWidth - 1
    var some = [Float](repeating: .nan, count: 3 * width)
    try map.gather(rows: [last, 1, last], into: &some)
    #expect(sameBits(some[..<width], whole.elements[(last * width)...]))
    #expect(sameBits(some[width..<2 * width], whole.elements[width..<2 * width]))
    #expect(sameBits(some[(2 * width)...], some[..<width]))
    #expect(throws: Problem(.matrixShape, "row \(last + 1) of a matrix of \(last + 1) rows")) {
      try map.gather(rows: [last + 1], into: &some)
    }
  }

  @Test func allRowsOrNoneMayBeWhole() throws {
    let all = try SplitFactors(
      .rows, places: [0, 1], whole: matrix([[1, 2], [3, 4]]), left: matrix([]), right: random(0, 2, seed: 1))
    #expect(try map(all).materialized().elements == [1, 2, 3, 4])
    #expect(try apply(map(all), [1, 10], rows: 1) == [21, 43])
    let none = try SplitFactors(
      .columns, places: [], whole: random(2, 0, seed: 1), left: matrix([[1], [2]]), right: matrix([[3, 5]]))
    #expect(try map(none).materialized().elements == [3, 5, 6, 10])
    #expect(try apply(map(none), [1, 10], rows: 1) == [53, 106])
  }

  @Test func whatDoesNotFitIsRefused() throws {
    let (whole, left, right) = (try random(2, 5, seed: 1), try random(3, 1, seed: 2), try random(1, 5, seed: 3))
    for places in [[1, 1], [3, 2], [-1, 2], [0, 5]] {
      let split = try SplitFactors(.rows, places: places, whole: whole, left: left, right: right)
      let found = #expect(throws: Problem.self) { try self.map(split) }
      #expect(
        found?.code == .matrixShape && found?.message.hasPrefix("place \(places == [-1, 2] ? -1 : places[1])") == true)
      let joined = #expect(throws: Problem.self) {
        try SplitFactors.joined(.rows, places: places, whole: whole, others: self.product(left, right))
      }
      #expect(joined?.code == .matrixShape)
    }
    for places in [[0], [0, 1, 2]] {
      #expect(throws: Problem.self) { try SplitFactors(.rows, places: places, whole: whole, left: left, right: right) }
    }
    #expect(throws: Problem.self) { try SplitFactors(.rows, places: [0, 1], whole: whole, left: right, right: right) }
    func stored(_ rows: Int, _ columns: Int) throws -> StoredMatrix {
      try StoredMatrix(
        try randomBytes(.elements(.f32), rows: rows, columns: columns, seed: 1), format: .elements(.f32), rows: rows,
        columns: columns)
    }
    let found = #expect(throws: Problem.self) {
      try SplitMap(.rows, places: [0, 1], stack: stored(4, 5), factor: stored(3, 1))
    }
    #expect(found?.message == "a stack of 4 rows is not 2 whole ones and a factor of rank 1")
    #expect(throws: Problem.self) {
      try SplitMap(.columns, places: [0, 1], stack: stored(4, 1), factor: stored(1, 3))
    }
  }
}
