public import EspalierBasics

/// The tokens of a model and their ids, both ways. Tokens are compared by their bytes; ids may have holes.
public struct TokenTable: Sendable {
  /// UTF-8 of all tokens, one after the other, in the order they were given.
  private var bytes: [UInt8] = []
  private var starts: [Int32] = [0]
  private var ids: [Int32] = []
  /// Open addressing: index of a token plus 1, with the upper half of its hash.
  private var slots: [UInt64] = []
  /// Index of the token of every id plus 1, while ids are dense; else `sparse` has them.
  private var dense: [Int32] = []
  private var sparse: [Int32: Int32] = [:]
  /// One more than the largest id; 0 if there are no tokens.
  public private(set) var size = 0

  /// Number of tokens.
  public var count: Int { ids.count }

  /// - Throws: ``Problem/Code/tokenizerDuplicate`` if one id has two tokens or one token two ids;
  ///   ``Problem/Code/tokenizerMalformed`` if an id is no 31-bit number.
  public init(_ tokens: [(token: String, id: Int)]) throws(Problem) {
    reserve(tokens.count, largestID: tokens.reduce(0) { max($0, $1.id) })
    for (token, id) in tokens {
      guard id >= 0, id < Int32.max else {
        throw Problem(
          .tokenizerMalformed,
          "the id \(id) of token \(quoted(ExactString(token))) is not between 0 and \(Int32.max - 1)")
      }
      let text = Array(token.utf8)
      if let other = text.withUnsafeBufferPointer({ self.id(of: $0) }), other != id {
        throw Problem(.tokenizerDuplicate, "token \(quoted(ExactString(token))) has the ids \(other) and \(id)")
      }
      if let other = self.token(Int32(id)) {
        throw Problem(
          .tokenizerDuplicate,
          "the id \(id) is given to \(quoted(ExactString(other))) and to \(quoted(ExactString(token)))")
      }
      append(text, id: Int32(id))
    }
  }

  /// Tokens whose ids are their places. Of a token that is there twice, the last place is found.
  public init(pieces: [String]) {
    reserve(pieces.count, largestID: pieces.count - 1)
    for (id, piece) in pieces.enumerated() { append(Array(piece.utf8), id: Int32(id)) }
  }

  /// Byte strings with ids; the last of equal ones is found. They need not be UTF-8.
  init(byteStrings: [(bytes: [UInt8], id: Int32)]) {
    reserve(byteStrings.count, largestID: byteStrings.reduce(0) { max($0, Int($1.id)) })
    for (text, id) in byteStrings { append(text, id: id) }
  }

  private mutating func reserve(_ count: Int, largestID: Int) {
    var capacity = 16
    while capacity < 2 * count { capacity *= 2 }
    slots = [UInt64](repeating: 0, count: capacity)
    if largestID < 4 * count + 65_536 { dense = [Int32](repeating: 0, count: largestID + 1) }
  }

  private mutating func append(_ text: [UInt8], id: Int32) {
    ids.append(id)
    bytes += text
    starts.append(Int32(bytes.count))
    size = max(size, Int(id) + 1)
    if dense.isEmpty { sparse[id] = Int32(ids.count) } else { dense[Int(id)] = Int32(ids.count) }
    let entry = UInt64(ids.count)
    text.withUnsafeBufferPointer { text in
      let hash = Self.hash(text)
      slots[slot(of: text, hash: hash)] = hash & 0xFFFF_FFFF_0000_0000 | entry
    }
  }

  private static func hash(_ text: UnsafeBufferPointer<UInt8>) -> UInt64 {
    guard let base = text.baseAddress else { return 0 }
    return ByteHash.hash(base, count: text.count)
  }

  /// The slot that holds `text`, or the empty one where it belongs.
  @inline(__always)
  private func slot(of text: UnsafeBufferPointer<UInt8>, hash: UInt64) -> Int {
    let mask = slots.count - 1
    var slot = Int(truncatingIfNeeded: hash) & mask
    while slots[slot] != 0 {
      let entry = slots[slot]
      if (entry ^ hash) >> 32 == 0 {
        let index = Int(entry & 0xFFFF_FFFF) - 1
        let start = Int(starts[index])
        if Int(starts[index + 1]) - start == text.count {
          let isEqual = bytes.withUnsafeBufferPointer { bytes in
            guard let own = bytes.baseAddress, let other = text.baseAddress else { return true }
            return ByteHash.equal(own + start, other, count: text.count)
          }
          if isEqual { return slot }
        }
      }
      slot = (slot + 1) & mask
    }
    return slot
  }

  /// The id of a token, given by its bytes.
  public func id(of text: UnsafeBufferPointer<UInt8>) -> Int32? {
    let entry = slots[slot(of: text, hash: Self.hash(text))]
    return entry == 0 ? nil : ids[Int(entry & 0xFFFF_FFFF) - 1]
  }

  public func id(of token: String) -> Int32? {
    var token = token
    return token.withUTF8 { id(of: $0) }
  }

  func id(of text: [UInt8]) -> Int32? { text.withUnsafeBufferPointer { id(of: $0) } }

  private func index(of id: Int32) -> Int? {
    guard id >= 0 else { return nil }
    if dense.isEmpty { return sparse[id].map { Int($0) - 1 } }
    guard Int(id) < dense.count, dense[Int(id)] != 0 else { return nil }
    return Int(dense[Int(id)]) - 1
  }

  /// The token with this id.
  public func token(_ id: Int32) -> String? {
    index(of: id).map { String(decoding: bytes[Int(starts[$0])..<Int(starts[$0 + 1])], as: UTF8.self) }
  }

  /// The bytes of the token with this id.
  func bytes(_ id: Int32) -> ArraySlice<UInt8>? {
    index(of: id).map { bytes[Int(starts[$0])..<Int(starts[$0 + 1])] }
  }

  /// All tokens in the order they were given.
  var entries: [(bytes: ArraySlice<UInt8>, id: Int32)] {
    ids.indices.map { (bytes[Int(starts[$0])..<Int(starts[$0 + 1])], ids[$0]) }
  }
}
