import CKernels
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCoding

@Suite struct KernelTests {
  private static let kernels = [es_entropy_kernel.portable, .avx2, .avx512].filter(es_entropy_kernel_runs)

  /// Frequencies and symbols of several shapes, with and without contexts; a symbol of frequency 1 and one of 4,095.
  @Test func allKernelsWriteAndReadTheSameBytes() {
    var random = SeededGenerator(seed: 16)
    for count in [0, 1, 63, 64, 65, 127, 128, 1000, 4096, 50_001] {
      for spread in [0.2, 3, 40] {
        for contextCount in [1, 3] {
          let symbols = (0..<count).map { _ in UInt8(max(0, min(255, 100 + spread * random.normal()))) } + [1, 2, 255]
          let contexts = symbols.map { _ in UInt8(random.next() % UInt64(contextCount)) }
          check(symbols, contexts: contexts, contextCount: contextCount)
        }
      }
    }
  }

  private func check(_ symbols: [UInt8], contexts: [UInt8], contextCount: Int) {
    var counts = [UInt32](repeating: 0, count: 256)
    es_entropy_count(symbols, Int64(symbols.count), &counts)
    var frequencies = [UInt16](repeating: 0, count: 256)
    es_entropy_frequencies(counts, &frequencies)
    #expect(frequencies.reduce(0) { $0 + Int($1) } == 4096)
    #expect((0..<256).allSatisfy { counts[$0] == 0 || frequencies[$0] > 0 })
    var encoders = [es_entropy_encoder](repeating: es_entropy_encoder(), count: contextCount)
    var decoders = [es_entropy_decoder](repeating: es_entropy_decoder(), count: contextCount)
    for index in 0..<contextCount {
      es_entropy_make_encoder(frequencies, &encoders[index])
      #expect(es_entropy_make_decoder(frequencies, &decoders[index]))
      // Another table for the next context: neighbours exchanged.
      let used = frequencies.indices.filter { frequencies[$0] > 0 }
      for pair in zip(used, used.dropFirst()) where pair.0 % 2 == 0 { frequencies.swapAt(pair.0, pair.1) }
    }
    let written = Self.kernels.map { kernel in
      var room = [UInt8](repeating: 0, count: PlaneCoding.payloadSize(symbols.count))
      let size = room.withUnsafeMutableBufferPointer {
        es_entropy_encode(
          kernel, encoders, contextCount > 1 ? contexts : nil, symbols, Int64(symbols.count),
          $0.baseAddress! + $0.count)
      }
      return Array(room.suffix(Int(size)))
    }
    for coded in written { #expect(coded == written[0]) }
    for kernel in Self.kernels {
      func reads(_ coded: [UInt8]) -> [UInt8]? {
        var found = [UInt8](repeating: 0, count: symbols.count)
        var stream = es_entropy_stream()
        guard es_entropy_begin(coded, Int64(coded.count), &stream) else { return nil }
        // In two steps.
        let first = symbols.count / 3 / 64 * 64
        let isRead = found.withUnsafeMutableBufferPointer { found in
          contexts.withUnsafeBufferPointer { contexts in
            func decode(_ range: Range<Int>) -> Bool {
              es_entropy_decode(
                kernel, &stream, decoders, contextCount > 1 ? contexts.baseAddress! + range.lowerBound : nil,
                found.baseAddress! + range.lowerBound, Int64(range.count))
            }
            return decode(0..<first) && decode(first..<symbols.count)
          }
        }
        return isRead && es_entropy_end(&stream) ? found : nil
      }
      #expect(reads(written[0]) == symbols)
      #expect(reads(Array(written[0].dropLast(2))) == nil)
      #expect(reads(written[0] + [0, 0]) == nil)
    }
  }

  @Test func wholeChunksAreTheSameByAllKernels() {
    var random = SeededGenerator(seed: 17)
    for type in floatTypes {
      let values = (0..<20_000).map { _ in 0.02 * random.normal() }
      let chunk = rounded(values, to: type)
      let base = rounded(values.map { $0 + 0.001 * random.normal() }, to: type)
      for against in [nil, base] {
        let coded = Self.kernels.map { kernel in
          chunk.withUnsafeBytes { chunk in
            (against ?? []).withUnsafeBytes { base in
              var room = [UInt8](repeating: 0, count: ChunkCoding.mostBytes(for: chunk.count))
              let size = room.withUnsafeMutableBytes {
                ChunkCoding.encode(chunk, of: type, against: against == nil ? nil : base, into: $0, kernel: kernel)
              }
              return Array(room[..<size])
            }
          }
        }
        for bytes in coded { #expect(bytes == coded[0], "\(type)") }
      }
    }
  }

  @Test func entropyOfKnownCounts() {
    var counts = [UInt32](repeating: 0, count: 256)
    counts[3] = 8
    #expect(es_entropy_bits(counts, nil) == 0)
    counts[200] = 8
    #expect(es_entropy_bits(counts, nil) == 16)
    let uniform = [UInt32](repeating: 5, count: 256)
    #expect(abs(es_entropy_bits(uniform, nil) - 8 * 1280) < 1e-6)
    var quarters = [UInt32](repeating: 0, count: 256)
    (quarters[0], quarters[1], quarters[2]) = (100, 50, 50)
    #expect(abs(es_entropy_bits(quarters, nil) - 300) < 1e-9)
    #expect(abs(es_entropy_bits(quarters, quarters) - 600) < 1e-9)
  }

  @Test func damagedFrequenciesMakeNoDecoder() {
    var decoder = es_entropy_decoder()
    var frequencies = [UInt16](repeating: 16, count: 256)
    #expect(es_entropy_make_decoder(frequencies, &decoder))
    frequencies[7] = 17
    #expect(!es_entropy_make_decoder(frequencies, &decoder))
    frequencies = [4096] + [UInt16](repeating: 0, count: 255)
    #expect(!es_entropy_make_decoder(frequencies, &decoder))
    frequencies = [UInt16](repeating: 65535, count: 256)
    #expect(!es_entropy_make_decoder(frequencies, &decoder))
  }

  @Test(arguments: [1, 2, 4, 8]) func planesAreBytesOfTurnedElements(width: Int) {
    var random = SeededGenerator(seed: 18)
    for count in [0, 1, 15, 64, 1001] {
      for turn in width == 1 ? [0] : [0, 1, 4] {
        let elements = random.bytes(count * width)
        var planes = [UInt8](repeating: 0, count: count * width)
        planes.withUnsafeMutableBufferPointer { planes in
          let starts = (0..<width).map { Optional(planes.baseAddress! + $0 * count) }
          if count > 0 { es_planes_split(Int32(width), Int32(turn), elements, Int64(count), starts) }
        }
        for index in 0..<count {
          let value = (0..<width).reduce(UInt64(0)) { $0 | UInt64(elements[index * width + $1]) << UInt64(8 * $1) }
          let bits = UInt64(8 * width)
          let kept = width == 8 ? UInt64.max : (1 << bits) - 1
          let turned = turn == 0 ? value : (value << UInt64(turn) | value >> (bits - UInt64(turn))) & kept
          for plane in 0..<width {
            #expect(planes[plane * count + index] == UInt8(truncatingIfNeeded: turned >> UInt64(8 * plane)))
          }
        }
        var joined = [UInt8](repeating: 0, count: count * width)
        planes.withUnsafeBufferPointer { planes in
          let starts = (0..<width).map { UnsafePointer<UInt8>?(planes.baseAddress! + $0 * count) }
          if count > 0 { es_planes_join(Int32(width), Int32(turn), starts, Int64(count), &joined) }
        }
        #expect(joined == elements)
      }
    }
  }

  /// Bfloat16 against a base, worked by hand from the definitions in `differences.h`: 56 symbols of near differences.
  @Test func differencesByHand() {
    let form = es_difference_form(width: 2, mantissa: 7, exponent: 8, shift: 0, fine: 2)
    #expect(es_difference_limit(form) == 56)
    let pairs: [(x: UInt16, y: UInt16, symbol: UInt8)] = [
      (0x3f80, 0x3f80, 0),  // equal
      (0x3f81, 0x3f80, 2), (0x3f7f, 0x3f80, 3),  // one away from zero, one towards it
      (0xbf81, 0xbf80, 2), (0xbf7f, 0xbf80, 3),
      (0x3f8b, 0x3f80, 18),  // 11 = 1011 in bits: class (5 + 4), then the bit 1
      (0xbf80, 0x3f80, 57),  // the other sign
      (0x4101, 0x3f80, 56),  // three exponents away
      (0x8000, 0x0000, 57), (0x0001, 0x0000, 2),
    ]
    let x = pairs.map(\.x)
    let y = pairs.map(\.y)
    let count = Int64(pairs.count)
    var table = es_difference_make_symbols(form, nil, 0)
    var symbols = [UInt8](repeating: 0, count: pairs.count)
    es_difference_encode(form, &table, x, y, count, &symbols)
    #expect(symbols == pairs.map(\.symbol))
    let rest = es_difference_measure_rest(form, &table, symbols, count)
    #expect(rest.bits == 1 + 3 * 7 && rest.far == 3)
    var bits = [UInt8](repeating: 0, count: 16)
    var exponents = [UInt8](repeating: 0, count: 4)
    es_difference_encode_rest(form, &table, x, y, symbols, count, &bits, &exponents)
    #expect(bits.prefix(3) == [1, 1, 0])  // the bit, seven zeros, a one and six zeros, seven zeros
    #expect(exponents.prefix(3) == [0x7f, 0x82, 0])
    var back = [UInt16](repeating: 0, count: pairs.count)
    es_difference_decode(form, &table, y, symbols, count, bits, exponents, &back)
    #expect(back == x)
    // Eleven has a symbol of its own, and so has minus one, though it needs none.
    table = es_difference_make_symbols(form, [11, -1], 2)
    es_difference_encode(form, &table, x, y, count, &symbols)
    #expect(symbols == [0, 2, 59, 2, 59, 58, 57, 56, 57, 2])
    es_difference_encode_rest(form, &table, x, y, symbols, count, &bits, &exponents)
    es_difference_decode(form, &table, y, symbols, count, bits, exponents, &back)
    #expect(back == x)
    #expect(es_difference_common_zeros(2, [0x3f80, 0x40] as [UInt16], [0, 0x8000] as [UInt16], 2) == 6)
    #expect(es_difference_common_zeros(2, [0, 0] as [UInt16], [0, 0] as [UInt16], 2) == 16)
  }

  @Test func keysAndContexts() {
    let form = es_difference_form(width: 4, mantissa: 23, exponent: 8, shift: 0, fine: 2)
    let base = [Float(1), -2, 1.5, 0, 1.015625].map(\.bitPattern)
    var keys = [UInt8](repeating: 0, count: 5)
    es_difference_keys(form, .exponent, base, 5, &keys)
    #expect(keys == [127, 128, 127, 0, 127])
    es_difference_contexts([1, 127, 128], 3, &keys, 5)
    #expect(keys == [2, 3, 2, 0, 2])
    es_difference_keys(form, .mantissa, base, 5, &keys)
    #expect(keys == [0, 0, 32, 0, 1])
  }
}
