public import EspalierBasics
internal import Synchronization

/// Buffers of one size that are used again and again: fresh pages cost as much as much of the work on them.
public final class BufferPool: Sendable {
  public let byteCount: Int
  private let free = Mutex<[AlignedBuffer]>([])

  public init(byteCount: Int) { self.byteCount = byteCount }

  /// Lends a buffer, whose contents are undefined.
  ///
  /// - Throws: `memory.allocation`; what the body throws.
  public func with<Result>(
    _ body: (UnsafeMutableRawBufferPointer) throws(Problem) -> Result
  ) throws(Problem) -> Result {
    let buffer = try take()
    defer { free.withLock { $0.append(buffer) } }
    return try body(buffer.bytes)
  }

  private func take() throws(Problem) -> AlignedBuffer {
    if let buffer = free.withLock({ $0.popLast() }) { return buffer }
    return try AlignedBuffer(byteCount: byteCount)
  }
}
