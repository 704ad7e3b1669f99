import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCoding

/// Coded bytes that are not what the encoder wrote: a problem or other elements, never more.
@Suite struct DamageTests {
  private struct Sample {
    var chunk: [UInt8]
    var base: [UInt8]?
    var coded: [UInt8]
  }

  private var samples: [Sample] {
    var random = SeededGenerator(seed: 14)
    var samples: [Sample] = []
    func add(_ chunk: [UInt8], _ type: ElementType, _ base: [UInt8]? = nil) {
      samples.append(Sample(chunk: chunk, base: base, coded: encoded(chunk, of: type, against: base)))
    }
    for type in [ElementType.bf16, .f32, .f64, .f8e4m3, .f16] {
      let values = (0..<1500).map { _ in 0.02 * random.normal() }
      let chunk = rounded(values, to: type)
      add(chunk + [1], type)
      add(chunk, type, rounded(values.map { $0 + 0.003 * random.normal() }, to: type))
    }
    let floats = (0..<1500).map { _ in Float(random.normal()) }
    add(bytes(floats.map { $0 * (1 - 1e-5) }), .f32, bytes(floats))
    add([UInt8](repeating: 3, count: 100), .i32)
    add((0..<2000).map { UInt8($0 & 3) }, .u8)
    for type in [ElementType.bf16, .f32] {
      let steps = (0..<30).map { 0.01 + 0.001 * Float($0 % 4) }
      let numbers = (0..<1500).map { Double((Float((2 * random.normal()).rounded()) + 0) * steps[($0 + 7) % 30]) }
      let chunk = rounded(numbers, to: type)
      let coded = chunk.withUnsafeBytes {
        ChunkCoding.encode($0, of: type, on: ChunkLattice(steps: steps, firstColumn: 7))
      }
      samples.append(Sample(chunk: chunk, coded: coded))
    }
    precondition(samples.suffix(2).allSatisfy { $0.coded[0] >> 4 == 4 }, "lattices")
    return samples
  }

  /// Damage leaves memory around the chunk alone, and what is thrown says what it is.
  private func attempt(_ coded: [UInt8], of sample: Sample) -> Bool {
    let guardBytes = 64
    var room = [UInt8](repeating: 0x5a, count: sample.chunk.count + 2 * guardBytes)
    let code = room.withUnsafeMutableBytes { room in
      let chunk = UnsafeMutableRawBufferPointer(rebasing: room[guardBytes..<(room.count - guardBytes)])
      return problem {
        try coded.withUnsafeBytes { coded in
          guard let base = sample.base else { return try ChunkCoding.decode(coded, into: chunk) }
          try base.withUnsafeBytes { try ChunkCoding.decode(coded, against: $0, into: chunk) }
        }
      }?.code
    }
    let around = room.prefix(guardBytes) + room.suffix(guardBytes)
    return around.allSatisfy { $0 == 0x5a } && (code == nil || code == .codingDamaged || code == .codingBase)
  }

  @Test func everyByteFlipped() {
    for sample in samples {
      var harmed = 0
      for index in sample.coded.indices {
        for flip in [UInt8(1), 0x80, 0xff] {
          var coded = sample.coded
          coded[index] ^= flip
          harmed += attempt(coded, of: sample) ? 0 : 1
        }
      }
      #expect(harmed == 0, "\(sample.coded.count) bytes, first \(sample.coded[0])")
    }
  }

  @Test func everyTruncation() {
    for sample in samples {
      for count in sample.coded.indices {
        let coded = Array(sample.coded[..<count])
        #expect(attempt(coded, of: sample))
        #expect(throws: Problem.self) { try decoded(coded, count: sample.chunk.count, against: sample.base) }
      }
      #expect(throws: Problem.self) {
        try decoded(sample.coded + [0], count: sample.chunk.count, against: sample.base)
      }
    }
  }

  @Test func otherSizes() {
    // What is the same all over says nothing of a size: the container does.
    for sample in samples where Set(sample.chunk).count > 1 {
      for count in [0, 1, sample.chunk.count - 8, sample.chunk.count - 1, sample.chunk.count + 1, 5000] {
        let base = sample.base.map { Array(($0 + $0 + $0)[..<min(count, 3 * $0.count)]) }
        #expect(throws: Problem.self) { try decoded(sample.coded, count: count, against: base) }
      }
    }
  }

  @Test func noise() {
    var random = SeededGenerator(seed: 15)
    for sample in samples {
      for _ in 0..<300 {
        var coded = random.bytes(Int(random.next() % 600))
        if !coded.isEmpty { coded[0] = UInt8(random.next() % 5) << 4 | UInt8(random.next() % 11) }
        #expect(attempt(coded, of: sample))
        // And well-formed beginnings with noise behind.
        let kept = Int(random.next() % UInt64(sample.coded.count))
        #expect(attempt(Array(sample.coded[..<kept]) + random.bytes(sample.coded.count - kept), of: sample))
      }
    }
  }

  @Test func messagesSayWhatIsWrong() {
    func message(_ coded: [UInt8], count: Int) -> String? { problem { try decoded(coded, count: count) }?.message }
    #expect(message([], count: 4) == "a coded chunk is damaged: it ends early")
    #expect(
      message([0xf7], count: 4) == "a coded chunk is damaged: it begins with 247, which stands for no method and type")
    #expect(message([0x07, 1, 2, 3, 4, 5], count: 4) == "a coded chunk is damaged: bytes are left over")
    #expect(message([0x11, 9, 1], count: 4) == "a coded chunk is damaged: a plane is coded in no known way")
    #expect(
      message([0x11, 2, 5, 4], count: 4)
        == "a coded chunk is damaged: a table of frequencies ends before it begins")
    #expect(
      message([0x11, 2, 5, 5, 2, 0, 0, 0, 0, 0], count: 4)
        == "a coded chunk is damaged: frequencies do not sum to 4,096")
  }
}
