import EspalierNumerics
import Testing

/// The layout of a binary format, and what its codes are worth by definition: the independent reference.
private struct Layout: Sendable, CustomTestStringConvertible {
  var type: ElementType
  var exponentBits: Int
  var significandBits: Int
  var hasInfinity = true

  var testDescription: String { type.rawValue }
  var bias: Int { (1 << (exponentBits - 1)) - 1 }
  var signBit: UInt32 { 1 << UInt32(exponentBits + significandBits) }
  var codes: Range<UInt32> { 0..<(2 * signBit) }
  /// Codes of finite magnitudes: everything below.
  var endOfFinite: UInt32 {
    hasInfinity ? ((1 << UInt32(exponentBits)) - 1) << UInt32(significandBits) : signBit - 1
  }

  func isNaN(_ code: UInt32) -> Bool {
    let magnitude = code & (signBit - 1)
    return hasInfinity ? magnitude > endOfFinite : magnitude == endOfFinite
  }

  /// The value of a magnitude as if the format had no specials and no largest exponent.
  func magnitude(_ code: UInt32) -> Double {
    let exponent = Int(code >> UInt32(significandBits))
    let fraction = Double(code & ((1 << UInt32(significandBits)) - 1))
    let unit = power(max(exponent, 1) - bias - significandBits)
    return (fraction + (exponent > 0 ? power(significandBits) : 0)) * unit
  }

  private func power(_ exponent: Int) -> Double { Double(sign: .plus, exponent: exponent, significand: 1) }

  /// The code nearest to a value: the larger of two equally near magnitudes only if its code is even.
  func nearest(_ value: Float, in table: [Double]) -> UInt32 {
    let sign = value.sign == .minus ? signBit : 0
    let magnitude = Double(value.magnitude)
    var low = 0
    var high = table.count
    while low < high {  // first entry >= magnitude
      let middle = (low + high) / 2
      if table[middle] < magnitude { low = middle + 1 } else { high = middle }
    }
    guard low < table.count else { return sign | endOfFinite }
    guard low > 0, table[low] != magnitude else { return sign | UInt32(low) }
    let below = magnitude - table[low - 1]
    let above = table[low] - magnitude
    let up = above < below || (above == below && low % 2 == 0)
    return sign | UInt32(up ? low : low - 1)
  }

  static let all = [
    Layout(type: .f16, exponentBits: 5, significandBits: 10),
    Layout(type: .bf16, exponentBits: 8, significandBits: 7),
    Layout(type: .f8e5m2, exponentBits: 5, significandBits: 2),
    Layout(type: .f8e4m3, exponentBits: 4, significandBits: 3, hasInfinity: false),
  ]
}

private func bytes(of code: UInt32, width: Int) -> [UInt8] {
  (0..<width).map { UInt8(truncatingIfNeeded: code >> UInt32(8 * $0)) }
}

/// Encodes by the function under test; the codes as integers.
private func encode(_ values: [Float], as type: ElementType) -> [UInt64] {
  var raw = [UInt8](repeating: 0xaa, count: values.count * type.byteWidth + 1)
  raw.withUnsafeMutableBytes { type.encode(values, into: $0.baseAddress!, count: values.count) }
  #expect(raw.last == 0xaa, "wrote past the end")
  return (0..<values.count).map { index in
    (0..<type.byteWidth).reduce(0) { $0 | UInt64(raw[index * type.byteWidth + $1]) << UInt64(8 * $1) }
  }
}

/// Decodes by the function under test.
private func decode(_ raw: [UInt8], as type: ElementType) -> [Float] {
  let count = raw.count / type.byteWidth
  return [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
    raw.withUnsafeBytes { type.decode($0.baseAddress!, into: buffer.baseAddress!, count: count) }
    initialized = count
  }
}

@Suite struct ElementConversionTests {
  @Test(arguments: Layout.all) private func everyCodeDecodesToItsValue(_ layout: Layout) {
    let width = layout.type.byteWidth
    let values = decode(layout.codes.flatMap { bytes(of: $0, width: width) }, as: layout.type)
    var wrong: [UInt32] = []
    for code in layout.codes {
      let value = values[Int(code)]
      let magnitude = code & (layout.signBit - 1)
      let expected: UInt32
      if layout.isNaN(code) {
        expected = 0x7fc0_0000 | magnitude << UInt32(23 - layout.significandBits)
      } else if magnitude == layout.endOfFinite {
        expected = Float.infinity.bitPattern
      } else {
        expected = Float(exactly: layout.magnitude(magnitude))!.bitPattern
      }
      let sign: UInt32 = code & layout.signBit == 0 ? 0 : 0x8000_0000
      if value.bitPattern != sign | expected { wrong.append(code) }
    }
    #expect(wrong == [])
  }

  @Test(arguments: Layout.all) private func encodingRoundsToNearestEven(_ layout: Layout) {
    // One entry past the largest finite value stands for overflow: what rounds to it overflows.
    let table = (0...layout.endOfFinite).map(layout.magnitude)
    var values: [Float] = [0, .leastNonzeroMagnitude, .leastNormalMagnitude, .greatestFiniteMagnitude, .infinity]
    for index in 0..<(table.count - 1) {
      for center in [Float(table[index]), Float((table[index] + table[index + 1]) / 2)] {
        values += [center.nextDown.magnitude, center, center.nextUp]
      }
    }
    for top in 0..<UInt32(0x7f81) {
      values += [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map { Float(bitPattern: top << 16 | $0) }.filter { !$0.isNaN }
    }
    values += values.map { -$0 }
    let codes = encode(values, as: layout.type)
    let wrong = values.indices.filter { UInt64(layout.nearest(values[$0], in: table)) != codes[$0] }
    #expect(wrong.map { values[$0] } == [])
  }

  @Test(arguments: Layout.all) private func nanKeepsSignAndLeadingPayload(_ layout: Layout) {
    for payload: UInt32 in [1, 0x12_3456, 0x20_0000, 0x3f_ffff, 0x40_0000, 0x55_5555, 0x7f_ffff] {
      for sign: UInt32 in [0, 1] {
        let value = Float(bitPattern: sign << 31 | 0x7f80_0000 | payload)
        let kept = (payload | 0x40_0000) >> UInt32(23 - layout.significandBits)
        let exponent = layout.endOfFinite  // for f8e4m3 this is its one NaN, all ones
        #expect(encode([value], as: layout.type) == [UInt64(sign * layout.signBit | exponent | kept)])
      }
    }
  }

  @Test func overflowFollowsTheFormat() {
    // The tie between the largest finite value and the next power goes up in IEEE formats (odd significand) and down
    // in f8e4m3, whose 448 has an even one.
    #expect(encode([65519.996, 65520, -.infinity], as: .f16) == [0x7bff, 0x7c00, 0xfc00])
    #expect(encode([61439.996, 61440, 1e30], as: .f8e5m2) == [0x7b, 0x7c, 0x7c])
    #expect(encode([464, Float(464).nextUp, .infinity, -1e30], as: .f8e4m3) == [0x7e, 0x7f, 0x7f, 0xff])
    #expect(encode([.greatestFiniteMagnitude], as: .bf16) == [0x7f80])
  }

  @Test func float32IsCopied() {
    let patterns: [UInt32] = [0, 0x8000_0000, 1, 0x7f80_0001, 0xffff_ffff, 0x3f80_0000]
    let values = patterns.map(Float.init(bitPattern:))
    #expect(encode(values, as: .f32) == patterns.map(UInt64.init))
    #expect(decode(patterns.flatMap { bytes(of: $0, width: 4) }, as: .f32).map(\.bitPattern) == patterns)
  }

  @Test func float64IsRoundedOnce() {
    let cases: [(UInt64, UInt32)] = [
      (0x3ff0_0000_1000_0000, 0x3f80_0000),  // 1 + half a unit: tie, to even
      (0x3ff0_0000_1000_0001, 0x3f80_0001),
      (0x3ff0_0000_3000_0000, 0x3f80_0002),  // tie, to even above
      (0x36a0_0000_0000_0000, 0x0000_0001),  // smallest subnormal
      (0x3690_0000_0000_0000, 0x0000_0000),  // half of it: tie, to zero
      (0x3690_0000_0000_0001, 0x0000_0001),
      (0x47ef_ffff_efff_ffff, 0x7f7f_ffff),
      (0x47ef_ffff_f000_0000, 0x7f80_0000),  // tie at the top overflows
      (0xfff0_0000_0000_0000, 0xff80_0000),
      (0x7ff0_0000_2000_0001, 0x7fc0_0001),  // signaling NaN
      (0xfff8_0000_0000_0000, 0xffc0_0000),
    ]
    for (stored, expected) in cases {
      let raw = (0..<8).map { UInt8(truncatingIfNeeded: stored >> UInt64(8 * $0)) }
      // Alone and in a full vector: the scalar and the vector path.
      for copies in [1, 16] {
        let values = decode(Array(repeatElement(raw, count: copies).joined()), as: .f64)
        #expect(values.allSatisfy { $0.bitPattern == expected }, "\(String(stored, radix: 16)) \(copies)")
      }
    }
    #expect(encode([1, -0.1], as: .f64) == [Double(1).bitPattern, Double(Float(-0.1)).bitPattern])
  }

  @Test func integersRoundAndSaturate() {
    let values: [Float] = [
      0, 0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.4, 127.5, 200, 254.5, 255.5, 300, -128.5, -129, 32767.5, 65535.5,
      8_388_607.5, 16_777_216, 0x1p31, -0x1p31, 0x1.fffffep30, 0x1p32, 0x1p63, -0x1p63, 0x1.fffffep62, 0x1p64,
      0x1.fffffep63, 1e30, -1e30, .infinity, -.infinity, .nan, -0.0, .leastNonzeroMagnitude,
    ]
    func expected<T: FixedWidthInteger>(_ value: Float, _: T.Type) -> UInt64 {
      if value.isNaN { return 0 }
      let rounded = Double(value).rounded(.toNearestOrEven)
      let integer = rounded >= Double(T.max) ? T.max : rounded <= Double(T.min) ? T.min : T(rounded)
      return UInt64(truncatingIfNeeded: integer) & (UInt64.max >> UInt64(64 - T.bitWidth))
    }
    func check<T: FixedWidthInteger>(_ type: ElementType, _: T.Type) {
      for copies in [1, 16] {
        let repeated = values.flatMap { repeatElement($0, count: copies) }
        #expect(encode(repeated, as: type) == repeated.map { expected($0, T.self) }, "\(type)")
      }
      let integers: [T] = [0, 1, 100, .max, .max - 1, .min, .min + 1, .max / 3, .max / 2 + 1]
      for copies in [1, 16] {
        let repeated = integers.flatMap { repeatElement($0, count: copies) }
        let raw = repeated.withUnsafeBytes(Array.init)
        #expect(decode(raw, as: type) == repeated.map { Float($0) }, "\(type)")
      }
    }
    check(.i64, Int64.self)
    check(.i32, Int32.self)
    check(.i16, Int16.self)
    check(.i8, Int8.self)
    check(.u64, UInt64.self)
    check(.u32, UInt32.self)
    check(.u16, UInt16.self)
    check(.u8, UInt8.self)
  }

  @Test func booleansAreWhateverDiffersFromZero() {
    #expect(decode([0, 1, 2, 255], as: .bool) == [0, 1, 1, 1])
    #expect(encode([0, -0.0, 1, -3, .nan, .leastNonzeroMagnitude], as: .bool) == [0, 0, 1, 1, 1, 1])
  }

  /// Every length up to a few vectors, at an odd address: vector body and tail agree with one element at a time.
  @Test(arguments: ElementType.allCases) func lengthAndAlignmentDoNotMatter(_ type: ElementType) {
    let width = type.byteWidth
    let values = (0..<131).map { Float($0 * $0 % 97) * 0.37 - 11 }
    let single = values.map { encode([$0], as: type)[0] }
    for count in 0...131 {
      var raw = [UInt8](repeating: 0xaa, count: count * width + 2)
      raw.withUnsafeMutableBytes { type.encode(values, into: $0.baseAddress! + 1, count: count) }
      #expect(raw[0] == 0xaa && raw[count * width + 1] == 0xaa)
      var back = [Float](repeating: -77, count: count + 1)
      raw.withUnsafeBytes { type.decode($0.baseAddress! + 1, into: &back, count: count) }
      #expect(back[count] == -77)
      #expect(encode(Array(back.prefix(count)), as: type) == Array(single.prefix(count)))
      let alone = (0..<count).map { decode(Array(raw[(1 + $0 * width)..<(1 + ($0 + 1) * width)]), as: type)[0] }
      #expect(Array(back.prefix(count)) == alone)
    }
  }
}

@Suite struct FirstNonfiniteTests {
  @Test func findsTheFirstWhereverItIs() {
    #expect(firstNonfinite([], count: 0) == nil)
    let large = [Float](repeating: -.greatestFiniteMagnitude, count: 3000)
    #expect(firstNonfinite(large, count: large.count) == nil)
    for position in [0, 1, 15, 16, 1023, 1024, 2047, 2999] {
      for bad in [Float.nan, .infinity, -.infinity, Float(bitPattern: 0xff80_0001)] {
        var values = large
        values[position] = bad
        values[2999] = .nan
        #expect(firstNonfinite(values, count: values.count) == position)
        #expect(firstNonfinite(values, count: position) == nil)
      }
    }
  }
}
