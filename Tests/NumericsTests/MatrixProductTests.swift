import Dispatch
import EspalierBasics
import TestSupport
import Testing

@testable import EspalierNumerics

extension SeededGenerator {
  mutating func matrix(_ rows: Int, _ columns: Int) -> Matrix<Double> {
    let elements = (0..<rows * columns).map { _ in Double.random(in: -1...1, using: &self) }
    return Matrix(unchecked: elements, rows: rows, columns: columns)
  }

  mutating func floatMatrix(_ rows: Int, _ columns: Int) -> Matrix<Float> {
    Matrix(unchecked: matrix(rows, columns).elements.map { Float($0) }, rows: rows, columns: columns)
  }
}

@Suite("Matrix product")
struct MatrixProductTests {
  /// `a b`, in float, by any kernel, tile and loop, starting from `start` if one is given.
  func multiply(
    _ a: Matrix<Float>, _ b: Matrix<Float>, storedTransposed: (a: Bool, b: Bool) = (false, false),
    adding start: Matrix<Float>? = nil, kernel: MatrixProduct.Kernel = .fastest, tile: MatrixProduct.Tile? = nil,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> Matrix<Float> {
    var c = start ?? Matrix(repeating: .nan, rows: a.rows, columns: b.columns)
    let left = storedTransposed.a ? a.transposed : a
    let right = storedTransposed.b ? b.transposed : b
    try c.elements.withUnsafeMutableBufferPointer { (buffer) throws(Problem) in
      let target = try MutableMatrixView(buffer, rows: a.rows, columns: b.columns)
      try left.withView { (left) throws(Problem) in
        try right.withView { (right) throws(Problem) in
          try MatrixProduct.multiply(
            storedTransposed.a ? left.transposed : left, storedTransposed.b ? right.transposed : right, into: target,
            accumulate: start != nil, kernel: kernel, tile: tile, parallel: parallel)
        }
      }
    }
    return c
  }

  func bits(_ matrix: Matrix<Float>) -> [UInt32] { matrix.elements.map(\.bitPattern) }

  /// The documented order of summation, written out.
  func reference(_ a: Matrix<Float>, _ b: Matrix<Float>, adding start: Matrix<Float>? = nil) -> Matrix<Float> {
    var c = Matrix(repeating: Float(0), rows: a.rows, columns: b.columns)
    for i in 0..<a.rows {
      for j in 0..<b.columns {
        var total = start?[i, j]
        for block in stride(from: 0, to: a.columns, by: 512) {
          var lanes = [Float](repeating: 0, count: 16)
          let end = min(a.columns, block + 512)
          for p in block..<block + (end - block + 15) / 16 * 16 {
            let (x, y) = p < end ? (a[i, p], b[p, j]) : (0, 0)
            lanes[(p - block) % 16].addProduct(x, y)
          }
          for half in [8, 4, 2, 1] {
            for l in 0..<half { lanes[l] += lanes[l + half] }
          }
          total = total.map { $0 + lanes[0] } ?? lanes[0]
        }
        c[i, j] = total ?? 0
      }
    }
    return c
  }

  @Test("A hand-worked product in all four layouts")
  func handWorked() throws {
    let a = try Matrix<Float>(rows: 2, columns: 3, elements: [1, 2, 3, 4, 5, 6])
    let b = try Matrix<Float>(rows: 3, columns: 2, elements: [7, 8, 9, 10, 11, 12])
    for layout in [(false, false), (false, true), (true, false), (true, true)] {
      #expect(try multiply(a, b, storedTransposed: layout).elements == [58, 64, 139, 154])
    }
    let start = try Matrix<Float>(rows: 2, columns: 2, elements: [1, -1, 0, 2])
    #expect(try multiply(a, b, adding: start).elements == [59, 63, 139, 156])
  }

  /// Sizes around every limit: lanes (16), tiles of the kernels (2, 3, 4, 6), use in place (4), blocks (512), panels.
  static let shapes: [(m: Int, n: Int, k: Int)] = [
    (0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0), (1, 1, 1), (1, 1, 16), (1, 7, 15), (2, 3, 17), (3, 5, 31), (4, 6, 32),
    (5, 7, 33), (4, 96, 64), (5, 97, 48), (1, 200, 512), (7, 13, 511), (9, 11, 513), (6, 101, 1040), (130, 7, 530),
    (67, 193, 20), (300, 5, 16), (3, 800, 40),
  ]

  @Test("Every kernel has the bits of the documented order", arguments: MatrixProduct.Kernel.available)
  func documentedOrder(kernel: MatrixProduct.Kernel) throws {
    for (seed, shape) in Self.shapes.enumerated() {
      var generator = SeededGenerator(seed: UInt64(seed))
      let a = generator.floatMatrix(shape.m, shape.k)
      let b = generator.floatMatrix(shape.k, shape.n)
      let start = generator.floatMatrix(shape.m, shape.n)
      let (fresh, added) = (bits(reference(a, b)), bits(reference(a, b, adding: start)))
      for layout in [(false, false), (false, true), (true, false), (true, true)] {
        let product = try multiply(a, b, storedTransposed: layout, kernel: kernel)
        #expect(bits(product) == fresh, "seed \(seed) \(shape) \(layout)")
        let sum = try multiply(a, b, storedTransposed: layout, adding: start, kernel: kernel)
        #expect(bits(sum) == added, "seed \(seed) \(shape) \(layout), accumulating")
      }
    }
  }

  @Test("Tiles, order of tiles and rows around a row do not change a bit", arguments: [UInt64](1...6))
  func independentOfCutting(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    let (m, n, k) = (
      Int.random(in: 1...90, using: &generator), Int.random(in: 1...250, using: &generator),
      Int.random(in: 1...700, using: &generator)
    )
    let a = generator.floatMatrix(m, k)
    let b = generator.floatMatrix(k, n)
    let whole = try multiply(a, b)
    for (rows, columns) in [(1, 1), (3, 5), (17, 96), (64, 192), (1000, 1000)] {
      let tile = MatrixProduct.Tile(rows: rows, columns: columns)
      let backwards = try multiply(a, b, tile: tile) { (count, body) throws(Problem) in
        for index in (0..<count).reversed() { try body(index) }
      }
      #expect(bits(backwards) == bits(whole), "seed \(seed) \(m) \(n) \(k) tile \(tile)")
      let atOnce = try multiply(a, b, tile: tile, parallel: concurrently)
      #expect(bits(atOnce) == bits(whole), "seed \(seed) \(m) \(n) \(k) tile \(tile), by several threads")
    }
    for i in 0..<m {
      let row = Matrix(unchecked: Array(a.elements[i * k..<(i + 1) * k]), rows: 1, columns: k)
      #expect(
        try bits(multiply(row, b, storedTransposed: (false, true))) == Array(bits(whole)[i * n..<(i + 1) * n]),
        "seed \(seed) row \(i) alone")
    }
  }

  func concurrently(_ count: Int, _ body: (Int) throws(Problem) -> Void) throws(Problem) {
    withoutActuallyEscaping(body) { body in
      nonisolated(unsafe) let body = body
      DispatchQueue.concurrentPerform(iterations: count) { index in
        do { try body(index) } catch { Issue.record(error) }
      }
    }
  }

  @Test("The error stays below the bound of the documentation", arguments: [1, 16, 100, 512, 1500, 4096])
  func errorBound(depth: Int) throws {
    var generator = SeededGenerator(seed: UInt64(depth))
    let a = generator.floatMatrix(9, depth)
    let b = generator.floatMatrix(depth, 11)
    let c = try multiply(a, b)
    let operations = Double(min(depth, 512)) / 16 + 4 + Double(depth) / 512 + 1
    // (1 + u)^n - 1 <= n u / (1 - n u): Higham, lemma 3.1. Partial lanes round the count of additions up.
    let unit = 0x1p-24
    let bound = operations.rounded(.up) * unit / (1 - operations * unit)
    for i in 0..<9 {
      for j in 0..<11 {
        let exact = (0..<depth).reduce(0) { $0 + Double(a[i, $1]) * Double(b[$1, j]) }
        let magnitude = (0..<depth).reduce(0) { $0 + abs(Double(a[i, $1]) * Double(b[$1, j])) }
        #expect(abs(Double(c[i, j]) - exact) <= bound * magnitude, "depth \(depth) at \(i), \(j)")
      }
    }
  }

  @Test(
    "Double precision: exact on integers, the same bits from every kernel and tile",
    arguments: [(3, 5, 7), (9, 13, 255), (31, 100, 257), (70, 9, 600)]
  )
  func doublePrecision(m: Int, n: Int, k: Int) throws {
    var generator = SeededGenerator(seed: UInt64(k))
    // Small integers: every partial sum is exact, so the products must be too.
    let a = Matrix(unchecked: generator.matrix(m, k).elements.map { ($0 * 1024).rounded() }, rows: m, columns: k)
    let b = Matrix(unchecked: generator.matrix(k, n).elements.map { ($0 * 1024).rounded() }, rows: k, columns: n)
    var exact = Matrix(repeating: 0.0, rows: m, columns: n)
    for i in 0..<m {
      for j in 0..<n { exact[i, j] = (0..<k).reduce(0) { $0 + a[i, $1] * b[$1, j] } }
    }
    #expect(try MatrixProduct.product(a, b) == exact)

    let x = generator.matrix(m, k)
    let y = generator.matrix(k, n)
    let expected = try MatrixProduct.product(x, y)
    for kernel in MatrixProduct.Kernel.available {
      var c = Matrix(repeating: 0.0, rows: m, columns: n)
      try c.elements.withUnsafeMutableBufferPointer { buffer throws(Problem) in
        let target = try MutableMatrixView(buffer, rows: m, columns: n)
        try x.withView { x throws(Problem) in
          try y.withView { y throws(Problem) in
            try MatrixProduct.multiply(
              x, y, into: target, accumulate: false, kernel: kernel, tile: .init(rows: 5, columns: 7))
          }
        }
      }
      #expect(c.elements.map(\.bitPattern) == expected.elements.map(\.bitPattern), "\(kernel)")
    }
  }

  @Test("NaN and infinity propagate to their row and column alone", arguments: MatrixProduct.Kernel.available)
  func nonFinite(kernel: MatrixProduct.Kernel) throws {
    var generator = SeededGenerator(seed: 5)
    var a = Matrix(repeating: Float(1), rows: 5, columns: 37)
    let b = generator.floatMatrix(37, 9)
    a[1, 3] = .nan
    a[2, 36] = .infinity
    a[3, 0] = .infinity
    a[3, 20] = -.infinity
    let c = try multiply(a, b, kernel: kernel)
    for j in 0..<9 {
      #expect(c[0, j].isFinite && c[4, j].isFinite)
      #expect(c[1, j].isNaN)
      #expect(c[2, j] == (b[36, j] > 0 ? .infinity : -.infinity))
      #expect((b[0, j] > 0) == (b[20, j] > 0) ? c[3, j].isNaN : c[3, j].isInfinite)
    }
    var zeros = Matrix(repeating: Float(0), rows: 37, columns: 9)
    zeros[1, 1] = 1
    #expect(try multiply(a, zeros, kernel: kernel)[2, 1].isNaN, "infinity times zero")
  }

  @Test("Strides: what lies between the rows is neither read nor written")
  func strides() throws {
    let stored: [Float] = [1, 2, .nan, 3, 4, .nan, 5, 6]
    var target = [Float](repeating: -7, count: 8)
    try stored.withUnsafeBufferPointer { stored in
      let a = try MatrixView(stored, rows: 3, columns: 2, stride: 3)
      try target.withUnsafeMutableBufferPointer { target in
        try MatrixProduct.multiply(a.transposed, a, into: MutableMatrixView(target, rows: 2, columns: 2, stride: 5))
      }
    }
    #expect(target == [35, 44, -7, -7, -7, 44, 56, -7])
  }

  @Test("Shapes that do not fit are refused with their sizes")
  func refusals() throws {
    #expect(throws: Problem(.matrixShape, "5 elements do not make a matrix of 2 x 3")) {
      try Matrix<Float>(rows: 2, columns: 3, elements: [1, 2, 3, 4, 5])
    }
    #expect(throws: Problem(.matrixShape, "0 elements do not make a matrix of -1 x 0")) {
      try Matrix<Float>(rows: -1, columns: 0, elements: [])
    }
    let elements = [Float](repeating: 0, count: 6)
    elements.withUnsafeBufferPointer { buffer in
      #expect(
        throws: Problem(.matrixShape, "6 elements do not hold a matrix of 2 x 3 with 4 elements from row to row")
      ) { try MatrixView(buffer, rows: 2, columns: 3, stride: 4) }
      #expect(throws: Problem(.matrixShape, "a matrix of 2 x 3 with 2 elements from row to row")) {
        try MatrixView(buffer, rows: 2, columns: 3, stride: 2)
      }
      #expect(throws: Problem.self) { try MatrixView(buffer, rows: .max, columns: 3, stride: .max) }
    }
    let a = Matrix(repeating: 0.0, rows: 2, columns: 3)
    #expect(throws: Problem(.matrixShape, "2 x 3 times 2 x 3 does not make 2 x 3")) {
      try MatrixProduct.product(a, a)
    }
  }

  @Test("Large products are cut into large tiles, small ones into at least a few")
  func tiles() {
    #expect(MatrixProduct.Tile.cutting(rows: 4096, columns: 4096) == .init(rows: 256, columns: 768))
    #expect(MatrixProduct.Tile.cutting(rows: 512, columns: 512).count(rows: 512, columns: 512) >= 16)
    #expect(MatrixProduct.Tile.cutting(rows: 1, columns: 4096).count(rows: 1, columns: 4096) >= 16)
    #expect(MatrixProduct.Tile.cutting(rows: 1, columns: 1).count(rows: 1, columns: 1) == 1)
  }
}
