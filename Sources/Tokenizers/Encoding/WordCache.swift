/// Remembers the tokens of words: most words of a text are among those that came before.
///
/// One thread's own. When it is full it begins anew, so that its size is bounded (some megabytes); a probe that finds
/// its neighbourhood taken gives up, so that words chosen to collide cost no more than words unseen.
struct WordCache: ~Copyable {
  private struct Slot {
    var hash: UInt64 = 0
    var wordStart: UInt32 = 0
    var tokenStart: UInt32 = 0
    var wordCount: UInt16 = 0
    var tokenCount: UInt16 = 0
  }

  private var slots: [Slot]
  private var bytes: [UInt8] = []
  private var tokens: [WordToken] = []
  private var count = 0

  private static let slotCount = 1 << 16
  private static let maximumWord = 64
  private static let maximumProbe = 16

  init() { slots = [Slot](repeating: Slot(), count: Self.slotCount) }

  /// Appends the tokens of `word`, found or made by `make`.
  @inline(__always)
  mutating func tokens<E: Error>(
    of word: UnsafeBufferPointer<UInt8>, into output: inout [WordToken],
    _ make: (UnsafeBufferPointer<UInt8>, inout [WordToken]) throws(E) -> Void
  ) throws(E) {
    guard let base = word.baseAddress, word.count <= Self.maximumWord else { return try make(word, &output) }
    // 0 marks an empty slot.
    let hash = ByteHash.hash(base, count: word.count) | 1
    let mask = Self.slotCount - 1
    var slot = Int(truncatingIfNeeded: hash >> 20) & mask
    for _ in 0..<Self.maximumProbe {
      let entry = slots[slot]
      if entry.hash == 0 { break }
      if entry.hash == hash, Int(entry.wordCount) == word.count,
        bytes.withUnsafeBufferPointer({ own in
          guard let own = own.baseAddress else { return false }
          return ByteHash.equal(own + Int(entry.wordStart), base, count: word.count)
        })
      {
        let first = Int(entry.tokenStart)
        if entry.tokenCount == 1 {
          output.append(tokens[first])
        } else {
          output.append(contentsOf: tokens[first..<first + Int(entry.tokenCount)])
        }
        return
      }
      slot = (slot + 1) & mask
    }
    let first = output.count
    try make(word, &output)
    insert(word, hash: hash, output[first...])
  }

  private mutating func insert(_ word: UnsafeBufferPointer<UInt8>, hash: UInt64, _ found: ArraySlice<WordToken>) {
    if count >= Self.slotCount * 3 / 4 {
      slots.withUnsafeMutableBufferPointer { $0.update(repeating: Slot()) }
      bytes.removeAll(keepingCapacity: true)
      tokens.removeAll(keepingCapacity: true)
      count = 0
    }
    let mask = Self.slotCount - 1
    var slot = Int(truncatingIfNeeded: hash >> 20) & mask
    for _ in 0..<Self.maximumProbe where slots[slot].hash != 0 { slot = (slot + 1) & mask }
    guard slots[slot].hash == 0, found.count <= Int(UInt16.max) else { return }
    slots[slot] = Slot(
      hash: hash, wordStart: UInt32(bytes.count), tokenStart: UInt32(tokens.count), wordCount: UInt16(word.count),
      tokenCount: UInt16(found.count))
    bytes.append(contentsOf: word)
    tokens.append(contentsOf: found)
    count += 1
  }
}
