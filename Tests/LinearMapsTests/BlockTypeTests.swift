import EspalierBasics
import EspalierLinearMaps
import Testing

/// Bytes of blocks and what llama.cpp's own decoder makes of them: rows of many shapes (bell curves, outliers, zeros,
/// constants, magnitudes from 1e-9 to the largest half).
struct BlockFixture {
  let bytes: [UInt8]
  let floats: [Float]

  init(_ type: BlockType) throws {
    let name = type.rawValue.uppercased()
    let path = "\(FileSystem.parent(of: #filePath))/Fixtures/blocks/\(name).safetensors"
    let file = try FileSystem.read(path, limit: 1 << 20)
    let headerLength = Int(file[0]) | Int(file[1]) << 8
    let header = try JSON(parsing: Array(file[8..<8 + headerLength]))
    func part(_ name: String) throws -> ArraySlice<UInt8> {
      let range = try #require(header[name]?["data_offsets"])
      let (first, last) = (try #require(range[0]?.integer), try #require(range[1]?.integer))
      return file[(8 + headerLength + first)..<(8 + headerLength + last)]
    }
    bytes = Array(try part("bytes"))
    floats = try part("dequant").withUnsafeBytes { bytes in
      (0..<bytes.count / 4).map { bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
    }
  }
}

extension BlockType {
  func decoded(_ bytes: [UInt8]) -> [Float] {
    let count = bytes.count / blockBytes * blockLength
    return [Float](unsafeUninitializedCapacity: count) { floats, initialized in
      bytes.withUnsafeBytes { bytes in
        guard let from = bytes.baseAddress, let to = floats.baseAddress else { return }
        decode(from, into: to, count: count)
        initialized = count
      }
    }
  }
}

/// Equal to the bit, zeros with their signs too.
func sameBits(_ a: some Sequence<Float>, _ b: some Sequence<Float>) -> Bool {
  a.map(\.bitPattern) == b.map(\.bitPattern)
}

@Suite struct BlockTypeTests {
  @Test(arguments: BlockType.allCases.filter { $0 != .q8_K })
  func decodesTheBitsOfTheReference(type: BlockType) throws {
    let fixture = try BlockFixture(type)
    #expect(fixture.bytes.count == type.byteCount(of: fixture.floats.count))
    #expect(sameBits(type.decoded(fixture.bytes), fixture.floats))
  }

  @Test(arguments: BlockType.allCases.filter { $0 != .q8_K })
  func aBlockDoesNotDependOnItsPlace(type: BlockType) throws {
    let fixture = try BlockFixture(type)
    for offset in [1, 3] {
      let shifted = [UInt8](repeating: 0xA5, count: offset) + fixture.bytes
      var floats = [Float](repeating: .nan, count: type.blockLength)
      for block in [0, 1, fixture.floats.count / type.blockLength - 1] {
        shifted.withUnsafeBytes { bytes in
          floats.withUnsafeMutableBufferPointer { floats in
            guard let from = bytes.baseAddress, let to = floats.baseAddress else { return }
            type.decode(from + offset + block * type.blockBytes, into: to, count: type.blockLength)
          }
        }
        #expect(sameBits(floats, fixture.floats[(block * type.blockLength)...].prefix(type.blockLength)))
      }
    }
  }

  @Test func q8KHasAFloatScaleAndIgnoresItsSums() {
    var block = [UInt8](repeating: 0, count: 292)
    withUnsafeBytes(of: Float(0.3)) { block.replaceSubrange(0..<4, with: $0) }
    for index in 0..<256 { block[4 + index] = UInt8(truncatingIfNeeded: index - 128) }
    for index in 260..<292 { block[index] = 0xFF }
    #expect(sameBits(BlockType.q8_K.decoded(block), (0..<256).map { Float(0.3) * Float($0 - 128) }))
  }

  @Test func everyHalfIsAScale() {
    for code in UInt16.min...UInt16.max {
      let block = [UInt8(code & 0xFF), UInt8(code >> 8), 3] + [UInt8](repeating: 0, count: 31)
      let expected = Float(Float16(bitPattern: code)) * 3
      let value = BlockType.q8_0.decoded(block)[0]
      #expect(value.bitPattern == expected.bitPattern || (value.isNaN && expected.isNaN), "scale \(code)")
    }
  }

  @Test func everyExponentIsAScaleOfMXFP4() {
    for exponent in 0...255 {
      let block = [UInt8(exponent), 0xF2] + [UInt8](repeating: 0, count: 15)
      let values = BlockType.mxfp4.decoded(block)
      // Codes 2 and 15 are 1 and -6.
      let unit = Double(sign: .plus, exponent: exponent - 127, significand: 1)
      #expect(values[0] == Float(unit))
      #expect(values[16] == Float(-6 * unit))
    }
  }

  @Test func sizesAreThoseOfTheFormat() {
    for type in BlockType.allCases {
      #expect(type.byteCount(of: 3 * type.blockLength) == 3 * type.blockBytes)
      #expect(WeightFormat.blocks(type).byteCount(of: type.blockLength) == type.blockBytes)
    }
  }
}
