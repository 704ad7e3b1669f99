import CKernels
import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCoding

/// Chunks whose numbers are integers times steps.
@Suite("Lattices") struct LatticeTests {
  private static let types: [ElementType] = [.bf16, .f16, .f32, .f64]

  /// The bytes of integers times the steps of their columns.
  private func chunk(_ integers: [Int], on lattice: ChunkLattice, of type: ElementType) -> [UInt8] {
    rounded(
      integers.enumerated().map { index, integer in
        Double(Float(integer) * lattice.steps[(index + lattice.firstColumn) % lattice.steps.count])
      }, to: type)
  }

  private func encoded(_ chunk: [UInt8], of type: ElementType, on lattice: ChunkLattice) -> [UInt8] {
    chunk.withUnsafeBytes { ChunkCoding.encode($0, of: type, on: lattice) }
  }

  private func normals(_ count: Int, deviation: Double, seed: UInt64) -> [Int] {
    var random = SeededGenerator(seed: seed)
    return (0..<count).map { _ in Int((deviation * random.normal()).rounded()) }
  }

  private func entropy(_ integers: [Int]) -> Double {
    var counts: [Int: Double] = [:]
    for integer in integers { counts[integer, default: 0] += 1 }
    let total = Double(integers.count)
    // The logarithm along the chord would not do here: by repeated halving of an interval, to 1e-9.
    func logarithm(_ value: Double) -> Double {
      var (result, rest, bit) = (Double(value.exponent), value.significand, 0.5)
      while bit > 1e-9 {
        rest *= rest
        if rest >= 2 { (rest, result) = (rest / 2, result + bit) }
        bit /= 2
      }
      return result
    }
    return counts.values.reduce(0) { $0 + $1 * logarithm(total / $1) }
  }

  @Test("Integers of all sizes come back, whatever the type, the width and where the chunk begins", arguments: types)
  func roundTrips(type: ElementType) throws {
    for (width, first, count) in [(64, 0, 8192), (64, 63, 8191), (1000, 3, 4097), (9000, 8999, 5000), (1, 0, 3000)] {
      for deviation in [0.1, 1, 30, 100] {
        let steps = (0..<width).map { Float(0.01) * Float(1 << ($0 % 3)) }
        let lattice = ChunkLattice(steps: steps, firstColumn: first)
        let integers = normals(count, deviation: deviation, seed: UInt64(width + first))
        let bytes = chunk(integers, on: lattice, of: type) + [7]
        let coded = encoded(bytes, of: type, on: lattice)
        // Where there are more steps than elements, planes may be smaller.
        #expect(coded[0] >> 4 == 4 || width > count, "\(type) \(width) \(deviation)")
        let isEqual = try decoded(coded, count: bytes.count) == bytes
        #expect(isEqual, "\(type) \(width) \(deviation)")
      }
    }
  }

  @Test("Integers of up to 24 bits, in float32")
  func largeValues() throws {
    var random = SeededGenerator(seed: 3)
    let lattice = ChunkLattice(steps: [0.5], firstColumn: 0)
    let integers =
      (0..<4096).map { index in
        index % 97 == 0 ? Int(random.next() >> 40) * (index % 2 == 0 ? 1 : -1) : index % 3 - 1
      } + [63, 64, -63, -64, 65, 127, 128, -128, (1 << 24) - 1, 1 - (1 << 24)]
    let bytes = chunk(integers, on: lattice, of: .f32)
    let coded = encoded(bytes, of: .f32, on: lattice)
    #expect(coded[0] == 0x47)
    #expect(try decoded(coded, count: bytes.count) == bytes)
  }

  @Test("What is the same all over takes a few bytes, which are as documented")
  func constants() throws {
    let lattice = ChunkLattice(steps: [Float](repeating: 0.5, count: 64), firstColumn: 2)
    for (integer, symbol) in [(0, UInt8(0)), (-3, 5), (3, 6)] {
      let bytes = chunk([Int](repeating: integer, count: 4096), on: lattice, of: .bf16)
      let coded = encoded(bytes, of: .bf16, on: lattice)
      // Width, first column, one step of 0.5, all columns and rows in class 8, one symbol for all.
      #expect(
        coded == [0x46, 64, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0x3f] + [1, 0x80] + rowPlane(of: coded) + [0, symbol])
      #expect(try decoded(coded, count: bytes.count) == bytes)
    }
  }

  /// 65 rows are begun, two a byte: the last byte has one.
  private func rowPlane(of coded: [UInt8]) -> [UInt8] {
    [0] + [UInt8](repeating: 0x88, count: 32) + [0x08]
  }

  @Test("The size is within 2 % of the entropy of the integers, and below it where rows and columns differ")
  func sizes() throws {
    for deviation in [0.3, 1, 4, 20] {
      let lattice = ChunkLattice(steps: [Float](repeating: 0.25, count: 512), firstColumn: 0)
      let integers = normals(1 << 18, deviation: deviation, seed: 5)
      let coded = encoded(chunk(integers, on: lattice, of: .f32), of: .f32, on: lattice)
      let bound = entropy(integers) / 8
      #expect(Double(coded.count) < 1.02 * bound + 400, "\(deviation): \(coded.count), \(bound)")
    }
    let lattice = ChunkLattice(steps: [Float](repeating: 0.25, count: 512), firstColumn: 0)
    let scales = (0..<512).map { 0.3 * Double(1 << ($0 % 4)) }
    let integers = normals(1 << 18, deviation: 100, seed: 6).enumerated().map { index, value in
      Int((Double(value) / 100 * scales[index % 512] * scales[index / 512]).rounded())
    }
    let coded = encoded(chunk(integers, on: lattice, of: .f32), of: .f32, on: lattice)
    #expect(Double(coded.count) < 0.9 * entropy(integers) / 8)
  }

  @Test("What does not lie on the lattice keeps every bit all the same")
  func others() throws {
    var random = SeededGenerator(seed: 8)
    let lattice = ChunkLattice(steps: [0.01, 0.02], firstColumn: 1)
    for type in Self.types {
      var bytes = chunk(normals(4096, deviation: 2, seed: 9), on: lattice, of: type)
      bytes.replaceSubrange(0..<type.byteWidth, with: rounded([Double.nan], to: type))
      let negativeZero = rounded([-0.0], to: type)
      let whole = chunk([Int](repeating: 1, count: 2048), on: lattice, of: type) + negativeZero
      for bytes in [bytes, whole, random.bytes(4096)] {
        let coded = encoded(bytes, of: type, on: lattice)
        #expect(coded[0] >> 4 != 4)
        #expect(try decoded(coded, count: bytes.count) == bytes)
      }
    }
    for steps in [[Float](repeating: 0, count: 4), [.nan], [.infinity], [-1], (1...17).map { Float($0) }] {
      let bytes = chunk([Int](repeating: 0, count: 4096), on: lattice, of: .f32)
      let coded = encoded(bytes, of: .f32, on: ChunkLattice(steps: steps, firstColumn: 0))
      #expect(coded[0] >> 4 != 4)
      #expect(try decoded(coded, count: bytes.count) == bytes)
    }
    // No elements, and types that lie on none.
    #expect(try decoded(encoded([], of: .f32, on: lattice), count: 0) == [])
    #expect(try decoded(encoded([1], of: .f32, on: lattice), count: 1) == [1])
    #expect(encoded([UInt8](repeating: 1, count: 4096), of: .u8, on: lattice)[0] >> 4 == 1)
  }

  @Test("Every processor's coder writes the same")
  func kernels() throws {
    let lattice = ChunkLattice(steps: (0..<300).map { Float(1 + $0 % 2) }, firstColumn: 17)
    let bytes = chunk(normals(50_000, deviation: 3, seed: 11), on: lattice, of: .f32)
    let coded = encoded(bytes, of: .f32, on: lattice)
    for kernel in [es_entropy_kernel.portable, .avx2, .avx512] where es_entropy_kernel_runs(kernel) {
      var room = [UInt8](repeating: 0, count: bytes.count + 1)
      let count = bytes.withUnsafeBytes { chunk in
        room.withUnsafeMutableBytes {
          ChunkCoding.encode(chunk, of: .f32, against: nil, on: lattice, into: $0, kernel: kernel)
        }
      }
      #expect(Array(room[..<count]) == coded)
    }
  }

  @Test("Damage is a problem or other numbers, never more")
  func damage() throws {
    let lattice = ChunkLattice(steps: (0..<30).map { Float(1 + $0 % 3) }, firstColumn: 4)
    let bytes = chunk(normals(3000, deviation: 30, seed: 12), on: lattice, of: .f32)
    let coded = encoded(bytes, of: .f32, on: lattice)
    #expect(coded[0] == 0x47)
    func attempt(_ coded: [UInt8]) -> Bool {
      var room = [UInt8](repeating: 0x5a, count: bytes.count + 128)
      let code = room.withUnsafeMutableBytes { room in
        let chunk = UnsafeMutableRawBufferPointer(rebasing: room[64..<room.count - 64])
        return problem { try coded.withUnsafeBytes { try ChunkCoding.decode($0, into: chunk) } }?.code
      }
      return (room.prefix(64) + room.suffix(64)).allSatisfy { $0 == 0x5a } && (code == nil || code == .codingDamaged)
    }
    var harmed = 0
    for index in coded.indices {
      for flip in [UInt8(1), 0x80, 0xff] {
        var other = coded
        other[index] ^= flip
        harmed += attempt(other) ? 0 : 1
      }
    }
    #expect(harmed == 0)
    for count in coded.indices {
      #expect(throws: Problem.self) { try decoded(Array(coded[..<count]), count: bytes.count) }
    }
    #expect(throws: Problem.self) { try decoded(coded + [0], count: bytes.count) }
    for count in [0, 1, bytes.count - 4, bytes.count + 4] {
      #expect(throws: Problem.self) { try decoded(coded, count: count) }
    }
    func message(_ coded: [UInt8]) -> String? { problem { try decoded(coded, count: 4) }?.message }
    #expect(message([0x41, 1]) == "a coded chunk is damaged: its type lies on no lattice")
    #expect(message([0x47, 0, 0, 0, 0, 0, 0, 0, 0]) == "a coded chunk is damaged: rows of 0 elements")
    #expect(message([0x47, 1, 0, 0, 0, 0, 0, 0, 0, 17]) == "a coded chunk is damaged: 17 steps")
    #expect(
      message([0x47, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 0])
        == "a coded chunk is damaged: a step is missing")
  }
}
