import EspalierBasics
import EspalierLinearMaps
import EspalierNumerics
import Testing

@Suite struct StoredMatrixTests {
  /// Floats of a matrix in a buffer of some element type, the rows `gap` bytes apart and the first `gap` bytes in.
  func stored(
    _ values: [Float], rows: Int, columns: Int, as type: ElementType, gap: Int = 0
  ) throws -> StoredMatrix {
    let rowStride = columns * type.byteWidth + gap
    let buffer = try AlignedBuffer(byteCount: gap + rows * rowStride)
    for row in 0..<rows {
      values[(row * columns)...].withUnsafeBufferPointer {
        type.encode($0.baseAddress!, into: buffer.address + gap + row * rowStride, count: columns)
      }
    }
    return try StoredMatrix(
      buffer, offset: gap, format: .elements(type), rows: rows, columns: columns, rowStride: rowStride)
  }

  func values(_ count: Int, seed: UInt64) -> [Float] {
    var generator = SystemIndependentGenerator(state: seed)
    return (0..<count).map { _ in Float.random(in: -1...1, using: &generator) }
  }

  func apply(_ map: StoredMatrix, _ x: [Float], rows: Int, mode: NumericMode = .exact) throws -> [Float] {
    var y = [Float](repeating: .nan, count: rows * map.outputWidth)
    try x.withUnsafeBufferPointer { x in
      try y.withUnsafeMutableBufferPointer { y in
        try map.apply(
          MatrixView(x, rows: rows, columns: map.inputWidth),
          into: MutableMatrixView(y, rows: rows, columns: map.outputWidth), mode: mode,
          parallel: MatrixProduct.serially)
      }
    }
    return y
  }

  @Test(
    "A stored matrix gives the bits of its widened copy, at any alignment and batch",
    arguments: [ElementType.f32, .f16, .bf16, .f64, .f8e4m3], [(7, 5), (13, 530), (100, 1536), (6, 16)])
  func exactMode(type: ElementType, shape: (rows: Int, columns: Int)) throws {
    let (rows, columns) = shape
    for gap in [0, 3] {
      let map = try stored(values(rows * columns, seed: 1), rows: rows, columns: columns, as: type, gap: gap)
      #expect(map.byteCount == rows * columns * type.byteWidth)
      var widened = [Float](repeating: 0, count: rows * columns)
      try map.gather(rows: 0..<rows, into: &widened)
      let plain = try stored(widened, rows: rows, columns: columns, as: .f32)
      let x = values(40 * columns, seed: 2)
      let whole = try apply(plain, x, rows: 40)
      for batch in [1, 2, 3, 5, 8, 9, 40] {
        let part = try apply(map, Array(x[..<(batch * columns)]), rows: batch)
        #expect(part == Array(whole[..<(batch * rows)]), "\(type) \(shape) gap \(gap) batch \(batch)")
      }
    }
  }

  @Test func gatherRepeatsAndRefuses() throws {
    let map = try stored([1, 2, 3, 4, 5, 6], rows: 3, columns: 2, as: .bf16)
    var rows = [Float](repeating: 0, count: 6)
    try map.gather(rows: [2, 0, 2], into: &rows)
    #expect(rows == [5, 6, 1, 2, 5, 6])
    #expect(throws: Problem(.matrixShape, "row 3 of a matrix of 3 rows")) { try map.gather(rows: [3], into: &rows) }
    #expect(throws: Problem(.matrixShape, "row -1 of a matrix of 3 rows")) { try map.gather(rows: [-1], into: &rows) }
  }

  @Test func whatDoesNotFitIsRefused() throws {
    let buffer = try AlignedBuffer(byteCount: 100)
    #expect(throws: Problem(.matrixFormat, "i32 is not a type of weights")) {
      try StoredMatrix(buffer, format: .elements(.i32), rows: 1, columns: 1)
    }
    #expect(throws: Problem(.matrixShape, "byte 101 is not in a buffer of 100 bytes")) {
      try StoredMatrix(buffer, offset: 101, format: .elements(.f32), rows: 1, columns: 1)
    }
    #expect(
      throws: Problem(
        .matrixShape, "100 bytes do not hold a matrix of 5 x 6 in f32 with 24 bytes from row to row")
    ) { try StoredMatrix(buffer, format: .elements(.f32), rows: 5, columns: 6) }
    #expect(throws: Problem.self) {
      try StoredMatrix(buffer, format: .elements(.f32), rows: 2, columns: 6, rowStride: 23)
    }
    #expect(throws: Problem.self) { try StoredMatrix(buffer, format: .elements(.f32), rows: .max, columns: .max) }
    #expect(throws: Problem.self) { try StoredMatrix(buffer, format: .elements(.f32), rows: -1, columns: 2) }
    #expect(try StoredMatrix(buffer, format: .elements(.f32), rows: 0, columns: 6).byteCount == 0)
  }
}

/// Knuth's MMIX congruential generator, so that every failure can be run again.
struct SystemIndependentGenerator: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    var word: UInt64 = 0
    for _ in 0..<4 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      word = word << 16 | state >> 48
    }
    return word
  }
}
