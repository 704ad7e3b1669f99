public import EspalierBasics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

extension Problem.Code {
  /// Memory could not be allocated.
  public static let memoryAllocation = Problem.Code("memory.allocation")
}

/// Raw memory with an aligned start, freed with the last reference. Its contents start undefined.
///
/// It is shared between threads as memory is: whoever hands out parts sees to it that nobody writes what another
/// reads. Pages that were never touched take no memory.
public final class AlignedBuffer: @unchecked Sendable {
  /// The start, a multiple of the alignment.
  public let address: UnsafeMutableRawPointer
  public let byteCount: Int

  /// - Parameters:
  ///   - byteCount: may be 0.
  ///   - alignment: a power of two, at least the size of a pointer; the default is a cache line and a vector.
  /// - Throws: ``Problem`` with code `memory.allocation` if the system has no such memory.
  public init(byteCount: Int, alignment: Int = 64) throws(Problem) {
    var address: UnsafeMutableRawPointer?
    guard byteCount >= 0, alignment > 0, posix_memalign(&address, alignment, max(byteCount, 1)) == 0,
      let address
    else {
      throw Problem(
        .memoryAllocation, "\(byteCount) bytes (aligned to \(alignment)) could not be allocated",
        remedy: "lower --memory or close other programs")
    }
    self.address = address
    self.byteCount = byteCount
  }

  /// Room for `count` values of a type.
  public convenience init<T: BitwiseCopyable>(count: Int, of type: T.Type, alignment: Int = 64) throws(Problem) {
    let (bytes, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<T>.stride)
    guard !overflow else {
      throw Problem(.memoryAllocation, "\(count) values of \(MemoryLayout<T>.stride) bytes exceed the address space")
    }
    try self.init(byteCount: bytes, alignment: alignment)
  }

  deinit { free(address) }

  public var bytes: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: address, count: byteCount)
  }

  /// The memory as values of a type, as many as fit. A buffer is used as one type at a time.
  public func values<T: BitwiseCopyable>(of type: T.Type = T.self) -> UnsafeMutableBufferPointer<T> {
    UnsafeMutableBufferPointer(
      start: address.bindMemory(to: T.self, capacity: byteCount / MemoryLayout<T>.stride),
      count: byteCount / MemoryLayout<T>.stride)
  }

  /// The memory as floats.
  public var floats: UnsafeMutableBufferPointer<Float> { values() }
}
