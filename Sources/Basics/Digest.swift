internal import CXXHash

/// A 128-bit digest by XXH3 (xxHash 0.8), printed as 32 hex digits, high word first.
public struct Digest: Sendable, Hashable, CustomStringConvertible {
  public var high: UInt64
  public var low: UInt64

  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  public init(of bytes: UnsafeRawBufferPointer) {
    let hash = es_xxh3_128(bytes.baseAddress, bytes.count)
    self.init(high: hash.high64, low: hash.low64)
  }

  public init(of text: String) {
    var text = text
    self = text.withUTF8 { Digest(of: UnsafeRawBufferPointer($0)) }
  }

  public init?(_ description: String) {
    let digits = Array(description.utf8)
    guard digits.count == 32,
      let high = UInt64(String(decoding: digits[..<16], as: UTF8.self), radix: 16),
      let low = UInt64(String(decoding: digits[16...], as: UTF8.self), radix: 16)
    else { return nil }
    self.init(high: high, low: low)
  }

  public var description: String { Self.hex(high) + Self.hex(low) }

  private static func hex(_ word: UInt64) -> String {
    let digits = String(word, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}

extension Digest: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    guard let digest = Digest(text) else {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a digest: \(text)")
    }
    self = digest
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

/// The digest of a long array of bytes that several threads see in pieces: XXH3-128 over the digests of its
/// 4 MiB chunks.
///
/// A chunk is fed in order by one thread at a time; different chunks may be fed at once. The value depends on the
/// bytes alone. An array of no bytes has no chunks and the digest of the empty string.
public final class ChunkedDigest: @unchecked Sendable {
  public static let chunkBytes = 4 << 20

  public let byteCount: Int
  // Two words a chunk, big-endian (the canonical form of xxHash); each element is written by the one thread that
  // owns its chunk.
  private let chunks: UnsafeMutablePointer<UInt64>
  private let chunkCount: Int

  public init(byteCount: Int) {
    self.byteCount = byteCount
    chunkCount = (byteCount + Self.chunkBytes - 1) / Self.chunkBytes
    chunks = .allocate(capacity: max(1, 2 * chunkCount))
    chunks.initialize(repeating: 0, count: max(1, 2 * chunkCount))
  }

  deinit { chunks.deallocate() }

  fileprivate func set(_ digest: Digest, forChunk index: Int) {
    chunks[2 * index] = digest.high.bigEndian
    chunks[2 * index + 1] = digest.low.bigEndian
  }

  /// The digest of the whole, once every chunk has been fed.
  public func value() -> Digest {
    Digest(of: UnsafeRawBufferPointer(start: chunks, count: 16 * chunkCount))
  }

  /// Digest of bytes that are in memory as a whole.
  public static func digest(of bytes: UnsafeRawBufferPointer) -> Digest {
    let whole = ChunkedDigest(byteCount: bytes.count)
    var feed = Feed(into: whole, at: 0)
    feed.update(bytes)
    return whole.value()
  }

  /// One thread's way of feeding consecutive bytes, starting at a chunk boundary.
  public struct Feed: ~Copyable {
    private let target: ChunkedDigest
    private let state: OpaquePointer?
    private var offset: Int

    /// - Parameter offset: byte offset of what is fed first; a multiple of ``ChunkedDigest/chunkBytes``, where spans are
    ///   cut whatever the shape and the element type.
    public init(into target: ChunkedDigest, at offset: Int) {
      precondition(offset % ChunkedDigest.chunkBytes == 0, "a feed starts at a chunk boundary")
      self.target = target
      self.offset = offset
      state = XXH3_createState()
      XXH3_128bits_reset(state)
    }

    deinit { XXH3_freeState(state) }

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
      var rest = bytes[...]
      while !rest.isEmpty {
        let room = ChunkedDigest.chunkBytes - offset % ChunkedDigest.chunkBytes
        let piece = rest.prefix(room)
        es_xxh3_update(state, UnsafeRawBufferPointer(rebasing: piece).baseAddress, piece.count)
        offset += piece.count
        rest = rest.dropFirst(piece.count)
        if offset % ChunkedDigest.chunkBytes == 0 || offset == target.byteCount { finishChunk() }
      }
    }

    private func finishChunk() {
      let hash = XXH3_128bits_digest(state)
      target.set(Digest(high: hash.high64, low: hash.low64), forChunk: (offset - 1) / ChunkedDigest.chunkBytes)
      XXH3_128bits_reset(state)
    }
  }
}
