import EspalierBasics
import TestSupport
import Testing

@Suite struct DigestTests {
  private func bytes(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 31) >> 3) } }

  private func chunked(_ bytes: [UInt8]) -> Digest { bytes.withUnsafeBytes { ChunkedDigest.digest(of: $0) } }

  /// From `xxhsum -H2` (xxHash 0.8).
  @Test func knownAnswers() {
    #expect(Digest(of: "").description == "99aa06d3014798d86001c324468d497f")
    #expect(Digest(of: "a").description == "a96faf705af16834e6c632b61e964e1f")
    #expect(Digest(of: "abc").description == "06b05ab6733a618578af5f94892f3950")
  }

  @Test func textForm() throws {
    let digest = Digest(high: 1, low: 0xabc)
    #expect(digest.description == "00000000000000010000000000000abc")
    #expect(Digest(digest.description) == digest)
    for text in ["", "0", "g0000000000000000000000000000000", "+0000000000000010000000000000abc0"] {
      #expect(Digest(text) == nil, "\(text)")
    }
  }

  @Test func chunksAreDigestedAndTheirDigestsToo() {
    let size = ChunkedDigest.chunkBytes
    let data = bytes(size + 5)
    let words = [data[..<size], data[size...]].flatMap { chunk -> [UInt8] in
      let digest = Array(chunk).withUnsafeBytes { Digest(of: $0) }
      return [digest.high, digest.low].flatMap { word in
        (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) }
      }
    }
    #expect(chunked(data) == words.withUnsafeBytes { Digest(of: $0) })
    #expect(chunked([]) == Digest(of: ""))
  }

  @Test(arguments: [1, 4 << 20, (4 << 20) + 1, (9 << 20) + 12_345])
  func theSameHoweverTheFeedIsSplit(_ count: Int) {
    let seed: UInt64 = 5
    var generator = SeededGenerator(seed: seed)
    let data = bytes(count)
    let expected = chunked(data)
    for _ in 0..<5 {
      let whole = ChunkedDigest(byteCount: count)
      // Chunks in reverse, each in random pieces.
      let starts = Array(stride(from: 0, to: count, by: ChunkedDigest.chunkBytes)).reversed()
      for start in starts {
        var feed = ChunkedDigest.Feed(into: whole, at: start)
        var position = start
        let end = min(count, start + ChunkedDigest.chunkBytes)
        while position < end {
          let next = min(end, position + Int.random(in: 1...1_500_000, using: &generator))
          data[position..<next].withUnsafeBytes { feed.update($0) }
          position = next
        }
      }
      #expect(whole.value() == expected, "seed \(seed), \(count) bytes")
    }
  }

  @Test func oneBitChangesTheDigest() {
    var data = bytes(100)
    let before = chunked(data)
    data[57] ^= 1
    #expect(chunked(data) != before)
  }
}
