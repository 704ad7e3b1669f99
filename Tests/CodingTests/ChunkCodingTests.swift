import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCoding

@Suite struct ChunkCodingTests {
  @Test func handWorked() throws {
    // Four bfloat16 ones: 0x3f80, turned 0x7f00, so that both planes are constant.
    let ones = [UInt8](repeating: 0, count: 8).enumerated().map { $0.offset % 2 == 0 ? UInt8(0x80) : 0x3f }
    #expect(encoded(ones, of: .bf16) == [0x16, 1, 0, 1, 0x7f])
    // With an incomplete element after them.
    #expect(encoded(ones + [9], of: .bf16) == [0x16, 1, 0, 1, 0x7f, 9])
    // Too short to gain: stored.
    #expect(encoded([1, 2, 3, 4], of: .f32) == [0x07, 1, 2, 3, 4])
    #expect(encoded([], of: .f64) == [0x08])
    // Integers of 4 bytes, all 0x01020304: the lowest plane first.
    #expect(
      encoded([4, 3, 2, 1, 4, 3, 2, 1, 4, 3, 2, 1], of: .i32) == [0x13, 1, 4, 1, 3, 1, 2, 1, 1])
    // The same as a base: no shift, no dictionary, one symbol (0) for all.
    let same = (0..<128).map { $0 % 2 == 0 ? UInt8(0x81) : 0x3f }
    #expect(encoded(same, of: .bf16, against: same) == [0x36, 0, 0, 0, 0])
    #expect(ChunkCoding.mostBytes(for: 10) == 11)
    #expect([UInt8]([0x36]).withUnsafeBytes { ChunkCoding.needsBase($0) })
    #expect(![UInt8]([0x16]).withUnsafeBytes { ChunkCoding.needsBase($0) })
  }

  @Test(arguments: ElementType.allCases) func everyLengthComesBack(type: ElementType) throws {
    var random = SeededGenerator(seed: 1)
    for count in Array(0..<40) + [127, 128, 129, 1000, 4097, 65_537, 300_001] {
      let noise = random.bytes(count)
      let text = noise.map { $0 & 0x1f }
      for chunk in [noise, text, [UInt8](repeating: 7, count: count)] {
        let coded = encoded(chunk, of: type)
        #expect(coded.count <= ChunkCoding.mostBytes(for: count), "\(count) bytes")
        #expect(try decoded(coded, count: count) == chunk, "\(count) bytes")
      }
    }
  }

  /// Every bit pattern of two bytes and what is special in the wider types: zeros with signs, subnormals, infinities,
  /// NaNs with payloads.
  @Test(arguments: floatTypes) func everyKindOfNumberComesBack(type: ElementType) throws {
    var random = SeededGenerator(seed: 2)
    var chunk: [UInt8] = []
    switch type.byteWidth {
    case 1: chunk = (0...255).map { UInt8($0) }
    case 2: chunk = bytes((0...UInt16.max).map { $0 })
    case 4:
      for high in 0...UInt16.max {
        chunk += bytes([UInt32(high) << 16 | UInt32(truncatingIfNeeded: random.next() >> 48)])
      }
      chunk += bytes([0, 0x8000_0000, 1, 0x8000_0001, 0x7f80_0000, 0xff80_0000, 0x7fc0_0001, 0x7f80_0001] as [UInt32])
    default:
      for high in stride(from: 0, through: Int(UInt16.max), by: 3) {
        chunk += bytes([UInt64(high) << 48 | random.next() >> 16])
      }
    }
    #expect(try decoded(encoded(chunk, of: type), count: chunk.count) == chunk)
    // And as differences: from themselves in another order, and from noise.
    for base in [Array(chunk.reversed()), random.bytes(chunk.count), Array(chunk.dropFirst(8) + chunk.prefix(8))] {
      let coded = encoded(chunk, of: type, against: base)
      #expect(coded.count <= ChunkCoding.mostBytes(for: chunk.count))
      #expect(try decoded(coded, count: chunk.count, against: base) == chunk)
    }
  }

  @Test(arguments: floatTypes) func weightsShrink(type: ElementType) throws {
    var random = SeededGenerator(seed: 3)
    let chunk = random.weights(100_000, of: type)
    let coded = encoded(chunk, of: type)
    #expect(try decoded(coded, count: chunk.count) == chunk)
    // What order-0 entropies of the planes leave, by the same formula for all: see `SizeTests` for the bound.
    let most: [ElementType: Double] = [
      .f64: 0.87, .f32: 0.835, .f16: 0.86, .bf16: 0.668, .f8e4m3: 0.86, .f8e5m2: 0.76,
    ]
    #expect(Double(coded.count) / Double(chunk.count) < most[type]!, "\(coded.count)")
  }

  /// A float32 file of bfloat16 numbers takes what the bfloat16 file takes, with or without a base.
  @Test func widenedNumbersCostNoMore() throws {
    var random = SeededGenerator(seed: 4)
    let count = 100_000
    let narrow = random.weights(count, of: .bf16)
    let narrowBase = random.weights(count, of: .bf16)
    func widened(_ halves: [UInt8]) -> [UInt8] {
      (0..<count).flatMap { [0, 0, halves[2 * $0], halves[2 * $0 + 1]] }
    }
    let wide = widened(narrow)
    let wideBase = widened(narrowBase)
    #expect(encoded(wide, of: .f32).count <= encoded(narrow, of: .bf16).count * 101 / 100)
    let coded = encoded(wide, of: .f32, against: wideBase)
    #expect(coded.count <= encoded(narrow, of: .bf16, against: narrowBase).count * 101 / 100)
    #expect(try decoded(coded, count: wide.count, against: wideBase) == wide)
  }

  @Test func addressesNeedNoAlignment() throws {
    var random = SeededGenerator(seed: 5)
    for type in floatTypes {
      let chunk = random.weights(5000, of: type)
      let base = random.weights(5000, of: type)
      let plain = encoded(chunk, of: type)
      let against = encoded(chunk, of: type, against: base)
      let shifted = [0] + chunk
      let shiftedBase = [0, 0, 0] + base
      shifted.withUnsafeBytes { shifted in
        let chunk = UnsafeRawBufferPointer(rebasing: shifted[1...])
        #expect(ChunkCoding.encode(chunk, of: type) == plain)
        shiftedBase.withUnsafeBytes { base in
          let base = UnsafeRawBufferPointer(rebasing: base[3...])
          #expect(ChunkCoding.encode(chunk, of: type, against: base) == against)
        }
      }
    }
  }

  @Test func aBaseMustBeThere() throws {
    var random = SeededGenerator(seed: 6)
    let chunk = random.weights(1000, of: .bf16)
    let coded = encoded(chunk, of: .bf16, against: chunk)
    let missing = problem { try decoded(coded, count: chunk.count) }
    #expect(missing?.code == .codingBase)
    #expect(missing?.message == "a chunk of 2000 bytes is coded against 2000 bytes of a base; given are none")
    let short = problem { try decoded(coded, count: chunk.count, against: Array(chunk.dropLast(2))) }
    #expect(short?.message == "a chunk of 2000 bytes is coded against 2000 bytes of a base; given are 1998")
  }

  @Test func integersAgainstABase() throws {
    var random = SeededGenerator(seed: 7)
    let base = random.bytes(80_000)
    var chunk = base
    for index in stride(from: 0, to: chunk.count, by: 997) { chunk[index] ^= 1 }
    for type in [ElementType.u8, .i16, .u32, .i64] {
      let coded = encoded(chunk, of: type, against: base)
      #expect(coded.count < chunk.count / 20)
      #expect(try decoded(coded, count: chunk.count, against: base) == chunk)
    }
  }
}
