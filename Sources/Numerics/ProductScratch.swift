internal import CKernels
internal import Synchronization

/// Scratch for the running tiles of products, kept for those that follow: memory fresh from the system is cleared page by
/// page, which took a third of the time of small products. As many are kept as were ever in use at once.
enum ProductScratch {
  private struct Memory: @unchecked Sendable {
    let address = UnsafeMutableRawPointer.allocate(byteCount: Int(ES_PRODUCT_SCRATCH_BYTES), alignment: 64)
  }

  private static let idle = Mutex<[Memory]>([])

  /// Runs `body` with enough scratch for any tile; nobody else has it meanwhile.
  static func lend(_ body: (UnsafeMutableRawPointer) -> Void) {
    let memory = idle.withLock { $0.popLast() } ?? Memory()
    body(memory.address)
    idle.withLock { $0.append(memory) }
  }
}
