import EspalierBasics
import Testing

@testable import EspalierLinearMaps
@testable import EspalierNumerics

@Suite struct StoredMatrixTests {
  @Test(
    "Exact mode: the bits of the widened copy, at any alignment, in any batch, tile and order",
    arguments: WeightFormat.weights)
  func exactMode(format: WeightFormat) throws {
    let shapes =
      format.blockLength == 1 ? [(7, 5), (13, 530), (100, 1536), (6, 16)] : [(13, 768), (100, 1536), (1, 256)]
    let pool = WorkerPool(threads: 3)
    defer { pool.stop() }
    for (rows, columns) in shapes {
      for gap in [0, 3] {
        let stride = format.byteCount(of: columns) + gap
        let buffer = try randomBytes(format, rows: rows, columns: columns, stride: stride, seed: columns)
        let map = try StoredMatrix(buffer, format: format, rows: rows, columns: columns, rowStride: stride)
        #expect(map.byteCount == rows * format.byteCount(of: columns))
        var generator = TestGenerator(seed: rows)
        let x = generator.values(40 * columns)
        let expected = try product(x, widened(map), depth: columns)
        for batch in rows == 100 ? [1, 8, 9, 40] : Array(1...40) {
          let y = try apply(map, Array(x[..<(batch * columns)]), rows: batch)
          #expect(y == Array(expected[..<(batch * rows)]), "\(rows) x \(columns), gap \(gap), batch \(batch)")
        }
        let backwards = try apply(map, x, rows: 40) { (count, body) throws(Problem) in
          for index in (0..<count).reversed() { try body(index) }
        }
        #expect(backwards == expected)
        for batch in [1, 40] {
          let shared = try apply(map, Array(x[..<(batch * columns)]), rows: batch, parallel: pool.forEach)
          #expect(shared == Array(expected[..<(batch * rows)]))
        }
      }
    }
  }

  @Test(
    "Weights that stream by give the same bits as packed ones, with every kernel",
    arguments: [ElementType.f32, .f16, .bf16], [(1, 1), (7, 15), (9, 530), (4, 1536), (70, 576)])
  func streaming(type: ElementType, shape: (rows: Int, columns: Int)) throws {
    let (rows, columns) = shape
    for gap in [0, 1] {
      let stride = columns * type.byteWidth + gap
      let buffer = try randomBytes(.elements(type), rows: rows, columns: columns, stride: stride, seed: columns)
      let map = try StoredMatrix(buffer, format: .elements(type), rows: rows, columns: columns, rowStride: stride)
      var generator = TestGenerator(seed: rows)
      let x = generator.values(8 * columns)
      let expected = try product(x, widened(map), depth: columns)
      for kernel in MatrixProduct.Kernel.available where kernel != .portable {
        for tokens in 1...8 {
          let y = try tiled(map, x, rows: tokens) { StreamedProduct($0, map, into: $1, kernel: kernel) }
          #expect(y == Array(expected[..<(tokens * rows)]), "\(kernel), \(tokens) rows, gap \(gap)")
        }
      }
    }
  }

  /// `x wᵀ` by the dense product.
  func product(_ x: [Float], _ w: [Float], depth: Int) throws -> [Float] {
    let (m, n) = (x.count / depth, w.count / depth)
    var y = [Float](repeating: .nan, count: m * n)
    try x.withUnsafeBufferPointer { x in
      try w.withUnsafeBufferPointer { w in
        try y.withUnsafeMutableBufferPointer { y in
          try MatrixProduct.multiply(
            MatrixView(x, rows: m, columns: depth), MatrixView(w, rows: n, columns: depth).transposed,
            into: MutableMatrixView(y, rows: m, columns: n))
        }
      }
    }
    return y
  }

  @Test func gatherRepeatsAndRefuses() throws {
    let buffer = try AlignedBuffer(byteCount: 12)
    ElementType.bf16.encode([1, 2, 3, 4, 5, 6], into: buffer.address, count: 6)
    let map = try StoredMatrix(buffer, format: .elements(.bf16), rows: 3, columns: 2)
    var rows = [Float](repeating: 0, count: 6)
    try map.gather(rows: [2, 0, 2], into: &rows)
    #expect(rows == [5, 6, 1, 2, 5, 6])
    #expect(throws: Problem(.matrixShape, "row 3 of a matrix of 3 rows")) { try map.gather(rows: [3], into: &rows) }
    #expect(throws: Problem(.matrixShape, "row -1 of a matrix of 3 rows")) { try map.gather(rows: [-1], into: &rows) }
  }

  @Test func whatDoesNotFitIsRefused() throws {
    let buffer = try AlignedBuffer(byteCount: 100)
    #expect(throws: Problem(.matrixFormat, "I32 is not a type of weights")) {
      try StoredMatrix(buffer, format: .elements(.i32), rows: 1, columns: 1)
    }
    #expect(throws: Problem(.matrixShape, "byte 101 is not in a buffer of 100 bytes")) {
      try StoredMatrix(buffer, offset: 101, format: .elements(.f32), rows: 1, columns: 1)
    }
    #expect(
      throws: Problem(
        .matrixShape, "100 bytes do not hold a matrix of 5 x 6 in F32 with 24 bytes from row to row")
    ) { try StoredMatrix(buffer, format: .elements(.f32), rows: 5, columns: 6) }
    #expect(throws: Problem.self) {
      try StoredMatrix(buffer, format: .elements(.f32), rows: 2, columns: 6, rowStride: 23)
    }
    #expect(throws: Problem.self) { try StoredMatrix(buffer, format: .elements(.f32), rows: .max, columns: .max) }
    #expect(throws: Problem.self) { try StoredMatrix(buffer, format: .elements(.f32), rows: -1, columns: 2) }
    #expect(try StoredMatrix(buffer, format: .elements(.f32), rows: 0, columns: 6).byteCount == 0)
  }
}
