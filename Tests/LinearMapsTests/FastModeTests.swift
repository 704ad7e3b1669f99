import EspalierBasics
import Testing

@testable import EspalierLinearMaps
@testable import EspalierNumerics

@Suite("Fast mode") struct FastModeTests {
  static let integerFormats = BlockType.allCases.filter { $0.dot != nil }

  /// Runs every tile of an integer product.
  func integerProduct(_ map: StoredMatrix, _ x: [Float], rows: Int, kernel: DotKernel) throws -> [Float] {
    try x.withUnsafeBufferPointer { elements in
      let activations = CodedActivations(try MatrixView(elements, rows: rows, columns: map.inputWidth))
      return try tiled(map, x, rows: rows) { IntegerProduct(activations, map, into: $1, kernel: kernel) }
    }
  }

  func matrix(_ format: WeightFormat, rows: Int, columns: Int, gap: Int = 0) throws -> StoredMatrix {
    let stride = format.byteCount(of: columns) + gap
    let buffer = try randomBytes(format, rows: rows, columns: columns, stride: stride, seed: rows + columns)
    return try StoredMatrix(buffer, format: format, rows: rows, columns: columns, rowStride: stride)
  }

  @Test("Every processor's kernel has the bits of the portable one", arguments: integerFormats)
  func kernelsAgree(type: BlockType) throws {
    for blocks in [1, 2, 3, 9, 18] {
      for (rows, gap) in [(1, 0), (3, 1), (4, 0), (9, 3)] {
        let map = try matrix(.blocks(type), rows: rows, columns: blocks * type.blockLength, gap: gap)
        var generator = TestGenerator(seed: blocks)
        let x = generator.values(3 * map.inputWidth, in: -3...3)
        let portable = try integerProduct(map, x, rows: 3, kernel: .portable)
        for kernel in DotKernel.available {
          let y = try integerProduct(map, x, rows: 3, kernel: kernel)
          #expect(y.map(\.bitPattern) == portable.map(\.bitPattern), "\(kernel), \(blocks) blocks, \(rows) rows")
        }
      }
    }
  }

  @Test("Sums of extreme codes do not overflow", arguments: integerFormats, [UInt8(0), 0xff, 0x80, 0x7f])
  func extremeCodes(type: BlockType, code: UInt8) throws {
    let (rows, columns) = (4, 2 * type.blockLength)
    let buffer = try AlignedBuffer(byteCount: rows * type.byteCount(of: columns))
    buffer.bytes.initializeMemory(as: UInt8.self, repeating: code)
    for block in 0..<2 * rows {
      for half in type.halves {
        ElementType.f16.encode([0.5], into: buffer.address + block * type.blockBytes + half, count: 1)
      }
      if type == .mxfp4 { buffer.address.storeBytes(of: 128, toByteOffset: block * type.blockBytes, as: UInt8.self) }
    }
    let map = try StoredMatrix(buffer, format: .blocks(type), rows: rows, columns: columns)
    let weights = try widened(map)
    for value in [Float(32639), -32639] {
      // The largest codes, with the scale 1: nothing is rounded but the sums.
      let x = [Float](repeating: value, count: columns)
      let (expected, magnitude) = reference(x, Array(weights[..<columns]), columns: columns)[0]
      for kernel in DotKernel.available {
        for y in try integerProduct(map, x, rows: 1, kernel: kernel) {
          #expect(abs(Double(y) - expected) <= 0x1p-19 * max(magnitude, Double(abs(value))))
        }
      }
    }
  }

  /// x W in float64, and the sum of the magnitudes.
  func reference(_ x: [Float], _ w: [Float], columns: Int) -> [(value: Double, magnitude: Double)] {
    var results: [(Double, Double)] = []
    for t in 0..<x.count / columns {
      for o in 0..<w.count / columns {
        var (value, magnitude) = (0.0, 0.0)
        for i in 0..<columns {
          let term = Double(x[t * columns + i]) * Double(w[o * columns + i])
          value += term
          magnitude += abs(term)
        }
        results.append((value, magnitude))
      }
    }
    return results
  }

  @Test("Both modes stay within their documented distance of the float64 sum", arguments: WeightFormat.weights)
  func errorBounds(format: WeightFormat) throws {
    let shapes = format.blockLength == 256 ? [(7, 256), (33, 1024), (65, 4352)] : [(7, 32), (33, 1024), (65, 4128)]
    for (outputs, columns) in shapes {
      let map = try matrix(format, rows: outputs, columns: columns, gap: outputs % 2)
      let w = try widened(map)
      for rows in [1, 8, 9, 25] {
        var generator = TestGenerator(seed: rows)
        let x = generator.values(rows * columns, in: -2...2)
        let expected = reference(x, w, columns: columns)
        let exact = try apply(map, x, rows: rows, mode: .exact)
        let fast = try apply(map, x, rows: rows, mode: .fast)
        // Higham's lemma 3.1 to first order, the operations rounded up; scales cost a few roundings more.
        let rounding = (Double(min(columns, 512)) / 16 + 5 + Double(columns) / 512).rounded(.up) * 0x1p-24 * 1.01
        for t in 0..<rows {
          for o in 0..<outputs {
            let (value, magnitude) = expected[t * outputs + o]
            #expect(abs(Double(exact[t * outputs + o]) - value) <= rounding * magnitude)
            var bound = (0x1p-7 + rounding + Double(columns) * 0x1p-24) * magnitude
            if rows <= LinearMaps.fewRows {
              bound = rounding * magnitude
              if case .blocks(let type) = format, type.dot != nil {
                bound += codingBound(x[(t * columns)...].prefix(columns), w[(o * columns)...].prefix(columns))
              }
            }
            #expect(
              abs(Double(fast[t * outputs + o]) - value) <= bound, "\(outputs) x \(columns), \(rows) rows: \(t), \(o)")
          }
        }
      }
    }
  }

  /// What rounding x to 16 bits may change, and what float32 makes of sums whose terms may cancel: d c and m apart.
  func codingBound(_ x: ArraySlice<Float>, _ w: ArraySlice<Float>) -> Double {
    let (x, w) = (Array(x), Array(w))
    var bound = 0.0
    for block in stride(from: 0, to: x.count, by: 32) {
      let largest = x[block..<block + 32].reduce(0) { max($0, abs($1)) }
      let weights = w[block..<block + 32].reduce(0) { $0 + abs(Double($1)) }
      let span = w[block..<block + 32].reduce(0) { max($0, abs($1)) }
      bound += Double(largest) / 32639 * weights * 1.0001
      bound += Double(largest * span) * 32 * 2 * Double(x.count / 64 + 8) * 0x1p-24
    }
    return bound
  }

  @Test("A row's bits depend neither on its neighbours nor on threads", arguments: WeightFormat.weights)
  func rowsAlone(format: WeightFormat) throws {
    let map = try matrix(format, rows: 70, columns: 512)
    var generator = TestGenerator(seed: 3)
    let x = generator.values(40 * 512)
    let pool = WorkerPool(threads: 3)
    defer { pool.stop() }
    for whole in [8, 40] {
      let rows = try apply(map, Array(x[..<(whole * 512)]), rows: whole, mode: .fast, parallel: pool.forEach)
      for part in whole == 8 ? [1, 3, 7] : [9, 13, 24, 37] {
        let some = try apply(map, Array(x[..<(part * 512)]), rows: part, mode: .fast)
        #expect(some.map(\.bitPattern) == rows[..<(part * 70)].map(\.bitPattern), "\(part) of \(whole) rows")
      }
    }
  }

  @Test("A group gives the bits of its members", arguments: NumericMode.allCases, [1, 8, 30])
  func groups(mode: NumericMode, rows: Int) throws {
    let maps = try [
      matrix(.blocks(.q8_0), rows: 96, columns: 256), matrix(.blocks(.q6_K), rows: 33, columns: 256),
      matrix(.elements(.bf16), rows: 5, columns: 256), matrix(.blocks(.mxfp4), rows: 40, columns: 256),
    ]
    var generator = TestGenerator(seed: rows)
    let x = generator.values(rows * 256)
    let outputs = maps.reduce(0) { $0 + $1.outputWidth }
    var together = [Float](repeating: .nan, count: rows * outputs)
    try x.withUnsafeBufferPointer { x in
      try together.withUnsafeMutableBufferPointer { y in
        var start = 0
        let results = try maps.map { map in
          defer { start += rows * map.outputWidth }
          return try MutableMatrixView(
            UnsafeMutableBufferPointer(rebasing: y[start...]), rows: rows, columns: map.outputWidth)
        }
        let view = try MatrixView(x, rows: rows, columns: 256)
        try LinearMaps.apply(maps, to: view, into: results, mode: mode, parallel: MatrixProduct.serially)
        #expect(throws: Problem(.matrixShape, "4 linear maps and 3 results")) {
          try LinearMaps.apply(
            maps, to: view, into: Array(results.dropLast()), mode: mode, parallel: MatrixProduct.serially)
        }
      }
    }
    let apart = try maps.flatMap { try apply($0, x, rows: rows, mode: mode) }
    #expect(together.map(\.bitPattern) == apart.map(\.bitPattern))
  }

  @Test(
    "NaN and infinity in a row of activations stay in it, and in a weight's row too",
    arguments: WeightFormat.weights, [1, 12])
  func nonFinite(format: WeightFormat, rows: Int) throws {
    let map = try matrix(format, rows: 5, columns: 512)
    for bad in [Float.nan, .infinity, -.infinity] {
      var generator = TestGenerator(seed: 9)
      var x = generator.values(rows * 512)
      let clean = try apply(map, x, rows: rows, mode: .fast)
      #expect(clean.allSatisfy { $0.isFinite })
      x[(rows - 1) * 512 + 77] = bad
      for mode in NumericMode.allCases {
        let y = try apply(map, x, rows: rows, mode: mode)
        #expect(y[((rows - 1) * 5)...].allSatisfy { !$0.isFinite })
        #expect(y[..<((rows - 1) * 5)].allSatisfy { $0.isFinite })
      }
    }
    guard case .blocks(let type) = format, let half = type.halves.first else { return }
    let buffer = try randomBytes(format, rows: 5, columns: 512, seed: 1)
    ElementType.f16.encode([.infinity], into: buffer.address + 2 * type.byteCount(of: 512) + half, count: 1)
    let broken = try StoredMatrix(buffer, format: format, rows: 5, columns: 512)
    var generator = TestGenerator(seed: 9)
    let y = try apply(broken, generator.values(rows * 512), rows: rows, mode: .fast)
    for t in 0..<rows {
      for o in 0..<5 { #expect(y[t * 5 + o].isFinite == (o != 2)) }
    }
  }

  @Test("Activations are rounded as documented")
  func coding() throws {
    var x = [Float](repeating: 0, count: 70)
    x[0] = 32639
    x[1] = 0.5
    x[2] = 1.5
    x[3] = -2.5
    x[4] = 128
    x[5] = -128
    x[6] = 300
    x[32] = 0x1p-101
    x[64] = -65278
    x[65] = 3
    try x.withUnsafeBufferPointer { x in
      let coded = CodedActivations(try MatrixView(x, rows: 1, columns: 70))
      // 256 high digits, 256 low ones, 64 sums of four, then each block's scale and sum.
      let start = UnsafeRawPointer(coded.codes)
      let high = (0..<256).map { start.load(fromByteOffset: $0, as: Int8.self) }
      let low = (0..<256).map { start.load(fromByteOffset: 256 + $0, as: Int8.self) }
      let sums = (0..<64).map { start.load(fromByteOffset: 512 + 4 * $0, as: Int32.self) }
      let pairs = (0..<16).map { start.load(fromByteOffset: 768 + 4 * $0, as: Float.self) }
      #expect(Array(high[..<7]) == [127, 0, 0, 0, 1, 0, 1])
      #expect(Array(low[..<7]) == [127, 0, 2, -2, -127, -127, 44], "ties to even; no digit is -128")
      #expect(high[32] == 0 && low[32] == 0, "too small to count")
      #expect(Array(high[64..<66]) == [-127, 0] && Array(low[64..<66]) == [-127, 2])
      #expect(low[66...].allSatisfy { $0 == 0 })
      #expect(Array(sums[..<2]) == [-32639, -302] && sums[16] == 32637)
      #expect(Array(pairs[..<6]) == [1, 32941, 0, 0, 2, -65274])
    }
  }

  @Test("Empty shapes, and a transposed operand, which is multiplied exactly", arguments: NumericMode.allCases)
  func edges(mode: NumericMode) throws {
    let map = try matrix(.blocks(.q4_0), rows: 6, columns: 64)
    #expect(try apply(map, [], rows: 0, mode: mode) == [])
    let empty = try StoredMatrix(AlignedBuffer(byteCount: 0), format: .blocks(.q8_0), rows: 3, columns: 0)
    #expect(try apply(empty, [], rows: 2, mode: mode) == [Float](repeating: 0, count: 6))
    #expect(try apply(empty, [], rows: 9, mode: mode) == [Float](repeating: 0, count: 27))
    var generator = TestGenerator(seed: 4)
    let columns = generator.values(64 * 3)
    let rows = (0..<3).flatMap { t in (0..<64).map { columns[$0 * 3 + t] } }
    var y = [Float](repeating: .nan, count: 18)
    try columns.withUnsafeBufferPointer { x in
      try y.withUnsafeMutableBufferPointer { y in
        try map.apply(
          MatrixView(x, rows: 64, columns: 3).transposed, into: MutableMatrixView(y, rows: 3, columns: 6), mode: mode,
          parallel: MatrixProduct.serially)
      }
    }
    #expect(try y == apply(map, rows, rows: 3, mode: .exact))
  }
}
