internal import EspalierBasics
internal import EspalierNumerics
internal import Synchronization

/// Memory for many weights in one piece: large pieces get huge pages, which reading weights at full speed takes.
final class WeightArena: Sendable {
  struct Place {
    let buffer: AlignedBuffer
    let offset: Int
    var address: UnsafeMutableRawPointer { buffer.address + offset }
  }

  private let buffer: AlignedBuffer
  private let used = Mutex(0)

  init(byteCount: Int) throws(Problem) { buffer = try AlignedBuffer(byteCount: byteCount) }

  /// What a matrix of so many bytes takes up.
  static func rounded(_ bytes: Int) -> Int { (bytes + 63) / 64 * 64 }

  /// Room for a matrix, aligned to a cache line; in memory of its own if the arena was made too small.
  func take(_ bytes: Int) throws(Problem) -> Place {
    let room = WeightArena.rounded(bytes)
    let offset = used.withLock { used in
      guard room <= buffer.byteCount - used else { return -1 }
      used += room
      return used - room
    }
    if offset >= 0 { return Place(buffer: buffer, offset: offset) }
    return Place(buffer: try AlignedBuffer(byteCount: bytes), offset: 0)
  }
}
