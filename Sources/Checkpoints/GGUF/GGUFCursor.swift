internal import EspalierBasics

/// Walks through the header of a GGUF file, reading as much of the file as it needs.
///
/// Every length is held against what is left of the file before anything of that length is kept.
struct GGUFCursor {
  /// The length of the whole file.
  let size: Int
  private(set) var position = 0
  private var loaded: [UInt8]
  private let file: (any ByteSource)?

  init(reading file: any ByteSource, size: Int) {
    self.file = file
    self.size = size
    loaded = []
  }

  init(bytes: [UInt8], size: Int) {
    file = nil
    self.size = size
    loaded = bytes
  }

  /// Hands over the bytes from the beginning of the file to here.
  mutating func takeBytes() -> [UInt8] {
    loaded.removeSubrange(position...)
    defer { loaded = [] }
    return loaded
  }

  /// Makes sure that `count` more bytes are in memory.
  private mutating func require(_ count: Int) throws(Problem) {
    guard count <= size - position else {
      throw Problem(
        .ggufHeader, "\(count) bytes are wanted and the file ends after \(size - position)",
        remedy: "The file is cut short or damaged.", byteOffset: position)
    }
    let end = position + count
    guard end <= GGUFHeader.longestHeader else {
      throw Problem(.ggufHeader, "the header takes more than \(ByteCount.text(GGUFHeader.longestHeader))")
    }
    while loaded.count < end {
      guard let file else {
        throw Problem(.ggufHeader, "the header is cut short", byteOffset: loaded.count)
      }
      let more = min(size - loaded.count, max(loaded.count, 1 << 18, end - loaded.count))
      loaded += try file.read(more, at: loaded.count)
    }
  }

  private mutating func integer<T: FixedWidthInteger>(_ type: T.Type) throws(Problem) -> T {
    try require(MemoryLayout<T>.size)
    defer { position += MemoryLayout<T>.size }
    return loaded.withUnsafeBytes { T(littleEndian: $0.loadUnaligned(fromByteOffset: position, as: T.self)) }
  }

  mutating func u32() throws(Problem) -> UInt32 { try integer(UInt32.self) }
  mutating func u64() throws(Problem) -> UInt64 { try integer(UInt64.self) }

  mutating func skip(_ count: Int) throws(Problem) {
    try require(count)
    position += count
  }

  mutating func bytes(_ count: Int) throws(Problem) -> ArraySlice<UInt8> {
    try skip(count)
    return loaded[(position - count)..<position]
  }

  /// A number of things that take at least `each` bytes, so that an absurd one is found at once.
  mutating func count(each bytes: Int, of what: String, limit: Int = .max) throws(Problem) -> Int {
    let start = position
    let count = try u64()
    guard count <= UInt64((size - position) / bytes), count <= UInt64(limit) else {
      throw Problem(.ggufHeader, "\(count) \(what) do not fit the file", byteOffset: start)
    }
    return Int(count)
  }

  /// The length before a string.
  mutating func length(limit: Int, what: String) throws(Problem) -> Int {
    let start = position
    let length = try u64()
    guard length <= UInt64(limit) else {
      throw Problem(.ggufHeader, "a \(what) of \(length) bytes; at most \(limit) are allowed", byteOffset: start)
    }
    guard length <= UInt64(size - position) else {
      throw Problem(
        .ggufHeader, "a \(what) of \(length) bytes, of which the file has \(size - position)",
        remedy: "The file is cut short or damaged.", byteOffset: start)
    }
    return Int(length)
  }

  mutating func string(limit: Int, what: String) throws(Problem) -> ArraySlice<UInt8> {
    try bytes(length(limit: limit, what: what))
  }

  mutating func skipString(limit: Int) throws(Problem) { try skip(length(limit: limit, what: "string")) }

  mutating func valueType() throws(Problem) -> GGUFValueType {
    let start = position
    let number = try u32()
    guard let type = GGUFValueType(rawValue: number) else {
      throw Problem(.ggufMetadata, "there is no type \(number)", byteOffset: start)
    }
    return type
  }
}
