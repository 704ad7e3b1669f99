import EspalierBasics
import EspalierNumerics
import Testing

@Suite struct AlignedBufferTests {
  @Test(arguments: [8, 64, 4096]) func startIsAligned(_ alignment: Int) throws {
    for byteCount in [0, 1, 63, 4097] {
      let buffer = try AlignedBuffer(byteCount: byteCount, alignment: alignment)
      #expect(Int(bitPattern: buffer.address) % alignment == 0)
      #expect(buffer.bytes.count == byteCount)
      #expect(buffer.floats.count == byteCount / 4)
    }
  }

  @Test func valuesShareTheMemory() throws {
    let buffer = try AlignedBuffer(count: 3, of: Float.self)
    buffer.floats.initialize(repeating: 0)
    buffer.floats[2] = -0.0
    #expect(Array(buffer.bytes) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80])
  }

  @Test func impossibleSizesAreProblems() {
    #expect(throws: Problem.self) { try AlignedBuffer(byteCount: -1) }
    #expect(throws: Problem.self) { try AlignedBuffer(byteCount: 8, alignment: 3) }
    let tooMany = #expect(throws: Problem.self) { try AlignedBuffer(count: .max, of: Float.self) }
    #expect(tooMany?.code == .memoryAllocation)
    let tooLarge = #expect(throws: Problem.self) { try AlignedBuffer(byteCount: .max - 4096) }
    #expect(tooLarge?.code.rawValue == "memory.allocation")
  }
}
