import CKernels
import Testing

@testable import EspalierNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

extension KeyedRandom {
  fileprivate func words(_ range: Range<Int>) -> [UInt32] {
    [UInt32](unsafeUninitializedCapacity: range.count) {
      words(startingAt: range.lowerBound, into: $0.baseAddress!, count: range.count)
      $1 = range.count
    }
  }

  fileprivate func floats(
    _ range: Range<Int>, _ fill: (KeyedRandom) -> (Int, UnsafeMutablePointer<Float>, Int) -> Void
  ) -> [Float] {
    [Float](unsafeUninitializedCapacity: range.count) {
      fill(self)(range.lowerBound, $0.baseAddress!, range.count)
      $1 = range.count
    }
  }

  fileprivate func uniforms(_ range: Range<Int>) -> [Float] {
    floats(range) { random in { random.uniforms(startingAt: $0, into: $1, count: $2) } }
  }

  fileprivate func normals(_ range: Range<Int>) -> [Float] {
    floats(range) { random in { random.normals(startingAt: $0, into: $1, count: $2) } }
  }
}

private func philox(_ counter: [UInt32], _ key: [UInt32]) -> [UInt32] {
  var words = [UInt32](repeating: 0, count: 4)
  es_philox4x32_10(counter, key, &words)
  return words
}

@Suite struct KeyedRandomTests {
  /// The known answers published with Random123 (kat_vectors, philox4x32, 10 rounds).
  @Test func knownAnswers() {
    #expect(philox([0, 0, 0, 0], [0, 0]) == [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8])
    let ones = UInt32.max
    #expect(philox([ones, ones, ones, ones], [ones, ones]) == [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd])
    #expect(
      philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0])
        == [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1])
  }

  /// The vector kernel against the definition, also where the counter's low word overflows.
  @Test(arguments: [0, 1 << 20, (1 << 34) - 300, Int.max / 2 - 1000]) func wordsAreThoseOfTheCounter(_ start: Int) {
    let random = KeyedRandom(seed: 42, name: "model.layers.0.mlp.up_proj.weight", stream: 7)
    let key = KeyedRandom.hash(seed: 42, name: "model.layers.0.mlp.up_proj.weight")
    let keys = [UInt32(truncatingIfNeeded: key), UInt32(truncatingIfNeeded: key >> 32)]
    let expected = (start..<(start + 700)).map { index -> UInt32 in
      let counter = UInt64(index / 4)
      let words = philox([UInt32(truncatingIfNeeded: counter), UInt32(truncatingIfNeeded: counter >> 32), 7, 0], keys)
      return words[index % 4]
    }
    #expect(random.words(start..<(start + 700)) == expected)
  }

  @Test func anyRangeGivesTheSameElements() {
    let random = KeyedRandom(seed: 1, name: "w", stream: 3)
    let words = random.words(0..<1000)
    let uniforms = random.uniforms(0..<1000)
    let normals = random.normals(0..<1000)
    for start in [0, 1, 2, 3, 4, 5, 127, 128, 129, 255, 301] {
      for count in [0, 1, 2, 3, 4, 7, 63, 127, 128, 129, 256, 385] {
        let range = start..<(start + count)
        #expect(random.words(range) == Array(words[range]), "\(range)")
        #expect(random.uniforms(range) == Array(uniforms[range]), "\(range)")
        #expect(random.normals(range) == Array(normals[range]), "\(range)")
      }
    }
  }

  @Test func seedNameAndStreamTellStreamsApart() {
    let first = KeyedRandom(seed: 0, name: "a").words(0..<4)
    for other in [
      KeyedRandom(seed: 1, name: "a"), KeyedRandom(seed: 0, name: "b"), KeyedRandom(seed: 0, name: ""),
      KeyedRandom(seed: 0, name: "a", stream: 1),
    ] { #expect(Set(other.words(0..<4)).isDisjoint(with: first)) }
  }

  /// Seeds recorded in manifests must mean the same for ever. The values were computed from the hash's definition by
  /// a program in another language.
  @Test func keysNeverChange() {
    #expect(KeyedRandom.hash(seed: 0, name: "") == 0x813f_0174_a236_7c13)
    #expect(KeyedRandom.hash(seed: 7, name: "a.weight") == 0x2ebb_fa03_77a0_0150)
  }

  @Test func uniformsAreTheUpperBits() {
    let random = KeyedRandom(seed: 5, name: "u")
    #expect(random.uniforms(0..<999) == random.words(0..<999).map { Float($0 >> 8) * 0x1p-24 })
  }

  @Test func normalsFollowBoxMuller() {
    let random = KeyedRandom(seed: 6, name: "n")
    let words = random.words(0..<20_000)
    let normals = random.normals(0..<20_000)
    for pair in stride(from: 0, to: words.count, by: 2) {
      let length = (-2 * log((Double(words[pair]) + 1) * 0x1p-32)).squareRoot()
      let angle = 2 * Double.pi * Double(words[pair + 1]) * 0x1p-32
      // Two float64 evaluations that differ by 1e-13 round to the same float or to neighbours.
      #expect(abs(Double(normals[pair]) - length * cos(angle)) <= Double(normals[pair].ulp) * 0.51 + 1e-12)
      #expect(abs(Double(normals[pair + 1]) - length * sin(angle)) <= Double(normals[pair + 1].ulp) * 0.51 + 1e-12)
    }
  }

  @Test(arguments: [-1, 0, 0.1, 0.5, 0.999_999_999, 1, 2, .nan]) func keepComparesWords(_ probability: Double) {
    let random = KeyedRandom(seed: 7, name: "k", stream: 2)
    for (start, count) in [(0, 4096), (3, 1000), (129, 1), (130, 130)] {
      let original = (0..<count).map { Float($0) - 500.5 }
      let words = random.words(start..<(start + count))
      let expected = zip(original, words).map { Double($1) < probability * 0x1p32 ? $0 : 0 }
      var values = original
      random.keep(&values, startingAt: start, count: count, probability: probability)
      #expect(values == expected)

      let each = [Float](repeating: Float(probability), count: count)
      values = original
      random.keep(&values, startingAt: start, count: count, probabilities: each, rescale: false)
      #expect(values == zip(original, words).map { Double($1) < Double(Float(probability)) * 0x1p32 ? $0 : 0 })
    }
  }

  @Test func eachElementHasItsOwnProbability() {
    let random = KeyedRandom(seed: 8, name: "each")
    let original = (0..<1000).map { Float($0) + 1 }
    let probabilities = (0..<1000).map { Float($0) / 999 }
    let words = random.words(5..<1005)
    var values = original
    random.keep(&values, startingAt: 5, count: 1000, probabilities: probabilities, rescale: true)
    let expected = (0..<1000).map {
      Double(words[$0]) < Double(probabilities[$0]) * 0x1p32 ? original[$0] / probabilities[$0] : 0
    }
    #expect(values == expected)
    #expect(values[0] == 0 && values[999] == 1000)
  }
}
