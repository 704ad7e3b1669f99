import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCoding

/// Sizes beside what information theory allows.
@Suite struct SizeTests {
  /// Shannon's bound in bytes for symbols by their frequencies.
  private func bound(_ symbols: [UInt8]) -> Double {
    var counts = [Double](repeating: 0, count: 256)
    for symbol in symbols { counts[Int(symbol)] += 1 }
    let total = Double(symbols.count)
    return counts.reduce(0) { $0 + ($1 > 0 ? -$1 * log2($1 / total) : 0) } / 8
  }

  /// Base-2 logarithm by its integral in steps of doubling: no library is needed for a bound of a percent.
  private func log2(_ x: Double) -> Double {
    let exponent = Double(x.exponent)
    let m = x.significand
    let s = (m - 1) / (m + 1)
    let powers = stride(from: 1, through: 31, by: 2).map { k in
      (0..<k).reduce(1.0) { power, _ in power * s } / Double(k)
    }
    return exponent + 2 * powers.reduce(0, +) * 1.4426950408889634
  }

  @Test(arguments: [1, 2, 5, 20, 60]) func symbolsComeWithinAPercentOfShannon(spread: Double) throws {
    var random = SeededGenerator(seed: 8)
    let symbols = (0..<262_144).map { _ in UInt8(max(0, min(255, 128 + spread * random.normal()))) }
    let coded = encoded(symbols, of: .u8)
    #expect(Double(coded.count) < 1.01 * bound(symbols))
    #expect(Double(coded.count) > bound(symbols))
    #expect(try decoded(coded, count: symbols.count) == symbols)
  }

  /// Exponents of gaussian weights: the bound of the plane, a byte each for signs and mantissas.
  @Test func bfloat16ComesWithinAPercentOfShannon() throws {
    var random = SeededGenerator(seed: 9)
    let count = 262_144
    let chunk = random.weights(count, of: .bf16)
    let exponents = (0..<count).map { chunk[2 * $0 + 1] << 1 | chunk[2 * $0] >> 7 }
    let size = Double(encoded(chunk, of: .bf16).count)
    #expect(size < Double(count) + 1.01 * bound(exponents))
    #expect(size / Double(2 * count) < 0.6623)  // ZipNN 0.5.4
  }

  /// Symbols that are rare: more of them than a table of 4,096 has room to tell apart.
  @Test func rareSymbols() throws {
    var random = SeededGenerator(seed: 10)
    let symbols = (0..<100_000).map { _ in random.next() % 1000 == 0 ? UInt8(random.next() >> 56) : 3 }
    let coded = encoded(symbols, of: .u8)
    #expect(try decoded(coded, count: symbols.count) == symbols)
    #expect(coded.count < 2000)
  }

  /// A fine-tune near its base takes what its differences take, far less than by itself.
  @Test(arguments: floatTypes.filter { $0.byteWidth > 1 }) func fineTunes(type: ElementType) throws {
    var random = SeededGenerator(seed: 11)
    let count = 50_000
    let values = (0..<count).map { _ in 0.02 * random.normal() }
    let base = rounded(values, to: type)
    // 2^-10 of a weight's deviation: with p bits of significand, differences of about p - 10 bits.
    let tuned = rounded(values.map { $0 + 0.02 * 0x1p-10 * random.normal() }, to: type)
    let coded = encoded(tuned, of: type, against: base)
    #expect(try decoded(coded, count: tuned.count, against: base) == tuned)
    let most: [ElementType: Double] = [.f64: 0.78, .f32: 0.52, .f16: 0.25, .bf16: 0.14]
    #expect(Double(coded.count) / Double(tuned.count) < most[type]!, "\(coded.count)")
  }

  /// Weights that saw nothing but weight decay: the same few differences everywhere.
  @Test func weightDecay() throws {
    var random = SeededGenerator(seed: 12)
    let values = (0..<100_000).map { _ in Float(0.05 * random.normal()) }
    let decayed = values.map { value in (0..<200).reduce(value) { x, _ in x * (1 - 2e-7) } }
    let coded = encoded(bytes(decayed), of: .f32, against: bytes(values))
    #expect(coded.count < bytes(values).count / 16)
    #expect(try decoded(coded, count: 400_000, against: bytes(values)) == bytes(decayed))
  }

  /// Against a base that has nothing to do with it, a chunk takes no more than by itself.
  @Test(arguments: floatTypes) func strangers(type: ElementType) throws {
    var random = SeededGenerator(seed: 13)
    let chunk = random.weights(30_000, of: type)
    let coded = encoded(chunk, of: type, against: random.bytes(chunk.count))
    #expect(coded.count <= encoded(chunk, of: type).count)
  }
}
