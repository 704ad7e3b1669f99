public import EspalierBasics

/// What the table of a part says of a chunk: 40 bytes, little-endian.
///
///     0  the length of the coded bytes (4)    4  0 (4)
///     8  XXH3-128 of the coded bytes (16)    24  XXH3-128 of the chunk (16); low words first
public struct ArchiveChunk: Sendable, Hashable {
  public var codedBytes: Int
  public var codedDigest: Digest
  public var digest: Digest

  public static let recordBytes = 40

  public init(codedBytes: Int, codedDigest: Digest, digest: Digest) {
    (self.codedBytes, self.codedDigest, self.digest) = (codedBytes, codedDigest, digest)
  }

  public var bytes: [UInt8] {
    (0..<8).map { $0 < 4 ? UInt8(truncatingIfNeeded: codedBytes >> (8 * $0)) : 0 } + codedDigest.bytes + digest.bytes
  }

  /// Nil for what no writer makes.
  public init?(_ bytes: ArraySlice<UInt8>) {
    func word(_ offset: Int, _ count: Int) -> UInt64 {
      (0..<count).reduce(0) { $0 | UInt64(bytes[bytes.startIndex + offset + $1]) << (8 * $1) }
    }
    guard bytes.count == Self.recordBytes, word(4, 4) == 0 else { return nil }
    codedBytes = Int(word(0, 4))
    codedDigest = Digest(high: word(16, 8), low: word(8, 8))
    digest = Digest(high: word(32, 8), low: word(24, 8))
  }
}
