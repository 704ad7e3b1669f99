import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierLinearMaps

/// Types that weights are stored in.
let weightTypes = BlockType.allCases.filter { $0 != .q8_K }

/// Types of which importance changes the bytes.
let weighedTypes = weightTypes.filter { $0 != .q8_0 && $0 != .mxfp4 }

/// Rows of many shapes (bell curves, outliers, zeros, constants, magnitudes from 1e-9 to the largest half), an importance of
/// their columns, and the blocks that llama.cpp's generic build makes of them.
struct EncodedFixture {
  static let rows = 20
  static let columns = 512
  private let file: [UInt8]
  private let header: JSON
  private let start: Int

  init() throws {
    let path = "\(FileSystem.parent(of: #filePath))/Fixtures/blocks/encoded.safetensors"
    file = try FileSystem.read(path, limit: 1 << 20)
    start = 8 + (Int(file[0]) | Int(file[1]) << 8)
    header = try JSON(parsing: Array(file[8..<start]))
  }

  func bytes(_ name: String) throws -> [UInt8] {
    let range = try #require(header[name]?["data_offsets"])
    let (first, last) = (try #require(range[0]?.integer), try #require(range[1]?.integer))
    return Array(file[(start + first)..<(start + last)])
  }

  func floats(_ name: String) throws -> [Float] {
    try bytes(name).withUnsafeBytes { bytes in
      (0..<bytes.count / 4).map { bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
    }
  }
}

extension BlockType {
  /// The blocks of rows; by the kernel that takes one block after the other if `portable`.
  func encoded(
    _ numbers: [Float], columns: Int, stride: Int? = nil, importance: [Float]? = nil,
    search: BlockEncoder.Search = .reference, portable: Bool = false
  ) throws -> [UInt8] {
    let stride = stride ?? columns
    let rows = (numbers.count + stride - columns) / max(stride, 1)
    var bytes = [UInt8](repeating: 0xA5, count: rows * byteCount(of: columns))
    let kernel = try #require(quantizer(search, portable: portable))
    let encoder = try BlockEncoder(self, search: search)
    try numbers.withUnsafeBufferPointer { numbers in
      try bytes.withUnsafeMutableBytes { bytes in
        let view = try MatrixView(numbers, rows: rows, columns: columns, stride: stride)
        if let importance {
          try importance.withUnsafeBufferPointer {
            try encoder.encode(view, importance: $0, into: bytes, by: kernel)
          }
        } else {
          try encoder.encode(view, importance: nil, into: bytes, by: kernel)
        }
      }
    }
    return bytes
  }
}

/// Numbers with roughly a bell curve's distribution.
func bellCurve(_ count: Int, deviation: Float = 1, seed: Int) -> [Float] {
  var generator = TestGenerator(seed: seed)
  return (0..<count).map { _ in generator.values(6).reduce(0, +) * deviation * 0.70710678 }
}

@Suite struct BlockEncoderTests {
  @Test(arguments: weightTypes)
  func bytesAreThoseOfTheReference(type: BlockType) throws {
    let numbers = try EncodedFixture().floats("x")
    let bytes = try type.encoded(numbers, columns: EncodedFixture.columns)
    #expect(bytes == (try BlockFixture(type).bytes))
  }

  @Test(arguments: weighedTypes)
  func bytesWithImportanceAreThoseOfTheReference(type: BlockType) throws {
    let fixture = try EncodedFixture()
    let bytes = try type.encoded(
      fixture.floats("x"), columns: EncodedFixture.columns, importance: fixture.floats("importance"))
    #expect(bytes == (try fixture.bytes("bytes_importance.\(type.rawValue.uppercased())")))
  }

  @Test(arguments: [BlockType.q8_0, .mxfp4])
  func importanceIsIgnored(type: BlockType) throws {
    let fixture = try EncodedFixture()
    let numbers = try fixture.floats("x")
    #expect(
      try type.encoded(numbers, columns: EncodedFixture.columns, importance: fixture.floats("importance"))
        == type.encoded(numbers, columns: EncodedFixture.columns))
  }

  // MARK: By hand

  /// A half in little-endian bytes.
  func half(_ value: Float) -> [UInt8] {
    let bits = Float16(value).bitPattern
    return [UInt8(bits & 0xFF), UInt8(bits >> 8)]
  }

  @Test func q8ByHand() throws {
    // d = 254 / 127 = 2; 5 / 2 and -5 / 2 are ties and go away from zero.
    var numbers = [Float](repeating: 0, count: 32)
    numbers.replaceSubrange(0..<6, with: [-254, 5, -5, 4.9, 1, 127])
    let codes: [Int8] = [-127, 3, -3, 2, 1, 64]
    #expect(
      try BlockType.q8_0.encoded(numbers, columns: 32)
        == half(2) + codes.map(UInt8.init(bitPattern:)) + [UInt8](repeating: 0, count: 26))
  }

  @Test func q4ByHand() throws {
    // d = 4 / -8 = -1/2, so x = 4 has code 0 and x = -4, clipped from 16, code 15: the first of the two is the extreme.
    var numbers = [Float](repeating: 0, count: 32)
    numbers[0] = 4
    numbers[1] = -4
    numbers[2] = 0.75  // -1.5 + 8.5 = 7, exactly
    numbers[16] = -1  // 2 + 8.5
    var expected = half(-0.5) + [UInt8](repeating: 0x88, count: 16)
    expected[2] = 0xA0
    expected[3] = 0x8F
    expected[4] = 0x87
    #expect(try BlockType.q4_0.encoded(numbers, columns: 32) == expected)
  }

  @Test func q4WithMinimumByHand() throws {
    // From -1 to 14 in steps of 1.
    var numbers = [Float](repeating: -1, count: 32)
    numbers[1] = 14
    numbers[2] = 3.4
    numbers[17] = 3.6
    var expected = half(1) + half(-1) + [UInt8](repeating: 0, count: 16)
    expected[5] = 0x5F
    expected[6] = 0x04
    #expect(try BlockType.q4_1.encoded(numbers, columns: 32) == expected)
  }

  @Test func q5ByHand() throws {
    // d = -16 / -16 = 1: codes are x + 16.
    var numbers = [Float](repeating: 0, count: 32)
    numbers[0] = -16
    numbers[1] = 15
    numbers[16] = -1
    numbers[31] = 3
    let high: UInt32 = ~(1 | 1 << 16)
    var expected = half(1) + withUnsafeBytes(of: high.littleEndian, Array.init) + [UInt8](repeating: 0, count: 16)
    expected[6] = 0xF0
    expected[7] = 0x0F
    expected[21] = 0x30
    #expect(try BlockType.q5_0.encoded(numbers, columns: 32) == expected)
  }

  @Test func q5WithMinimumByHand() throws {
    // From 2 to 33 in steps of 1.
    var numbers = [Float](repeating: 2, count: 32)
    numbers[0] = 33
    numbers[20] = 20
    var expected = half(1) + half(2) + withUnsafeBytes(of: UInt32(1 | 1 << 20).littleEndian, Array.init)
    expected += [UInt8](repeating: 0, count: 16)
    expected[8] = 0x0F
    expected[12] = 0x20
    #expect(try BlockType.q5_1.encoded(numbers, columns: 32) == expected)
  }

  @Test func mxfp4ByHand() throws {
    // 6 = 1.5 * 2^2: exponent 0, code 127. Midpoints go to the smaller magnitude.
    var numbers = [Float](repeating: 0, count: 32)
    numbers.replaceSubrange(0..<8, with: [6, -6, 0.25, -0.25, 0.26, 2.5, 2.6, -5])
    numbers[16] = -1.5
    var expected = [127] + [UInt8](repeating: 0, count: 16)
    expected.replaceSubrange(1..<9, with: [0xB7, 0x0F, 0x00, 0x00, 0x01, 0x04, 0x05, 0x0E])
    #expect(try BlockType.mxfp4.encoded(numbers, columns: 32) == expected)
  }

  @Test func theExponentOfMXFP4IsOfTheRoundedLogarithm() throws {
    // log2 of the float below 16 is 4 as a float32, that of the float below 2 is not 1.
    for (largest, exponent) in [
      (Float(16).nextDown, UInt8(129)), (Float(2).nextDown, 125), (0x1p-125, 0), (0x1p-130, 0),
    ] {
      let numbers = [largest] + [Float](repeating: 0, count: 31)
      #expect(try BlockType.mxfp4.encoded(numbers, columns: 32)[0] == exponent, "\(largest)")
    }
  }

  @Test func levelsOfABellCurveByHand() throws {
    // Multiples of the levels are found without error. 0 is nearest to level 8, which is 1.
    let levels: [Float] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
    let numbers = (levels + levels).map { $0 * 0.25 }
    let codes = (0..<16).map { UInt8($0 | $0 << 4) }
    #expect(try BlockType.iq4_nl.encoded(numbers, columns: 32) == half(0.25) + codes)
    #expect(
      try BlockType.iq4_nl.encoded([Float](repeating: 0, count: 32), columns: 32) == [0, 0]
        + [UInt8](repeating: 0x88, count: 16))
  }

  // MARK: What is refused

  @Test func rowsAreWholeBlocks() throws {
    for type in weightTypes {
      let columns = type.blockLength + 32 - type.blockLength / 16
      guard columns % type.blockLength != 0 else { continue }
      let found = problem { try type.encoded([Float](repeating: 1, count: columns), columns: columns) }
      #expect(found?.code == .matrixShape)
    }
    #expect(
      problem { try BlockType.q4_K.encoded([Float](repeating: 1, count: 384), columns: 384) }?.message
        == "384 columns are not whole blocks of 256, as Q4_K has them")
    #expect(problem { try BlockEncoder(.q8_K) }?.code == .matrixFormat)
  }

  @Test(arguments: weightTypes)
  func valuesThatAreNotFiniteAreNamed(type: BlockType) throws {
    for value in [Float.nan, .infinity, -.infinity] {
      var numbers = bellCurve(40 * 512, seed: 1)
      numbers[37 * 512 + 300] = value
      let found = problem { try type.encoded(numbers, columns: 512) }
      #expect(found?.code == .blockNumber)
      #expect(found?.message == "\(value) in row 37, column 300, which no block can hold")
    }
  }

  @Test(arguments: weightTypes.filter { $0 != .mxfp4 })
  func numbersBeyondAllScalesAreRefused(type: BlockType) throws {
    for value: Float in [1e10, -1e10, 1e30, .greatestFiniteMagnitude, -.greatestFiniteMagnitude] {
      var numbers = bellCurve(20 * 512, seed: 2)
      numbers[18 * 512 + 300] = value
      let found = problem { try type.encoded(numbers, columns: 512) }
      #expect(found?.code == .blockScale, "\(value)")
      #expect(found?.message == "\(value) in row 18, column 300: too large for \(type.rawValue.uppercased())")
    }
  }

  @Test(arguments: weightTypes.filter { $0 != .mxfp4 })
  func scalesAreFiniteHalves(type: BlockType) throws {
    // 2^29 is past what any type has; 5e4 all types have.
    var numbers = bellCurve(20 * 512, seed: 2)
    numbers[18 * 512 + 300] = -0x1p29
    let found = problem { try type.encoded(numbers, columns: 512) }
    #expect(found?.code == .blockScale)
    let columns = type.blockLength == 32 ? "288 to 319" : "256 to 511"
    #expect(found?.message.hasPrefix("row 18, columns \(columns): ") == true)
    numbers[18 * 512 + 300] = -5e4
    let decoded = type.decoded(try type.encoded(numbers, columns: 512))
    #expect(abs(decoded[18 * 512 + 300] / -5e4 - 1) < 0.02)
  }

  @Test func theLargestNumbersHaveAPlaceInMXFP4() throws {
    var numbers = [Float](repeating: 0, count: 64)
    numbers[35] = 0x1.8p127
    #expect(BlockType.mxfp4.decoded(try BlockType.mxfp4.encoded(numbers, columns: 64)) == numbers)
    numbers[35] = .greatestFiniteMagnitude
    let found = problem { try BlockType.mxfp4.encoded(numbers, columns: 64) }
    #expect(found?.message == "row 0, columns 32 to 63: numbers too large for a scale of MXFP4")
  }

  @Test func importanceIsANumberForEachColumn() throws {
    let numbers = bellCurve(512, seed: 3)
    for (importance, column) in [
      ([Float](repeating: 1, count: 256), nil), ([1, -1], 1), ([.nan, 1], 0), ([1, .infinity], 1), ([1e16, 1], 0),
    ] {
      let padded = column == nil ? importance : importance + [Float](repeating: 1, count: 510)
      let found = problem { try BlockType.q4_K.encoded(numbers, columns: 512, importance: padded) }
      #expect(found?.code == .blockImportance)
      if let column { #expect(found?.message.hasSuffix("in column \(column)") == true) }
    }
  }

  @Test func bytesAreAsManyAsTheBlocks() throws {
    let numbers = bellCurve(64, seed: 4)
    var bytes = [UInt8](repeating: 0, count: 67)
    let found = numbers.withUnsafeBufferPointer { numbers in
      bytes.withUnsafeMutableBytes { bytes in
        problem { try BlockEncoder(.q8_0).encode(MatrixView(numbers, rows: 2, columns: 32), into: bytes) }
      }
    }
    #expect(found?.message == "67 bytes for 2 rows of 32 numbers in Q8_0, which are 68")
  }

  @Test(arguments: weightTypes)
  func nothingIsEncodedToNothing(type: BlockType) throws {
    #expect(try type.encoded([], columns: 0, stride: 1).isEmpty)
    #expect(try type.encoded([], columns: type.blockLength).isEmpty)
  }
}
