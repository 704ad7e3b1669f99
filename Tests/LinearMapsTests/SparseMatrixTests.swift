import EspalierBasics
import Testing

@testable import EspalierLinearMaps
@testable import EspalierNumerics

@Suite struct SparseMatrixTests {
  static let types = [ElementType.f32, .f16, .bf16]

  /// Coded numbers of which about half are zero, with negative zeros and subnormals among the others.
  func coded(_ type: ElementType, rows: Int, columns: Int, seed: Int) throws -> AlignedBuffer {
    var generator = TestGenerator(seed: seed)
    let values = generator.values(rows * columns).map { value -> Float in
      switch UInt8.random(in: 0...40, using: &generator) {
      case 0: -0.0
      case 1: type == .f16 ? 0x1p-20 : 0x1p-130
      case 2...20: 0
      default: value
      }
    }
    let buffer = try AlignedBuffer(byteCount: values.count * type.byteWidth)
    type.encode(values, into: buffer.address, count: values.count)
    return buffer
  }

  func bits(_ values: [Float]) -> [UInt32] { values.map { $0.isNaN ? 0x7fc0_0000 : $0.bitPattern } }

  @Test(
    "The bits of the dense matrix with zeros in place, in both modes and in any batch",
    arguments: types, [(7, 5), (13, 530), (100, 1536), (6, 16), (5, 64), (3, 17), (9, 96), (2, 49), (1, 1), (4, 1000)])
  func densesBits(type: ElementType, shape: (rows: Int, columns: Int)) throws {
    let (rows, columns) = shape
    let buffer = try coded(type, rows: rows, columns: columns, seed: columns)
    let dense = try StoredMatrix(buffer, format: .elements(type), rows: rows, columns: columns)
    let sparse = try SparseMatrix(
      dense: UnsafeRawBufferPointer(buffer.bytes), elementType: type, rows: rows, columns: columns)
    #expect(sameBits(try widened(sparse), try widened(dense)))
    #expect(try sparse.materialized().elements.map(\.bitPattern) == widened(dense).map(\.bitPattern))
    let pool = WorkerPool(threads: 3)
    defer { pool.stop() }
    var generator = TestGenerator(seed: rows)
    var x = generator.values(40 * columns)
    // A zero that is not stored still makes NaN of an infinity.
    x[columns / 2] = .infinity
    for mode in NumericMode.allCases {
      for batch in [1, 2, 5, 8, 9, 40] {
        let some = Array(x[..<(batch * columns)])
        let expected = bits(try apply(dense, some, rows: batch, mode: mode))
        #expect(bits(try apply(sparse, some, rows: batch, mode: mode)) == expected, "\(mode), batch \(batch)")
        #expect(bits(try apply(sparse, some, rows: batch, mode: mode, parallel: pool.forEach)) == expected)
      }
    }
  }

  @Test("Every processor's kernel gives the same bits", arguments: types, [1, 31, 64, 100, 577, 1200])
  func kernels(type: ElementType, columns: Int) throws {
    let rows = 7
    let buffer = try coded(type, rows: rows, columns: columns, seed: columns)
    let sparse = try SparseMatrix(
      dense: UnsafeRawBufferPointer(buffer.bytes), elementType: type, rows: rows, columns: columns)
    let dense = try StoredMatrix(buffer, format: .elements(type), rows: rows, columns: columns)
    let whole = try widened(dense)
    var generator = TestGenerator(seed: 5)
    let x = generator.values(8 * columns)
    let expected = try apply(dense, x, rows: 8)
    for kernel in MatrixProduct.Kernel.available where kernel.rawValue <= SparseMatrix.fastestKernel.rawValue {
      for row in 0..<rows {
        for start in Set([0, columns / 64 * 64, columns / 128 * 64]) where start < columns {
          var part = [Float](repeating: .nan, count: columns - start)
          sparse.widen(row, start..<columns, kernel: kernel, into: &part)
          #expect(sameBits(part, whole[(row * columns + start)..<((row + 1) * columns)]), "\(kernel), from \(start)")
        }
      }
      guard kernel != .portable else { continue }
      for tokens in 1...8 {
        let y = try tiled(sparse, x, rows: tokens) { SparseProduct($0, sparse, into: $1, kernel: kernel) }
        #expect(sameBits(y, expected[..<(tokens * rows)]), "\(kernel), \(tokens) rows")
      }
    }
  }

  @Test("A group of maps of several forms gives the bits of its members", arguments: NumericMode.allCases, [1, 8, 30])
  func groups(mode: NumericMode, batch: Int) throws {
    let buffer = try coded(.bf16, rows: 48, columns: 256, seed: 1)
    let sparse = try SparseMatrix(
      dense: UnsafeRawBufferPointer(buffer.bytes), elementType: .bf16, rows: 48, columns: 256)
    let dense = try StoredMatrix(buffer, format: .elements(.bf16), rows: 48, columns: 256)
    let blocks = try StoredMatrix(
      try randomBytes(.blocks(.q8_0), rows: 32, columns: 256, seed: 2), format: .blocks(.q8_0), rows: 32, columns: 256)
    let maps: [any LinearMap] = [sparse, blocks, dense]
    var generator = TestGenerator(seed: batch)
    let x = generator.values(batch * 256)
    var first = [Float](repeating: .nan, count: batch * 48)
    var second = [Float](repeating: .nan, count: batch * 32)
    var third = [Float](repeating: .nan, count: batch * 48)
    try x.withUnsafeBufferPointer { x in
      try first.withUnsafeMutableBufferPointer { a in
        try second.withUnsafeMutableBufferPointer { b in
          try third.withUnsafeMutableBufferPointer { c in
            let results = try [
              MutableMatrixView(a, rows: batch, columns: 48), MutableMatrixView(b, rows: batch, columns: 32),
              MutableMatrixView(c, rows: batch, columns: 48),
            ]
            try LinearMaps.apply(
              maps, to: MatrixView(x, rows: batch, columns: 256), into: results, mode: mode,
              parallel: MatrixProduct.serially)
          }
        }
      }
    }
    #expect(sameBits(first, try apply(sparse, x, rows: batch, mode: mode)))
    #expect(sameBits(second, try apply(blocks, x, rows: batch, mode: mode)))
    #expect(sameBits(third, first))
  }

  @Test func halfTheNumbersTakeLittleMoreThanHalfTheBytes() throws {
    let (rows, columns) = (64, 4096)
    let values = (0..<rows * columns).map { Float($0 % 2) }
    let matrix = try Matrix(rows: rows, columns: columns, elements: values)
    let sparse = try SparseMatrix(matrix, elementType: .bf16)
    #expect(sparse.layout.valueCount == rows * columns / 2)
    #expect(sparse.byteCount == rows * columns / 8 + rows * columns + (rows + 1) * 8)
    #expect(Double(sparse.byteCount) < 0.57 * Double(2 * rows * columns))
    #expect(try sparse.materialized() == matrix)
  }

  /// Half the numbers in f16: less than compressed rows (a value and the column of each, an offset a row) whatever the
  /// integers, and than the dense matrix, `joo2024endor`.
  @Test func bitmapsTakeLessThanCompressedRows() throws {
    let (rows, columns) = (64, 4096)
    let buffer = try AlignedBuffer(byteCount: 2 * rows * columns)
    var generator = TestGenerator(seed: 5)
    var values = generator.values(rows * columns).map { $0 == 0 ? 1 : $0 }
    for row in 0..<rows {
      for column in (0..<columns).shuffled(using: &generator)[..<(columns / 2)] { values[row * columns + column] = 0 }
    }
    ElementType.f16.encode(values, into: buffer.address, count: values.count)
    let sparse = try SparseMatrix(
      dense: UnsafeRawBufferPointer(buffer.bytes), elementType: .f16, rows: rows, columns: columns)
    let (dense, count) = (2 * rows * columns, sparse.layout.valueCount)
    // Values that round to zero are none.
    #expect(count <= rows * columns / 2 && count > rows * columns * 49 / 100)
    let share = Double(sparse.byteCount) / Double(dense)
    #expect(share > 0.55 && share < 0.565, "\(share)")
    for indexBytes in [2, 4] {
      let compressedRows = count * (2 + indexBytes) + (rows + 1) * 4
      #expect(sparse.byteCount < compressedRows, "\(indexBytes)")
      #expect(compressedRows > dense * 98 / 100, "\(indexBytes)")
    }
  }

  @Test func aRowByHand() throws {
    let sparse = try SparseMatrix(try Matrix(rows: 2, columns: 3, elements: [0, 5, -0.0, 7, 0, 0]), elementType: .f32)
    #expect(Array(sparse.bitmap) == [6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
    #expect(sparse.offsets.withMemoryRebound(to: Int64.self, Array.init) == [0, 2, 3])
    let values = sparse.values.withMemoryRebound(to: Float.self) { Array($0) }
    #expect(sameBits(values, [5, -0.0, 7]))
    #expect(try apply(sparse, [1, 10, 100], rows: 1) == [50, 7])
  }

  @Test("Patterns", arguments: types, [(2, 4), (4, 8), (1, 1), (0, 2), (16, 32), (64, 64)])
  func patterns(type: ElementType, pattern: (keep: Int, of: Int)) throws {
    let (rows, columns, keep, of) = (9, 192, pattern.keep, pattern.of)
    var generator = TestGenerator(seed: of)
    var values = generator.values(rows * columns)
    // One number fewer than the pattern keeps in some groups, in scattered places.
    for group in 0..<values.count / of {
      let kept = group % 3 == 0 ? max(0, keep - 1) : keep
      for place in (0..<of).shuffled(using: &generator).dropFirst(kept) { values[group * of + place] = 0 }
    }
    let matrix = try Matrix(rows: rows, columns: columns, elements: values)
    let sparse = try SparseMatrix(matrix, elementType: type, pattern: .groups(keep: keep, of: of))
    #expect(sparse.layout.valueCount == rows * columns / of * keep)
    let dense = try AlignedBuffer(byteCount: values.count * type.byteWidth)
    type.encode(values, into: dense.address, count: values.count)
    let map = try StoredMatrix(dense, format: .elements(type), rows: rows, columns: columns)
    #expect(sameBits(try widened(sparse), try widened(map)))
    let x = generator.values(12 * columns)
    for batch in [1, 12] {
      let some = Array(x[..<(batch * columns)])
      #expect(sameBits(try apply(sparse, some, rows: batch), try apply(map, some, rows: batch)))
    }
  }

  @Test func whatDoesNotFitIsRefused() throws {
    func layout(
      _ rows: Int, _ columns: Int, _ type: ElementType = .f32, _ pattern: SparsePattern = .unstructured,
      _ count: Int? = 0
    ) -> Problem.Code? {
      do throws(Problem) {
        _ = try SparseLayout(rows: rows, columns: columns, elementType: type, pattern: pattern, valueCount: count)
        return nil
      } catch { return error.code }
    }
    #expect(layout(2, 2) == nil)
    #expect(layout(0, 5) == nil && layout(5, 0) == nil)
    #expect(layout(2, 2, .f64) == .matrixFormat)
    #expect(layout(-1, 2) == .matrixShape && layout(.max, .max) == .matrixShape && layout(0, .max) == .matrixShape)
    #expect(layout(2, 2, .f32, .unstructured, 5) == .matrixShape)
    #expect(layout(2, 2, .f32, .unstructured, nil) == .matrixShape)
    for (keep, of) in [(3, 2), (1, 3), (-1, 4), (1, 128), (0, 0)] {
      #expect(layout(1, 384, .f32, .groups(keep: keep, of: of), nil) == .matrixShape, "\(keep):\(of)")
    }
    #expect(layout(1, 6, .f32, .groups(keep: 2, of: 4), nil) == .matrixShape)
    #expect(layout(1, 8, .f32, .groups(keep: 2, of: 4), 5) == .matrixShape)

    let matrix = try Matrix<Float>(rows: 1, columns: 4, elements: [1, 2, 3, 0])
    #expect(
      throws: Problem(
        .matrixSparse, "row 0 has 3 numbers in columns 0 to 3, where the pattern has 2 of 4")
    ) { try SparseMatrix(matrix, elementType: .f32, pattern: .groups(keep: 2, of: 4)) }
    let buffer = try AlignedBuffer(byteCount: 100)
    let small = try SparseLayout(rows: 4, columns: 4, elementType: .f32, valueCount: 3)
    #expect(throws: Problem.self) { try SparseMatrix(buffer, layout: small) }
    #expect(throws: Problem(.matrixShape, "row 1 of a matrix of 1 rows")) {
      var row = [Float](repeating: 0, count: 4)
      try SparseMatrix(matrix, elementType: .f32).gather(rows: [1], into: &row)
    }
    #expect(throws: Problem(.matrixShape, "2 x 3 times the transpose of 1 x 4 does not make 2 x 1")) {
      let x = [Float](repeating: 0, count: 6)
      var y = [Float](repeating: 0, count: 2)
      try x.withUnsafeBufferPointer { x in
        try y.withUnsafeMutableBufferPointer { y in
          try SparseMatrix(matrix, elementType: .f32).apply(
            MatrixView(x, rows: 2, columns: 3), into: MutableMatrixView(y, rows: 2, columns: 1), mode: .exact,
            parallel: MatrixProduct.serially)
        }
      }
    }
  }

  @Test func damageIsFound() throws {
    let layout = try SparseLayout(rows: 3, columns: 70, elementType: .bf16, valueCount: 4)
    func matrix(_ change: (_ bitmap: UnsafeMutablePointer<UInt64>, _ offsets: UnsafeMutablePointer<Int64>) -> Void)
      -> String?
    {
      do throws(Problem) {
        let buffer = try AlignedBuffer(byteCount: layout.byteCount)
        buffer.bytes.initializeMemory(as: UInt8.self, repeating: 0xff)
        let bitmap = (buffer.address + layout.bitmapStart).assumingMemoryBound(to: UInt64.self)
        let offsets = (buffer.address + layout.offsetsStart).assumingMemoryBound(to: Int64.self)
        let words: [UInt64] = [0b101, 0, 0, 0, 1 << 63, 0b100000]
        for (index, word) in words.enumerated() { bitmap[index] = word }
        for (index, offset) in [0, 2, 2, 4].enumerated() { offsets[index] = Int64(offset) }
        change(bitmap, offsets)
        let made = try SparseMatrix(buffer, layout: layout)
        // NaN is data.
        return try widened(made).filter(\.isNaN).count == 4 ? nil : "values"
      } catch { return error.code == .matrixSparse ? error.message : "code \(error.code)" }
    }
    #expect(matrix { _, _ in } == nil)
    #expect(
      matrix { bitmap, _ in bitmap[2] = 1 } == "row 1 has 1 numbers by its bitmap, and 0 by the row offsets")
    #expect(
      matrix { _, offsets in offsets[1] = 1 } == "row 0 has 2 numbers by its bitmap, and 1 by the row offsets")
    #expect(
      matrix { bitmap, _ in bitmap[5] = 1 << 6 } == "the bitmap of row 2 has columns beyond the last of 70")
    #expect(
      matrix { _, offsets in offsets[3] = 5 } == "the row offsets run from 0 to 5, and there are 4 values")
    #expect(
      matrix { _, offsets in offsets[0] = -1 } == "the row offsets run from -1 to 4, and there are 4 values")
    #expect(
      matrix { _, offsets in offsets[1] = .min }
        == "row 0 has 2 numbers by its bitmap, and -9223372036854775808 by the row offsets")
  }
}
