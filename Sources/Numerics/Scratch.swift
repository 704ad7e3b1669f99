internal import Synchronization

/// Memory that work needs while it runs, kept for the work that follows: memory fresh from the system is cleared page by
/// page, which took a third of the time of small products.
///
/// At most 16 MiB are kept in all; what was lent beyond that is freed when it comes back.
package struct Scratch: ~Copyable, @unchecked Sendable {
  package let address: UnsafeMutableRawPointer
  private let byteCount: Int

  /// At least `byteCount` bytes at a multiple of 64, their contents undefined, until this value ends.
  package init(byteCount: Int) {
    let kept = Self.idle.withLock { idle -> Kept? in
      // The smallest that suffices, unless it is far too large.
      let fitting = idle.indices.filter { (byteCount...4 * byteCount).contains(idle[$0].byteCount) }
      return fitting.min { idle[$0].byteCount < idle[$1].byteCount }.map { idle.remove(at: $0) }
    }
    self.byteCount = kept?.byteCount ?? byteCount
    address = kept?.address ?? .allocate(byteCount: max(1, byteCount), alignment: 64)
  }

  deinit {
    let returned = Kept(address: address, byteCount: byteCount)
    let freed = Self.idle.withLock { idle -> [Kept] in
      idle.append(returned)
      // What came last is what is likely to be asked for next.
      var freed: [Kept] = []
      while idle.reduce(0, { $0 + $1.byteCount }) > Self.mostKept { freed.append(idle.removeFirst()) }
      return freed
    }
    for memory in freed { memory.address.deallocate() }
  }

  private struct Kept: @unchecked Sendable {
    let address: UnsafeMutableRawPointer
    let byteCount: Int
  }

  private static let mostKept = 16 << 20
  private static let idle = Mutex<[Kept]>([])
}
