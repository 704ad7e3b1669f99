internal import EspalierBasics
internal import EspalierNumerics

/// Buffers of activations that are no longer needed, for those that come: a network allocates only while it runs for
/// the first time.
///
/// Used by one thread at a time.
final class Workspace: @unchecked Sendable {
  private var free: [AlignedBuffer] = []
  /// Keys and values of sequences that keep no state, reused from layer to layer.
  private var scratchPages: [KeyValuePages] = []

  /// A buffer of at least `count` floats; its contents are undefined.
  func take(_ count: Int) throws(Problem) -> AlignedBuffer {
    let bytes = max(1, count) * MemoryLayout<Float>.stride
    var best: Int?
    for (index, buffer) in free.enumerated() where buffer.byteCount >= bytes && buffer.byteCount <= 2 * bytes + 4096 {
      if best.map({ buffer.byteCount < free[$0].byteCount }) ?? true { best = index }
    }
    if let best {
      free.swapAt(best, free.count - 1)
      return free.removeLast()
    }
    // What is too small now would stay too small: rows differ little from run to run.
    if let small = free.indices.filter({ free[$0].byteCount < bytes }).max(by: {
      free[$0].byteCount < free[$1].byteCount
    }) {
      free.remove(at: small)
    }
    return try AlignedBuffer(byteCount: bytes)
  }

  func giveBack(_ activation: Activation) {
    free.append(activation.buffer)
  }

  func giveBack(_ buffer: AlignedBuffer) { free.append(buffer) }

  /// Empty pages for `count` sequences without a state.
  func pages(_ count: Int, keyWidth: Int, valueWidth: Int, heads: Int) -> [KeyValuePages] {
    while scratchPages.count < count { scratchPages.append(KeyValuePages()) }
    for pages in scratchPages[..<count] { pages.reset(keyWidth: keyWidth, valueWidth: valueWidth, heads: heads) }
    return Array(scratchPages[..<count])
  }

  /// Lets all memory go.
  func clear() {
    free = []
    scratchPages = []
  }
}
