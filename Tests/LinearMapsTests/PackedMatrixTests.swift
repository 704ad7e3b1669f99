import CKernels
import EspalierBasics
import EspalierNumerics
import Testing

@testable import EspalierLinearMaps

@Suite("Packed matrices") struct PackedMatrixTests {
  /// A random matrix and its numbers, computed one by one.
  struct Sample {
    var map: PackedMatrix
    var weights: [Float]
  }

  func sample(
    _ grid: PackedMatrix.Layout.Grid, rows: Int, columns: Int, groupSize: Int, tileRows: Int = 1,
    hasZeros: Bool = false,
    groups: [Int32]? = nil, seed: Int = 1
  ) throws -> Sample {
    let layout = try PackedMatrix.Layout(
      rows: rows, columns: columns, grid: grid, tileRows: tileRows, groupSize: groupSize,
      groupCount: groups.map { Int($0.max()!) + 1 } ?? (columns - 1) / groupSize + 1, hasZeros: hasZeros,
      ordersColumns: groups != nil)
    // In the middle of a buffer of ones, so that nothing depends on what lies around it.
    let buffer = try AlignedBuffer(byteCount: layout.byteCount + 128)
    buffer.bytes.initializeMemory(as: UInt8.self, repeating: 0xff)
    let start = buffer.address + 64
    var generator = TestGenerator(seed: seed)
    let scales = generator.values(layout.scaleCount, in: -0.1...0.1)
    let bits = if case .integer(let bits) = grid { bits } else { 8 }
    let half = 1 << (bits - 1)
    let zeros = scales.map { _ in hasZeros ? Int.random(in: -half..<half, using: &generator) : 0 }
    for index in scales.indices {
      start.storeBytes(of: scales[index], toByteOffset: layout.scalesStart + 4 * index, as: Float.self)
      if hasZeros { start.storeBytes(of: Int8(zeros[index]), toByteOffset: layout.zerosStart + index, as: Int8.self) }
    }
    for (column, group) in (groups ?? []).enumerated() {
      start.storeBytes(of: group, toByteOffset: layout.columnGroupsStart + 4 * column, as: Int32.self)
    }
    var weights: [Float] = []
    for row in 0..<rows {
      var stream = [UInt8](repeating: 0, count: layout.rowBytes)
      for column in 0..<columns {
        let place = row / tileRows * layout.groupCount + (groups.map { Int($0[column]) } ?? column / groupSize)
        if case .float(let type) = grid {
          var value: Float = 0
          type.encode(generator.values(1, in: -300...300), into: &stream[column], count: 1)
          type.decode(&stream[column], into: &value, count: 1)
          weights.append(value * scales[place])
        } else {
          let code = Int.random(in: 0..<2 * half, using: &generator)
          for bit in 0..<bits where code >> bit & 1 != 0 {
            stream[(column * bits + bit) / 8] |= 1 << ((column * bits + bit) % 8)
          }
          weights.append(Float(code - half - zeros[place]) * scales[place])
        }
      }
      (start + layout.codesStart + row * layout.rowBytes).copyMemory(from: stream, byteCount: stream.count)
    }
    return Sample(map: try PackedMatrix(buffer, offset: 64, layout: layout), weights: weights)
  }

  /// Every number of bits, groups of several sizes, with and without zero points and an order of columns.
  func samples() throws -> [Sample] {
    var samples: [Sample] = []
    for bits in 1...8 {
      for (columns, groupSize) in [(32, 32), (320, 32), (200, 96), (512, 128), (333, 333), (130, 64), (75, 24)] {
        for hasZeros in [false, true] {
          let rows = 9 + bits % 4
          samples.append(
            try sample(
              .integer(bits: bits), rows: rows, columns: columns, groupSize: groupSize, tileRows: hasZeros ? 1 : 3,
              hasZeros: hasZeros, seed: bits))
          var generator = TestGenerator(seed: columns)
          let groups = (0..<columns).map { Int32($0 / groupSize) }.shuffled(using: &generator)
          samples.append(
            try sample(
              .integer(bits: bits), rows: rows, columns: columns, groupSize: groupSize, hasZeros: hasZeros,
              groups: groups, seed: bits))
        }
      }
      // Groups of no one size.
      let groups = (0..<96).map { Int32($0 % 7 == 0 ? 2 : $0 / 60) }
      samples.append(
        try sample(.integer(bits: bits), rows: 5, columns: 96, groupSize: 32, hasZeros: true, groups: groups))
    }
    for type in [ElementType.f8e4m3, .f8e5m2] {
      samples.append(try sample(.float(type), rows: 7, columns: 200, groupSize: 200))
      samples.append(try sample(.float(type), rows: 7, columns: 200, groupSize: 64, tileRows: 4))
      samples.append(
        try sample(.float(type), rows: 7, columns: 40, groupSize: 20, groups: (0..<40).map { Int32($0 % 2) }))
    }
    return samples
  }

  func dense(_ sample: Sample) throws -> StoredMatrix {
    let buffer = try AlignedBuffer(count: sample.weights.count, of: Float.self)
    buffer.floats.baseAddress?.update(from: sample.weights, count: sample.weights.count)
    return try StoredMatrix(
      buffer, format: .elements(.f32), rows: sample.map.outputWidth, columns: sample.map.inputWidth)
  }

  @Test("Exact mode gives the bits of the numbers written out") func exact() throws {
    for sample in try samples() {
      #expect(try widened(sample.map).map(\.bitPattern) == sample.weights.map(\.bitPattern), "\(sample.map.layout)")
      let plain = try dense(sample)
      var generator = TestGenerator(seed: 5)
      for rows in [1, 8, 40] {
        let x = generator.values(rows * plain.inputWidth)
        let found = try apply(sample.map, x, rows: rows)
        #expect(try found.map(\.bitPattern) == apply(plain, x, rows: rows).map(\.bitPattern), "\(sample.map.layout)")
      }
    }
  }

  @Test("Many rows in fast mode have the bits of the numbers written out") func fastMany() throws {
    for sample in try samples().prefix(40) {
      var generator = TestGenerator(seed: 6)
      let x = generator.values(11 * sample.map.inputWidth)
      let found = try apply(sample.map, x, rows: 11, mode: .fast)
      #expect(try found.map(\.bitPattern) == apply(dense(sample), x, rows: 11, mode: .fast).map(\.bitPattern))
    }
  }

  @Test("Few rows in fast mode stay within the documented distance of the float64 sum") func fastFew() throws {
    var inIntegers = 0
    for sample in try samples() {
      let (map, columns) = (sample.map, sample.map.inputWidth)
      let isInteger = map.hasIntegerProduct
      inIntegers += isInteger ? 1 : 0
      for rows in [1, 8] {
        var generator = TestGenerator(seed: rows)
        let x = generator.values(rows * columns, in: -2...2)
        let fast = try apply(map, x, rows: rows, mode: .fast)
        if !isInteger {
          #expect(try fast == apply(map, x, rows: rows))
          continue
        }
        let places = map.native.pointee.places
        for t in 0..<rows {
          let row = Array(x[(t * columns)...].prefix(columns))
          for o in 0..<map.outputWidth {
            let w = Array(sample.weights[(o * columns)...].prefix(columns))
            let value = zip(row, w).reduce(0) { $0 + Double($1.0) * Double($1.1) }
            // Blocks lie in the order of the codes.
            var (ordered, weights) = (row, w)
            for column in 0..<columns {
              let place = places.map { Int($0[column]) } ?? column
              (ordered[place], weights[place]) = (row[column], w[column])
            }
            let scale = map.layout.groupCount * (o / map.layout.tileRows)
            let steps = (0..<map.layout.groupCount).map { abs(map.native.pointee.scales[scale + $0]) }.max()!
            let bound = codingBound(
              ordered, weights, largestTerm: Double(steps) * Double(1 << (map.native.pointee.bits - 1)))
            #expect(abs(Double(fast[t * map.outputWidth + o]) - value) <= bound, "\(map.layout): \(t), \(o)")
          }
        }
      }
    }
    // All but groups of 24, of no one size, and floats.
    #expect(inIntegers == 8 * 2 * 2 * 6)
  }

  /// What rounding x to 16 bits may change, and what float32 makes of sums of codes and zero points, which may cancel.
  func codingBound(_ x: [Float], _ w: [Float], largestTerm: Double) -> Double {
    var bound = 0.0
    for block in stride(from: 0, to: x.count, by: 32) {
      let part = block..<min(x.count, block + 32)
      let largest = Double(x[part].reduce(0) { max($0, abs($1)) })
      bound += largest / 32639 * w[part].reduce(0) { $0 + abs(Double($1)) } * 1.0001
      bound += largest * largestTerm * 2 * 32 * Double(x.count / 64 + 8) * 0x1p-24
    }
    return bound
  }

  @Test("Every processor's kernel has the bits of the portable one") func kernelsAgree() throws {
    for sample in try samples() where sample.map.hasIntegerProduct {
      var generator = TestGenerator(seed: 8)
      let x = generator.values(3 * sample.map.inputWidth, in: -3...3)
      let results = try DotKernel.available.map { kernel in
        try x.withUnsafeBufferPointer { elements in
          let view = try MatrixView(elements, rows: 3, columns: sample.map.inputWidth)
          let activations = CodedActivations(view, places: sample.map.native.pointee.places)
          return try tiled(sample.map, x, rows: 3) { PackedProduct(activations, sample.map, into: $1, kernel: kernel) }
        }
      }
      for (kernel, found) in zip(DotKernel.available, results) {
        #expect(found.map(\.bitPattern) == results[0].map(\.bitPattern), "\(kernel), \(sample.map.layout)")
      }
    }
  }

  @Test("Sums of extreme codes do not overflow", arguments: 1...8, [UInt8(0), 0xff]) func extremes(
    bits: Int, byte: UInt8
  ) throws {
    let layout = try PackedMatrix.Layout(
      rows: 4, columns: 128, grid: .integer(bits: bits), groupSize: 128, groupCount: 1, hasZeros: false)
    let buffer = try AlignedBuffer(byteCount: layout.byteCount)
    buffer.bytes.initializeMemory(as: UInt8.self, repeating: byte)
    for row in 0..<4 { buffer.address.storeBytes(of: 1, toByteOffset: layout.scalesStart + 4 * row, as: Float.self) }
    let map = try PackedMatrix(buffer, layout: layout)
    let code = Double(byte == 0 ? -(1 << (bits - 1)) : 1 << (bits - 1) - 1)
    for value in [Float(32639), -32639] {
      let x = [Float](repeating: value, count: 128)
      for kernel in DotKernel.available {
        let found = try x.withUnsafeBufferPointer { elements in
          let activations = CodedActivations(try MatrixView(elements, rows: 1, columns: 128))
          return try tiled(map, x, rows: 1) { PackedProduct(activations, map, into: $1, kernel: kernel) }
        }
        let expected = Double(value) * code * 128
        for y in found { #expect(abs(Double(y) - expected) <= 0x1p-20 * abs(expected), "\(kernel)") }
      }
    }
  }

  @Test("A scale that is not a number makes its row so, and no other") func nonFinite() throws {
    for groups in [nil, (0..<128).map { Int32($0 % 2) }] {
      let sample = try sample(.integer(bits: 4), rows: 6, columns: 128, groupSize: 64, groups: groups)
      UnsafeMutablePointer(mutating: sample.map.native.pointee.scales)[2 * 3 + 1] = .nan
      var generator = TestGenerator(seed: 2)
      for mode in NumericMode.allCases {
        let y = try apply(sample.map, generator.values(2 * 128), rows: 2, mode: mode)
        for index in y.indices { #expect(y[index].isNaN == (index % 6 == 3)) }
      }
    }
  }

  @Test("A group of maps gives the bits of its members, ordered or not", arguments: NumericMode.allCases)
  func together(mode: NumericMode) throws {
    var generator = TestGenerator(seed: 4)
    let groups = (0..<256).map { Int32($0 / 64) }.shuffled(using: &generator)
    let maps: [any LinearMap] = try [
      sample(.integer(bits: 4), rows: 40, columns: 256, groupSize: 128, hasZeros: true).map,
      sample(.integer(bits: 3), rows: 33, columns: 256, groupSize: 64, groups: groups).map,
      sample(.float(.f8e4m3), rows: 8, columns: 256, groupSize: 256).map,
      StoredMatrix(
        randomBytes(.blocks(.iq4_xs), rows: 5, columns: 256, seed: 1), format: .blocks(.iq4_xs), rows: 5, columns: 256),
    ]
    let x = generator.values(3 * 256)
    let outputs = maps.map(\.outputWidth)
    var found = outputs.map { [Float](repeating: .nan, count: 3 * $0) }
    try x.withUnsafeBufferPointer { x in
      let buffers = try outputs.map { try AlignedBuffer(count: 3 * $0, of: Float.self) }
      let results = try zip(buffers, outputs).map { try MutableMatrixView($0.floats, rows: 3, columns: $1) }
      try LinearMaps.apply(
        maps, to: MatrixView(x, rows: 3, columns: 256), into: results, mode: mode, parallel: MatrixProduct.serially)
      for index in found.indices { found[index] = Array(buffers[index].floats[..<(3 * outputs[index])]) }
    }
    for (map, found) in zip(maps, found) {
      #expect(try found.map(\.bitPattern) == apply(map, x, rows: 3, mode: mode).map(\.bitPattern))
    }
  }

  @Test("What is no matrix is refused") func damage() throws {
    func layout(
      rows: Int = 4, columns: Int = 64, _ grid: PackedMatrix.Layout.Grid = .integer(bits: 4), groupSize: Int = 32,
      groupCount: Int = 2, hasZeros: Bool = false, ordersColumns: Bool = false
    ) throws(Problem) -> PackedMatrix.Layout {
      try PackedMatrix.Layout(
        rows: rows, columns: columns, grid: grid, groupSize: groupSize, groupCount: groupCount, hasZeros: hasZeros,
        ordersColumns: ordersColumns)
    }
    let refused = Problem(
      .quantizedMatrix, "a packed matrix of 4 x 64 with 3 groups of 32 columns in codes of 4 bits")
    #expect(throws: refused) { try layout(groupCount: 3) }
    for body in [
      { try layout(rows: 0) }, { try layout(columns: 0, groupCount: 1) }, { try layout(.integer(bits: 9)) },
      { try layout(.integer(bits: 0)) }, { try layout(.float(.f16)) }, { try layout(.float(.f8e4m3), hasZeros: true) },
      { try layout(groupSize: 0) }, { try layout(rows: .max) }, { try layout(rows: .max / 64) },
      { try layout(groupCount: .max, ordersColumns: true) },
    ] as [() throws -> PackedMatrix.Layout] {
      #expect(throws: Problem.self) { try body() }
    }
    let fitting = try layout(ordersColumns: true)
    let small = try AlignedBuffer(byteCount: fitting.byteCount)
    #expect(
      throws: Problem(
        .matrixShape,
        "a buffer of \(small.byteCount) bytes does not hold \(fitting.byteCount) bytes of a packed matrix at byte 64")
    ) { try PackedMatrix(small, offset: 64, layout: fitting) }
    for wrong in [Int32(2), -1, .min] {
      let buffer = try AlignedBuffer(byteCount: fitting.byteCount)
      buffer.bytes.initializeMemory(as: UInt8.self, repeating: 0)
      buffer.address.storeBytes(of: wrong, toByteOffset: fitting.columnGroupsStart + 4 * 7, as: Int32.self)
      #expect(throws: Problem(.quantizedMatrix, "column 7 is in group \(wrong) of 2")) {
        try PackedMatrix(buffer, layout: fitting)
      }
    }
  }
}
