internal import EspalierBasics
internal import EspalierNumerics

/// What a network remembers of one sequence between two calls: keys and values, convolution windows, scan states.
///
/// Used by one call at a time; different sequences have different states.
public final class SequenceState: @unchecked Sendable {
  /// Tokens that the state has seen.
  public internal(set) var length = 0
  /// One entry a stateful operation.
  var entries: [Entry?]

  enum Entry {
    case pages(KeyValuePages)
    /// The last inputs of a causal convolution, or the state of a scan.
    case values(AlignedBuffer)
  }

  init(operations: Int) { entries = Array(repeating: nil, count: operations) }

  /// Bytes that the state holds.
  public var byteCount: Int {
    entries.reduce(0) { sum, entry in
      switch entry {
      case .pages(let pages): sum + pages.byteCount
      case .values(let buffer): sum + buffer.byteCount
      case nil: sum
      }
    }
  }

  func pages(_ index: Int, keyWidth: Int, valueWidth: Int, heads: Int) -> KeyValuePages {
    if case .pages(let pages) = entries[index] { return pages }
    let pages = KeyValuePages()
    pages.reset(keyWidth: keyWidth, valueWidth: valueWidth, heads: heads)
    entries[index] = .pages(pages)
    return pages
  }

  /// `count` floats that begin as zeros.
  func values(_ index: Int, count: Int) throws(Problem) -> AlignedBuffer {
    if case .values(let buffer) = entries[index] { return buffer }
    let buffer = try AlignedBuffer(count: count, of: Float.self)
    buffer.floats.update(repeating: 0)
    entries[index] = .values(buffer)
    return buffer
  }
}
