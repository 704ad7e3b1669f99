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
}
