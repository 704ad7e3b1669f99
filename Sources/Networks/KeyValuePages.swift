internal import CKernels
internal import EspalierBasics
internal import EspalierNumerics

/// Keys and values of one sequence in one layer, in pages of 64 tokens that begin at multiples of 64.
///
/// A page holds, for each key-value head, the keys transposed (`[keyWidth, 64]`) and the values (`[64, valueWidth]`).
/// Pages fill in order and never move, so a server can keep them wherever it likes.
final class KeyValuePages {
  static let length = Int(ES_ATTENTION_PAGE)

  private(set) var keyWidth = 0
  private(set) var valueWidth = 0
  private(set) var heads = 0
  private var pages: [AlignedBuffer] = []
  /// The position of each key.
  private(set) var positions: [Int32] = []

  var count: Int { positions.count }
  var byteCount: Int { pages.reduce(0) { $0 + $1.byteCount } }

  /// Forgets everything; pages of the same shape are kept for reuse.
  func reset(keyWidth: Int, valueWidth: Int, heads: Int) {
    if (keyWidth, valueWidth, heads) != (self.keyWidth, self.valueWidth, self.heads) { pages = [] }
    (self.keyWidth, self.valueWidth, self.heads) = (keyWidth, valueWidth, heads)
    positions.removeAll(keepingCapacity: true)
  }

  private var headFloats: Int { (keyWidth + valueWidth) * Self.length }

  /// Makes room for keys at these positions; ``put(_:_:head:slot:)`` fills them.
  func extend(by new: ArraySlice<Int32>) throws(Problem) {
    positions += new
    while pages.count * Self.length < positions.count {
      pages.append(try AlignedBuffer(count: heads * headFloats, of: Float.self))
    }
  }

  func keys(page: Int, head: Int) -> UnsafeMutablePointer<Float> {
    pages[page].floats.baseAddress! + head * headFloats
  }

  func values(page: Int, head: Int) -> UnsafeMutablePointer<Float> {
    keys(page: page, head: head) + keyWidth * Self.length
  }

  /// Stores key and value of one head in slot `slot`, counted from the beginning of the sequence.
  func put(_ key: UnsafePointer<Float>, _ value: UnsafePointer<Float>, head: Int, slot: Int) {
    let (page, place) = slot.quotientAndRemainder(dividingBy: Self.length)
    es_attention_put_key(key, Int64(keyWidth), Int64(place), keys(page: page, head: head))
    (values(page: page, head: head) + place * valueWidth).update(from: value, count: valueWidth)
  }

  /// The first key at `position` or after it.
  func firstKey(at position: Int32) -> Int {
    var (low, high) = (0, positions.count)
    while low < high {
      let middle = (low + high) / 2
      if positions[middle] < position { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
